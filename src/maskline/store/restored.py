"""The first start on a restored backup: whatever waited in it may have been done since, by the server that went on.

A message that waited to be sent, or for a customer's word before that, is given up as one whose hand-over has no known
outcome. What only tells (callbacks, opt-out notices, events) stays, and is told again under the same token. Reports
stay, too, for they merge.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskline.domain import problems
from maskline.domain.interaction import MessageStatus
from maskline.domain.phone import mask
from maskline.store.backup import is_marked
from maskline.store.engine import Tx
from maskline.store.events import insert_event
from maskline.store.lanes import LANE_COLUMNS, LaneRow
from maskline.store.outbox import MESSAGES, finish
from maskline.store.record import merge_leg
from maskline.store.sandbox import drop_texts
from maskline.store.sessions import find_session
from maskline.store.strangers import TOPIC as STRANGERS
from maskline.store.strangers import drop_stranger

UNKNOWN = int(MessageStatus.DELIVERY_UNKNOWN)

_NEXT = f"SELECT topic, {LANE_COLUMNS} FROM outbox WHERE id > ? ORDER BY id LIMIT ?"
_OWNER = "SELECT account_sid, service_sid FROM numbers WHERE phone_number = ?"


@dataclass(slots=True)
class GivenUp:
    """`sends` are messages that are unknown now, `received` those from people that are not passed on. `after`: where
    the walk stopped (0: at the end).
    """

    sends: int = 0
    received: int = 0
    after: int = 0


def give_up_waiting(tx: Tx, after: int, event_sids: list[str]) -> GivenUp:
    """Walk the outbox onward from `after`, a row for each SID, and give up the messages in it. Nobody may be at one:
    where another process has come to the end before and has begun to work, nothing is done.
    """
    if not is_marked(tx):
        return GivenUp()
    rows = tx.execute(_NEXT, (after, len(event_sids))).fetchall()
    done = GivenUp(after=rows[-1][1] if len(rows) == len(event_sids) else 0)
    for (topic, *fields), event_sid in zip(rows, event_sids, strict=False):
        row = LaneRow(*fields)
        if topic in MESSAGES:
            done.sends += _give_up(tx, row, event_sid)
        elif topic == STRANGERS:
            drop_stranger(tx, row, problems.DELIVERY_UNKNOWN, event_sid)
            done.received += 1
    return done


def _give_up(tx: Tx, row: LaneRow, event_sid: str) -> bool:
    """Whether the message is unknown now: what is deleted goes without a word, and a report may have told more."""
    finish(tx, row.id, row.order_key)
    service_sid, session_sid, interaction_sid = row.service_sid, row.session_sid, row.interaction_sid
    if session_sid and find_session(tx, service_sid, session_sid) is None:
        return False
    leg = merge_leg(tx, service_sid, session_sid, interaction_sid, UNKNOWN, None)
    if leg is None or leg[0] != UNKNOWN:
        return False
    insert_event(
        tx,
        event_sid,
        row.account_sid,
        problems.DELIVERY_UNKNOWN,
        f"to {mask(row.recipient)}",
        service_sid=service_sid,
        session_sid=session_sid or None,
        interaction_sid=interaction_sid,
    )
    return True


def give_up_texts(tx: Tx, event_sids: list[str]) -> int:
    """Do the same with texts from the sandbox's handsets that have not been brought: no real carrier brings what was
    acknowledged once more, but the sandbox's own memory is in the backup. Returns how many there were.
    """
    if not is_marked(tx):
        return 0
    texts = drop_texts(tx, len(event_sids))
    for (sender, number), event_sid in zip(texts, event_sids, strict=False):
        owner = tx.execute(_OWNER, (number,)).fetchone()
        if owner is not None:
            account_sid, service_sid = owner
            detail = f"from {mask(sender)} to {mask(number)}"
            insert_event(
                tx, event_sid, account_sid, problems.DELIVERY_UNKNOWN, detail, service_sid=service_sid
            )
    return len(texts)
