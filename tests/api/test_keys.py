"""API keys, subaccounts, suspension and rotation: who is let in as whom, and for how long after it has changed."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from click.testing import CliRunner

from maskline.api.auth import BasicAuth
from maskline.cli import main
from maskline.datadir import new_account
from maskline.domain.problems import Problem
from maskline.mint import Mint
from maskline.store.accounts import AccountStatus, insert_account, replace_token, set_status
from maskline.store.keys import ApiKey, delete_key, insert_key, list_keys
from maskline.store.sqlite import SqliteStore
from maskline.vault import Vault
from tests.support.checked import CheckedApi
from tests.support.clock import FakeClock
from tests.support.eventually import eventually
from tests.support.server import RealServer


def basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


class CountingVault(Vault):
    """Counts what it compares."""

    compared = 0

    def matches(self, secret: str, digest: str) -> bool:
        self.compared += 1
        assert len(digest) == 64
        return super().matches(secret, digest)


@dataclass
class Gate:
    """The authenticator over a store, under the test's clock."""

    store: SqliteStore
    clock: FakeClock
    vault: CountingVault = field(default_factory=lambda: CountingVault("5e" * 32))

    def __post_init__(self) -> None:
        self.mint = Mint(self.clock)
        self.auth = BasicAuth(self.store, self.vault, self.clock)

    async def account(self, token: str, parent_sid: str | None = None) -> str:
        account = new_account(self.mint, self.vault, self.clock, None, token, "", parent_sid)
        await self.store.write(insert_account, account)
        return account.sid

    async def key(self, account_sid: str, secret: str) -> str:
        sid = self.mint.sid("SK")
        key = ApiKey(sid, account_sid, "", self.vault.digest(secret), self.clock.now())
        await self.store.write(insert_key, key)
        return sid

    async def enter(self, user: str, password: str) -> str | int:
        """As which account one is let in, or the code of the refusal."""
        try:
            return await self.auth.account_of(basic(user, password))
        except Problem as problem:
            return problem.code.number


@pytest.fixture
def gate(store: SqliteStore, clock: FakeClock) -> Gate:
    return Gate(store, clock)


async def test_a_key_opens_its_own_account_only(gate: Gate) -> None:
    one, other = await gate.account("token1"), await gate.account("token2")
    first, second, third = [await gate.key(one, "s1"), await gate.key(one, "s2"), await gate.key(other, "s3")]
    assert [await gate.enter(first, "s1"), await gate.enter(second, "s2")] == [one, one]
    assert await gate.enter(third, "s3") == other
    assert await gate.enter("SK" + first[2:].upper(), "s1") == one
    for user, password in (
        (first, "s2"),
        (first, "s3"),
        (first, "token1"),
        (first, ""),
        (first, gate.vault.digest("s1")),
        (one, "s1"),
        (one, "token2"),
        ("AC" + first[2:], "s1"),
        ("SK" + one[2:], "token1"),
        ("sk" + first[2:], "s1"),
    ):
        assert await gate.enter(user, password) == 20003, (user, password)
    # The keys are listed by account, and without one all of them.
    assert [key.sid for key in await gate.store.read(list_keys, one)] == [first, second]
    assert [key.sid for key in await gate.store.read(list_keys)] == [first, second, third]


async def test_a_deleted_key_is_good_for_five_seconds_more_at_most(gate: Gate) -> None:
    account = await gate.account("t")
    used, unused = await gate.key(account, "s1"), await gate.key(account, "s2")
    assert await gate.enter(used, "s1") == account
    for sid in (used, unused):
        assert await gate.store.write(delete_key, sid)
    assert await gate.enter(unused, "s2") == 20003
    gate.clock.advance(4.9)
    assert await gate.enter(used, "s1") == account
    gate.clock.advance(0.1)
    assert await gate.enter(used, "s1") == 20003
    assert not await gate.store.write(delete_key, used)


