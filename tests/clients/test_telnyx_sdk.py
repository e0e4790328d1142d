"""Telnyx's own SDK is the oracle: what it believes, we believe, and what it sends for a message, we send."""

import json
import subprocess
from typing import Any

import pytest

from maskline.carriers.telnyx import TelnyxCarrier
from maskline.carriers.webhooks import NotSigned, WebRequest
from maskline.domain.model import SECOND
from tests.carriers.benches import OURS, THEIRS, URL, outgoing, telnyx
from tests.clients.official import OfficialClient
from tests.support.clock import FakeClock
from tests.support.telnyx_api import API_KEY, PROFILE, PUBLIC_KEY, Hook, TelnyxApi

OTHER_KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIGFub3RoZXIga2V5IQ="[:43] + "="


def hooks(vendor: TelnyxApi) -> list[tuple[Hook, bool]]:
    """Requests, and whether they are to be believed."""
    vendor.resources[OURS]["messaging_profile_id"] = PROFILE
    good = vendor.text(THEIRS, OURS, "Käse & \U0001f355", sid="a1")
    url, body, headers = good

    def changed(**said: str) -> Hook:
        return url, body, {**headers, **{name.replace("_", "-"): value for name, value in said.items()}}

    signature, timestamp = headers["telnyx-signature-ed25519"], headers["telnyx-timestamp"]
    return [
        (good, True),
        (vendor.text(THEIRS, OURS, "on the edge", sid="a1", late_s=300), True),
        (vendor.text(THEIRS, OURS, "on the other edge", sid="a1", late_s=-300), True),
        (vendor.text(THEIRS, OURS, "too old", sid="a1", late_s=301), False),
        (vendor.text(THEIRS, OURS, "too new", sid="a1", late_s=-301), False),
        ((url, body + b" ", headers), False),
        ((url, body.replace(b"a1", b"a2"), headers), False),
        (changed(telnyx_timestamp=str(int(timestamp) + 1)), False),
        (changed(telnyx_timestamp="soon"), False),
        (changed(telnyx_signature_ed25519=signature[:-4] + "AA=="), False),
        (changed(telnyx_signature_ed25519=signature[4:]), False),
        (changed(telnyx_signature_ed25519="é"), False),
        ((url, body, {"telnyx-timestamp": timestamp}), False),
        ((url, body, {"telnyx-signature-ed25519": signature}), False),
    ]


def ask(official: OfficialClient, **said: Any) -> Any:
    run: subprocess.CompletedProcess[str] = official.run("telnyx_sdk", json.dumps(said))
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("official", ["python-telnyx"], indirect=True)
async def test_what_the_sdk_believes_and_sends(official: OfficialClient, clock: FakeClock) -> None:
    message = outgoing("é & \U0001f355", media=("https://x.test/1?a=b&c", "https://x.test/2"))
    async with telnyx(clock) as bench:
        assert isinstance(bench.vendor, TelnyxApi) and isinstance(bench.carrier, TelnyxCarrier)
        await bench.carrier.send(message)
        (ours,) = bench.vendor.requests
        requests = hooks(bench.vendor)
        for (url, body, headers), is_good in requests:
            request = WebRequest(("message",), url, headers, body)
            if is_good:
                assert bench.carrier.hear(request)
                continue
            with pytest.raises(NotSigned):
                bench.carrier.hear(request)
    told = ask(
        official,
        now=clock.now() / SECOND,
        public_key=PUBLIC_KEY,
        hooks=[(body.decode(), headers) for (_, body, headers), _ in requests],
        message={
            "from_": OURS,
            "to": THEIRS,
            "text": message.body,
            "media_urls": message.media,
            "webhook_url": f"{URL}/status/{message.sid}",
            "use_profile_webhooks": False,
        },
    )
    assert told["judged"] == ["a1" if is_good else None for _, is_good in requests]
    sent = told["sent"]
    assert (sent["method"], sent["url"]) == (ours.method, f"https://api.telnyx.com{ours.target}")
    assert sent["body"] == json.loads(ours.body)
    for name in ("accept", "content-type"):
        assert sent["headers"][name] == ours.headers[name]
    assert (sent["headers"]["authorization"], ours.headers["authorization"]) == (
        "Bearer KEY1",
        f"Bearer {API_KEY}",
    )
    other = ask(
        official,
        now=clock.now() / SECOND,
        public_key=OTHER_KEY,
        hooks=[(requests[0][0][1].decode(), requests[0][0][2])],
        message={"to": THEIRS},
    )
    assert other["judged"] == [None]
