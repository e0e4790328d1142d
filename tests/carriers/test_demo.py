"""`make demo-carrier` plays a conversation over every kind of carrier, and shows nobody's number to the other."""

import os
import subprocess
import sys

import pytest

from maskline.carriers import kinds
from maskline.demo import ALICE, BOB
from tests.clients.official import ROOT
from tests.support.node_smsc import ABSENT, CLIENT
from tests.support.twilio_api import TwilioApi
from tests.support.vendor import Hook
from tools.carrier_demo import KINDS, main


def test_every_kind_of_carrier_has_one() -> None:
    assert set(kinds.KINDS) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_conversation_over_it(kind: str) -> None:
    if kind == "smpp" and not CLIENT.is_installed:
        pytest.skip(ABSENT)
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "carrier_demo.py"), kind],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == f"Alice and Bob have talked over {kind}, and neither has seen the other's number."
    assert lines.count("  ok Its receipt has come: delivered") == 4
    frames = [line for line in lines if line.startswith("|")]
    assert any("Hi Bob" in line for line in frames)
    assert not any(number in line for line in frames for _, number in (ALICE, BOB))


def test_what_is_not_seen_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a vendor that signs with another account's token."""
    signed = TwilioApi.signed

    def forged(self: TwilioApi, url: str, form: dict[str, str]) -> Hook:
        monkeypatch.setattr(self, "token", "e6" * 16)
        return signed(self, url, form)

    monkeypatch.setattr(TwilioApi, "signed", forged)
    monkeypatch.setattr(sys, "argv", ["carrier_demo.py", "twilio"])
    assert main() == 1
    assert capsys.readouterr().err == "Failed: the vendor brings a receipt: the server answered 403\n"
