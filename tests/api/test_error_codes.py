"""The catalogue, code by code: each that answers a request, answered to a request. Faults are put into the database."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from maskline.domain import problems
from maskline.domain.problems import Code
from maskline.flows import sessions
from maskline.runtime import Server
from maskline.settings import Settings
from maskline.store.accounts import AccountStatus, set_status
from tests.support.checked import CheckedApi
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, RealServer, Reply
from tests.support.world import Pair, fresh_number, make_pair, make_service
from tests.wire.facts import error_codes

UNKNOWN = "0" * 32

# Answers of the platform that need a server of their own: where they are produced.
ELSEWHERE = {
    11200: "test_media.py",
    20400: "test_wire.py",
    20403: "test_webhooks.py",
    20408: "test_wire.py",
    20429: "test_limits.py",
    20503: "test_rounds.py",
}


class World:
    """A client, what it often needs, and somebody else."""

    def __init__(
        self,
        api: CheckedApi,
        another: Callable[[], CheckedApi],
        carry: Callable[..., str],
        carry_code: Callable[[str], str],
        suspend: Callable[[CheckedApi], None],
    ) -> None:
        self.api, self.another, self.suspend = api, another, suspend
        self.carry, self.carry_code = carry, carry_code

    def service(self, numbers: int = 0, **form: Any) -> Any:
        return make_service(self.api, numbers, **form)

    def numbers(self, service: Any, **form: Any) -> Reply:
        return self.api.post(service["links"]["phone_numbers"], form)

    def number(self, service: Any, value: str | None = None, **form: Any) -> Any:
        reply = self.numbers(service, PhoneNumber=value or fresh_number(), **form)
        assert reply.status == 201
        return reply.json

    def short_codes(self, service: Any, sid: str) -> Reply:
        return self.api.post(service["links"]["short_codes"], {"Sid": sid})

    def own_numbers(self, **form: Any) -> Reply:
        return self.api.post(f"/2010-04-01/Accounts/{self.api.account_sid}/IncomingPhoneNumbers.json", form)

    def session(self, service: Any, **form: Any) -> Any:
        return self.api.make(service["links"]["sessions"], form)

    def add(self, service: Any, identifier: str | None = None, session: Any = None, **form: Any) -> Reply:
        """Add somebody to a new Session of the Service, or to this one."""
        people = (session or self.session(service))["links"]["participants"]
        return self.api.post(people, {"Identifier": identifier or fresh_number("212"), **form})

    def pair(self, **form: Any) -> Pair:
        return make_pair(self.api, **form)


def account_not_active(w: World) -> Reply:
    other = w.another()
    w.suspend(other)
    return other.get("/v1/Services")


def not_yet_complete(w: World) -> Reply:
    pair = w.pair()
    w.api.make("/sandbox/behaviour", {"To": pair.first["identifier"], "Outcome": "unreachable"})
    message = pair.send(pair.first, "waiting")
    return w.api.delete(f"{pair.session['links']['interactions']}/{message['sid']}")


def key_used_before(w: World) -> Reply:
    key = {"Idempotency-Key": fresh_number()}
    w.api.make("/v1/Services", {"UniqueName": f"key {fresh_number()}"}, headers=key)
    return w.api.post("/v1/Services", {"UniqueName": "key"}, headers=key)


def number_of_another_service(w: World) -> Reply:
    number = w.number(w.service())
    return w.numbers(w.service(), Sid=number["sid"])


def number_of_this_service(w: World) -> Reply:
    service = w.service()
    return w.numbers(service, Sid=w.number(service)["sid"])


def short_code_of_this_service(w: World) -> Reply:
    service, sid = w.service(), w.carry_code("71000")
    assert w.short_codes(service, sid).status == 201
    return w.short_codes(service, sid)


def same_identifier_twice(w: World) -> Reply:
    pair = w.pair()
    w.api.delete(pair.second["url"])
    return w.add(pair.service, pair.first["identifier"], pair.session)


def without(ability: str) -> Callable[[World], Reply]:
    def ask(w: World) -> Reply:
        service = w.service()
        w.numbers(service, Sid=w.carry(fresh_number(), **{ability: False}))
        return w.add(service)

    return ask


def only_reserved(w: World) -> Reply:
    service = w.service()
    w.number(service, IsReserved="true")
    return w.add(service)


def no_number_left(w: World) -> Reply:
    service = w.service(1)
    person = w.add(service).json["identifier"]
    return w.add(service, person)


def two_numbers_named(w: World) -> Reply:
    service = w.service()
    one, other = w.number(service), w.number(service)
    return w.add(service, ProxyIdentifier=one["phone_number"], ProxyIdentifierSid=other["sid"])


def on_a_channel(mode: str) -> Callable[[World], Reply]:
    """By a sender that nobody has."""
    form = {"ProxyIdentifier": "messenger:2"}
    return lambda w: w.add(s := w.service(), "messenger:1", w.session(s, Mode=mode), **form)


def pair_in_use(w: World) -> Reply:
    service = w.service(1)
    first = w.add(service).json
    return w.add(service, first["identifier"], ProxyIdentifier=first["proxy_identifier"])


def name_twice(kind: str) -> Callable[[World], Reply]:
    def ask(w: World) -> Reply:
        service = w.service()
        if kind == "services":
            return w.api.post("/v1/Services", {"UniqueName": service["unique_name"]})
        w.session(service, UniqueName="taken")
        return w.api.post(service["links"]["sessions"], {"UniqueName": "taken"})

    return ask


def number_of_nobodys_pool(w: World) -> Reply:
    service = w.service(1)
    number = fresh_number()
    w.carry(number)
    return w.add(service, ProxyIdentifier=number)


def number_in_use(w: World) -> Reply:
    pair = w.pair()
    sid = pair.first["proxy_identifier_sid"]
    return w.api.delete(f"{pair.service['links']['phone_numbers']}/{sid}")


def deleted_before(w: World) -> Reply:
    pair = w.pair()
    w.api.delete(pair.second["url"])
    return w.add(pair.service, pair.second["identifier"], pair.session)


def too_many_numbers(w: World) -> Reply:
    service = w.service()
    for _ in range(500):
        w.number(service)
    return w.numbers(service, PhoneNumber=fresh_number())


def under_a_session(tail: str) -> Callable[[World], Reply]:
    return lambda w: w.api.get(f"{w.session(w.service())['url']}/{tail}")


def number_of_somebody_else(w: World) -> Any:
    other = w.another()
    return other.make(make_service(other, 0)["links"]["phone_numbers"], {"PhoneNumber": fresh_number()})


CASES: dict[int, Callable[[World], Reply]] = {
    20003: lambda w: w.api.get("/v1/Services", auth=False),
    20004: lambda w: w.api.request("PUT", "/v1/Services"),
    20005: account_not_active,
    20009: not_yet_complete,
    20404: lambda w: w.api.get(f"/v1/Services/KS{UNKNOWN}"),
    20409: key_used_before,
    20413: lambda w: w.api.post("/v1/Services", [("UniqueName", "x")] * 101),
    20415: lambda w: w.api.post("/v1/Services", body=b"{}", headers={"Content-Type": "application/json"}),
    20431: lambda w: w.api.get("/v1/Services", headers={"X-Long": "x" * 33_000}),
    21421: lambda w: w.own_numbers(PhoneNumber="4155550100"),
    21422: lambda w: w.own_numbers(PhoneNumber=number_of_somebody_else(w)["phone_number"]),
    21617: lambda w: w.api.post((p := w.pair()).messages_path(p.first), {"Body": "x" * 1601}),
    80101: number_of_another_service,
    80103: same_identifier_twice,
    80104: number_of_this_service,
    80105: short_code_of_this_service,
    80201: without("voice"),
    80202: without("sms"),
    80203: lambda w: w.add(w.service(1), "+81312345678"),
    80205: lambda w: w.add(w.service()),
    80206: lambda w: w.add(w.service(1, GeoMatchLevel="area-code")),
    80207: only_reserved,
    80208: no_number_left,
    80301: lambda w: w.numbers(w.service(), Sid=f"PN{UNKNOWN}"),
    80303: lambda w: w.short_codes(w.service(), f"SC{UNKNOWN}"),
    80304: on_a_channel("message-only"),
    80402: two_numbers_named,
    80403: under_a_session("Interactions/KI1"),
    80404: lambda w: w.add(w.service(1), "+15551234567"),
    80405: under_a_session("Participants/KP1"),
    80406: lambda w: w.numbers(w.service(), PhoneNumber="4155550100"),
    80407: lambda w: w.numbers(w.service(), Sid="PN1"),
    80409: lambda w: w.api.get(f"{w.service()['links']['sessions']}/KC1/Participants"),
    80601: lambda w: w.numbers(w.service(), PhoneNumber=number_of_somebody_else(w)["phone_number"]),
    80602: name_twice("services"),
    80603: name_twice("sessions"),
    80604: pair_in_use,
    80605: number_of_nobodys_pool,
    80606: lambda w: w.add(w.service(1), ProxyIdentifier=number_of_somebody_else(w)["phone_number"]),
    80607: lambda w: w.add(s := w.service(1), session=w.session(s, Status="closed")),
    80608: lambda w: w.api.post(w.session(w.service(), Status="closed")["url"], {"Status": "open"}),
    80609: lambda w: w.add((p := w.pair()).service, session=p.session),
    80611: number_in_use,
    80612: deleted_before,
    80616: on_a_channel("voice-and-message"),
    80622: too_many_numbers,
    80701: lambda w: w.api.post("/v1/Services"),
    80910: lambda w: w.api.post((p := w.pair(Mode="voice-only")).messages_path(p.first), {"Body": "x"}),
}


@pytest.fixture
def world(
    server: RealServer,
    api: CheckedApi,
    another: Callable[[], CheckedApi],
    carry: Callable[..., str],
    carry_code: Callable[[str], str],
    write_beside: Callable[..., None],
) -> World:
    def suspend(other: CheckedApi) -> None:
        write_beside(set_status, other.account_sid, AccountStatus.SUSPENDED)

    return World(api, another, carry, carry_code, suspend)


def answers_with(reply: Reply, number: int) -> None:
    (code,) = (code for code in CODES if code.number == number)
    assert (reply.json["code"], reply.status) == (number, code.status)
    assert code.sentence in reply.json["message"]


@pytest.mark.parametrize("number", CASES)
def test_a_request_is_answered_with_the_code(world: World, number: int) -> None:
    answers_with(CASES[number](world), number)


# Our own faults


class Faulty:
    """A server in this process, so that a deadline can be shortened, and its database, into which faults are put."""

    def __init__(self, url: str, path: Path) -> None:
        self.api = CheckedApi(url)
        self._path = path

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute(statement)
            connection.commit()


@pytest.fixture
async def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Faulty]:
    monkeypatch.setattr(sessions, "CHOOSE_S", 0.0)
    server = Server(
        Settings(data=str(tmp_path / "data"), port=0, account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN)
    )
    faulty = Faulty((await server.start()).address, tmp_path / "data" / "maskline.db")
    yield faulty
    await server.stop()


def storage_refuses(f: Faulty) -> Reply:
    """The database takes no Session of this name, but all others."""
    path = make_service(f.api, 0)["links"]["sessions"]
    f.sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON sessions WHEN NEW.unique_name = 'bad'"
        " BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    reply = f.api.post(path, {"UniqueName": "bad"})
    assert [row["unique_name"] for row in f.api.get(path).json["sessions"]] == []
    f.api.make(path, {"UniqueName": "good"})
    return reply


def storage_cannot_read(f: Faulty) -> Reply:
    f.sql("ALTER TABLE participants RENAME TO elsewhere")
    session = f.api.make(make_service(f.api, 0)["links"]["sessions"])
    return f.api.get(session["links"]["participants"])


def row_of_nonsense(f: Faulty) -> Reply:
    url = make_service(f.api, 0)["url"]
    f.sql("UPDATE services SET geo_match_level = 'nonsense'")
    return f.api.get(url)


def handset_of_nonsense(f: Faulty) -> Reply:
    pair = make_pair(f.api)
    pair.send(pair.first, "hello")
    f.sql("UPDATE sandbox_messages SET media = 'nonsense'")
    return f.api.get("/sandbox/messages")


def always_overtaken(f: Faulty) -> Reply:
    """Whatever number is chosen, another create has it by the time that this one is written."""
    service = make_service(f.api, 1)
    f.sql(
        "CREATE TRIGGER overtake AFTER INSERT ON people BEGIN"
        " UPDATE numbers SET is_reserved = 1 WHERE service_sid = NEW.service_sid; END"
    )
    session = f.api.make(service["links"]["sessions"])
    return f.api.post(session["links"]["participants"], {"Identifier": fresh_number("212")})


def carrier_refuses(f: Faulty) -> Reply:
    """The number's carrier is not there when it is to join a pool; then it is, and the number joins."""
    path, number = make_service(f.api, 0)["links"]["phone_numbers"], fresh_number()
    f.api.make("/sandbox/behaviour", {"To": number, "Outcome": "unreachable"})
    reply = f.api.post(path, {"PhoneNumber": number})
    assert f.api.get(path).json["phone_numbers"] == []
    f.api.make("/sandbox/behaviour", {"To": number, "Outcome": "deliver"})
    f.api.make(path, {"PhoneNumber": number})
    return reply


