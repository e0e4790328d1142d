"""T4: delivery reports. A report merges into the leg it is about; one that finds none waits in the outbox and is
retried, since a carrier may report before its own answer to the send has been recorded. Hot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskline.domain import problems
from maskline.domain.ids import interaction_of_leg, is_sid
from maskline.domain.interaction import WORDS
from maskline.domain.model import SECOND
from maskline.domain.optout import OPTOUT_PREFIX
from maskline.domain.phone import mask
from maskline.domain.retry import RECEIPT_LIFE_S, next_receipt_at
from maskline.metrics import RECEIPTS
from maskline.store.engine import Turn, Tx, Wake, batched
from maskline.store.events import insert_event
from maskline.store.optouts import note_refusal
from maskline.store.record import Report, merge_leg, merge_legs, note_error
from maskline.store.tombstones import are_buried, is_buried
from maskline.store.waves import waves


@dataclass(slots=True)
class Receipt:
    """A carrier's report. `number` is ours, and tells the Service; `carrier_id` names the message, with its account, as
    does `message_sid`, where the carrier gives our own SID back. With `optout_sid` and `event_sid` it says that the
    recipient has opted out.
    """

    number: str
    carrier_id: str
    status: int
    message_sid: str = ""
    optout_sid: str = ""
    event_sid: str = ""


# No join: PostgreSQL, without statistics, would look for the carrier's id before it has the Service.
_FIND = """
SELECT service_sid, session_sid, sid FROM interactions
WHERE service_sid = (SELECT service_sid FROM numbers WHERE phone_number = ?1) AND carrier_id = ?2"""

# Where the number has left its pool since: in any Service of its account. Not for the hot path, it asks them all.
_FIND_ANYWHERE = """
SELECT i.service_sid, i.session_sid, i.sid FROM numbers n
CROSS JOIN services v ON v.account_sid = n.account_sid
CROSS JOIN interactions i ON i.service_sid = v.sid AND i.carrier_id = ?2
WHERE n.phone_number = ?1"""

# By our own SID of it: its carrier's id may not be known, as of one whose hand-over had no answer. Whatever that waits
# for, and those behind it, wait no longer.
_FIND_BY_SID = """
SELECT i.service_sid, i.session_sid, i.sid, i.outbound_participant_sid FROM numbers n
CROSS JOIN interactions i ON i.account_sid = n.account_sid AND i.type = 'message' AND i.sid = ?2
WHERE n.phone_number = ?1 AND i.outbound_resource_sid = ?3"""

# The sums keep it to the index by order key: what is due would be looked through, too.
_HASTEN = """
UPDATE outbox SET due_at = ?
WHERE order_key = ? AND interaction_sid = ? AND state + 0 IN (1, 5) AND state + 0 <> 0"""

_PARK = """
INSERT INTO outbox (topic, state, order_key, seq, due_at, expires_at, number, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload)
VALUES ('receipt', 1, ?, ?, ?, ?, ?, '', '', '', '', ?, '', ?)
ON CONFLICT DO NOTHING"""

_OPTED_OUT = "opted out"
"""The payload of a waiting report that says so."""

_RECIPIENT = """
SELECT i.account_sid, p.identifier_key FROM interactions i
CROSS JOIN participants p ON p.service_sid = i.service_sid AND p.session_sid = i.session_sid
       AND p.sid = i.outbound_participant_sid
