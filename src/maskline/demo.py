"""One masked conversation, played through the real HTTP API as an official client would play it, and shown.

Two people write to each other through a proxy number each. Every step is looked for at the handsets; a step that is
not seen in time is a failure.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import http.client
import ipaddress
import json
import logging
import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import click
import uvloop

from maskline.datadir import read_account_file
from maskline.runtime import CannotListen, Running, Server
from maskline.settings import Settings, SettingsError
from maskline.telemetry import configure_logs

PORT = 8080
PATIENCE_S = 10.0
POLL_S = 0.02
SERVICE = "maskline-demo"
POOL = ("+14155550100", "+14155550101")
ALICE, BOB = ("Alice", "+12125550110"), ("Bob", "+16465550120")

GREETING = "Your driver Bob is two minutes away. Just reply to reach him."
QUESTION = "Hi Bob, I'm at the side door. Can you see me?"
ANSWER = "Yes! Blue car, right behind you."


class DemoFailed(Exception):
    """A step was not seen; the message says which."""


@dataclass(frozen=True, slots=True)
class Bubble:
    """One message as one handset shows it: `mine` if it was written there, `other` is the number it shows."""

    mine: bool
    other: str
    body: str


@dataclass(slots=True)
class Handset:
    """A person's phone, and the only number that it may ever show."""

    name: str
    number: str
    proxy: str = ""
    participant: str = ""
    known: set[str] = field(default_factory=set)

    def title(self) -> str:
        return f"{self.name}, {self.number}"


class Api:
    """The server as an official client talks to it: forms with names in PascalCase, HTTP Basic, JSON back."""

    def __init__(self, url: str, account_sid: str, token: str) -> None:
        self._address = urlsplit(url)
        self._auth = "Basic " + base64.b64encode(f"{account_sid}:{token}".encode()).decode()

    def request(self, method: str, path: str, form: dict[str, str] | None = None) -> tuple[int, Any]:
        """The status and the decoded answer."""
        connection = http.client.HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=PATIENCE_S
        )
        headers = {"Authorization": self._auth, "Accept": "application/json"}
        body = None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(form)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(raw) if raw else None

    def make(self, step: str, path: str, form: dict[str, str]) -> Any:
        """POST what must succeed. Raises DemoFailed."""
        status, content = self.request("POST", path, form)
        if status not in (200, 201):
            raise DemoFailed(f"{step}: the server answered {status}: {content and content.get('message')}")
        return content

    def shown_by(self, handset: Handset) -> list[Bubble]:
        """What this handset shows of this conversation, in order."""
        bubbles: list[Bubble] = []
        for message in reversed(self._messages(handset)):
            mine = message["direction"] == "from_handset"
            if message["sid"] in handset.known or not (mine or message["status"] == "delivered"):
                continue
            bubble = Bubble(mine, message["to" if mine else "from"], message["body"])
            bubbles += [bubble] * message["handovers"]
        return bubbles

    def forget(self, handset: Handset) -> None:
        """Leave out what the handset shows already, from an earlier demo on the same data."""
        handset.known = {message["sid"] for message in self._messages(handset)}

    def _messages(self, handset: Handset) -> list[Any]:
        query = urlencode({"Handset": handset.number, "PageSize": "100"})
        status, content = self.request("GET", f"/sandbox/messages?{query}")
        if status != 200:
            raise DemoFailed(f"looking at {handset.name}'s handset: the server answered {status}")
        return list(content["messages"])


@dataclass(slots=True)
class Conversation:
    """What was seen: rows of (what Alice's handset shows, what Bob's shows), in the order in which it happened."""

    alice: Handset
    bob: Handset
    session_path: str
    rows: list[tuple[Bubble | None, Bubble | None]]


Tell = Callable[[str], None]