FAULTS: dict[tuple[int, str], Callable[[Faulty], Reply]] = {
    (20500, "outside the Proxy API"): handset_of_nonsense,
    (80501, "a write"): storage_refuses,
    (80501, "a read"): storage_cannot_read,
    (80502, "a number's carrier"): carrier_refuses,
    (80504, "a defect"): row_of_nonsense,
    (80623, "other creates"): always_overtaken,
}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_a_fault_is_answered_with_its_code_and_nothing_else(
    faulty: Faulty, fault: tuple[int, str]
) -> None:
    reply = await asyncio.to_thread(FAULTS[fault], faulty)
    answers_with(reply, fault[0])
    assert "nonsense" not in reply.json["message"]
    if reply.status == 500:
        assert reply.headers["twilio-request-id"] in reply.json["message"]
    faulty.api.close()


# The catalogue as a whole

CODES = [value for value in vars(problems).values() if isinstance(value, Code)]
PRODUCED = {*CASES, *(number for number, _ in FAULTS)}


def test_every_code_that_answers_requests_is_produced() -> None:
    assert {code.number for code in CODES if code.status is not None} == {*PRODUCED, *ELSEWHERE}


def test_every_code_of_twilios_that_we_build_is_answered_and_no_other() -> None:
    built = {number for number, fact in error_codes().items() if fact["build"] in ("rest", "both")}
    assert built == {number for number in PRODUCED if number >= 80000} - EVENTS_TOO
    never = {number for number, fact in error_codes().items() if fact["build"] == "never"}
    assert not never & {code.number for code in CODES}


# Twilio's list knows it as an event only; the message is refused to the one who sends it, too.
EVENTS_TOO = {80910}
