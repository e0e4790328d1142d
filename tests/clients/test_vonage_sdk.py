"""Vonage's own SDK is the oracle: whose tokens it believes, we believe, what it sends for a message, we send, and it
signs fields as we want them signed.
"""

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from maskline.carriers.jwt import load_key, read_token
from maskline.carriers.vonage_ncco import render
from maskline.carriers.vonage_signature import sign_fields
from maskline.domain.twiml import Dial, Gather, Number, Pause, Play, Say, Verb
from tests.carriers.benches import OURS, THEIRS, URL, outgoing, vonage, vonage_sms
from tests.clients.official import OfficialClient
from tests.support.clock import FakeClock
from tests.support.vonage_api import (
    API_KEY,
    API_SECRET,
    APPLICATION,
    PRIVATE_KEY,
    SIGNATURE_SECRET,
    VonageApi,
    decode,
    hs256,
)

GOOD = hs256({"iat": 1, "jti": "1", "payload_hash": "é 🍕"})
TOKENS = [
    (GOOD, True),
    (hs256({}), True),
    (hs256({}, secret="another"), False),
    (hs256({}, alg="none"), False),
    (hs256({}, alg="HS512"), False),
    (hs256({}, alg="RS256"), False),
    (GOOD[:-2], False),
    (GOOD + "AA", False),
    (GOOD.replace(".", "..", 1), False),
    (GOOD.rpartition(".")[0] + ".", False),
    ("x" + GOOD, False),
    ("", False),
    ("a.b.c", False),
]

CALL = {"CallSid": "u1", "From": "+12125550177", "To": "+14155550100"}
AUDIO, NEXT, TOLD = "https://x.test/a.mp3", "https://x.test/next?a=b&c", "https://x.test/told?Event=status"
VERBS: list[Verb] = [
    Say("Grüße", language="de-DE", loop=2),
    Play(AUDIO),
    Pause(3),
    Gather((Say("Press"),), action=NEXT, num_digits=1, action_on_empty_result=True),
    Dial(
        (
            Number(
                "+12125550111", url="https://x.test/?Event=whisper", status_callback=TOLD, send_digits="1w2"
            ),
        ),
        caller_id="+14155550101",
        timeout_s=30,
        time_limit_s=14_400,
        action=NEXT,
    ),
]
NUMBER = {"number": "12125550111", "dtmfAnswer": "1p2"}
ACTIONS: list[tuple[str, dict[str, Any]]] = [
    ("Talk", {"text": "Grüße", "language": "de-DE", "loop": 2}),
    ("Stream", {"streamUrl": [AUDIO]}),
    ("Wait", {"timeout": 3}),
    ("Talk", {"text": "Press", "bargeIn": True}),
    (
        "Input",
        {
            "type": ["dtmf"],
            "dtmf": {"timeOut": 5, "maxDigits": 1, "submitOnHash": True},
            "eventUrl": [NEXT],
            "eventMethod": "POST",
        },
    ),
    (
        "Connect",
        {
            "endpoint": [NUMBER],
            "from_": "14155550101",
            "timeout": 30,
            "limit": 7200,
            "machineDetection": "hangup",
            "eventUrl": [TOLD],
            "eventMethod": "POST",
        },
    ),
    ("Notify", {"payload": CALL, "eventUrl": [NEXT], "eventMethod": "POST"}),
]


FIELDS = {"text": "é & 🍕 = 1", "b": "2", "a": "", "timestamp": "1461605396", "messageId": "0A&="}
SIGNED = [(method, FIELDS) for method in ("md5", "sha1", "sha256", "sha512")]


def claims_of(authorization: str) -> dict[str, Any]:
    """What a token of ours, or of the SDK's, says; it is signed by the application's key."""
    head, claims, signature = authorization.removeprefix("Bearer ").split(".")
    load_key(PRIVATE_KEY).public_key().verify(
        decode(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256()
    )
    assert json.loads(decode(head)) == {"alg": "RS256", "typ": "JWT"}
    said: dict[str, Any] = json.loads(decode(claims))
    return said


@pytest.mark.parametrize("official", ["python-vonage"], indirect=True)
async def test_what_the_sdk_believes_and_sends(official: OfficialClient, clock: FakeClock) -> None:
    one, two = "https://x.test/1.png?a=b&c", "https://x.test/2.mp4"
    messages = [outgoing("é & 🍕"), outgoing("look", media=(one,)), outgoing("look", media=(one, two))]
    async with vonage(clock) as bench:
        assert isinstance(bench.vendor, VonageApi)
        for message in messages:
            await bench.carrier.send(message)
        ours = bench.vendor.requests
    async with vonage_sms(clock) as bench:
        text = outgoing("é & 🍕")
        await bench.carrier.send(text)
        (our_text,) = bench.vendor.requests
    said: list[tuple[str, dict[str, Any]]] = [
        ("Sms", {"text": "é & 🍕"}),
        ("MmsImage", {"image": {"url": one, "caption": "look"}}),
        (
            "MmsContent",
            {"content": [{"type_": "image", "url": one, "caption": "look"}, {"type_": "video", "url": two}]},
        ),
    ]
    common = {"to": THEIRS.removeprefix("+"), "from_": OURS.removeprefix("+"), "webhook_version": "v1"}
    done = official.run(
        "vonage_sdk",
        json.dumps(
            {
                "tokens": [token for token, _ in TOKENS],
                "secret": SIGNATURE_SECRET,
                "application_id": APPLICATION,
                "private_key": PRIVATE_KEY,
                "actions": ACTIONS,
                "signed": SIGNED,
                "api_key": API_KEY,
                "api_secret": API_SECRET,
                "texts": [
                    {
                        "to": THEIRS.removeprefix("+"),
                        "from_": OURS.removeprefix("+"),
                        "text": text.body,
                        "type": "unicode",
                        "client_ref": text.sid,
                        "callback": f"{URL}/receipt",
                    }
                ],
                "messages": [
                    (
                        model,
                        {
                            **fields,
                            **common,
                            "client_ref": message.sid,
                            "webhook_url": f"{URL}/status/{message.sid}",
                        },
                    )
                    for (model, fields), message in zip(said, messages, strict=True)
                ],
            }
        ),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["judged"] == [good for _, good in TOKENS]
    assert told["actions"] == json.loads(render(VERBS, CALL))
    assert [read_token(token, SIGNATURE_SECRET) is not None for token, _ in TOKENS] == told["judged"]
    assert told["signed"] == [sign_fields(fields, SIGNATURE_SECRET, method) for method, fields in SIGNED]
    *messages_sent, text_sent = told["sent"]
    assert (text_sent["method"], text_sent["url"]) == (
        our_text.method,
        f"https://rest.nexmo.com{our_text.target}",
    )
    assert sorted(parse_qsl(text_sent["body"])) == sorted(parse_qsl(our_text.body.decode()))
    for header in ("authorization", "content-type"):
        assert text_sent["headers"][header] == our_text.headers[header]
    for sent, own in zip(messages_sent, ours, strict=True):
        assert (sent["method"], sent["url"]) == (own.method, f"https://api.nexmo.com{own.target}")
        assert json.loads(sent["body"]) == json.loads(own.body)
        assert sent["headers"]["content-type"] == own.headers["content-type"] == "application/json"
        theirs, mine = (claims_of(one["authorization"]) for one in (sent["headers"], own.headers))
        assert set(theirs) == set(mine)
        assert theirs["application_id"] == mine["application_id"] == APPLICATION
        assert theirs["exp"] - theirs["iat"] == mine["exp"] - mine["iat"]
