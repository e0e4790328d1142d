"""Kannel as a relay: it asks an application whom each text that comes in is for, and sends it on, by one SMSC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import machine, servers
from benchmarks.partners import TEXT
from benchmarks.smsc import Route
from tests.support.kannel import free_ports

# As Debian has it, but for what relaying takes: it keeps its queues and the receipts that it waits for in memory, which
# is its default. It wants an empty line between any two groups.
CONFIG = """
group = core
admin-port = {admin}
admin-password = x
smsbox-port = {box}
box-allow-ip = 127.0.0.1
dlr-storage = internal

group = smsc
smsc = smpp
smsc-id = bench
host = 127.0.0.1
port = {smsc}
transceiver-mode = true
smsc-username = kannel
smsc-password = bench
system-type = ""
max-pending-submits = {window}
interface-version = 34

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {send}

group = sms-service
keyword = default
get-url = "http://127.0.0.1:{application}{path}?from=%p&to=%P&text=%b"
accept-x-kannel-headers = true
max-messages = 1
concatenation = false
omit-empty = true
catch-all = true
"""
ONLY_WARNINGS = ("-v", "2")


@contextmanager
def relaying(
    folder: Path, smsc_port: int, window: int, routes: Sequence[Route]
) -> Iterator[list[servers.Server]]:
    """Its two programs, bearerbox and smsbox, on the servers' core, with so many unanswered submit_sm."""
    folder.mkdir(parents=True)
    admin, box, send = free_ports(3)
    with application(folder / "routes.json", routes) as port:
        config = folder / "kannel.conf"
        ports = {"admin": admin, "box": box, "send": send, "smsc": smsc_port, "application": port}
        config.write_text(CONFIG.format(**ports, window=window, path=TEXT))

        def program(name: str, listens: int) -> servers.Server:
            command = [name, *ONLY_WARNINGS, str(config)]
            return servers.Server(name, command, listens, config, {}, folder).wait_ready()

        with program("bearerbox", box) as bearerbox, program("smsbox", send) as smsbox:
            yield [bearerbox, smsbox]


@contextmanager
def application(file: Path, routes: Sequence[Route]) -> Iterator[int]:
    """What it asks, on the load's core."""
    partners = {f"{one.sender}>{one.number}": [one.partner, one.partners_number] for one in routes}
    file.write_text(json.dumps(partners))
    command = [sys.executable, "-m", "benchmarks.partners", str(file)]
    with subprocess.Popen(command, cwd=servers.ROOT, stdout=subprocess.PIPE, text=True) as process:
        os.sched_setaffinity(process.pid, {machine.LOAD_CORE})
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()  # or whatever went wrong would wait for it for ever
