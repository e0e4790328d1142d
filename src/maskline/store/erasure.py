"""A person is erased from a Service: what is kept of them, and of what they wrote and were written, in small steps.

What is left are Participants, Interactions and events that name nobody. `erasures` notes what is still to be gone
through: first a row for the person, then one more for each Participant that they were. The rows with the lowest stage
come first, of all people, so that everybody is unnamed before anybody's traffic is gone through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from maskline.domain.interaction import NO_BODY, MessageStatus
from maskline.domain.model import SessionStatus
from maskline.domain.phone import mask
from maskline.domain.session import close
from maskline.store.engine import Tx
from maskline.store.meta import find_meta, put_meta
from maskline.store.optouts import unname_optouts
from maskline.store.outbox import finish
from maskline.store.people import list_parts, recount_person
from maskline.store.record import merge_leg
from maskline.store.sandbox import forget_handset, forget_handset_calls, forget_texts
from maskline.store.session_ends import take_session, write_closed
from maskline.store.sessionless import lines_of, message_of
from maskline.store.sessions import find_session

ERASED = "erased"
"""The identifier of a Participant who was erased. What it is matched by is its own SID, which is nobody's address."""

LAST = "erased_at"
"""The note of when the last erasure ended, until the log has been cut."""

COST = 10
"""What one Participant weighs at each stage, in rows: it takes about that many statements where there is nothing."""

STARTED = 4
FAILED, UNKNOWN = int(MessageStatus.FAILED), int(MessageStatus.DELIVERY_UNKNOWN)


class Stage(IntEnum):
    """What is gone through, in this order. UNNAME, FRESH and what follows LINES are of the person, the others of one
    Participant.
    """

    UNNAME = 0
    """Their Participants: their Sessions are closed, and their names taken away; and what they wrote as strangers."""
    FRESH = 1
    """What has just been accepted and stands in no line yet."""
    TRAFFIC = 2
    """Their Interactions: their bodies, and what is kept of callbacks."""
    LINES = 3
    """What waits to be sent, to them or from them."""
    KEYS = 4
    """Idempotency keys: what was asked under one can be guessed from its hash."""
    EVENTS = 5
    """Events, which show a country code and two digits."""
    HANDSETS = 6
    """The books of the sandbox, as a courtesy: no other carrier's can be reached."""
    HANDSET_CALLS = 7


@dataclass(frozen=True, slots=True)
class Erasure:
    """A row of `erasures`: `after` is where its walk stopped. Whoever came after `asked_at` is somebody new."""

    service_sid: str
    identifier_key: str
    session_sid: str
    participant_sid: str
    account_sid: str
    asked_at: int
    stage: int
    after: str


_COLUMNS = "service_sid, identifier_key, session_sid, participant_sid, account_sid, asked_at, stage, after"
_NOTE = f"""
INSERT INTO erasures ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, '')
ON CONFLICT (service_sid, identifier_key, session_sid, participant_sid)
DO UPDATE SET asked_at = excluded.asked_at, stage = excluded.stage, after = ''"""
_NEXT = f"SELECT {_COLUMNS} FROM erasures ORDER BY stage, service_sid LIMIT 1"
_OF = "service_sid = ? AND identifier_key = ? AND session_sid = ? AND participant_sid = ?"

_UNNAME = """
UPDATE participants SET identifier = ?1, identifier_key = sid, friendly_name = NULL, active = 0,
       deleted_at = coalesce(deleted_at, max(?2, updated_at)), updated_at = max(?2, updated_at)
WHERE service_sid = ?3 AND session_sid = ?4 AND sid = ?5"""
_UNNAME_FORMER = """
UPDATE former_numbers SET identifier_key = participant_sid
WHERE service_sid = ? AND session_sid = ? AND participant_sid = ?"""
_LOOSE = """
SELECT id, topic, order_key, state, uncertain, service_sid, session_sid, interaction_sid FROM outbox
WHERE order_key IN (?, ?, ?) AND state + 0 <> 0 LIMIT ?"""
_BLANK_LOOSE = "UPDATE interactions SET data = ? WHERE service_sid = ? AND session_sid = '' AND sid = ?"

