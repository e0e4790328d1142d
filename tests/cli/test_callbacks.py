"""`maskline callbacks`: what was given up is listed and sent again."""

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from maskline.flows.retention import STEP

Invoke = Callable[..., Result]

SIDS = {name: name + "0" * 32 for name in ("KS", "KC", "KI", "CB")}


@pytest.fixture
def given_up(invoke: Invoke) -> str:
    """The SID of a callback that was given up."""
    assert invoke("migrate", "--data", "data").exit_code == 0
    with sqlite3.connect("data/maskline.db") as connection:
        connection.execute(
            "INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, attempts, account_sid,"
            " service_sid, session_sid, interaction_sid, message_sid, recipient, payload)"
            " VALUES ('callback', 6, :KI, 40, '', 1, 2, 9, 'AC', :KS, :KC, :KI, :CB, '', '[null,40,1800000000000000]')",
            SIDS,
        )
    connection.close()
    return SIDS["CB"]


def listed(invoke: Invoke, *arguments: str) -> Any:
    result = invoke("callbacks", "list", "--data", "data", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("which", [("CB",), ("--service", "KS")])
def test_what_was_given_up_is_listed_and_sent_again(
    invoke: Invoke, given_up: str, which: tuple[str, ...]
) -> None:
    (one,) = listed(invoke, "--service", SIDS["KS"])
    assert one == {
        "sid": given_up,
        "service_sid": SIDS["KS"],
        "session_sid": SIDS["KC"],
        "interaction_sid": SIDS["KI"],
        "resource_status": "sent",
        "attempts": 9,
        "date_created": "2027-01-15T08:00:00Z",
    }
    assert listed(invoke, "--service", "KS" + "1" * 32) == []
    arguments = [SIDS.get(word, word) for word in which]
    result = invoke("callbacks", "resend", "--data", "data", "--json", *arguments)
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"sent_again": 1})
    assert listed(invoke) == []


def test_all_of_a_service_are_sent_again_in_steps(invoke: Invoke, given_up: str) -> None:
    with sqlite3.connect("data/maskline.db") as connection:
        connection.execute(
            "INSERT INTO outbox (topic, state, order_key, seq, number, due_at, expires_at, attempts, account_sid,"
            " service_sid, session_sid, interaction_sid, message_sid, recipient, payload)"
            " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :more)"
            " SELECT topic, state, 'KI' || i, seq, number, due_at, expires_at, attempts, account_sid, service_sid,"
            " session_sid, 'KI' || i, 'CB' || i, recipient, payload FROM outbox, n",
            {"more": STEP},
        )
    connection.close()
    result = invoke("callbacks", "resend", "--data", "data", "--json", "--service", SIDS["KS"])
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"sent_again": STEP + 1})
    assert listed(invoke) == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "name the callbacks"),
        (("CB1",), 2, "CB and 32 hexadecimal digits"),
        (("--service", "KS1"), 2, "KS and 32 hexadecimal digits"),
        ((SIDS["CB"], "--service", SIDS["KS"]), 2, "name the callbacks"),
        ((SIDS["CB"], "CB" + "1" * 32), 1, "no such callback was given up: CB11"),
    ],
)
def test_what_cannot_be_sent_again_is_refused_and_nothing_is_sent(
    invoke: Invoke, given_up: str, arguments: tuple[str, ...], code: int, says: str
) -> None:
    result = invoke("callbacks", "resend", "--data", "data", *arguments)
    assert (result.exit_code, says in result.stderr) == (code, True), result.output
    assert [one["sid"] for one in listed(invoke)] == [given_up]
