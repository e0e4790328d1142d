"""The command, run as a process of its own where that matters, and within this one where it does not."""

import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from maskline import cli

COMMAND = [sys.executable, "-m", "maskline"]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but a test's own: an empty directory, no MASKLINE_ variables."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("MASKLINE_"):
            monkeypatch.delenv(name)


@dataclass
class Process:
    """A command that goes on until it is stopped. `lines` is what it has printed so far."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *self.arguments],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read_until(self, beginning: str) -> str:
        """Read on until a line begins so; that line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(beginning):
                return self.lines[-1]
        raise AssertionError(f"no line begins with {beginning!r}: {self.lines}, {self.end()}")

    def told(self, name: str) -> str:
        """What it says after `Name:`."""
        return next(line for line in self.lines if line.startswith(f"{name}:")).partition(":")[2].strip()

    @property
    def url(self) -> str:
        return self.lines[0].rpartition(" ")[2]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """The exit code, and what it said on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.end()

    def end(self) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=30)
        self.lines += out.splitlines()
        return self.process.returncode, err


@pytest.fixture
def started() -> Iterator[Callable[..., Process]]:
    """Start a command; what still runs at the end of the test is killed."""
    processes: list[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        processes.append(Process(arguments, environment))
        return processes[-1]

    yield start
    for process in processes:
        if process.process.poll() is None:
            process.process.kill()
        process.process.communicate()


@pytest.fixture
def serving(started: Callable[..., Process]) -> Callable[..., Process]:
    """Start a server on `data`, on a free port unless told otherwise, and wait until it has said everything."""

    def start(*arguments: str, **environment: str) -> Process:
        port = () if "--port" in arguments else ("--port", "0")
        process = started("serve", "--data", "data", *port, *arguments, **environment)
        process.read_until("Health:")
        return process

    return start


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command in this process; stderr is in `output` too."""
    # It would set up the logs of all tests that follow.
    monkeypatch.setattr(cli, "configure_logs", lambda *_: None)

    def run(*arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(cli.main, arguments, env=environment, catch_exceptions=False)

    return run


def write_certificate(days: int = 1) -> None:
    """cert.pem and key.pem of localhost, valid since two days ago until in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=2))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    Path("cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    Path("key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
