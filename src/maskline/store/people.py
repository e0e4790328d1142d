"""People: one row a person and Service. It serialises their creates, and keeps which numbers they had and left."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from maskline.domain.model import DAY
from maskline.domain.service_settings import cooldown_us
from maskline.store.engine import ALL, Tx

MOST_HISTORY = 500
PEOPLE_LIFE_US = 29 * DAY
"""How long the numbers that somebody had are kept after the last of their Sessions was deleted. Twilio erases personal
data within 30 days of its deletion, and a number cools down for less.
"""


def take_person(tx: Tx, service_sid: str, key: str) -> None:
    """Have the person's row, and hold it until the end of the transaction."""
    tx.execute(
        "INSERT INTO people (service_sid, identifier_key, history) VALUES (?, ?, '[]') ON CONFLICT DO NOTHING",
        (service_sid, key),
    )


def find_past(tx: Tx, service_sid: str, key: str) -> tuple[list[str], dict[str, int]]:
    """The numbers that the person has had, most recent first; and when they left which, as far as that is kept."""
    row = tx.execute(
        "SELECT history, released FROM people WHERE service_sid = ? AND identifier_key = ?",
        (service_sid, key),
    ).fetchone()
    return (json.loads(row[0]), json.loads(row[1])) if row else ([], {})


def find_taken(tx: Tx, service_sid: str, identifier_key: str) -> set[str]:
    """The numbers that this person cannot be given once more: on which they are in an active Session, or were before it
    moved.
    """
    rows = tx.execute(
        "SELECT proxy_identifier FROM participants"
        " WHERE service_sid = :service AND identifier_key = :key AND active = 1"
        " UNION ALL SELECT proxy_identifier FROM former_numbers"
        " WHERE service_sid = :service AND identifier_key = :key AND active = 1",
        {"service": service_sid, "key": identifier_key},
    ).fetchall()
    return {number for (number,) in rows}


def remember_number(tx: Tx, service_sid: str, key: str, number: str, *, joins: bool = True) -> None:
    """The person is on this number, as one Participant more if it `joins`: it is the last that they have had."""
    history, _ = find_past(tx, service_sid, key)
    numbers = [number, *(had for had in history if had != number)][:MOST_HISTORY]
    tx.execute(
        "UPDATE people SET history = ?, participants = participants + ?, erase_at = NULL"
        " WHERE service_sid = ? AND identifier_key = ?",
        (json.dumps(numbers), int(joins), service_sid, key),
    )


def forget_participants(tx: Tx, service_sid: str, keys: Iterable[str]) -> None:
    """These people are one Participant less each. Whoever is none any more is forgotten in PEOPLE_LIFE_US."""
    tx.executemany(
        "UPDATE people SET participants = participants - ?1,"
        " erase_at = CASE WHEN participants <= ?1 THEN ?2 END WHERE service_sid = ?3 AND identifier_key = ?4",
        [(count, tx.now + PEOPLE_LIFE_US, service_sid, key) for key, count in Counter(keys).items()],
    )


class Part(NamedTuple):
    """A Participant that a person is or was; of no Session (an empty `session_sid`): of one message as a stranger."""

    sid: str
    session_sid: str
    proxy_identifier: str
    active: int
    deleted_at: int | None


# Each has an index of its own, which the order makes sure of.
_PARTS = [
    "SELECT sid, session_sid, proxy_identifier, active, deleted_at FROM participants"
    f" WHERE service_sid = ? AND identifier_key = ? AND {which} AND created_at <= ?"
    " ORDER BY proxy_identifier, sid LIMIT ?"
    for which in ("active = 1", "active = 0 AND session_sid <> ''", "length(session_sid) = 0")
]


def list_parts(tx: Tx, service_sid: str, key: str, until: int, most: int = ALL) -> list[Part]:
    """Up to `most` Participants that this person became until then."""
    parts: list[Part] = []
    for select in _PARTS:
        room = most if most < 0 else most - len(parts)
        rows = tx.execute(select, (service_sid, key, until, room)).fetchall()
        parts += [Part(*row) for row in rows]
    return parts


def recount_person(tx: Tx, service_sid: str, key: str) -> None:
    """Some Participants are this person no longer. Of whoever is none any more nothing is known."""
    count = sum(part.session_sid != "" for part in list_parts(tx, service_sid, key, ALL))
    if count:
        tx.execute(
            "UPDATE people SET participants = ? WHERE service_sid = ? AND identifier_key = ?",
            (count, service_sid, key),
        )
    else:
        tx.execute("DELETE FROM people WHERE service_sid = ? AND identifier_key = ?", (service_sid, key))


def erase_people(tx: Tx, most: int) -> int:
    """Forget up to `most` people of whom no Participant is left: their identifiers are personal data."""
    return tx.execute(
        "DELETE FROM people WHERE (service_sid, identifier_key) IN (SELECT service_sid, identifier_key FROM people"
        " WHERE erase_at <= ? ORDER BY erase_at LIMIT ?)",
        (tx.now, most),
    ).rowcount


def still_cooling(tx: Tx, released: dict[str, int], cools_us: int) -> dict[str, int]:
    """Those of the numbers that were left less than `cools_us` ago."""
    return {number: at for number, at in released.items() if tx.now < at + cools_us}


def release_numbers(
    tx: Tx, service_sid: str, session_sid: str, at: int, participant_sid: str | None = None
) -> None:
    """The Session's participants, or this one, have left their numbers at `at`, and those that they had before.

    Kept while the Service lets numbers cool down; what has cooled is forgotten.
    """
    row = tx.execute("SELECT settings FROM services WHERE sid = ?", (service_sid,)).fetchone()
    cools_us = cooldown_us(row[0]) if row else 0
    if cools_us == 0:
        return
    left = tx.execute(
        "SELECT sid, identifier_key, proxy_identifier FROM participants"
        " WHERE service_sid = :service AND session_sid = :session AND active + 0 = 1"
        " UNION ALL SELECT participant_sid, identifier_key, proxy_identifier FROM former_numbers"
        " WHERE service_sid = :service AND session_sid = :session AND active + 0 = 1",
        {"service": service_sid, "session": session_sid},
    ).fetchall()
    for sid, key, number in left:
        if participant_sid not in (None, sid):
            continue
        _, released = find_past(tx, service_sid, key)
        released[number] = max(at, released.get(number, at))
        tx.execute(
            "UPDATE people SET released = ? WHERE service_sid = ? AND identifier_key = ?",
            (json.dumps(still_cooling(tx, released, cools_us)), service_sid, key),
        )
