"""Rows of the outbox, whatever their topic: how one ends, and how the next of its order key comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from maskline.domain.model import OutboxState
from maskline.store.engine import Tx, Wake

WAITING, HELD, STARTED = int(OutboxState.WAITING), int(OutboxState.HELD), int(OutboxState.STARTED)

ValueT = TypeVar("ValueT")

MESSAGES = ("send", "intercept")
"""The topics of messages that are bound to a Session."""

_FINISH = "DELETE FROM outbox WHERE id = ?"
_GIVE_UP = "UPDATE outbox SET state = 6, owner = NULL, started_at = NULL WHERE id = ?"
_NEXT = """
SELECT id, state, topic FROM outbox WHERE order_key = ? AND state + 0 <> 0 AND state <> 6 ORDER BY seq LIMIT 1"""
_ALL_NEXT = "SELECT order_key, id, state, topic FROM outbox WHERE state + 0 <> 0 AND state <> 6"
_RELEASE = "UPDATE outbox SET state = 1, due_at = ? WHERE id = ?"
_WAKES = {"send": Wake.SENDS, "callback": Wake.CALLBACKS, "optout": Wake.NOTICES}

# Dead rows, which stay for long, and those whose time is not over are passed over where it costs least; but however
# many they are, one step of the walk is no longer than another.
_LAST = "SELECT id FROM outbox WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"
_LATE = "SELECT id, topic, state FROM outbox WHERE id > ? AND id <= ? AND expires_at <= ? AND state <> 6"
_END = 2**63 - 1


def finish(tx: Tx, row_id: int, order_key: str, *, dead: bool = False) -> None:
    """Take a row out of the outbox, or keep it there for dead; and make the next of its order key due."""
    release_each(tx, end_each(tx, [(row_id, order_key)], dead=dead))


def end_each(tx: Tx, rows: Sequence[tuple[int, str]], *, dead: bool = False) -> Sequence[Any]:
    """The first half of it for many rows, each the first of its order key, whatever is behind them: end them, and ask
    what is. `release_each` is the second.
    """
    tx.executemany(_GIVE_UP if dead else _FINISH, [(row_id,) for row_id, _ in rows])
    return tx.find_each(_NEXT, [(order_key,) for _, order_key in rows])


def release_each(tx: Tx, following: Sequence[Any]) -> None:
    """Make due what was held behind what `end_each` has ended."""
    due = [row for row in following if row is not None and row[1] == HELD]
    tx.executemany(_RELEASE, [(tx.now, row[0]) for row in due])
    for row in due:
        tx.wake |= _WAKES.get(row[2], Wake.ASKS)


def finish_all(tx: Tx, rows: dict[int, str]) -> None:
    """The same for these rows, each by its id and with its order key, of which few are behind each."""
    if not rows:
        return
    marks, ids = among([*rows])
    tx.execute(f"DELETE FROM outbox WHERE id IN {marks}", ids)
    marks, keys = among([*rows.values()])
    following: dict[str, tuple[int, int, str]] = {}
    for order_key, *row in tx.execute(f"{_ALL_NEXT} AND order_key IN {marks} ORDER BY order_key, seq", keys):
        following.setdefault(order_key, tuple(row))
    if held := {row_id: topic for row_id, state, topic in following.values() if state == HELD}:
        marks, ids = among([*held])
        tx.execute(f"UPDATE outbox SET state = 1, due_at = ? WHERE id IN {marks}", (tx.now, *ids))
        for topic in held.values():
            tx.wake |= _WAKES.get(topic, Wake.ASKS)


def among(values: Sequence[ValueT]) -> tuple[str, list[ValueT]]:
    """What stands behind IN for these values (at least one), and the values: the last so often that their number is a
    power of two, so that there are few different statements.
    """
    most = 1 << (len(values) - 1).bit_length()
    padded = [*values] + [values[-1]] * (most - len(values))
    return f"({', '.join('?' * most)})", padded


@dataclass(slots=True)
class Expired:
    """Rows past their time: messages that nobody is at, those of strangers apart, and callbacks whose turn it is.
    `after`: where the walk stopped (0: at the end).
    """

    sends: list[int]
    strangers: list[int]
    callbacks: list[int]
    after: int


def step_end(tx: Tx, after: int, most: int) -> tuple[int, int]:
    """Of a walk that goes on behind `after`, by `most` rows: the last id, and where it goes on then (0: nowhere)."""
    row = tx.execute(_LAST, (after, most - 1)).fetchone()
    return (row[0], row[0]) if row else (_END, 0)


def find_expired(tx: Tx, after: int, most: int) -> Expired:
    """Walk `most` rows onward from `after`. A read, so that a long queue does not hold up the writer."""
    last, following = step_end(tx, after, most)
    rows = tx.execute(_LATE, (after, last, tx.now)).fetchall()
    return Expired(
        sends=[row[0] for row in rows if row[1] in MESSAGES and row[2] != STARTED],
        strangers=[row[0] for row in rows if row[1] == "out_of_session" and row[2] != STARTED],
        callbacks=[row[0] for row in rows if row[1] == "callback" and row[2] == WAITING],
        after=following,
    )


def forget_callbacks(tx: Tx, service_sid: str, interaction_sid: str) -> None:
    """Nothing of the Interaction is told any more, nor kept of what was."""
    tx.execute("DELETE FROM outbox WHERE order_key = ? AND state + 0 <> 0", (interaction_sid,))
    tx.execute(
        "DELETE FROM callback_attempts WHERE service_sid = ? AND interaction_sid = ?",
        (service_sid, interaction_sid),
    )
