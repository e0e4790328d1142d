"""`maskline play`: a scene against a running server, and what everybody saw of it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import click

from maskline.cli_database import config_option, data_option, json_option, load, table
from maskline.datadir import ACCOUNT_FILE, read_account_file
from maskline.play.client import Api
from maskline.play.customer import Call, serving
from maskline.play.picture import Style, draw
from maskline.play.scenes import SCENES
from maskline.play.stage import Stage, staged
from maskline.settings import Settings

URL = "http://127.0.0.1:8080"
ALL = "all"
MOST_SHOWN = 50


def _check_url(_ctx: click.Context, _param: click.Parameter, url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return url
    except ValueError:
        pass
    raise click.BadParameter(f"an address such as {URL}")


@click.command("play")
@click.argument("scene", type=click.Choice([*SCENES, ALL]), metavar="SCENE")
@click.option(
    "--url", metavar="URL", default=URL, callback=_check_url, help=f"Where the server is; default: {URL}."
)
@click.option("--keep", is_flag=True, help="Leave the Service and its numbers there.")
@data_option
@config_option
@json_option
def play_scene(scene: str, url: str, keep: bool, as_json: bool, **flags: Any) -> None:
    """Play SCENE on a running server and show what everybody saw of it; exit code 1 if a step was not seen."""
    account = _find_account(load(flags))
    style = Style.of(sys.stdout.isatty(), sys.stdout.encoding)
    api = Api(url, *account)

    def tell(text: str) -> None:
        if not as_json:
            style.tell(text)

    with serving(account[1]) as customer:
        for i, name in enumerate(SCENES if scene == ALL else [scene]):
            if not as_json:
                click.echo("\n" * (i > 0) + f"{name}: {SCENES[name].__doc__}")
            with staged(api, customer, tell, keep=keep) as stage:
                try:
                    SCENES[name](stage)
                finally:
                    _show(name, stage, style, as_json=as_json)


def _find_account(settings: Settings) -> tuple[str, str]:
    """SID and token: as given, else those in the data directory. Raises ClickException."""
    if settings.account_sid and settings.auth_token:
        return settings.account_sid, settings.auth_token
    account = read_account_file(settings)
    if account is None:
        raise click.ClickException(
            f"there is no {ACCOUNT_FILE} in {settings.data}; name the server's directory with --data,"
            " or set MASKLINE_ACCOUNT_SID and MASKLINE_AUTH_TOKEN"
        )
    return account


def _show(name: str, stage: Stage, style: Style, *, as_json: bool) -> None:
    """What came to the customer's server, as JSON lines or, with the handsets and the events, for people."""
    calls = stage.customer.calls
    if as_json:
        for call in calls:
            click.echo(json.dumps({"scene": name, **asdict(call)}, ensure_ascii=False))
        return
    if stage.talk.rows:
        click.echo(f"\n{draw(stage.talk.people, stage.talk.rows, style)}")
    rows = [
        (call.url, _text(call), "good" if call.genuine else "NOT GOOD", _short(str(call.reply)))
        for call in calls
    ]
    click.echo()
    click.echo(table(("THE CUSTOMER'S SERVER", "WAS TOLD", "SIGNATURE", "ANSWERED"), rows))
    for i, event in enumerate(stage.events()):
        click.echo("\n" * (i == 0) + f"Event {event['error_code']}: {event['alert_text']}")


def _text(call: Call) -> str:
    """What a request says, in a line."""
    form = call.form
    if "interactionType" not in form:
        return form.get("optOutType") or f'{form.get("From", "")} "{form.get("Body", "")}"'
    status = form.get("outboundResourceStatus") or form.get("inboundResourceStatus", "")
    body = json.loads(form["interactionData"] or "{}").get("body")
    said = "" if body is None else f' "{body}"'
    return _short(f"{form['interactionType']} {status}{said}")


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."
