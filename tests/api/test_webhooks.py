"""Webhooks in Twilio's manner: who is believed, by Twilio's own validator, and that what they bring comes in once."""

import base64
import hmac
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from twilio.request_validator import RequestValidator

from maskline.datadir import open_vault
from maskline.store.accounts import AccountStatus, replace_token, set_status
from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.house import locked_out
from tests.support.inside import Inside
from tests.support.server import AUTH_TOKEN, RealServer, Reply
from tests.support.world import Pair, fresh_number, make_pair

EMPTY = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


@dataclass
class Carrier:
    """Twilio, as it would bring a message to this Service."""

    api: CheckedApi
    pair: Pair
    token: str

    @property
    def path(self) -> str:
        service = self.pair.service
        return f"/v1/Accounts/{service['account_sid']}/Proxy/{service['sid']}/Webhooks/Message"

    def form(self, **fields: str) -> dict[str, str]:
        sid = f"SM{random.getrandbits(128):032x}"
        first = self.pair.first
        return {
            "ToCountry": "US",
            "SmsMessageSid": sid,
            "NumMedia": "0",
            "SmsSid": sid,
            "SmsStatus": "received",
            "Body": "Käse & \U0001f355 = 50 %+",
            "To": first["proxy_identifier"],
            "NumSegments": "1",
            "MessageSid": sid,
            "AccountSid": "AC" + "f" * 32,
            "From": first["identifier"],
            "ApiVersion": "2010-04-01",
            **fields,
        }

    def sign(self, form: Mapping[str, Any], url: str | None = None) -> str:
        signature: str = RequestValidator(self.token).compute_signature(
            url or f"{self.api.url}{self.path}", form
        )
        return signature

    def bring(self, form: Mapping[str, Any], signature: str | None = None, query: str = "") -> Reply:
        signature = self.sign(form, f"{self.api.url}{self.path}{query}") if signature is None else signature
        headers = {"X-Twilio-Signature": signature} if signature else {}
        return self.api.post(self.path + query, form, headers=headers, auth=False)

    def heard(self) -> list[tuple[str, str, str]]:
        """What has reached the partner's handset: from whom, and what."""
        handset = self.pair.second["identifier"]
        rows = self.api.get(f"/sandbox/messages?To={handset.replace('+', '%2B')}").json["messages"]
        return [(row["from"], row["body"], row["media"]) for row in reversed(rows)]


@pytest.fixture
def carrier(api: CheckedApi) -> Carrier:
    return Carrier(api, make_pair(api), api.token)


def events(server: RealServer, service: Any) -> list[tuple[int, str]]:
    sql = "SELECT code, message FROM events WHERE service_sid = ? ORDER BY sid"
    return server.rows(sql, service["sid"])


def test_a_message_is_relayed_and_answered_with_nothing_to_do(carrier: Carrier) -> None:
    reply = carrier.bring(carrier.form())
    assert (reply.status, reply.raw) == (200, EMPTY)
    heard = eventually(carrier.heard)
    assert heard == [(carrier.pair.second["proxy_identifier"], "Käse & \U0001f355 = 50 %+", [])]


def test_a_repeat_is_answered_alike_and_relayed_once(carrier: Carrier) -> None:
    form = carrier.form(Body="once")
    signature = carrier.sign(form)
    replies = [carrier.bring(form, signature) for _ in range(3)]
    assert [(reply.status, reply.raw) for reply in replies] == [(200, EMPTY)] * 3
    assert carrier.bring(carrier.form(Body="last")).status == 200
    assert [body for _, body, _ in eventually(lambda: carrier.heard()[1:] and carrier.heard())] == [
        "once",
        "last",
    ]


def test_a_signed_request_makes_no_second_message_under_a_longer_sid(carrier: Carrier) -> None:
    """What is signed has no borders: the next field's name and value may be moved into the SID."""
    form = carrier.form(Body="once")
    signature = carrier.sign(form)
    assert carrier.bring(form, signature).status == 200
    longer = {**form, "MessageSid": f"{form['MessageSid']}NumMedia0"}
    del longer["NumMedia"]
    assert carrier.sign(longer) == signature
    reply = carrier.bring(longer, signature)
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert "MessageSid" in reply.json["message"]
    assert carrier.bring(carrier.form(Body="last")).status == 200
    assert [body for _, body, _ in eventually(lambda: carrier.heard()[1:] and carrier.heard())] == [
        "once",
        "last",
    ]


def test_a_text_that_is_no_utf_8_is_not_lost(carrier: Carrier) -> None:
    form = carrier.form(Body="naïve")
    signed = f"{carrier.api.url}{carrier.path}?a=na%EFve" + "".join(
        name + form[name] for name in sorted(form)
    )
    signature = base64.b64encode(
        hmac.digest(carrier.token.encode(), signed.encode("latin-1"), "sha1")
    ).decode()
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode(form, encoding="latin-1").encode()
    reply = carrier.api.request("POST", f"{carrier.path}?a=na%EFve", body=body, headers=headers, auth=False)
    assert (reply.status, reply.raw) == (200, EMPTY)
    assert [body for _, body, _ in eventually(carrier.heard)] == ["naïve"]