async def test_use_does_not_make_what_is_remembered_younger(gate: Gate) -> None:
    account = await gate.account("t")
    key = await gate.key(account, "s")
    assert await gate.enter(key, "s") == account
    await gate.store.write(delete_key, key)
    for _ in range(4):
        gate.clock.advance(1)
        assert await gate.enter(key, "s") == account
    gate.clock.advance(1)
    assert await gate.enter(key, "s") == 20003


async def test_a_refusal_is_not_remembered(gate: Gate) -> None:
    account = await gate.account("t")
    sid = gate.mint.sid("SK")
    assert await gate.enter(sid, "s") == 20003
    await gate.store.write(insert_key, ApiKey(sid, account, "", gate.vault.digest("s"), gate.clock.now()))
    assert await gate.enter(sid, "s") == account


@pytest.mark.parametrize("keep_previous", [True, False])
async def test_a_rotation_takes_effect_within_five_seconds(gate: Gate, keep_previous: bool) -> None:
    account = await gate.account("old")
    key = await gate.key(account, "s")
    assert await gate.enter(account, "old") == account
    digest, sealed = gate.vault.digest("new"), gate.vault.seal("new", account)
    await gate.store.write(replace_token, account, digest, sealed, keep_previous=keep_previous)
    assert await gate.enter(account, "new") == account
    gate.clock.advance(5)
    assert await gate.enter(account, "old") == (account if keep_previous else 20003)
    assert [await gate.enter(account, "new"), await gate.enter(key, "s")] == [account, account]
    # With the next rotation the first token is no longer good, whatever becomes of the second.
    digest, sealed = gate.vault.digest("newest"), gate.vault.seal("newest", account)
    await gate.store.write(replace_token, account, digest, sealed, keep_previous=True)
    gate.clock.advance(5)
    assert [await gate.enter(account, token) for token in ("old", "new", "newest")] == [
        20003,
        account,
        account,
    ]


async def test_a_suspended_account_is_known_and_refused(gate: Gate) -> None:
    account = await gate.account("t")
    key = await gate.key(account, "s")
    assert await gate.enter(account, "t") == account
    for status in (AccountStatus.SUSPENDED, AccountStatus.CLOSED):
        await gate.store.write(set_status, account, status)
        assert await gate.enter(key, "s") == 20005
        # Only to those who have the right credentials.
        assert await gate.enter(key, "t") == await gate.enter(account, "s") == 20003
        gate.clock.advance(5)
        assert await gate.enter(account, "t") == 20005
    await gate.store.write(set_status, account, AccountStatus.ACTIVE)
    assert await gate.enter(account, "t") == await gate.enter(key, "s") == account


async def test_a_subaccount_is_served_only_while_its_parent_is(gate: Gate) -> None:
    parent = await gate.account("p")
    child, sibling = await gate.account("c", parent), await gate.account("d", parent)
    key = await gate.key(child, "s")
    await gate.store.write(set_status, parent, AccountStatus.SUSPENDED)
    assert [await gate.enter(child, "c"), await gate.enter(key, "s")] == [20005, 20005]
    await gate.store.write(set_status, parent, AccountStatus.ACTIVE)
    await gate.store.write(set_status, child, AccountStatus.SUSPENDED)
    assert [await gate.enter(child, "c"), await gate.enter(key, "s")] == [20005, 20005]
    assert [await gate.enter(parent, "p"), await gate.enter(sibling, "d")] == [parent, sibling]


async def test_what_is_unknown_costs_as_many_comparisons_as_what_is_wrong(gate: Gate) -> None:
    plain, rotated = await gate.account("t"), await gate.account("old")
    digest, sealed = gate.vault.digest("new"), gate.vault.seal("new", rotated)
    await gate.store.write(replace_token, rotated, digest, sealed, keep_previous=True)
    key = await gate.key(plain, "s")
    counts = set()
    for sid in (plain, rotated, key, "AC" + "0" * 32, "SK" + "0" * 32, "AC1", "SK", "x"):
        before = gate.vault.compared
        assert await gate.enter(sid, "wrong") == 20003
        counts.add(gate.vault.compared - before)
    assert counts == {2}


