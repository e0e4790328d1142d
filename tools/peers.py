"""Say in one line for each absent peer which tests will not run without it. Silent when all are there."""

from __future__ import annotations

import shutil
import subprocess

CLIENTS = [
    f".clients/{name}/.ready"
    for name in (
        "python-8",
        "python-6",
        "python-telnyx",
        "python-plivo",
        "python-vonage",
        "python-bandwidth",
        "python-signalwire",
        "python-patroni",
        "node-6",
        "node-4",
        "node-segments",
        "node-smpp",
    )
]
POSTGRES = (
    "{ ls /usr/lib/postgresql/*/bin/initdb || command -v initdb; } &&"
    " { test $(id -u) != 0 || unshare -U --map-user=1000 --map-group=1000 -- true; }"
)
NAMESPACES = "unshare --mount --net true || unshare --map-root-user --mount --net true"

# What must succeed for the peer to be of use, and what is left out without it. strace may be installed and yet not
# be allowed to trace, as in some containers.
PEERS = {
    "PostgreSQL": (["sh", "-c", POSTGRES], "the store and what is built on it, on a PostgreSQL server"),
    "strace": (["strace", "-o", "/dev/null", "true"], "the count of fdatasyncs before an answer"),
    "curl": (["curl", "--version"], "the README's curl lines"),
    "gcc": (["gcc", "--version"], "what happens when the disk fails"),
    "bearerbox": (["bearerbox", "--version"], "SMPP with Kannel at the other end"),
    "unshare": (["sh", "-c", NAMESPACES], "programs that know only proxy.twilio.com"),
    "What `make clients` installs": (
        ["ls", *CLIENTS],
        "Twilio's clients of other ages and for Node, other vendors' SDKs, its segment calculator, an SMSC and Patroni",
    ),
}


def is_usable(probe: list[str]) -> bool:
    if shutil.which(probe[0]) is None:
        return False
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def main() -> None:
    for name, (probe, tests) in PEERS.items():
        if not is_usable(probe):
            print(f"{name} is not usable here; not run: {tests}.")


if __name__ == "__main__":
    main()