def test_nor_is_one_with_what_no_text_may_have(carrier: Carrier) -> None:
    assert carrier.bring(carrier.form(Body="a\0b")).status == 200
    assert [body for _, body, _ in eventually(carrier.heard)] == ["ab"]


def test_what_came_with_it_is_relayed(carrier: Carrier) -> None:
    form = carrier.form(
        Body="",
        NumMedia="2",
        MediaUrl0="https://m.example/0",
        MediaContentType0="image/webp",
        MediaUrl1="https://m.example/1",
    )
    assert carrier.bring(form).status == 200
    (row,) = carrier.api.get(carrier.pair.session["links"]["interactions"]).json["interactions"]
    assert json.loads(row["data"])["media_types"] == ["image/webp", "application/octet-stream"]
    ((_, body, media),) = eventually(carrier.heard)
    assert body == ""
    assert [link.startswith(f"{carrier.api.url}/media/") for link in media] == [True, True]


def test_the_order_of_the_fields_and_parameters_in_the_address_do_not_matter(carrier: Carrier) -> None:
    form = dict(sorted(carrier.form().items(), reverse=True))
    assert carrier.bring(form, carrier.sign(carrier.form(**form))).status == 200
    assert carrier.bring(carrier.form(), query="?tenant=7&q=it's%20me").status == 200
    # A parameter in the address is none of the form's, and the other way round.
    assert carrier.bring(carrier.form(), carrier.sign(carrier.form()), query="?a=b").status == 403


def test_senders_and_numbers_are_known_in_each_spelling(carrier: Carrier) -> None:
    form = carrier.form(From=carrier.pair.first["identifier"].replace("+", " "))
    assert carrier.bring(form).status == 200
    assert eventually(carrier.heard)


@pytest.mark.parametrize(("port", "status"), [("", 200), (":80", 403), (":1", 403)])
def test_who_signs_without_the_port_is_believed(carrier: Carrier, port: str, status: int) -> None:
    form = carrier.form()
    signed = f"http://{urlsplit(carrier.api.url).hostname}{port}{carrier.path}"
    assert carrier.bring(form, carrier.sign(form, signed)).status == status


FORGERIES: dict[str, Callable[[Carrier, dict[str, str]], tuple[dict[str, str], str]]] = {
    "none": lambda carrier, form: (form, ""),
    "another": lambda carrier, form: (form, "x" * 28),
    "not base64": lambda carrier, form: (form, "ü" * 28),
    "wrong token": lambda carrier, form: (
        form,
        RequestValidator("c3" * 16).compute_signature(carrier.api.url + carrier.path, form),
    ),
    "changed": lambda carrier, form: ({**form, "Body": "changed"}, carrier.sign(form)),
    "added": lambda carrier, form: ({**form, "MediaUrl0": "https://m.example/0"}, carrier.sign(form)),
    "left out": lambda carrier, form: (
        {name: value for name, value in form.items() if name != "Body"},
        carrier.sign(form),
    ),
    "another path": lambda carrier, form: (
        form,
        carrier.sign(form, f"{carrier.api.url}{carrier.path}".replace("Message", "Call")),
    ),
    "another host": lambda carrier, form: (form, carrier.sign(form, f"https://x.example{carrier.path}")),
    "no form": lambda carrier, form: ({}, carrier.sign(form)),
}


@pytest.mark.parametrize("forge", FORGERIES)
def test_what_is_not_signed_is_refused_and_nothing_of_it_stays(
    server: RealServer, carrier: Carrier, forge: str
) -> None:
    form, signature = FORGERIES[forge](carrier, carrier.form())
    reply = carrier.bring(form, signature)
    assert (reply.status, reply.json["code"]) == (403, 20403)
    assert server.rows("SELECT 1 FROM received WHERE carrier_id LIKE ?", f"%/{form.get('MessageSid')}") == []
    ((code, message),) = events(server, carrier.pair.service)
    assert code == 20403
    assert f"at {carrier.api.url}{carrier.path}" in message
    # However many come, there is one event a minute.
    assert carrier.bring(carrier.form(), "x").status == 403
    assert len(events(server, carrier.pair.service)) == 1


def test_nobody_learns_which_accounts_and_services_there_are(
    server: RealServer, carrier: Carrier, another: Callable[[], CheckedApi]
) -> None:
    mine, theirs = carrier.pair.service["account_sid"], another().account_sid
    none = "KS" + "0" * 32
    for account, service in ((theirs, carrier.pair.service["sid"]), (mine, none), ("AC1", none), (mine, "x")):
        path = f"/v1/Accounts/{account}/Proxy/{service}/Webhooks/Message"
        form = carrier.form()
        signature = carrier.sign(form, carrier.api.url + path)
        reply = carrier.api.post(path, form, headers={"X-Twilio-Signature": signature}, auth=False)
        assert (reply.status, reply.json["code"]) == (403, 20403), (account, service)
    assert events(server, carrier.pair.service) == []