_LAST_FRESH = "SELECT id FROM outbox WHERE state = 0 AND id > ? ORDER BY id LIMIT 1 OFFSET ?"
_FRESH = """
SELECT o.id, o.topic, o.order_key, o.state, o.uncertain, o.service_sid, o.session_sid, o.interaction_sid FROM outbox o
CROSS JOIN interactions i ON i.service_sid = o.service_sid AND i.session_sid = o.session_sid
    AND i.sid = o.interaction_sid
CROSS JOIN participants p ON p.service_sid = o.service_sid AND p.session_sid = o.session_sid
    AND p.sid IN (i.inbound_participant_sid, i.outbound_participant_sid)
WHERE o.state = 0 AND o.id > ? AND o.id <= ? AND o.service_sid = ? AND p.identifier_key = p.sid"""
_END = 2**63 - 1

_LAST = """
SELECT sid FROM interactions WHERE service_sid = :service AND session_sid = :session AND sid > :after
ORDER BY sid LIMIT 1 OFFSET :skip"""
# What was not let on to them does not name them any more: of that, all in the Session is theirs.
_THEIRS = """service_sid = :service AND session_sid = :session AND sid > :after AND sid <= :last
    AND (:participant IN (inbound_participant_sid, outbound_participant_sid) OR outbound_participant_sid IS NULL)"""
_BLANK = f"UPDATE interactions SET data = :no_body WHERE {_THEIRS} AND type = 'message'"
_GIVEN_UP = f"""
DELETE FROM outbox WHERE state + 0 <> 0 AND state = 6 AND order_key IN (SELECT sid FROM interactions WHERE {_THEIRS})"""
_SENT = (
    f"SELECT outbound_resource_sid FROM interactions WHERE {_THEIRS} AND outbound_resource_sid IS NOT NULL"
)
_ATTEMPTS = f"""
DELETE FROM callback_attempts WHERE service_sid = :service
AND interaction_sid IN (SELECT sid FROM interactions WHERE {_THEIRS})"""

_LINE = """
SELECT o.id, o.topic, o.order_key, o.state, o.uncertain, o.service_sid, o.session_sid, o.interaction_sid, o.seq,
       ?1 IN (i.inbound_participant_sid, i.outbound_participant_sid)
FROM outbox o LEFT JOIN interactions i ON i.service_sid = o.service_sid AND i.session_sid = o.session_sid
    AND i.sid = o.interaction_sid
WHERE o.order_key = ?2 AND o.seq > ?3 AND o.state + 0 <> 0 ORDER BY o.seq LIMIT ?4"""
_FIRST = -(2**63)  # notices of a move stand before all that counts up from 1
_PEERS = "SELECT sid FROM participants WHERE service_sid = ? AND session_sid = ? AND sid >= ? ORDER BY sid"
# Its worker has it in memory. Whatever comes of that, it is past its validity and is not handed over again. Outside a
# Session, what it waits in is named for the person.
_LET_GO = """
UPDATE outbox SET payload = ?, recipient = '', expires_at = min(expires_at, ?),
       order_key = CASE session_sid WHEN '' THEN 'erased ' || id ELSE order_key END
WHERE id = ?"""

_KEYS = "SELECT key, resource_sid FROM idempotency WHERE scope = ? AND key > ? ORDER BY key LIMIT ?"
_MADE = {
    "KP": """
SELECT 1 FROM participants
WHERE service_sid = :service AND identifier_key = :sid AND active = 0 AND session_sid <> ''""",
    "KC": "SELECT 1 FROM participants WHERE service_sid = :service AND session_sid = :sid AND identifier_key = sid",
    "KI": """
SELECT 1 FROM interactions i CROSS JOIN participants p ON p.service_sid = i.service_sid
    AND p.session_sid = i.session_sid AND p.sid IN (i.inbound_participant_sid, i.outbound_participant_sid)
WHERE i.account_sid = :account AND i.type = 'message' AND i.sid = :sid AND p.identifier_key = p.sid""",
    "OO": "SELECT 1 FROM optouts WHERE service_sid = :service AND sid = :sid AND identifier IS NULL",
}

_LAST_EVENT = "SELECT sid FROM events WHERE sid > ? ORDER BY sid LIMIT 1 OFFSET ?"
_EVENTS = """
UPDATE events SET message = replace(message, :mask, '…') WHERE sid > :after AND sid <= :last
AND account_sid = :account AND coalesce(service_sid, :service) = :service AND instr(message, :mask) > 0"""


def ask_erasure(tx: Tx, account_sid: str, service_sid: str, identifier_key: str) -> None:
    """Note that everything of this person is to be erased. What is theirs alone is gone at once: the numbers that they
    had, how fast they wrote, and the name on their opt-outs, which stay.
    """
    person = (service_sid, identifier_key)
    tx.execute(_NOTE, (*person, "", "", account_sid, tx.now, Stage.UNNAME))
    tx.execute("DELETE FROM people WHERE service_sid = ? AND identifier_key = ?", person)
    tx.execute("DELETE FROM paces WHERE service_sid = ? AND identifier_key = ?", person)
    unname_optouts(tx, *person)


