"""Twilio's official clients of several ages, as `make clients` has installed them."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KEPT = ("PATH", "HOME", "LANG", "LC_ALL")


@dataclass(frozen=True)
class OfficialClient:
    """One age of a client. `name` is its folder's, here and in .clients; python-9 is in our own environment."""

    name: str

    @property
    def language(self) -> str:
        return self.name.partition("-")[0]

    @property
    def is_installed(self) -> bool:
        if self.language == "node" and shutil.which("node") is None:
            return False
        return self.name == "python-9" or (self.folder / ".ready").exists()

    @property
    def folder(self) -> Path:
        return ROOT / ".clients" / self.name

    @property
    def pinned(self) -> str:
        """The version that our files ask for."""
        if self.language == "node":
            return str(json.loads((HERE / self.name / "package.json").read_text())["dependencies"]["twilio"])
        lock = HERE / self.name / "requirements.lock"
        text = (lock if lock.exists() else ROOT / "requirements-dev.lock").read_text()
        found = re.search(r"^twilio==(\S+)", text, re.MULTILINE)
        assert found is not None
        return found[1]

    def run(
        self, script: str, *arguments: str, within: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `script` (without its suffix), in little more of an environment than is given."""
        command, kept = self._command(script)
        return subprocess.run(
            [*within, *command, *arguments],
            env={**kept, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, script: str) -> subprocess.Popen[str]:
        """Start `script`, to be asked and to answer line by line."""
        command, kept = self._command(script)
        return subprocess.Popen(
            command, env=kept, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def _command(self, script: str) -> tuple[list[str], dict[str, str]]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        if self.language == "node":
            return ["node", str(HERE / f"{script}.cjs")], {
                **kept,
                "NODE_PATH": str(self.folder / "node_modules"),
            }
        python = sys.executable if self.name == "python-9" else self.folder / "bin" / "python"
        return [str(python), str(HERE / f"{script}.py")], kept
