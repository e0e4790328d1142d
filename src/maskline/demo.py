"""One masked conversation, played through the real HTTP API as an official client would play it, and shown."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import logging
import sys
import tempfile
from contextlib import ExitStack

import click
import uvloop

from maskline.datadir import read_account_file
from maskline.listening import CannotListen
from maskline.play.client import PATIENCE_S, Api, StepFailed
from maskline.play.conversation import Conversation, Handset, Tell
from maskline.play.picture import Style, draw
from maskline.runtime import Running, Server
from maskline.settings import Settings, SettingsError
from maskline.store.engine import StoreUnavailable
from maskline.telemetry import configure_logs

PORT = 8080
SERVICE = "maskline-demo"
POOL = ("+14155550100", "+14155550101")
ALICE, BOB = ("Alice", "+12125550110"), ("Bob", "+16465550120")


def play(
    url: str, account_sid: str, token: str, tell: Tell, *, patience_s: float = PATIENCE_S
) -> Conversation:
    """Play the conversation and look for every step. Raises StepFailed, naming the step."""
    api = Api(url, account_sid, token)
    talk = Conversation(api, (Handset(*ALICE), Handset(*BOB)), tell, patience_s)
    talk.forget()
    if (old := api.request("GET", f"/v1/Services/{SERVICE}"))[0] == 200:
        api.request("DELETE", f"/v1/Services/{old[1]['sid']}")  # an earlier demo's, on the same data
    service = api.make("a Service", "/v1/Services", {"UniqueName": SERVICE})
    path = f"/v1/Services/{service['sid']}"
    for number in POOL:
        api.make("a pool of two numbers", f"{path}/PhoneNumbers", {"PhoneNumber": number})
    tell(f"A Service with the numbers {POOL[0]} and {POOL[1]}")
    talk.begin(path, "ride 1", "message-only", POOL)
    talk.hold()
    talk.settle()
    found = api.get("the Session's Interactions", f"{talk.session_path}/Interactions")
    if len(found["interactions"]) != len(talk.rows):
        raise StepFailed("the Session does not list one Interaction for each message")
    return talk


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
    configure_logs(StoreUnavailable, logging.WARNING)
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
    server.heed_signals()
    serving = asyncio.create_task(server.serve())
    try:
        account = read_account_file(settings)
        if account is None or account[0] != running.account_sid:
            raise StepFailed(
                f"the account in {settings.data} was not made by a server, so its token is not known; leave out --data"
            )

        click.echo(f"maskline listens on {running.address}")
        conversation = await asyncio.to_thread(play, running.address, *account, style.tell)
        click.echo(f"\n{draw(conversation.people, conversation.rows, style)}\n")
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
    url = f"{running.address}{conversation.session_path}/Participants/{conversation.people[1].participant}"
    click.echo(
        f"\nThe server goes on: {running.address}\n"
        f"Account SID:  {sid}\nAuth token:   {token}\n\n"
        "Send Bob a message yourself, then look at the handsets:\n\n"
        f"curl -u {sid}:{token} {url}/MessageInteractions --data-urlencode 'Body=On my way'\n"
        f"curl -u {sid}:{token} {running.address}/sandbox/messages\n\n"
        "Ctrl-C stops it."
    )