def is_being_erased(tx: Tx, service_sid: str, identifier_key: str) -> bool:
    """Whether something of this person is still to be gone through."""
    row = tx.execute(
        "SELECT 1 FROM erasures WHERE service_sid = ? AND identifier_key = ?", (service_sid, identifier_key)
    ).fetchone()
    return row is not None


def find_traces(tx: Tx) -> str | None:
    """What names the erasure that ended last, if the database's log may still hold something of it."""
    return find_meta(tx, LAST)


def forget_traces(tx: Tx, last: str) -> None:
    """The log has been cut, after this erasure had ended."""
    tx.execute("DELETE FROM meta WHERE name = ? AND value = ?", (LAST, last))


def erase_step(tx: Tx, most: int) -> int:
    """Go through about `most` rows of what is to be erased. Less than that: there is nothing left."""
    done = 0
    while done < most:
        row = tx.execute(_NEXT).fetchone()
        if row is None:
            break
        erasure = Erasure(*row)
        after, looked = _STEPS[Stage(erasure.stage)](tx, erasure, most - done)
        _go_on(tx, erasure, after)
        done += looked + COST
    return done


def _go_on(tx: Tx, erasure: Erasure, after: str | None) -> None:
    """Write down where the walk has stopped; None: its stage is done."""
    of = (erasure.service_sid, erasure.identifier_key, erasure.session_sid, erasure.participant_sid)
    stage: int | None = erasure.stage
    if after is None:
        after, stage = "", _FOLLOWING.get(Stage(erasure.stage))
    if stage is None:
        tx.execute(f"DELETE FROM erasures WHERE {_OF}", of)
        put_meta(tx, LAST, str(tx.now))
        # A carrier may have refused meanwhile what was under way to them, because they had opted out there.
        unname_optouts(tx, erasure.service_sid, erasure.identifier_key)
    else:
        tx.execute(f"UPDATE erasures SET stage = ?, after = ? WHERE {_OF}", (stage, after, *of))


# The steps. Each goes on from `after` for about `most` rows; it returns where it stopped (None: at the end) and how
# many it has looked at.


