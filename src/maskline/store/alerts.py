"""Events that wait to be sent to an account's webhook, in the lane of that account, one at a time and in order.

An event waits while it is marked with the account (`events.told_to`). The statement that writes it down marks it, so it
does not matter when it is committed. It may be sent twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskline.domain.model import Instant
from maskline.store.engine import Turn, Tx, batched
from maskline.store.events import COLUMNS, Event, border
from maskline.store.lanes import Claimed, LaneClaim, walk

DROP = 500
"""How many events one claim drops whose account wants none any more."""

_NEXT_LANE = "SELECT told_to FROM events WHERE told_to > ? ORDER BY told_to LIMIT 1"
_FIRST = f"SELECT {COLUMNS} FROM events WHERE told_to = ? ORDER BY sid LIMIT 1"
_WHOM = "SELECT events_url, token_sealed FROM accounts WHERE sid = ?"
_PARENT = "SELECT parent_sid FROM accounts WHERE sid = ?"
_SENT = "UPDATE events SET told_to = NULL WHERE sid = ?"
_DROP = """
UPDATE events SET told_to = NULL WHERE sid IN (
    SELECT sid FROM events WHERE told_to = ? AND sid < ? ORDER BY sid LIMIT ?)"""
_ALL = "NP"


@dataclass(slots=True)
class Alert:
    """An event to be sent to the webhook of `account_sid`: its own account or that one's parent, `parent_sid`."""

    event: Event
    account_sid: str
    parent_sid: str | None
    url: str
    token_sealed: str

    @property
    def sid(self) -> str:
        return self.event.sid

    @property
    def service_sid(self) -> str:
        """Its lane."""
        return self.account_sid


@batched(Turn.START)
def claim_alerts(tx: Tx, items: list[LaneClaim]) -> list[Claimed[Alert] | Exception]:
    """Give each worker the oldest event of every account that has a place free."""
    return [_claim(tx, item) for item in items]


def _claim(tx: Tx, item: LaneClaim) -> Claimed[Alert]:
    def fill(account_sid: str, room: int) -> list[Alert]:
        if room <= 0:
            return []
        url, token_sealed = tx.execute(_WHOM, (account_sid,)).fetchone()
        if url is None:
            tx.execute(_DROP, (account_sid, _ALL, DROP))
            return []
        event = Event(*tx.execute(_FIRST, (account_sid,)).fetchone())
        (parent_sid,) = tx.execute(_PARENT, (event.account_sid,)).fetchone()
        return [Alert(event, account_sid, parent_sid, url, token_sealed)]

    return walk(item, lambda lane: tx.execute(_NEXT_LANE, (lane,)).fetchone(), fill)


@batched(Turn.OUTCOME)
def settle_alerts(tx: Tx, sids: list[str]) -> list[Exception | None]:
    """These events have been received."""
    for sid in sids:
        tx.execute(_SENT, (sid,))
    return [None] * len(sids)


def give_up_alerts(tx: Tx, account_sid: str, before: Instant, most: int) -> int:
    """Send up to `most` events from before this instant to nobody any more. Returns how many there were."""
    return tx.execute(_DROP, (account_sid, border(before), most)).rowcount
