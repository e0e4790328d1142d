"""What we sign, as the validators in Twilio's Node clients see it."""

import json
from typing import Any

import pytest

from maskline.domain.signature import sign
from maskline.domain.webhook_url import as_sent
from tests.clients.official import OfficialClient

TOKEN = "b2" * 16
FORM = {
    "interactionSid": "KI" + "a1" * 16,
    "interactionData": '{"body":"Käse & \U0001f355 = 50 %+"}',
    "interactionNumMedia": "0",
    "inboundResourceStatus": "received",
    "InboundUpperCase": "sorted before",
    "empty": "",
}
REQUESTS: list[tuple[str, dict[str, str]]] = [
    ("https://example.com/hook", FORM),
    ("https://example.com/hook", {}),
    ("https://example.com", FORM),
    ("http://example.com/hook", FORM),
    ("https://example.com:443/hook", FORM),
    ("https://example.com:8443/hook", FORM),
    ("http://example.com:80/hook", FORM),
    ("https://example.com/hook?a=1&b=2", FORM),
    ("https://example.com/hook?q=it's&path=%2Fa%20b&list=a,b;c", FORM),
    ("https://example.com/hook?bodySHA256=none", {}),
    ("https://example.com/%C3%BC/a//b/~u", FORM),
    ("https://example.com/ü?q=é", FORM),
    ("https://example.com/hook#ct=2000&rc=2&rp=all", FORM),
    ("https://example.com:8443/hook?a=1#rt=100", FORM),
]


def signed(url: str, form: dict[str, str], /, **changed: Any) -> dict[str, Any]:
    """The request as its receiver has it: our signature, and the URL without what is not sent."""
    request = {"token": TOKEN, "signature": sign(TOKEN, url, form), "url": as_sent(url), "form": form}
    return request | changed


def ask(official: OfficialClient, requests: list[dict[str, Any]]) -> list[bool]:
    done = official.run("signatures", json.dumps(requests))
    assert done.returncode == 0, done.stderr
    said: list[bool] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("official", ["node-6", "node-4"], indirect=True)
def test_twilios_node_clients_accept_our_signatures_and_refuse_others(official: OfficialClient) -> None:
    good = [signed(url, form) for url, form in REQUESTS]
    wrong = [
        change
        for url, form in REQUESTS
        for change in (
            signed(url, form, form={**form, "interactionData": "another"}),
            signed(url, form, form={**form, "more": ""}),
            signed(url, form, url=as_sent(url) + "x"),
            signed(url, form, token="c3" * 16),
            signed(url, form, signature=sign(TOKEN, url, {**form, "more": "x"})),
        )
    ]
    said = ask(official, [*good, *wrong])
    refused = [url for (url, _), accepted in zip(REQUESTS, said, strict=False) if not accepted]
    assert refused == []
    assert not any(said[len(good) :])