def _unname(tx: Tx, erasure: Erasure, most: int) -> tuple[str | None, int]:
    """A Session of theirs that is active ends, as if the API had closed it."""
    service_sid, key = erasure.service_sid, erasure.identifier_key
    count = max(1, most // COST)
    parts = list_parts(tx, service_sid, key, erasure.asked_at, count)
    for sid, session_sid, number, _, deleted_at in parts:
        if not session_sid:
            waiting = tx.execute(_LOOSE, (*lines_of(service_sid, number, key), most)).fetchall()
            for row in waiting:
                _cancel(tx, row)
            if len(waiting) == most:
                return "", most
            tx.execute(_BLANK_LOOSE, (NO_BODY, service_sid, message_of(sid)))
        elif deleted_at is None and find_session(tx, service_sid, session_sid) is not None:
            session = take_session(tx, service_sid, session_sid)
            if session.status is not SessionStatus.CLOSED:
                write_closed(tx, close(session, tx.now))
        tx.execute(_UNNAME, (ERASED, tx.now, service_sid, session_sid, sid))
        if session_sid:
            tx.execute(_UNNAME_FORMER, (service_sid, session_sid, sid))
            note = (service_sid, key, session_sid, sid, erasure.account_sid, erasure.asked_at, Stage.TRAFFIC)
            tx.execute(_NOTE, note)
    if len(parts) == count:
        return "", len(parts) * COST
    # Who was added just before may have been written down after the request, and then is counted there.
    recount_person(tx, service_sid, key)
    return None, len(parts) * COST


def _fresh(tx: Tx, erasure: Erasure, most: int) -> tuple[str | None, int]:
    after = int(erasure.after or 0)
    last = tx.execute(_LAST_FRESH, (after, most - 1)).fetchone()
    for row in tx.execute(_FRESH, (after, last[0] if last else _END, erasure.service_sid)).fetchall():
        _cancel(tx, row)
    return (str(last[0]) if last else None), most if last else 0


def _traffic(tx: Tx, erasure: Erasure, most: int) -> tuple[str | None, int]:
    place = {
        "service": erasure.service_sid,
        "session": erasure.session_sid,
        "participant": erasure.participant_sid,
        "after": erasure.after,
    }
    last = tx.execute(_LAST, {**place, "skip": most - 1}).fetchone()
    theirs = {**place, "last": last[0] if last else "KJ"}
    gone = tx.execute(_GIVEN_UP, theirs).rowcount + tx.execute(_ATTEMPTS, theirs).rowcount
    blanked = tx.execute(_BLANK, {**theirs, "no_body": NO_BODY}).rowcount
    forget_texts(tx, erasure.account_sid, [sid for (sid,) in tx.execute(_SENT, theirs).fetchall()])
    return (last[0] if last else None), gone + (most if last else blanked)


def _lines(tx: Tx, erasure: Erasure, most: int) -> tuple[str | None, int]:
    """Each Participant of a Session is a line: in theirs, and in the other's where they wrote, nothing is sent."""
    line, _, seq = erasure.after.partition(" ")
    looked = 0
    peers = tx.execute(_PEERS, (erasure.service_sid, erasure.session_sid, line)).fetchall()
    for (peer,) in peers:
        room = most - looked
        passed = int(seq) if peer == line and seq else _FIRST
        rows = tx.execute(_LINE, (erasure.participant_sid, peer, passed, room)).fetchall()
        for row in rows:
            if row[-1]:
                _cancel(tx, row)
        looked += len(rows)
        if len(rows) == room:
            return f"{peer} {rows[-1][-2]}", looked
    return None, looked


def _cancel(tx: Tx, row: Any) -> None:
    row_id, topic, order_key, state, uncertain, service_sid, session_sid, interaction_sid = row[:8]
    if state == STARTED and topic == "send":
        tx.execute(_LET_GO, (NO_BODY, tx.now, row_id))
        return
    finish(tx, row_id, order_key)
    # Where a carrier may have taken it before, nobody can say that it failed.
    merge_leg(tx, service_sid, session_sid, interaction_sid, UNKNOWN if uncertain else FAILED, None)


def _keys(tx: Tx, erasure: Erasure, most: int) -> tuple[str | None, int]:
    """Those under which something was made of somebody who is erased."""
    scope = f"{erasure.account_sid}/{erasure.service_sid}"
    rows = tx.execute(_KEYS, (scope, erasure.after, most)).fetchall()
    for key, sid in rows:
        made = _MADE.get(sid[:2])
        whose = {"account": erasure.account_sid, "service": erasure.service_sid, "sid": sid}
        if made is not None and tx.execute(made, whose).fetchone() is not None:
            tx.execute("DELETE FROM idempotency WHERE scope = ? AND key = ?", (scope, key))
    return (rows[-1][0] if len(rows) == most else None), len(rows)


def _events(tx: Tx, erasure: Erasure, most: int) -> tuple[str | None, int]:
    last = tx.execute(_LAST_EVENT, (erasure.after, most - 1)).fetchone()
    whose = {
        "account": erasure.account_sid,
        "service": erasure.service_sid,
        "mask": mask(erasure.identifier_key),
        "after": erasure.after,
        "last": last[0] if last else "NP",
    }
    changed = tx.execute(_EVENTS, whose).rowcount
    return (last[0] if last else None), most if last else changed


def _handsets(tx: Tx, erasure: Erasure, most: int) -> tuple[str | None, int]:
    after = forget_handset(
        tx, erasure.account_sid, erasure.service_sid, erasure.identifier_key, erasure.after, most
    )
    return after, most if after is not None else 0


def _handset_calls(tx: Tx, erasure: Erasure, most: int) -> tuple[str | None, int]:
    after = forget_handset_calls(
        tx, erasure.account_sid, erasure.service_sid, erasure.identifier_key, erasure.after, most
    )
    return after, most if after is not None else 0


_STEPS: dict[Stage, Callable[[Tx, Erasure, int], tuple[str | None, int]]] = {
    Stage.UNNAME: _unname,
    Stage.FRESH: _fresh,
    Stage.TRAFFIC: _traffic,
    Stage.LINES: _lines,
    Stage.KEYS: _keys,
    Stage.EVENTS: _events,
    Stage.HANDSETS: _handsets,
    Stage.HANDSET_CALLS: _handset_calls,
}
_FOLLOWING = {
    Stage.UNNAME: Stage.FRESH,
    Stage.FRESH: Stage.KEYS,
    Stage.TRAFFIC: Stage.LINES,
    Stage.KEYS: Stage.EVENTS,
    Stage.EVENTS: Stage.HANDSETS,
    Stage.HANDSETS: Stage.HANDSET_CALLS,
}
