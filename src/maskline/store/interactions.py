"""Interactions as they are read and deleted. What writes them is hot: `accept`, `receive`, `record`, `receipts`."""

from __future__ import annotations

from typing import Any

from maskline.domain import problems
from maskline.domain.ids import InteractionSid, ParticipantSid, ServiceSid, SessionSid, instant_of
from maskline.domain.interaction import is_over
from maskline.domain.model import Instant, Interaction, Leg
from maskline.domain.problems import Problem
from maskline.store.columns import qualified
from maskline.store.engine import Tx
from maskline.store.outbox import forget_callbacks
from maskline.store.pages import Page, Seek, fetch_page, key_params
from maskline.store.tombstones import bury

INTERACTION_COLUMNS = (
    "service_sid, session_sid, sid, type, data, participant_sid, inbound_participant_sid, inbound_resource_sid,"
    " inbound_status, outbound_participant_sid, outbound_resource_sid, outbound_status, updated_at"
)
COLUMNS_OF_I = qualified(INTERACTION_COLUMNS, "i")
"""The same, where the Interaction is `i` in a join."""


def _leg(participant_sid: str | None, resource_sid: str | None, status: int | None) -> Leg | None:
    if participant_sid is None or resource_sid is None or status is None:
        return None
    return Leg(ParticipantSid(participant_sid), resource_sid, status)


def make_interaction(row: tuple[Any, ...]) -> Interaction:
    """An Interaction from a row of INTERACTION_COLUMNS."""
    return Interaction(
        service_sid=ServiceSid(row[0]),
        session_sid=SessionSid(row[1]),
        sid=InteractionSid(row[2]),
        type=row[3],
        data=row[4],
        participant_sid=row[5],
        inbound=_leg(*row[6:9]),
        outbound=_leg(*row[9:12]),
        created_at=Instant(instant_of(row[2])),
        updated_at=row[12],
    )


def find_interaction(tx: Tx, service_sid: str, session_sid: str, sid: str) -> Interaction | None:
    """The Interaction with this SID in this Session."""
    row = tx.execute(
        f"SELECT {INTERACTION_COLUMNS} FROM interactions WHERE service_sid = ? AND session_sid = ? AND sid = ?",
        (service_sid, session_sid, sid),
    ).fetchone()
    return make_interaction(row) if row else None


def load_interaction(
    tx: Tx, service_sid: str, session_sid: str, sid: str, participant_sid: str | None = None
) -> Interaction:
    """The Interaction; given a Participant, only if it is one of their MessageInteractions. Raises 20404."""
    interaction = find_interaction(tx, service_sid, session_sid, sid)
    if interaction is None or participant_sid not in (None, interaction.participant_sid):
        raise Problem(problems.NOT_FOUND)
    return interaction


def list_interactions(
    tx: Tx, service_sid: str, session_sid: str, seek: Seek, participant_sid: str | None = None
) -> Page[Interaction]:
    """A page of the Session's Interactions; given a Participant, of their MessageInteractions."""
    only = "" if participant_sid is None else "AND participant_sid = :participant"

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        return tx.execute(
            f"SELECT {INTERACTION_COLUMNS} FROM interactions WHERE service_sid = :service"
            f" AND session_sid = :session {only} AND {condition} ORDER BY {order} LIMIT :limit",
            {
                "service": service_sid,
                "session": session_sid,
                "participant": participant_sid,
                "limit": limit,
                **key_params(seek),
            },
        ).fetchall()

    return fetch_page(fetch, ["sid"], seek, make_interaction)


def delete_interaction(tx: Tx, interaction: Interaction) -> None:
    """Remove it for good; what carriers report of it later is dropped.

    Raises 20009 while its message is still in the outbox or its call is running.
    """
    if not is_over(interaction):
        raise Problem(problems.NOT_YET_COMPLETE)
    gone = tx.execute(
        "DELETE FROM interactions WHERE service_sid = ? AND session_sid = ? AND sid = ? RETURNING carrier_id",
        (interaction.service_sid, interaction.session_sid, interaction.sid),
    ).fetchall()
    bury(tx, [carrier_id for (carrier_id,) in gone if carrier_id is not None])
    forget_callbacks(tx, interaction.service_sid, interaction.sid)
