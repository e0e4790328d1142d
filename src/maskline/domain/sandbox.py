"""What the sandbox carrier can be scripted to do, as a table, and the words in which its books are kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from maskline.domain.interaction import MessageStatus

DELIVERED, UNDELIVERED = MessageStatus.DELIVERED, MessageStatus.UNDELIVERED

NAME = "sandbox"
"""Of its carrier account."""

RECEIPT_DELAY_MS = 20
"""How long after a hand-over its receipt comes, so that it usually finds the answer to the send recorded."""
LATE_DELAY_MS = 2000
SLOW_DELAY_MS = 2000


class Outcome(StrEnum):
    DELIVER = "deliver"
    FAIL = "fail"
    UNDELIVER = "undeliver"
    THROTTLE = "throttle"
    UNREACHABLE = "unreachable"
    UNCERTAIN_DELIVERED = "uncertain-delivered"
    UNCERTAIN_LOST = "uncertain-lost"
    RECEIPT_EARLY = "receipt-early"
    RECEIPT_LATE = "receipt-late"
    RECEIPT_TWICE = "receipt-twice"
    RECEIPT_NEVER = "receipt-never"
    SLOW = "slow"


class Answer(StrEnum):
    """What the one who sends is told."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """`status` is what the books say of the message; None: the carrier did not take it and has no row of it."""

    answer: Answer
    status: str | None
    reports: tuple[MessageStatus, ...] = ()
    report_delay_ms: int = RECEIPT_DELAY_MS
    answer_delay_ms: int = 0


BEHAVIOURS: dict[Outcome, Behaviour] = {
    Outcome.DELIVER: Behaviour(Answer.ACCEPTED, "delivered", (DELIVERED,)),
    Outcome.FAIL: Behaviour(Answer.REJECTED, "failed"),
    Outcome.UNDELIVER: Behaviour(Answer.ACCEPTED, "undelivered", (UNDELIVERED,)),
    Outcome.THROTTLE: Behaviour(Answer.THROTTLED, None),
    Outcome.UNREACHABLE: Behaviour(Answer.UNREACHABLE, None),
    Outcome.UNCERTAIN_DELIVERED: Behaviour(Answer.UNCERTAIN, "delivered", (DELIVERED,)),
    Outcome.UNCERTAIN_LOST: Behaviour(Answer.UNCERTAIN, "lost"),
    Outcome.RECEIPT_EARLY: Behaviour(Answer.ACCEPTED, "delivered", (DELIVERED,), report_delay_ms=0),
    Outcome.RECEIPT_LATE: Behaviour(
        Answer.ACCEPTED, "delivered", (DELIVERED,), report_delay_ms=LATE_DELAY_MS
    ),
    Outcome.RECEIPT_TWICE: Behaviour(Answer.ACCEPTED, "delivered", (DELIVERED, DELIVERED)),
    Outcome.RECEIPT_NEVER: Behaviour(Answer.ACCEPTED, "delivered"),
    Outcome.SLOW: Behaviour(Answer.ACCEPTED, "delivered", (DELIVERED,), answer_delay_ms=SLOW_DELAY_MS),
}


REPEATED: dict[str, Answer] = {
    "delivered": Answer.ACCEPTED,
    "undelivered": Answer.ACCEPTED,
    "failed": Answer.REJECTED,
}
"""What the books say of a message: what its repeat under the same key is answered. A lost one is not known at all."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """A message handed to the sandbox. `reference` is the sender's own name for it, `sid` the sandbox's."""

    reference: str
    sid: str
    account_sid: str
    from_number: str
    to_number: str
    body: str
    media: str


@dataclass(frozen=True, slots=True)
class Handed:
    """What the books say after a hand-over: what to answer, under which SID, and what to report at once.

    `report_at` is when the other reports are due, None without any.
    """

    sid: str
    answer: Answer
    answer_delay_ms: int = 0
    early: tuple[Todo, ...] = ()
    report_at: int | None = None


@dataclass(frozen=True, slots=True)
class Todo:
    """Something the sandbox has still to bring: a `receipt` or a `text`. `payload` is JSON."""

    due_at: int
    sid: str
    kind: str
    payload: str


@dataclass(frozen=True, slots=True)
class HandsetMessage:
    """One row of the books, as it is shown."""

    reference: str
    sid: str
    account_sid: str
    direction: str
    from_number: str
    to_number: str
    body: str
    media: str
    status: str
    handovers: int
    created_at: int


class CallAnswer(StrEnum):
    """What the side that is dialled does."""

    ANSWER = "answer"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class HandsetCall:
    """A call from a handset, as the books have it. `legs` are those that were dialled: what each side saw, and how far
    it came; `verbs` what was carried out, after how many seconds, on which side.
    """

    sid: str
    account_sid: str
    from_number: str
    to_number: str
    status: str
    duration_s: int
    legs: list[dict[str, Any]]
    verbs: list[dict[str, Any]]
    created_at: int


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the account's sandbox is switched to be able to do."""

    carrier_keys: bool = False
    look_up: bool = False