def play(
    url: str, account_sid: str, token: str, tell: Tell, *, patience_s: float = PATIENCE_S
) -> Conversation:
    """Play the conversation and look for every step. Raises DemoFailed, naming the step."""
    api = Api(url, account_sid, token)
    alice, bob = Handset(*ALICE), Handset(*BOB)
    for handset in (alice, bob):
        api.forget(handset)
    if (old := api.request("GET", f"/v1/Services/{SERVICE}"))[0] == 200:
        api.request("DELETE", f"/v1/Services/{old[1]['sid']}")  # an earlier demo's, on the same data
    service = api.make("a Service", "/v1/Services", {"UniqueName": SERVICE})
    path = f"/v1/Services/{service['sid']}"
    for number in POOL:
        api.make("a pool of two numbers", f"{path}/PhoneNumbers", {"PhoneNumber": number})
    tell(f"A Service with the numbers {POOL[0]} and {POOL[1]}")

    session = api.make("a Session", f"{path}/Sessions", {"UniqueName": "ride 1", "Mode": "message-only"})
    path += f"/Sessions/{session['sid']}"
    for handset in (alice, bob):
        form = {"Identifier": handset.number, "FriendlyName": handset.name}
        made = api.make(f"{handset.name} in the Session", f"{path}/Participants", form)
        handset.participant, handset.proxy = made["sid"], made["proxy_identifier"]
        if handset.proxy not in POOL:
            raise DemoFailed(f"{handset.name} in the Session: the proxy number is none of the pool")
    tell(f"A Session with {alice.title()} and {bob.title()}")

    to_alice = f"{path}/Participants/{alice.participant}/MessageInteractions"
    api.make("a message by the API", to_alice, {"Body": GREETING})
    _await(api, alice, Bubble(False, alice.proxy, GREETING), patience_s)
    tell("A message by the API has reached Alice")
    rows: list[tuple[Bubble | None, Bubble | None]] = [(Bubble(False, alice.proxy, GREETING), None)]

    for writer, reader, body in ((alice, bob, QUESTION), (bob, alice, ANSWER)):
        step = f"{writer.name} texts {writer.proxy}"
        api.make(step, "/sandbox/messages", {"From": writer.number, "To": writer.proxy, "Body": body})
        sent, seen = Bubble(True, writer.proxy, body), Bubble(False, reader.proxy, body)
        _await(api, reader, seen, patience_s)
        tell(f"{writer.name}'s text has reached {reader.name}")
        rows.append((sent, seen) if writer is alice else (seen, sent))

    for handset, wanted in ((alice, [a for a, _ in rows if a]), (bob, [b for _, b in rows if b])):
        shown = api.shown_by(handset)
        if any(bubble.other != handset.proxy for bubble in shown):
            raise DemoFailed(f"{handset.name}'s handset has shown another number than {handset.proxy}")
        if shown != wanted:
            raise DemoFailed(f"{handset.name}'s handset does not show each message once, in order")
    if len(api.request("GET", f"{path}/Interactions")[1]["interactions"]) != len(rows):
        raise DemoFailed("the Session does not list one Interaction for each message")
    tell("Each handset has shown its proxy number only, and each message once")
    return Conversation(alice, bob, path, rows)


