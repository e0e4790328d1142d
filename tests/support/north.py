"""The carrier account `north` of a real server: what the settings say of it, and which numbers it carries."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.server import ACCOUNT_SID, RealServer


def carriers_file(directory: Path, table: Mapping[str, Any]) -> Path:
    """A file that says this of the account."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
    file = directory / "carriers.toml"
    file.write_text("\n".join(["[carriers.north]", *lines, ""]))
    return file


def add_number(server: RealServer, number: str) -> None:
    """Put a number into the directory, as one that `north` carries."""
    command = [sys.executable, "-m", "maskline", "numbers", "add", number, "--carrier", "north"]
    done = subprocess.run(
        [*command, "--account", ACCOUNT_SID, "--data", str(server.data)],
        env={**server.environment, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
