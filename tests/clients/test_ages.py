"""Checklist, item 1: several ages of Twilio's official clients, each over every operation that it has.

The newest Python client is looked at more closely in test_twilio_python.py.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from maskline.cli import main
from tests.clients.official import OfficialClient
from tests.support.server import RealServer
from tests.support.world import fresh_number
from tests.wire.facts import operations

CURRENT = {o["operation_id"] for o in operations().values() if "last_in" not in o}
OF_SHORT_CODES = {o["operation_id"] for o in operations().values() if o["resource"] == "short_code"}
ALL = {"python-9": CURRENT, "node-6": CURRENT}
ALL |= dict.fromkeys(("python-8", "python-6", "node-4"), CURRENT | OF_SHORT_CODES)


def short_code_sid(server: RealServer) -> str:
    """A short code of the server's account that is in no pool."""
    command = (
        f"numbers add 7{fresh_number()[-5:]} --country US --account {server.api.account_sid} --json --data"
    )
    added = CliRunner().invoke(main, [*command.split(), str(server.data)], catch_exceptions=False)
    return str(json.loads(added.stdout)["sid"])


@pytest.mark.parametrize("official", ALL, indirect=True)
def test_every_operation_of_a_client(
    official: OfficialClient,
    server: RealServer,
    tally: Callable[[str], None],
    record_property: Callable[[str, Any], None],
) -> None:
    given = {
        "url": server.url,
        "account_sid": server.api.account_sid,
        "token": server.api.token,
        "numbers": [fresh_number(), fresh_number()],
        "people": [fresh_number("212"), fresh_number("212")],
        "short_code_sid": short_code_sid(server),
    }
    done = official.run("scenario", json.dumps(given))
    first, *steps = [json.loads(line) for line in done.stdout.splitlines()] or [{}]
    assert first.get("version") == official.pinned, done.stderr or "run `make clients` again"
    assert set(first["can"]) == ALL[official.name]

    went_well = [step["op"] for step in steps if step["ok"]]
    tally(f"{official.language} {official.pinned}: {len(went_well)} of {len(first['can'])} operations")
    record_property("operations", len(went_well))

    assert [step for step in steps if not step["ok"]] == []
    assert done.returncode == 0, done.stderr
    assert len(went_well) == len(set(went_well))
    assert set(went_well) == set(first["can"])
