"""What the CallbackUrl is told of an Interaction: the names and letter cases of Proxy's form, and who it is told by.

The status is that of the moment at which it moved (`LegStatuses`); everything else of an Interaction never changes.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass

from maskline.domain.dates import iso_date
from maskline.domain.interaction import CallStatus, words_of
from maskline.domain.media import media_of
from maskline.domain.model import Instant, Interaction

START = 1
"""The rank of the first callback of an Interaction, below that of every status: it has begun."""

CALLBACK_PREFIX = "CB"
_TOKENS = hashlib.sha1(uuid.UUID("5b0c7bd2-7c5e-4f2c-9a63-0f5a2f3f6a11").bytes, usedforsecurity=False)
_OF_LEG = ("ParticipantSid", "ResourceSid", "ResourceStatus", "ResourceType", "ResourceUrl")
_LEG = {side: tuple(side + name for name in _OF_LEG) for side in ("inbound", "outbound")}


@dataclass(frozen=True, slots=True)
class LegStatuses:
    """The statuses of both legs (None: there is no such leg) when one moved, and when that was."""

    inbound: int | None
    outbound: int | None
    at: Instant

    def word_of(self, interaction_type: str) -> str | None:
        """Twilio's word for what is told: how far the outbound leg is, or the only one that there is."""
        status = self.inbound if self.outbound is None else self.outbound
        return None if status is None else words_of(interaction_type)[status]


def callback_sid(interaction_sid: str, rank: int) -> str:
    """The SID of the callback that tells of this status: one of an Interaction's for each, in their order."""
    return f"{CALLBACK_PREFIX}{interaction_sid[2:32]}{rank:02x}"


def token_of(sid: str) -> str:
    """What `I-Twilio-Idempotency-Token` holds: the same at each attempt of one callback."""
    # uuid.uuid5 in a fraction of its time.
    hashed = _TOKENS.copy()
    hashed.update(sid.encode())
    made = hashed.hexdigest()
    variant = "89ab"[int(made[16], 16) & 3]
    return f"{made[:8]}-{made[8:12]}-5{made[13:16]}-{variant}{made[17:20]}-{made[20:32]}"


def render_form(
    interaction: Interaction, account_sid: str, statuses: LegStatuses, account_url: str
) -> dict[str, str]:
    """The form. A leg that is not there has no keys. The account's messages and calls are under `account_url`."""
    # The seconds that a call took are known at its end, and none of what was told before.
    message = interaction.type == "message"
    known = message or (statuses.outbound or statuses.inbound or 0) >= CallStatus.CANCELED
    text = interaction.data if known else ""
    media = media_of(json.loads(text)) if '"media"' in text else []
    kind, resource, resources = ("Message", "message", "Messages") if message else ("Voice", "call", "Calls")
    form = {
        "interactionSid": interaction.sid,
        "interactionSessionSid": interaction.session_sid,
        "interactionServiceSid": interaction.service_sid,
        "interactionAccountSid": account_sid,
        "interactionType": kind,
        "interactionData": text,
        "interactionDateCreated": iso_date(interaction.created_at),
        "interactionDateUpdated": iso_date(statuses.at),
    }
    if message:
        form["interactionNumMedia"] = str(len(media))
    for number, medium in enumerate(media):
        form[f"interactionMediaUrl{number}"] = form[f"MediaUrl{number}"] = medium.url
        form[f"MediaContentType{number}"] = medium.known_type
    for side, leg, status in (
        ("inbound", interaction.inbound, statuses.inbound),
        ("outbound", interaction.outbound, statuses.outbound),
    ):
        if leg is not None and status is not None:
            who, sid, word, what, where = _LEG[side]
            form[who] = leg.participant_sid
            form[sid] = leg.resource_sid
            form[word] = words_of(interaction.type)[status]
            form[what] = resource
            form[where] = f"{account_url}/{resources}/{leg.resource_sid}.json"
    return form


def render_intercept(
    interaction: Interaction, account_sid: str, account_url: str, status: str = "received"
) -> dict[str, str]:
    """The form of the InterceptCallbackUrl: of the inbound leg, whose `status` is what it is before the verdict, and
    of the outbound one only who will be reached.
    """
    inbound, outbound = interaction.inbound, interaction.outbound
    statuses = LegStatuses(inbound.status if inbound else None, None, interaction.updated_at)
    form = render_form(interaction, account_sid, statuses, account_url)
    form["inboundResourceStatus"] = status
    if outbound is not None:
        form["outboundParticipantSid"] = outbound.participant_sid
    return form