# On a real server, by the command line beside it


def command(server: RealServer, *arguments: str) -> Any:
    result = CliRunner().invoke(
        main,
        [*arguments, "--data", str(server.data), "--json"],
        catch_exceptions=False,
        env=server.environment,
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def new_key(server: RealServer, account_sid: str) -> tuple[str, CheckedApi]:
    """A new key of this account, and a client that uses it; what it is shown must be the account's."""
    key = command(server, "keys", "create", "test", "--account", account_sid)
    assert key["account_sid"] == account_sid
    api = CheckedApi(server.url, key["sid"], key["secret"])
    api.account_sid = account_sid
    return key["sid"], api


def new_client(server: RealServer, *arguments: str) -> CheckedApi:
    """A client of a new account."""
    account = command(server, "accounts", "create", *arguments)
    return CheckedApi(server.url, account["sid"], account["auth_token"])


def test_a_key_does_what_the_account_can_do(server: RealServer) -> None:
    account = new_client(server, "with a key")
    _, key = new_key(server, account.account_sid)
    service = key.make("/v1/Services", {"UniqueName": "made with a key"})
    assert service["account_sid"] == account.account_sid
    assert account.get(service["url"]).json == key.get(service["url"]).json == service
    assert key.get("/v1/Services").json["services"] == [service]
    assert account.delete(service["url"]).status == 204
    assert key.get(service["url"]).status == 404


def test_parent_and_subaccount_see_nothing_of_each_other(server: RealServer) -> None:
    parent = new_client(server, "parent")
    child = new_client(server, "child", "--parent", parent.account_sid)
    clients = {
        parent.account_sid: [parent, new_key(server, parent.account_sid)[1]],
        child.account_sid: [child, new_key(server, child.account_sid)[1]],
    }
    services = {
        sid: apis[0].make("/v1/Services", {"UniqueName": "same name"}) for sid, apis in clients.items()
    }
    for sid, apis in clients.items():
        for api in apis:
            assert api.get("/v1/Services").json["services"] == [services[sid]]
            for other in services.keys() - {sid}:
                url = services[other]["url"]
                for method, path in (
                    ("GET", url),
                    ("POST", url),
                    ("DELETE", url),
                    ("GET", url + "/Sessions"),
                    ("POST", url + "/Sessions"),
                    ("GET", url + "/PhoneNumbers"),
                ):
                    refused = api.request(method, path)
                    assert (refused.status, refused.json["code"]) == (404, 20404), (method, path)
    crossed = CheckedApi(server.url, child.account_sid, parent.token)
    assert crossed.get("/v1/Services").status == 401


def test_both_tokens_work_after_a_rotation(server: RealServer) -> None:
    old = new_client(server, "rotated")
    rotated = command(server, "accounts", "rotate-token", old.account_sid)
    new = CheckedApi(server.url, old.account_sid, rotated["auth_token"])
    assert rotated["previous_token_valid"] is True
    assert old.get("/v1/Services").status == new.get("/v1/Services").status == 200


def test_what_is_withdrawn_stops_working_within_five_seconds(server: RealServer) -> None:
    sid, deleted = new_key(server, new_client(server, "key is deleted").account_sid)
    dropped, suspended = new_client(server, "token is dropped"), new_client(server, "is suspended")
    clients = (deleted, dropped, suspended)
    for client in clients:  # from here on the server remembers them
        assert client.get("/v1/Services").status == 200
    command(server, "keys", "delete", sid)
    command(server, "accounts", "rotate-token", dropped.account_sid, "--drop-previous")
    assert command(server, "accounts", "suspend", suspended.account_sid)["status"] == "suspended"

    def refused() -> bool:
        replies = [client.get("/v1/Services") for client in clients]
        return [(reply.status, reply.json.get("code")) for reply in replies] == [
            (401, 20003),
            (401, 20003),
            (403, 20005),
        ]

    eventually(refused, 6)
    assert command(server, "accounts", "activate", suspended.account_sid)["status"] == "active"
    assert suspended.get("/v1/Services").status == 200
