"""`make demo-smpp` plays a conversation, and shows nobody's number to the other."""

import os
import subprocess
import sys

import pytest

from maskline.demo import ALICE, BOB
from tests.clients.official import ROOT
from tests.support.node_smsc import ABSENT, CLIENT


@pytest.mark.skipif(not CLIENT.is_installed, reason=ABSENT)
def test_a_conversation_over_smpp() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "smpp_demo.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "Alice and Bob have talked over SMPP, and neither has seen the other's number."
    frames = [line for line in lines if line.startswith("|")]
    assert any("Hi Bob" in line for line in frames)
    assert not any(number in line for line in frames for _, number in (ALICE, BOB))
