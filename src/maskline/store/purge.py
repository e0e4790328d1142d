"""Takes away what lies below a deleted Service or Session, in steps of a few hundred rows.

Nobody can reach it any more and nothing of it is sent: the Session's row, which everything asks for, is gone.
"""

from __future__ import annotations

from typing import Any

from maskline.store.engine import Tx
from maskline.store.people import forget_participants
from maskline.store.sessionless import delete_strangers
from maskline.store.tombstones import bury_deleted

COST = 10
"""What one deleted thing weighs, in rows, whatever is below it: each takes that many statements."""

_SEATS = """
    SELECT sid FROM participants WHERE service_sid = :service AND session_sid = :session ORDER BY sid LIMIT :most"""

# What waits of its sends. Fresh ones are dropped when they are looked at, started ones when their outcome is there.
_OUTBOX = f"""
DELETE FROM outbox WHERE id IN (
    SELECT id FROM outbox WHERE state + 0 <> 0 AND state <> 4 AND order_key IN ({_SEATS}) LIMIT :most)"""

_FIRST = """
    SELECT sid FROM interactions WHERE service_sid = :service AND session_sid = :session ORDER BY sid LIMIT :most"""

_CALLBACKS = f"DELETE FROM outbox WHERE state + 0 <> 0 AND order_key IN ({_FIRST})"
_ATTEMPTS = f"DELETE FROM callback_attempts WHERE service_sid = :service AND interaction_sid IN ({_FIRST})"

_INTERACTIONS = f"""
DELETE FROM interactions WHERE service_sid = :service AND session_sid = :session AND sid IN ({_FIRST})
RETURNING carrier_id, outbound_status, updated_at"""

_PARTICIPANTS = f"""
DELETE FROM participants WHERE service_sid = :service AND session_sid = :session AND sid IN ({_SEATS})
RETURNING identifier_key"""

_FORMER = "DELETE FROM former_numbers WHERE service_sid = :service AND session_sid = :session"

_PEOPLE = """
DELETE FROM people WHERE service_sid = :service AND identifier_key IN (
    SELECT identifier_key FROM people WHERE service_sid = :service LIMIT :most)"""

_OPTOUTS = """
DELETE FROM optouts WHERE service_sid = :service AND sid IN (
    SELECT sid FROM optouts WHERE service_sid = :service LIMIT :most)"""


def purge_step(tx: Tx, most: int) -> int:
    """Remove about `most` rows below what has been deleted. Less than that: there is nothing left."""
    done = 0
    while done < most:
        row = tx.execute(
            "SELECT service_sid, session_sid FROM purges ORDER BY service_sid, session_sid LIMIT 1"
        ).fetchone()
        if row is None:
            break
        key = {"service": row[0], "session": row[1]}
        room = most - done
        gone = _purge_session(tx, key, room) if row[1] else _purge_service(tx, key, room)
        if gone < room:
            tx.execute("DELETE FROM purges WHERE service_sid = :service AND session_sid = :session", key)
        done += gone + COST
    return done


def _purge_session(tx: Tx, key: dict[str, Any], most: int) -> int:
    """Remove up to `most` rows below a Session; fewer: all are gone."""
    # The participants last: what waits in the outbox is found by them, the first of them first.
    gone = tx.execute(_OUTBOX, {**key, "most": most}).rowcount
    if gone < most:
        first = {**key, "most": most - gone}
        gone += tx.execute(_CALLBACKS, first).rowcount + tx.execute(_ATTEMPTS, first).rowcount
        rows = tx.execute(_INTERACTIONS, first).fetchall()
        bury_deleted(tx, rows)
        gone += len(rows)
    if gone < most:
        rows = tx.execute(_PARTICIPANTS, {**key, "most": most - gone}).fetchall()
        forget_participants(tx, key["service"], [identifier_key for (identifier_key,) in rows])
        tx.execute(_FORMER, key)
        gone += len(rows)
    return gone


def _purge_service(tx: Tx, key: dict[str, Any], most: int) -> int:
    """Hand up to `most` Sessions of a Service on to be removed one by one, then its people and opt-outs; fewer:
    all are gone.
    """
    sids = tx.execute(
        "SELECT sid FROM sessions WHERE service_sid = :service LIMIT :most", {**key, "most": most}
    ).fetchall()
    rows = [(key["service"], sid) for (sid,) in sids]
    tx.executemany("INSERT INTO purges VALUES (?, ?) ON CONFLICT DO NOTHING", rows)
    tx.executemany("DELETE FROM sessions WHERE service_sid = ? AND sid = ?", rows)
    gone = len(rows)
    if gone < most:
        gone += delete_strangers(tx, key["service"], most - gone)
    if gone < most:
        gone += tx.execute(_PEOPLE, {**key, "most": most - gone}).rowcount
    if gone < most:
        gone += tx.execute(_OPTOUTS, {**key, "most": most - gone}).rowcount
    return gone
