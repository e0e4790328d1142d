"""`maskline events`: what went wrong is listed, and each option picks a part of it."""

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

Invoke = Callable[..., Result]

A, B = "AC" + "a" * 32, "AC" + "b" * 32
KS, KC, KI = (prefix + "0" * 32 for prefix in ("KS", "KC", "KI"))
ROWS = [
    (A, None, None, None, 49003, "ERROR"),
    (A, KS, None, None, 80905, "WARNING"),
    (A, KS, KC, None, 80904, "WARNING"),
    (A, KS, KC, KI, 80908, "WARNING"),
    (B, None, None, None, 49004, "WARNING"),
]


def sid(i: int) -> str:
    """The SID of the i-th event, of the i-th second of 2027-01-15."""
    return f"NO{1_799_971_200_000 + i * 1000:012x}{i:020x}"


@pytest.fixture(autouse=True)
def database(invoke: Invoke) -> None:
    assert invoke("migrate", "--data", "data").exit_code == 0
    with sqlite3.connect("data/maskline.db") as connection:
        for account in (A, B):
            connection.execute(
                "INSERT INTO accounts (sid, friendly_name, token_digest, token_sealed, created_at, updated_at)"
                " VALUES (?, '', '', '', 1, 1)",
                (account,),
            )
        connection.executemany(
            "INSERT INTO events (sid, account_sid, service_sid, session_sid, interaction_sid, code, level, message,"
            " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'said', 1)",
            [(sid(i), *row) for i, row in enumerate(ROWS)],
        )
    connection.close()


def listed(invoke: Invoke, *arguments: str) -> Any:
    result = invoke("events", "list", "--data", "data", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_events_are_listed_the_newest_first(invoke: Invoke) -> None:
    rows = listed(invoke)
    assert [row["sid"] for row in rows] == [sid(i) for i in (4, 3, 2, 1, 0)]
    assert rows[1] == {
        "sid": sid(3),
        "account_sid": A,
        "service_sid": KS,
        "session_sid": KC,
        "interaction_sid": KI,
        "error_code": "80908",
        "log_level": "warning",
        "alert_text": "said",
        "date_generated": "2027-01-15T00:00:03Z",
    }
    shown = invoke("events", "list", "--data", "data").stdout.splitlines()
    assert shown[0].split() == ["GENERATED", "LEVEL", "CODE", "RESOURCE", "TEXT"]
    assert shown[2].split() == ["2027-01-15T00:00:03Z", "warning", "80908", KI, "said"]
    assert shown[5].split() == ["2027-01-15T00:00:00Z", "error", "49003", "(none)", "said"]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--account", B), [4]),
        (("--account", "AC" + "A" * 32), [3, 2, 1, 0]),
        (("--service", KS), [3, 2, 1]),
        (("--session", KC), [3, 2]),
        (("--interaction", KI), [3]),
        (("--account", B, "--interaction", KI), []),
        (("--code", "80904"), [2]),
        (("--level", "error"), [0]),
        (("--level", "warning", "--account", A), [3, 2, 1]),
        (("--since", "2027-01-15T00:00:03Z"), [4, 3]),
        (("--since", "2027-01-16"), []),
    ],
)
def test_each_option_picks_a_part(invoke: Invoke, arguments: tuple[str, ...], found: list[int]) -> None:
    assert [row["sid"] for row in listed(invoke, *arguments)] == [sid(i) for i in found]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--account", "AC1"), "AC and 32 hexadecimal digits"),
        (("--session", KS), "KC and 32 hexadecimal digits"),
        (("--code", "x"), "not a valid integer"),
        (("--level", "fatal"), "'error', 'warning'"),
        (("--since", "yesterday"), "%Y-%m-%d"),
    ],
)
def test_what_cannot_be_asked_for_is_wrong_usage(
    invoke: Invoke, arguments: tuple[str, ...], says: str
) -> None:
    result = invoke("events", "list", "--data", "data", *arguments)
    assert (result.exit_code, says in result.stderr) == (2, True), result.output