def test_credentials_are_no_signature(carrier: Carrier) -> None:
    assert carrier.api.post(carrier.path, carrier.form()).status == 403


def test_a_number_of_another_pool_is_none_of_this_services(server: RealServer, carrier: Carrier) -> None:
    other = make_pair(carrier.api)
    for to in (other.first["proxy_identifier"], fresh_number()):
        reply = carrier.bring(carrier.form(To=to, From=other.first["identifier"]))
        assert (reply.status, reply.json["code"]) == (404, 20404)
    assert [code for code, _ in events(server, carrier.pair.service)] == [80905, 80905]
    assert carrier.heard() == []


@pytest.mark.parametrize("missing", ["From", "To", "MessageSid"])
def test_what_is_missing_is_named(carrier: Carrier, missing: str) -> None:
    form = carrier.form()
    for name in (missing, "SmsSid") if missing == "MessageSid" else (missing,):
        del form[name]
    reply = carrier.bring(form)
    assert (reply.status, reply.json["code"]) == (400, 80701)
    assert ("SmsSid" if missing == "MessageSid" else missing) in reply.json["message"]


def test_up_to_a_mebibyte_is_taken_and_no_more(carrier: Carrier) -> None:
    """AddOns may be long. Elsewhere a form is as small as ever."""
    assert carrier.bring(carrier.form(AddOns="x" * 1_000_000)).status == 200
    assert eventually(carrier.heard)
    reply = carrier.bring(carrier.form(AddOns="x" * 1_048_576))
    assert (reply.status, reply.json["code"]) == (413, 20413)
    assert carrier.api.post("/v1/Services", {"UniqueName": "x" * 65_536}).status == 413


def test_a_body_in_the_smallest_chunks_is_taken(carrier: Carrier) -> None:
    form = carrier.form(AddOns="x" * 100_000)
    signature = carrier.sign(form)
    body = urlencode(form).encode()
    reply = carrier.api.request(
        "POST",
        carrier.path,
        body=(body[i : i + 1] for i in range(len(body))),  # type: ignore[arg-type]
        headers={
            "X-Twilio-Signature": signature,
            "Content-Type": "application/x-www-form-urlencoded",
        },
        auth=False,
    )
    assert reply.status == 200


def test_the_token_before_the_last_rotation_signs_until_the_next(
    server: RealServer, another: Callable[[], CheckedApi], write_beside: Callable[..., None]
) -> None:
    api = another()
    carrier = Carrier(api, make_pair(api), api.token)
    vault = open_vault(server.settings)

    def rotate(token: str, *, keep_previous: bool) -> None:
        digest, sealed = vault.digest(token), vault.seal(token, api.account_sid)
        write_beside(
            lambda tx: replace_token(tx, api.account_sid, digest, sealed, keep_previous=keep_previous)
        )

    old, new, newest = api.token, "d4" * 16, "e5" * 16
    rotate(new, keep_previous=True)
    for token, status in ((old, 200), (new, 200), (newest, 403)):
        carrier.token = token
        assert carrier.bring(carrier.form()).status == status
    rotate(newest, keep_previous=False)
    for token, status in ((old, 403), (new, 403), (newest, 200)):
        carrier.token = token
        assert carrier.bring(carrier.form()).status == status


def test_a_suspended_account_gets_nothing(
    another: Callable[[], CheckedApi], write_beside: Callable[..., None]
) -> None:
    api = another()
    carrier = Carrier(api, make_pair(api), api.token)
    write_beside(set_status, api.account_sid, AccountStatus.SUSPENDED)
    reply = carrier.bring(carrier.form())
    assert (reply.status, reply.json["code"]) == (403, 20005)


async def test_while_the_database_is_away_the_carrier_has_to_come_again(tmp_path: Path) -> None:
    async with Inside(tmp_path / "data") as inside:
        service = await inside.post("/v1/Services", {"UniqueName": "away"})
        number = fresh_number()
        await inside.post(service["links"]["phone_numbers"], {"PhoneNumber": number})
        path = f"/v1/Accounts/{service['account_sid']}/Proxy/{service['sid']}/Webhooks/Message"
        form = {"MessageSid": "SM1", "From": fresh_number(), "To": number, "Body": "hello"}
        signature = RequestValidator(AUTH_TOKEN).compute_signature(inside.url + path, form)
        headers = {b"x-twilio-signature": signature.encode()}
        async with locked_out(inside.store):
            reply = await inside.request("POST", path, form, headers)
        assert (reply.status, reply.json["code"], reply.headers["retry-after"]) == (503, 20503, "1")
        assert await inside.rows("SELECT * FROM received") == []
        assert (await inside.request("POST", path, form, headers)).raw == EMPTY
        assert await inside.rows("SELECT carrier_id FROM received") == [(f"sandbox/{number}/SM1",)]
