"""Programs that know only https://proxy.twilio.com work with maskline as they are.

The server and the programs run in mount and network namespaces of their own, in which that name is the loopback
address and port 443 is free, and the programs are told to trust a certificate authority made for the test.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.clients.official import OfficialClient
from tests.support.eventually import eventually
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, RealServer
from tests.support.world import fresh_number

HOST = "proxy.twilio.com"
APART = Path(__file__).with_name("apart.py")

# How to make the namespaces, and how to enter them: as root, or as a user who is root in a namespace of users.
WAYS = [
    (("unshare", "--mount", "--net"), ("nsenter", "--mount", "--net")),
    (
        ("unshare", "--user", "--map-root-user", "--mount", "--net"),
        ("nsenter", "--user", "--preserve-credentials", "--mount", "--net"),
    ),
]


def write_certificates(folder: Path) -> None:
    """ca.pem, and cert.pem with key.pem for the host, signed by it."""
    now = datetime.now(UTC)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name, name = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in ("Throw-away CA", HOST)
    )
    usage = dict.fromkeys(
        "content_commitment key_encipherment data_encipherment key_agreement encipher_only decipher_only".split(),
        False,
    )

    def sign(subject: x509.Name, own: ec.EllipticCurvePrivateKey, *, is_ca: bool) -> bytes:
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        builder = (
            x509.CertificateBuilder(ca_name, subject, own.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=not is_ca, key_cert_sign=is_ca, crl_sign=is_ca, **usage),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
            .add_extension(issuer_id, critical=False)
        )
        if not is_ca:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        return builder.sign(ca_key, SHA256()).public_bytes(Encoding.PEM)

    (folder / "ca.pem").write_bytes(sign(ca_name, ca_key, is_ca=True))
    (folder / "cert.pem").write_bytes(sign(name, key, is_ca=False))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(private)


@dataclass
class Elsewhere:
    """A server in namespaces in which it is proxy.twilio.com, and how a program gets there."""

    folder: Path
    server: RealServer
    enter: tuple[str, ...]


def is_allowed(unshare: tuple[str, ...], hosts: Path) -> bool:
    try:
        done = subprocess.run(
            [*unshare, sys.executable, str(APART), str(hosts), "true"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    folder = tmp_path_factory.mktemp("elsewhere")
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {HOST}\n")
    way = next((way for way in WAYS if is_allowed(way[0], hosts)), None)
    if way is None:
        pytest.skip("this machine does not allow mount namespaces")
    write_certificates(folder)
    unshare, nsenter = way
    server = RealServer(
        folder / "data",
        args=["--port", "443", "--tls-cert", f"{folder}/cert.pem", "--tls-key", f"{folder}/key.pem"],
        environment={"MASKLINE_PUBLIC_URL": f"https://{HOST}"},
        command=[*unshare, sys.executable, str(APART), str(hosts), sys.executable, "-m", "maskline"],
    ).start()
    assert server.process is not None
    yield Elsewhere(folder, server, (*nsenter, "--target", str(server.process.pid)))
    assert server.stop() == 0, server.log()


@pytest.mark.parametrize("official", ["python-9", "node-6"], indirect=True)
def test_a_program_that_nobody_changed(elsewhere: Elsewhere, official: OfficialClient) -> None:
    number, *people = fresh_number(), fresh_number("212"), fresh_number("212")
    trust = "NODE_EXTRA_CA_CERTS" if official.language == "node" else "REQUESTS_CA_BUNDLE"
    environment = {
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
        trust: str(elsewhere.folder / "ca.pem"),
    }
    done = official.run("app", number, *people, within=elsewhere.enter, **environment)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["url"].startswith(f"https://{HOST}/v1/Services/KS")
    assert said["participants"] == people[::-1]
    shown = "SELECT to_number, body FROM sandbox_messages WHERE from_number = ? ORDER BY to_number"
    expected = [(person, f"Your courier writes from {number}.") for person in people]
    assert eventually(lambda: elsewhere.server.rows(shown, number) == expected)


def test_the_rest_of_the_machine_is_as_it_was(elsewhere: Elsewhere) -> None:
    assert HOST not in Path("/etc/hosts").read_text()
    process = elsewhere.server.process
    assert process is not None
    for kind in ("mnt", "net"):
        assert Path(f"/proc/{process.pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink()
