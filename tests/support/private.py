"""What nobody may learn from events and logs: the texts and the whole numbers of a test's own world.

Every store of a test is left through `private`, which looks for them; so is the server that most tests share.
"""

import json
import re
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from structlog.testing import LogCapture

from maskline.domain import problems
from maskline.domain.problems import Code

LOG = LogCapture()
"""Every line that is logged in this process."""

LEAST = 6
"""Texts of fewer characters stand in innocent sentences, too."""

_NUMBERS = (
    "SELECT DISTINCT identifier FROM participants",
    "SELECT DISTINCT proxy_identifier FROM participants",
    "SELECT phone_number FROM numbers",
    "SELECT from_number FROM sandbox_messages UNION SELECT to_number FROM sandbox_messages",
    "SELECT from_number FROM sandbox_calls UNION SELECT to_number FROM sandbox_calls",
    "SELECT identifier FROM optouts WHERE identifier IS NOT NULL",
)
_heard: list[tuple[str, str]] = []


def note(number: str, text: str) -> None:
    """Somebody wrote this, which no table may have kept."""
    _heard.append((number, text))


def note_exception(_logger: Any, _method: str, line: dict[str, Any]) -> dict[str, Any]:
    """A processor: adds what the exceptions of a line say. Their tracebacks quote nothing but code."""
    error = sys.exc_info()[1] if line.get("exc_info") else None
    said = []
    while error is not None:
        said.append(repr(error))
        error = error.__cause__ or error.__context__
    return {**line, "said": said} if said else line


@contextmanager
def logged() -> Iterator[list[Any]]:
    """The lines that are logged meanwhile, once it is over. They are looked at as any other."""
    lines: list[Any] = []
    begin = len(LOG.entries)
    yield lines
    lines += LOG.entries[begin:]


def _own_words(message: str) -> str:
    """An event's text without the sentence of the catalogue, which may have words of anybody's."""
    for code in vars(problems).values():
        if isinstance(code, Code):
            message = message.removesuffix(code.sentence)
    return message


def _connect(database: Path | str) -> Any:
    if isinstance(database, str):
        return psycopg.connect(database)
    return sqlite3.connect(f"file:{database}?mode=ro", uri=True)


def check_private(database: Path | str, lines: list[str], heard: Sequence[tuple[str, str]] = ()) -> None:
    """Fails where an event in the database (a file, or the URL of one), or one of the lines, tells what none may."""
    with closing(_connect(database)) as connection:
        told = {_own_words(row[0]) for row in connection.execute("SELECT DISTINCT message FROM events")}
        told.update(lines)
        if not told:
            return
        hidden = {body for (body,) in connection.execute("SELECT DISTINCT body FROM sandbox_messages")}
        said = connection.execute("SELECT DISTINCT data FROM interactions WHERE type = 'message'")
        hidden.update(json.loads(data)["body"] for (data,) in said)
        numbers = {number for sql in _NUMBERS for (number,) in connection.execute(sql)}
    hidden.update(text for _, text in heard)
    numbers.update(number for number, _ in heard)
    hidden = {text for text in hidden if isinstance(text, str) and len(text) >= LEAST}
    hidden.update(digits for number in numbers for digits in re.findall(r"\+(\d{7,})", number))
    found = [(secret, line) for line in told for secret in hidden if secret in line]
    assert not found, f"told what none may tell: {found}"


@contextmanager
def private(database: Path | str) -> Iterator[None]:
    """Holds the events of a test's own database, and what is logged meanwhile, to it."""
    lines, heard = len(LOG.entries), len(_heard)
    yield
    check_private(database, [str(line) for line in LOG.entries[lines:]], _heard[heard:])
