"""What a found pair means for a message that comes in."""

from dataclasses import replace
from typing import Any

from maskline.domain import problems
from maskline.domain.ids import ParticipantSid, ServiceSid, SessionSid
from maskline.domain.model import SECOND, Instant, Mode, Participant, Session, SessionStatus
from maskline.domain.route import Match, OutOfSession, Refused, Route, incoming

NOW = Instant(1000 * SECOND)
SERVICE, SESSION = ServiceSid("KS" + "0" * 32), SessionSid("KC" + "0" * 32)


def a_participant(last: int) -> Participant:
    return Participant(
        service_sid=SERVICE,
        sid=ParticipantSid(f"KP{last:032x}"),
        session_sid=SESSION,
        identifier=f"+1212555010{last}",
        identifier_key=f"+1212555010{last}",
        friendly_name=None,
        proxy_identifier=f"+1415555010{last}",
        proxy_identifier_sid=None,
        deleted_at=None,
        created_at=NOW,
        updated_at=NOW,
    )


ANN, BEN = a_participant(1), a_participant(2)


def a_match(partner: Participant | None = BEN, **fields: Any) -> Match:
    values: dict[str, Any] = {
        "service_sid": SERVICE,
        "sid": SESSION,
        "unique_name": None,
        "status": SessionStatus.OPEN,
        "closed_reason": None,
        "mode": Mode.VOICE_AND_MESSAGE,
        "ttl": 0,
        "expiry_at": None,
        "started_at": None,
        "ended_at": None,
        "last_interaction_at": None,
        "active_from_at": NOW,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Match(Session(**{**values, **fields}), ANN, partner)


def test_a_call_is_routed_like_a_message_by_its_own_modes_and_codes() -> None:
    for mode in (Mode.VOICE_AND_MESSAGE, Mode.VOICE_ONLY):
        match = a_match(mode=mode)
        assert incoming(match, NOW, 0, call=True) == Route(match.session, ANN, BEN)
    message_only = a_match(mode=Mode.MESSAGE_ONLY)
    refused = Refused(problems.CALL_TO_MESSAGE_ONLY, message_only.session)
    assert incoming(message_only, NOW, 0, call=True) == refused
    assert incoming(None, NOW, 0, call=True) == OutOfSession(problems.NO_ACTIVE_SESSION)
    ended = a_match(status=SessionStatus.CLOSED)
    assert incoming(ended, NOW, 0, call=True) == OutOfSession(problems.SESSION_EXPIRED)
    alone = a_match(partner=None)
    assert incoming(alone, NOW, 0, call=True) == Refused(problems.NO_PARTNER, alone.session)


def test_a_pair_in_an_active_session_is_relayed_to_the_partner() -> None:
    for status in (SessionStatus.OPEN, SessionStatus.IN_PROGRESS):
        for mode in (Mode.VOICE_AND_MESSAGE, Mode.MESSAGE_ONLY):
            match = a_match(status=status, mode=mode)
            assert incoming(match, NOW, 0) == Route(match.session, ANN, BEN)


def test_an_unknown_sender_is_out_of_session() -> None:
    assert incoming(None, NOW, 0) == OutOfSession(problems.UNKNOWN_SCENARIO)


def test_a_closed_session_is_no_session() -> None:
    assert incoming(a_match(status=SessionStatus.CLOSED), NOW, 0) == OutOfSession(problems.SESSION_EXPIRED)


def test_a_session_past_its_limit_is_no_session_though_nobody_wrote_it_down() -> None:
    for fields, idle in (
        ({"ttl": 10}, 0),
        ({"expiry_at": Instant(NOW + 10 * SECOND)}, 0),
        ({}, 10 * SECOND),
    ):
        match = a_match(**fields)
        before, after = Instant(NOW + 10 * SECOND - 1), Instant(NOW + 10 * SECOND)
        assert isinstance(incoming(match, before, idle), Route)
        assert incoming(match, after, idle) == OutOfSession(problems.SESSION_EXPIRED)


def test_a_voice_only_session_refuses_messages() -> None:
    match = a_match(mode=Mode.VOICE_ONLY)
    assert incoming(match, NOW, 0) == Refused(problems.MESSAGE_TO_VOICE_ONLY, match.session)
    assert incoming(replace(match, partner=None), NOW, 0) == Refused(
        problems.MESSAGE_TO_VOICE_ONLY, match.session
    )


def test_without_a_second_participant_there_is_nobody_to_relay_to() -> None:
    match = a_match(partner=None)
    assert incoming(match, NOW, 0) == Refused(problems.NO_PARTNER, match.session)


def test_the_end_of_a_session_is_judged_before_anything_else() -> None:
    ended = a_match(partner=None, mode=Mode.VOICE_ONLY, status=SessionStatus.CLOSED)
    assert incoming(ended, NOW, 0) == OutOfSession(problems.SESSION_EXPIRED)
