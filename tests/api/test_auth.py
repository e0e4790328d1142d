"""Credentials: an Account SID and its token by HTTP Basic; anything else is 401 and does nothing."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.checked import CheckedApi
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, RealServer


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


WRONG = {
    "none": None,
    "empty": "",
    "no credentials": "Basic",
    "blank credentials": "Basic ",
    "wrong token": basic(ACCOUNT_SID, "c" * 32),
    "empty token": basic(ACCOUNT_SID, ""),
    "token in capitals": basic(ACCOUNT_SID, AUTH_TOKEN.upper()),
    "token with something after it": basic(ACCOUNT_SID, AUTH_TOKEN + ":x"),
    "unknown account": basic("AC" + "0" * 32, AUTH_TOKEN),
    "malformed account": basic("AC1", AUTH_TOKEN),
    "no account": basic("", AUTH_TOKEN),
    "an api key": basic("SK" + "a1" * 16, AUTH_TOKEN),
    "user and password changed round": basic(AUTH_TOKEN, ACCOUNT_SID),
    "no colon": "Basic " + base64.b64encode(ACCOUNT_SID.encode()).decode(),
    "not base64": "Basic !!!!",
    "base64 with rubbish after it": basic(ACCOUNT_SID, AUTH_TOKEN) + "!",
    "not encoded": f"Basic {ACCOUNT_SID}:{AUTH_TOKEN}",
    "not UTF-8": "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
    "NUL": basic(ACCOUNT_SID, AUTH_TOKEN + "\0"),
    "wrong scheme": "Bearer " + basic(ACCOUNT_SID, AUTH_TOKEN)[6:],
    "digest": f'Digest username="{ACCOUNT_SID}"',
    "scheme only inside": basic(ACCOUNT_SID, AUTH_TOKEN)[6:],
    "very long": basic(ACCOUNT_SID, "x" * 20_000),
}


@pytest.mark.parametrize("authorization", WRONG.values(), ids=WRONG.keys())
def test_without_the_right_credentials_nothing_is_done(
    quiet: RealServer, stored: Callable[[], Any], authorization: str | None
) -> None:
    api, before = CheckedApi(quiet.url), stored()
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path, form in (
        ("GET", "/v1/Services", None),
        ("POST", "/v1/Services", {"UniqueName": "not mine"}),
        ("POST", "/v1/Services", {}),
        ("DELETE", "/v1/Services/KS" + "0" * 32, None),
        ("GET", "/v1/Services/nobody/Sessions", None),
        ("POST", "/sandbox/behaviour", {"LookUp": "true"}),
        ("GET", "/sandbox/messages", None),
    ):
        reply = api.request(method, path, form, headers=headers, auth=False)
        assert (reply.status, reply.json["code"]) == (401, 20003), (method, path)
        assert reply.json["message"].startswith("Authent")
        assert reply.headers["www-authenticate"].startswith("Basic ")
    assert stored() == before


@pytest.mark.parametrize(
    "authorization",
    [
        basic(ACCOUNT_SID, AUTH_TOKEN),
        basic(ACCOUNT_SID, AUTH_TOKEN).replace("Basic", "basic"),
        basic(ACCOUNT_SID, AUTH_TOKEN).replace("Basic", "BASIC "),
        basic("AC" + ACCOUNT_SID[2:].upper(), AUTH_TOKEN),
    ],
)
def test_the_right_credentials_are_taken_in_each_spelling(api: CheckedApi, authorization: str) -> None:
    assert api.get("/v1/Services", headers={"Authorization": authorization}, auth=False).status == 200


def test_wrong_credentials_come_before_a_bad_body(api: CheckedApi) -> None:
    headers = {"Content-Type": "application/json"}
    reply = api.request("POST", "/v1/Services", body=b"{}", headers=headers, auth=False)
    assert (reply.status, reply.json["code"]) == (401, 20003)


def test_one_accounts_token_does_not_open_another(api: CheckedApi, stranger: CheckedApi) -> None:
    for sid, token in ((api.account_sid, stranger.token), (stranger.account_sid, api.token)):
        headers = {"Authorization": basic(sid, token)}
        assert api.get("/v1/Services", headers=headers, auth=False).status == 401
    assert stranger.get("/v1/Services").status == api.get("/v1/Services").status == 200


def test_a_refusal_repeats_no_secret(api: CheckedApi) -> None:
    headers = {"Authorization": basic("AC" + "7" * 32, "hush" * 8)}
    reply = api.get("/v1/Services", headers=headers, auth=False)
    assert b"hush" not in reply.raw
    assert b"7" * 32 not in reply.raw
