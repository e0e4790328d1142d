"""The nouns: Service, ProxyNumber, Session, Participant, Interaction, Leg. Frozen values, exactly as they are stored.

Instants are microseconds UTC since 1970 (`_at`), as everywhere inside; only the edge knows other forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple, NewType

from maskline.domain.ids import AccountSid, InteractionSid, NumberSid, ParticipantSid, ServiceSid, SessionSid

Instant = NewType("Instant", int)

SECOND = 1_000_000
DAY = 86_400 * SECOND


class Mode(StrEnum):
    """Which kinds of traffic a Session takes."""

    MESSAGE_ONLY = "message-only"
    VOICE_ONLY = "voice-only"
    VOICE_AND_MESSAGE = "voice-and-message"


class SessionStatus(StrEnum):
    OPEN = "open"
    IN_PROGRESS = "in-progress"
    CLOSED = "closed"


class NumberSelectionBehavior(StrEnum):
    PREFER_STICKY = "prefer-sticky"
    AVOID_STICKY = "avoid-sticky"


class GeoMatchLevel(StrEnum):
    COUNTRY = "country"
    AREA_CODE = "area-code"
    OVERLAY = "overlay"
    RADIUS = "radius"


class NumberKind(StrEnum):
    """What stands in the directory, by the prefix of its SID."""

    PHONE = "PN"
    SHORT_CODE = "SC"
    """Texts only. Its key in the directory is its digits alone."""
    CHANNEL = "XE"
    """A sender of a channel, such as `whatsapp:+1…`: wired to a Service, never chosen automatically."""


class OutboxState(IntEnum):
    """How far an outbox row is."""

    FRESH = 0
    """Nobody has looked at it yet."""
    WAITING = 1
    """Due at `due_at`: a retry, or one that was released."""
    PARKED = 2
    """Its carrier account or its number cannot send now."""
    HELD = 3
    """An earlier row of its order key is unfinished."""
    STARTED = 4
    """Its `owner` is at it, or was when it died."""
    UNCERTAIN = 5
    """Its hand-over has no known outcome, and the carrier is asked again at `due_at`."""
    DEAD = 6
    """Given up; it is kept to be looked at and sent again by hand."""


class StoreBodies(StrEnum):
    """How long the texts of messages are kept in a Service's Interactions."""

    ALWAYS = "always"
    UNTIL_FINAL = "until-final"
    NEVER = "never"


class OnUncertain(StrEnum):
    """What to do with a message whose hand-over has no known outcome."""

    DELIVERY_UNKNOWN = "delivery-unknown"
    RESEND = "resend"


@dataclass(frozen=True, slots=True)
class Service:
    sid: ServiceSid
    account_sid: AccountSid
    unique_name: str
    default_ttl: int
    callback_url: str | None
    intercept_callback_url: str | None
    out_of_session_callback_url: str | None
    chat_instance_sid: str | None
    geo_match_level: GeoMatchLevel
    number_selection_behavior: NumberSelectionBehavior
    settings: str
    created_at: Instant
    updated_at: Instant


@dataclass(frozen=True, slots=True)
class ProxyNumber:
    """An entry of the directory, of whatever kind; while `service_sid` is set, a member of that Service's pool."""

    sid: NumberSid
    phone_number: str
    account_sid: AccountSid
    carrier_account: str
    service_sid: ServiceSid | None
    friendly_name: str
    iso_country: str | None
    calling_code: int
    voice: bool
    sms: bool
    mms: bool
    is_reserved: bool
    in_use: int
    participants: int
    created_at: Instant
    updated_at: Instant
    gap_us: int | None = None
    """The time from one message to the next; None: as its carrier account says."""

    @property
    def kind(self) -> NumberKind:
        return NumberKind(self.sid[:2])


@dataclass(frozen=True, slots=True)
class Session:
    """One masked relation. `active_from_at` is its creation or last re-opening: its TTL counts from there."""

    service_sid: ServiceSid
    sid: SessionSid
    unique_name: str | None
    status: SessionStatus
    closed_reason: str | None
    mode: Mode
    ttl: int
    expiry_at: Instant | None
    started_at: Instant | None
    ended_at: Instant | None
    last_interaction_at: Instant | None
    active_from_at: Instant
    created_at: Instant
    updated_at: Instant


@dataclass(frozen=True, slots=True)
class Participant:
    """One person in one Session: `identifier` as it was given, `identifier_key` as it is matched."""

    service_sid: ServiceSid
    sid: ParticipantSid
    session_sid: SessionSid
    identifier: str
    identifier_key: str
    friendly_name: str | None
    proxy_identifier: str
    proxy_identifier_sid: str | None
    deleted_at: Instant | None
    created_at: Instant
    updated_at: Instant


class Leg(NamedTuple):
    """One side of an Interaction: who, which message or call, how far (a rank, see `interaction`)."""

    participant_sid: ParticipantSid
    resource_sid: str
    status: int


class Interaction(NamedTuple):
    """One message or call. `participant_sid` is set only for messages made by the API (MessageInteractions)."""

    service_sid: ServiceSid
    session_sid: SessionSid
    sid: InteractionSid
    participant_sid: ParticipantSid | None
    type: str
    data: str
    inbound: Leg | None
    outbound: Leg | None
    created_at: Instant
    updated_at: Instant
