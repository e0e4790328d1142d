"""What the README and the how-tos tell a reader to paste does work, block by block, in one shell.

Two things are replaced before: `127.0.0.1:8080` is the address of a server that this test starts, and `maskline-data`
its data directory. `make` lines are only looked at with `make -n`. Blocks that are indented, and those in other
languages than sh and python, are not run.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, RealServer

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    """A server that has made its first account itself."""
    made = {"MASKLINE_ACCOUNT_SID": "", "MASKLINE_AUTH_TOKEN": ""}
    server = RealServer(tmp_path / "maskline-data", environment=made).start()
    yield server
    assert server.stop() == 0, server.log()


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of what a reader is to paste."""
    return BLOCK.findall((ROOT / page).read_text())


def is_make(text: str) -> bool:
    return text.startswith("make ")


def run(page: str, server: RealServer) -> str:
    """Paste everything into one shell, and give what it prints."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    script = "set -eu\n"
    for language, text in blocks(page):
        if not is_make(text):
            script += text if language == "sh" else f"{sys.executable} -W error - <<'PYTHON'\n{text}PYTHON\n"
    assert "127.0.0.1:8080" in script and "maskline-data/" in script
    script = script.replace("http://127.0.0.1:8080", server.url).replace("maskline-data/", f"{server.data}/")
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MASKLINE_", "TWILIO_"))
    }
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env=kept, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_works_when_pasted(server: RealServer) -> None:
    said = run("README.md", server)
    assert '"code"' not in said
    shown_to_bob = "SELECT from_number, body FROM sandbox_messages WHERE to_number = '+16465550120'"
    assert eventually(lambda: server.rows(shown_to_bob)) == [("+14155550100", "I am coming down.")]
    assert "I am coming down." in said
    assert re.search(r"^(sent|delivered) from \+14155550101$", said, re.MULTILINE)


def test_the_clients_work_when_pasted(server: RealServer) -> None:
    file = dict(line.split("=") for line in (server.data / "account.env").read_text().splitlines())
    credentials = ["-u", f"{file['MASKLINE_ACCOUNT_SID']}:{file['MASKLINE_AUTH_TOKEN']}"]
    subprocess.run(
        ["curl", "-sS", *credentials, f"{server.url}/v1/Services", "-d", "UniqueName=here"],
        check=True,
        capture_output=True,
    )
    assert run("docs/how-to/point-official-clients.md", server).count("here") == 2


SCENE = re.compile(r"^```sh\nmaskline (play \S+)\n```\n\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_scenes_look_as_they_are_shown(tmp_path: Path) -> None:
    """But for the numbers, which are new each time."""
    environment = {"MASKLINE_ALLOW_PRIVATE_WEBHOOKS": "true"}
    server = RealServer(tmp_path / "data", environment=environment).start()
    scenes = SCENE.findall((ROOT / "docs/how-to/try-it-out.md").read_text())
    assert len(scenes) == 2
    for command, shown in scenes:
        done = subprocess.run(
            [sys.executable, "-m", "maskline", *command.split(), "--url", server.url],
            env={**os.environ, "MASKLINE_ACCOUNT_SID": ACCOUNT_SID, "MASKLINE_AUTH_TOKEN": AUTH_TOKEN},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        said, wanted = (re.sub(r"\+1\d{10}", "NUMBER", text) for text in (done.stdout, shown))
        assert said.strip() == wanted.strip()
    assert server.stop() == 0, server.log()


@pytest.mark.parametrize("line", [text.strip() for _, text in blocks("README.md") if is_make(text)])
def test_make_knows_the_target(line: str) -> None:
    done = subprocess.run([*line.split(), "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
