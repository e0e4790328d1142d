"""(proxy number, sender) -> where an inbound message or call goes. The inverse of assignment.

The store finds the facts (`Match`); this says what they mean. Three outcomes that are values, not errors.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskline.domain import problems
from maskline.domain.model import Instant, Mode, Participant, Session, SessionStatus
from maskline.domain.problems import Code
from maskline.domain.session import as_of


@dataclass(frozen=True, slots=True)
class Match:
    """An active pair: the participant who writes or calls, their Session, and the other participant if there is one."""

    session: Session
    sender: Participant
    partner: Participant | None


@dataclass(frozen=True, slots=True)
class Route:
    """Pass it on: to `partner`, from the partner's own proxy number."""

    session: Session
    sender: Participant
    partner: Participant


@dataclass(frozen=True, slots=True)
class OutOfSession:
    """No Session takes it. The customer's OutOfSessionCallbackUrl may still answer; without one it ends as `code`."""

    code: Code


@dataclass(frozen=True, slots=True)
class Refused:
    """A Session is there and does not take it."""

    code: Code
    session: Session


def incoming(
    match: Match | None, now: Instant, idle_close_us: int, *, call: bool = False
) -> Route | OutOfSession | Refused:
    """Where a message (a `call`, if it is one) goes that the sender of `match` sent to their proxy number at `now`."""
    if match is None:
        return OutOfSession(problems.NO_ACTIVE_SESSION if call else problems.UNKNOWN_SCENARIO)
    session = as_of(match.session, now, idle_close_us)
    if session.status is SessionStatus.CLOSED:
        return OutOfSession(problems.SESSION_EXPIRED)
    if session.mode is (Mode.MESSAGE_ONLY if call else Mode.VOICE_ONLY):
        code = problems.CALL_TO_MESSAGE_ONLY if call else problems.MESSAGE_TO_VOICE_ONLY
        return Refused(code, session)
    if match.partner is None:
        return Refused(problems.NO_PARTNER, session)
    return Route(session, match.sender, match.partner)