def _await(api: Api, handset: Handset, wanted: Bubble, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while wanted not in api.shown_by(handset):
        if time.monotonic() > deadline:
            raise DemoFailed(
                f'"{wanted.body}" from {wanted.other} was not seen on {handset.name}\'s handset'
                f" within {patience_s:g} seconds"
            )
        time.sleep(POLL_S)


# How it looks


@dataclass(frozen=True, slots=True)
class Style:
    """How to draw: on a terminal with lines and colours, elsewhere in plain ASCII."""

    corners: str
    across: str
    down: str
    done: str
    colours: bool

    @staticmethod
    def of(terminal: bool, encoding: str) -> Style:
        fine = terminal and encoding.lower().replace("-", "").startswith("utf")
        colours = terminal and not os.environ.get("NO_COLOR")
        return Style("┌┐└┘", "─", "│", "✓", colours) if fine else Style("++++", "-", "|", "ok", colours)

    def paint(self, text: str, **how: Any) -> str:
        return click.style(text, **how) if self.colours else text


def draw(conversation: Conversation, style: Style, width: int = 37) -> str:
    """The two handsets, side by side."""
    inner = width - 4
    people = conversation.alice, conversation.bob

    def both(left: str, right: str) -> str:
        return f"{left}   {right}"

    def framed(text: str, paint: dict[str, Any]) -> str:
        return f"{style.down} {style.paint(text.ljust(inner), **paint)} {style.down}"

    def line(which: int) -> str:
        return style.corners[which] + style.across * (width - 2) + style.corners[which + 1]

    def cell(bubble: Bubble | None, height: int) -> list[str]:
        texts = _bubble_lines(bubble, inner) if bubble else []
        colour = {"fg": "cyan"} if bubble and bubble.mine else {"fg": "green"}
        painted = [framed(text, {"dim": True} if i == 0 else colour) for i, text in enumerate(texts)]
        return painted + [framed("", {})] * (height - len(painted))

    lines = [both(*(f"{person.name}'s handset".center(width) for person in people)).rstrip()]
    lines.append(both(*(person.number.center(width) for person in people)).rstrip())
    lines.append(both(line(0), line(0)))
    for row in conversation.rows:
        height = max(len(_bubble_lines(bubble, inner)) for bubble in row if bubble) + 1
        lines += [both(*pair) for pair in zip(*(cell(bubble, height) for bubble in row), strict=True)]
    lines[-1] = both(line(2), line(2))
    return "\n".join(lines)


def _bubble_lines(bubble: Bubble, width: int) -> list[str]:
    head = f"to {bubble.other}" if bubble.mine else f"from {bubble.other}"
    lines = [head, *textwrap.wrap(bubble.body, width - 4)]
    return [line.rjust(width) for line in lines] if bubble.mine else lines


# Running it


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def run(host: str, port: int | None, data: str | None, *, once: bool) -> None:
    """Start a server in this process, play, and go on serving unless `once`. Raises what `Server.start` does."""
    if not is_loopback(host):
        raise SettingsError(f"demo: {host} is not a loopback address, and a demo is for this machine only")
    configure_logs(logging.WARNING)
    with ExitStack() as stack:
        if data is None:
            data = stack.enter_context(tempfile.TemporaryDirectory(prefix="maskline-demo-"))
        settings = Settings(
            host=host, port=PORT if port is None else port, data=data, allow_private_webhooks=True
        )
        uvloop.run(_run(settings, port is None, once))


async def _run(settings: Settings, any_port: bool, once: bool) -> None:
    style = Style.of(sys.stdout.isatty(), sys.stdout.encoding)
    server, running = await _start(settings, any_port)
    serving = asyncio.create_task(server.serve())
    try:
        account = read_account_file(settings)
        if account is None or account[0] != running.account_sid:
            raise DemoFailed(
                f"the account in {settings.data} was not made by a server, so its token is not known; leave out --data"
            )

        def tell(text: str) -> None:
            click.echo(f"  {style.paint(style.done, fg='green')} {text}")

        click.echo(f"maskline listens on {running.address}")
        try:
            conversation = await asyncio.to_thread(play, running.address, *account, tell)
        except OSError as error:
            raise DemoFailed(f"the server cannot be reached any more: {error}") from None
        click.echo(f"\n{draw(conversation, style)}\n")
        click.echo("Alice and Bob have talked, and neither has seen the other's number.")
        if not once:
            _invite(running, account, conversation)
            await serving
            click.echo("Stopped.")
    finally:
        server.request_stop()
        await serving


async def _start(settings: Settings, any_port: bool) -> tuple[Server, Running]:
    server = Server(settings)
    try:
        return server, await server.start()
    except CannotListen:
        if not any_port:
            raise
    server = Server(dataclasses.replace(settings, port=0))
    return server, await server.start()


def _invite(running: Running, account: tuple[str, str], conversation: Conversation) -> None:
    sid, token = account
    url = f"{running.address}{conversation.session_path}/Participants/{conversation.bob.participant}"
    click.echo(
        f"\nThe server goes on: {running.address}\n"
        f"Account SID:  {sid}\nAuth token:   {token}\n\n"
        "Send Bob a message yourself, then look at the handsets:\n\n"
        f"curl -u {sid}:{token} {url}/MessageInteractions --data-urlencode 'Body=On my way'\n"
        f"curl -u {sid}:{token} {running.address}/sandbox/messages\n\n"
        "Ctrl-C stops it."
    )
