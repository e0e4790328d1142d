"""Kannel, an SMS gateway of others, bound to an SMSC: it sends what it is asked to over HTTP, and calls a URL with what
it gets.
"""

import http.client
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlencode

ABSENT = "Kannel is not installed"
IS_INSTALLED = shutil.which("bearerbox") is not None and shutil.which("smsbox") is not None
WAIT_S = 30.0

# Kannel wants an empty line between any two groups.
CONFIG = """
group = core
admin-port = {admin}
admin-password = x
smsbox-port = {box}
box-allow-ip = 127.0.0.1
sms-combine-concatenated-mo = true

group = smsc
smsc = smpp
smsc-id = relay
host = 127.0.0.1
port = {smsc}
transceiver-mode = true
smsc-username = kannel
smsc-password = secret
system-type = ""
interface-version = 34
{more}
group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {send}

group = sendsms-user
username = tester
password = x
concatenation = true
max-messages = 20

group = sms-service
keyword = default
get-url = "{url}?from=%p&to=%P&coding=%c&text=%b"
max-messages = 0
catch-all = true
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Kannel:
    """Runs from `start` to `stop`, which both block. `url` is called with what comes in; `more` are lines about the
    SMSC.
    """

    def __init__(self, directory: Path, smsc_port: int, url: str, more: str = "") -> None:
        admin, box, self.port = free_ports(3)
        self._config = directory / "kannel.conf"
        said = {"admin": admin, "box": box, "send": self.port, "smsc": smsc_port, "url": url, "more": more}
        self._config.write_text(CONFIG.format(**said))
        self._log = directory / "kannel.log"
        self._box = box
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._start("bearerbox", self._box)
        self._start("smsbox", self.port)

    def stop(self) -> None:
        """It says good-bye to its SMSC, which must be able to answer meanwhile."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, program: str, port: int) -> None:
        with self._log.open("ab") as log:
            self._processes.append(
                subprocess.Popen([program, "-v", "1", str(self._config)], stdout=log, stderr=log)
            )
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{program} does not listen: {self.log()}")

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def send(self, from_: str, to: str, text: str, coding: int) -> None:
        """Have it send a text. `coding` is 0 for GSM 03.38 and 2 for UCS-2."""
        form = {
            "username": "tester",
            "password": "x",
            "from": from_,
            "to": to,
            "text": text,
            "coding": coding,
            "charset": "UTF-8",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", f"/cgi-bin/sendsms?{urlencode(form)}")
            answer = connection.getresponse()
            assert answer.status == 202, (answer.status, answer.read())
        finally:
            connection.close()
