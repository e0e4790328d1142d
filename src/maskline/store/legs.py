"""Messages and Calls: the legs of Interactions, each under its own SID, over all Services of an account.

They are views of the Interactions' rows and go with them. Their SIDs are in the order of the Interactions'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskline.domain import problems
from maskline.domain.ids import interaction_of_leg
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import Instant, Interaction, Leg
from maskline.domain.problems import Problem
from maskline.store.engine import Tx
from maskline.store.interactions import COLUMNS_OF_I, make_interaction
from maskline.store.pages import Page, Seek

_SID = 2


def _number_of(alias: str, side: str) -> str:
    """The proxy number that a participant had then: their Session may have moved to another since."""
    return f"""coalesce((
    SELECT f.proxy_identifier FROM former_numbers f
    WHERE f.service_sid = i.service_sid AND f.session_sid = i.session_sid
    AND f.participant_sid = i.{side}_participant_sid AND f.sent_before > i.sid
    ORDER BY f.left_at LIMIT 1), {alias}.proxy_identifier)"""


# Only with Service and Session: what has been deleted is gone at once, though its rows go later. What a stranger wrote,
# and what they were answered, is of no Session.
_SELECT = f"""
SELECT {COLUMNS_OF_I}, i.error_code, a.identifier, {_number_of("a", "inbound")},
       b.identifier, {_number_of("b", "outbound")}
FROM interactions i
CROSS JOIN services v ON v.sid = i.service_sid
LEFT JOIN sessions s ON s.service_sid = i.service_sid AND s.sid = i.session_sid
LEFT JOIN participants a ON a.service_sid = i.service_sid AND a.session_sid = i.session_sid
    AND a.sid = i.inbound_participant_sid
LEFT JOIN participants b ON b.service_sid = i.service_sid AND b.session_sid = i.session_sid
    AND b.sid = i.outbound_participant_sid
WHERE i.account_sid = ? AND i.type = ? AND (i.session_sid = '' OR s.sid IS NOT NULL)"""


@dataclass(frozen=True, slots=True)
class FoundLeg:
    """A leg with what its resource shows: the person at its end, the proxy number that this person sees, and
    Twilio's code for why it failed, if there is one.
    """

    sid: str
    interaction: Interaction
    leg: Leg
    inbound: bool
    identifier: str | None
    proxy_identifier: str | None
    error_code: int | None

    @property
    def sent_at(self) -> Instant | None:
        """When it was sent, as far as that is kept: when it was accepted; None before it has been handed over."""
        waits = not self.inbound and self.interaction.type == "message"
        return (
            None
            if waits and self.leg.status < MessageStatus.DELIVERY_UNKNOWN
            else self.interaction.created_at
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """Only what was sent at `since` or later, and before `until`."""

    since: Instant | None = None
    until: Instant | None = None


def load_leg(tx: Tx, account_sid: str, interaction_type: str, sid: str) -> FoundLeg:
    """The leg with this SID, of an Interaction of this type. Raises 20404."""
    row = tx.execute(
        f"{_SELECT} AND i.sid = ?", (account_sid, interaction_type, interaction_of_leg(sid))
    ).fetchone()
    for leg in _legs(row) if row is not None else ():
        if leg.sid == sid:
            return leg
    raise Problem(problems.NOT_FOUND)


def list_legs(
    tx: Tx, account_sid: str, interaction_type: str, seek: Seek, sent: Sent | None = None
) -> Page[FoundLeg]:
    """A page of the account's legs of this type of Interaction, the newest first, outbound before inbound ones."""
    if seek.key is not None and (len(seek.key) != 1 or not _is_leg(seek.key[0])):
        raise Problem(problems.PARAMETER_INVALID, "PageToken is of another list")
    key: str | None = seek.key[0] if seek.key is not None else None
    back = seek.back and key is not None
    low = _at(sent.since) if sent is not None and sent.since is not None else "KI"
    high = _at(sent.until) if sent is not None and sent.until is not None else "KJ"
    if key is not None:  # its own Interaction between them: the other leg may be on this page
        own = interaction_of_leg(key)
        low, high = (max(low, own[:-1]), high) if back else (low, min(high, f"{own}~"))
    found: list[FoundLeg] = []
    most = seek.size + 2
    while True:
        rows = tx.execute(
            f"{_SELECT} AND i.sid > ? AND i.sid < ? ORDER BY i.sid {'ASC' if back else 'DESC'} LIMIT ?",
            (account_sid, interaction_type, low, high, most),
        ).fetchall()
        for leg in (leg for row in rows for leg in (reversed(_legs(row)) if back else _legs(row))):
            # By their digits: those of messages with media and without begin otherwise.
            beyond = key is None or (leg.sid[2:] > key[2:] if back else leg.sid[2:] < key[2:])
            if beyond and (sent is None or leg.sent_at is not None):
                found.append(leg)
        if len(found) > seek.size or len(rows) < most:
            break
        low, high = (rows[-1][_SID], high) if back else (low, rows[-1][_SID])
    page, more = found[: seek.size], len(found) > seek.size
    if back:
        return Page(page[::-1], newer=more, older=True)
    return Page(page, newer=key is not None, older=more)


def _is_leg(key: Any) -> bool:
    return isinstance(key, str) and len(key) == 34 and set(key[2:]) <= set("0123456789abcdef")


def _at(instant: Instant) -> str:
    """What the SIDs of all earlier Interactions are below, and of all later ones above."""
    return f"KI{max(instant, 0) // 1000:012x}"


def _legs(row: tuple[Any, ...]) -> list[FoundLeg]:
    """The legs of an Interaction, the outbound one first."""
    interaction = make_interaction(row[:-5])
    outbound, error_code = interaction.outbound, row[-5]
    if outbound is None or outbound.status not in (MessageStatus.FAILED, MessageStatus.UNDELIVERED):
        error_code = None  # whatever was said before, it went out in the end
    sides = [(outbound, False, (*row[-2:], error_code)), (interaction.inbound, True, (*row[-4:-2], None))]
    return [
        FoundLeg(leg.resource_sid, interaction, leg, inbound, *who)
        for leg, inbound, who in sides
        if leg is not None
    ]
