import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from click.testing import Result

from maskline import demo
from maskline.demo import play
from maskline.play.client import StepFailed
from maskline.play.conversation import Bubble, Handset
from maskline.play.picture import Style, draw
from tests.cli.conftest import Process
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, RealServer

Started = Callable[..., Process]
Invoke = Callable[..., Result]


def test_once_plays_and_shows_the_conversation(started: Started, tmp_path: Path) -> None:
    with ExitStack() as stack:
        with suppress(OSError):  # then it is taken all the same
            stack.enter_context(socket.create_server(("127.0.0.1", demo.PORT)))
        process = started("demo", "--once", TMPDIR=str(tmp_path))
        assert process.end() == (0, "")
    assert re.fullmatch(r"maskline listens on http://127\.0\.0\.1:(?!8080$)\d+", process.lines[0])
    text = "\n".join(process.lines)
    assert text.isascii() and "\x1b" not in text
    assert len([line for line in process.lines if line.startswith("  ok ")]) == 6
    frames = [line for line in process.lines if line.startswith("|")]
    assert any(re.fullmatch(r"\| +Hi Bob.* \|   \| Hi Bob.* \|", line) for line in frames)
    assert not any(number in line for line in frames for _, number in (demo.ALICE, demo.BOB))
    assert process.lines[-1] == "Alice and Bob have talked, and neither has seen the other's number."
    assert not list(tmp_path.glob("maskline-demo-*"))


def test_it_goes_on_until_ctrl_c(started: Started) -> None:
    """What it invites to paste works; the same data can be used again."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    for _ in range(2):
        process = started("demo", "--port", "0", "--data", "data")
        process.read_until("Ctrl-C")
        address = process.told("The server goes on")
        assert process.lines[0].endswith(address)
        send, look = (shlex.split(line) for line in process.lines if line.startswith("curl "))
        pasted = [
            subprocess.run([*command, "-sS"], capture_output=True, text=True, check=True).stdout
            for command in (send, look)
        ]
        assert '"outbound_resource_status"' in pasted[0]
        assert "On my way" in pasted[1]
        assert process.stop(signal.SIGINT) == (0, "")
        assert process.lines[-1] == "Stopped."


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])  # noqa: S104 - must be refused
def test_it_is_for_this_machine_only(invoke: Invoke, host: str) -> None:
    refused = invoke("demo", "--once", "--host", host)
    assert refused.exit_code == 2
    assert "is not a loopback address" in refused.output


def test_a_port_that_was_asked_for_must_be_free(started: Started) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = started("demo", "--once", "--port", str(taken.getsockname()[1])).end()
    assert code == 1
    assert "is taken" in said


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    server = RealServer(tmp_path / "data").start()
    yield server
    assert server.stop() == 0, server.log()


def test_a_step_that_is_not_seen_is_named(server: RealServer) -> None:
    """With the carrier losing what goes to Bob, then to Alice too."""
    for (name, number), steps in ((demo.BOB, 3), (demo.ALICE, 2)):
        server.api.make("/sandbox/behaviour", {"To": number, "Outcome": "uncertain-lost"})
        told: list[str] = []
        with pytest.raises(StepFailed, match=f"from .* was not seen on {name}'s handset"):
            play(server.url, ACCOUNT_SID, AUTH_TOKEN, told.append, patience_s=0.2)
        assert len(told) == steps
    with pytest.raises(StepFailed, match="the server answered 401"):
        play(server.url, ACCOUNT_SID, "wrong", told.append)


@pytest.mark.parametrize(
    ("terminal", "encoding", "corner", "colours"),
    [(True, "UTF-8", "┌", True), (True, "ascii", "+", True), (False, "utf-8", "+", False)],
)
def test_the_handsets_stand_side_by_side(
    terminal: bool, encoding: str, corner: str, colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    alice, bob = Handset("Alice", "+12125550110"), Handset("Bob", "+16465550120")
    row = (Bubble(True, "+14155550100", "one " * 30), Bubble(False, "+14155550101", "one " * 30))
    drawn = draw((alice, bob), [row, (None, row[1])], Style.of(terminal, encoding))
    assert ("\x1b[" in drawn) is colours
    assert corner in drawn
    plain = re.sub(r"\x1b\[\d+m", "", drawn).splitlines()
    assert {len(line) for line in plain[2:]} == {77}
    assert all(line[0] == line[36] == line[40] == line[76] for line in plain[3:-1])
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Style.of(True, "utf-8").colours
