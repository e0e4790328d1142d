"""The command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import uvloop

from maskline.runtime import Server
from maskline.settings import load_settings
from maskline.telemetry import configure_logs


@click.group()
def main() -> None:
    """Maskline."""


@main.command()
@click.option("--host")
@click.option("--port", type=int)
@click.option("--ops-port", type=int)
@click.option("--data")
@click.option("--role")
def serve(**flags: object) -> None:
    """Serve."""
    configure_logs()
    settings = load_settings(flags, os.environ, Path("maskline.toml"))

    async def run() -> None:
        server = Server(settings)
        running = await server.start()
        click.echo(f"maskline listens on {running.url}")
        click.echo(f"Account SID: {running.account_sid}; token in {running.account_file}")
        sys.stdout.flush()
        await server.serve()

    uvloop.run(run())