WHERE i.service_sid = ? AND i.session_sid = ? AND i.sid = ? AND p.identifier_key <> p.sid"""


@batched(Turn.OUTCOME)
def merge_receipts(tx: Tx, items: list[Receipt]) -> list[bool | Exception]:
    """Merge each report, or keep it for later; True if its message was found. Those on deleted messages are dropped."""
    legs = tx.list_each(_FIND, [(item.number, item.carrier_id) for item in items])
    reports = [
        Report(leg[0], leg[1], leg[2], item.status)
        for item, found in zip(items, legs, strict=True)
        for leg in found
    ]
    for wave in waves(report.sid for report in reports):
        merge_legs(tx, [reports[place] for place in wave])
    for item, found in zip(items, legs, strict=True):
        if item.optout_sid:
            for service_sid, session_sid, sid in found:
                _note_opt_out(tx, service_sid, session_sid, sid, item)
    founds = [bool(found) or _apply_by_sid(tx, item) for item, found in zip(items, legs, strict=True)]
    for item, has_leg in zip(items, founds, strict=True):
        tx.count(RECEIPTS, WORDS[item.status], "yes" if has_leg else "no")
    _keep(tx, [item for item, has_leg in zip(items, founds, strict=True) if not has_leg])
    return [*founds]


def _keep(tx: Tx, items: list[Receipt]) -> None:
    """Keep reports whose messages were not found, but those of deleted ones."""
    # The status is the row's place: one row for each status that was reported, however often.
    due_at, expires_at = next_receipt_at(tx.now, 1), tx.now + RECEIPT_LIFE_S * SECOND
    parked = [
        (
            item.carrier_id,
            item.status,
            due_at,
            expires_at,
            item.number,
            item.message_sid,
            _OPTED_OUT if item.optout_sid else "",
        )
        for item, buried in zip(items, are_buried(tx, [item.carrier_id for item in items]), strict=True)
        if not buried
    ]
    if parked:
        tx.executemany(_PARK, parked)
        tx.wake |= Wake.SENDS


def _apply(tx: Tx, find: str, item: Receipt) -> bool:
    return _merge_into(tx, tx.execute(find, (item.number, item.carrier_id)).fetchall(), item, None)


def _apply_by_sid(tx: Tx, item: Receipt) -> bool:
    if not any(is_sid(item.message_sid, prefix) for prefix in ("SM", "MM")):
        return False
    sids = (interaction_of_leg(item.message_sid), item.message_sid)
    rows = tx.execute(_FIND_BY_SID, (item.number, *sids)).fetchall()
    for *_, sid, participant_sid in rows:
        if tx.execute(_HASTEN, (tx.now, participant_sid, sid)).rowcount:
            tx.wake |= Wake.SENDS
    return _merge_into(tx, [row[:3] for row in rows], item, item.carrier_id)


def _merge_into(tx: Tx, legs: list[Any], item: Receipt, carrier_id: str | None) -> bool:
    for service_sid, session_sid, sid in legs:
        merge_leg(tx, service_sid, session_sid, sid, item.status, carrier_id)
        if item.optout_sid:
            _note_opt_out(tx, service_sid, session_sid, sid, item)
    return bool(legs)


def _note_opt_out(tx: Tx, service_sid: str, session_sid: str, sid: str, item: Receipt) -> None:
    """Write down, once, that the recipient of a message has opted out; unless they have been erased meanwhile."""
    recipient = tx.execute(_RECIPIENT, (service_sid, session_sid, sid)).fetchone()
    code = problems.RECIPIENT_OPTED_OUT
    if recipient is None or not note_error(tx, service_sid, session_sid, sid, code):
        return
    account_sid, key = recipient
    note_refusal(tx, item.optout_sid, account_sid, service_sid, key, item.number)
    insert_event(tx, item.event_sid, account_sid, code, "", service_sid, session_sid, sid)


def retry_receipts(tx: Tx, event_sids: list[str]) -> bool:
    """Look again for the messages of waiting reports, one for each SID at most. Returns whether there may be more."""
    rows = tx.execute(
        "SELECT id, order_key, seq, attempts, expires_at, number, message_sid, payload FROM outbox"
        " WHERE topic = 'receipt'"
        " AND state IN (1, 5) AND due_at <= ? ORDER BY due_at LIMIT ?",
        (tx.now, len(event_sids)),
    ).fetchall()
    for event_sid, (row_id, carrier_id, status, attempts, expires_at, number, sid, said) in zip(
        event_sids, rows, strict=False
    ):
        item = Receipt(number, carrier_id, status, sid)
        if said == _OPTED_OUT:
            item.optout_sid, item.event_sid = f"{OPTOUT_PREFIX}{event_sid[2:]}", event_sid
        found = (
            _apply(tx, _FIND, item)
            or _apply_by_sid(tx, item)
            or is_buried(tx, carrier_id)
            or _apply(tx, _FIND_ANYWHERE, item)
        )
        if found or expires_at <= tx.now:
            tx.execute("DELETE FROM outbox WHERE id = ?", (row_id,))
        else:
            tx.execute(
                "UPDATE outbox SET attempts = attempts + 1, due_at = ? WHERE id = ?",
                (min(next_receipt_at(tx.now, attempts + 2), expires_at), row_id),
            )
        if not found and expires_at <= tx.now:
            owner = tx.execute("SELECT account_sid FROM numbers WHERE phone_number = ?", (number,)).fetchone()
            if owner is not None:
                insert_event(tx, event_sid, owner[0], problems.RECEIPT_UNMATCHED, f"for {mask(number)}")
    return len(rows) == len(event_sids)
