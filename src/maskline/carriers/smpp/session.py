"""One connection to an SMSC, without the connection: octets in, events and octets out. Pure; time is an argument.

    BINDING ──bind_resp──► BOUND ──unbind──► UNBINDING ──unbind_resp──► CLOSED
       └── refused, no answer ──┴── the other end unbinds, is silent or out of step ──┘

`_TAKES` has what may come in which state. Whatever else asks for an answer gets one: SMPP knows no silence. Whoever
owns the connection writes what `take` gives, closes it at `Ended`, and calls `tick` about every second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from maskline.carriers.smpp.pdu import (
    HEADER,
    MOST_OCTETS,
    RESPONSE,
    Bind,
    Command,
    Malformed,
    ShortMessage,
    Status,
    decode_data,
    decode_deliver,
    encode,
    encode_bind,
    encode_submit,
    message_id_of,
)

LAST_SEQUENCE = 0x7FFF_FFFF
UNBOUND = "unbound"
"""Of an `Ended`: we have said good-bye, and the SMSC has answered behind everything that it had read."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0


class Role(Enum):
    """What a connection is for."""

    TRANSCEIVER = Command.BIND_TRANSCEIVER
    TRANSMITTER = Command.BIND_TRANSMITTER
    RECEIVER = Command.BIND_RECEIVER


class State(Enum):
    BINDING = "binding"
    BOUND = "bound"
    UNBINDING = "unbinding"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Bound:
    """The SMSC has let us in."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The SMSC has not let us in; `Ended` follows."""

    status: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What the SMSC says of the submit_sm of this sequence number: `message_id` may be empty."""

    sequence: int
    status: int
    message_id: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The submit_sm of this sequence number was written, and its time for an answer is over."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Late:
    """A response to what nobody waits for any more."""

    command: int
    status: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """A deliver_sm or data_sm, which waits for `answer`."""

    command: Command
    sequence: int
    message: ShortMessage


@dataclass(frozen=True, slots=True)
class Odd:
    """Something came that is no part of the protocol as we speak it, and was answered as such."""

    command: int
    why: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection is to be closed once what `take` gives is written. Nothing more happens here."""

    why: str


Event = Bound | Refused | Answered | Unanswered | Late | Delivered | Odd | Ended

_ALWAYS = frozenset({Command.ENQUIRE_LINK, Command.UNBIND, Command.ALERT_NOTIFICATION})
_TAKES = {
    State.BINDING: _ALWAYS,
    State.BOUND: _ALWAYS | {Command.DELIVER_SM, Command.DATA_SM},
    State.UNBINDING: _ALWAYS,
    State.CLOSED: frozenset[Command](),
}
"""Requests that may come. Responses are known by what they answer."""

_COMMANDS = frozenset(int(command) for command in Command)


@dataclass(frozen=True, slots=True)
class Limits:
    """`window`: submit_sm without an answer at a time. An `enquire_link` goes out after so long a silence."""

    window: int
    enquire_link_s: float
    response_s: float


class Session:
    """One connection, from `open` on. Each method gives what happened; `take` what is to be written for it."""

    def __init__(self, role: Role, bind: Bind, limits: Limits) -> None:
        self.role = role
        self.state = State.BINDING
        self._bind = bind
        self._limits = limits
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._sequence = 0
        self._asked: dict[int, tuple[Command, float]] = {}
        """Our requests without an answer, by sequence number, with the instant at which their time is over."""
        self._submitted = 0
        self._heard_at = 0.0
        self._open = float(limits.window)
        """How much of the window is in use; less while the SMSC throttles."""
        self._paused_until = 0.0
        self._pause_s = 0.0

    def open(self, now: float) -> None:
        """The connection is there: bind."""
        self._heard_at = now
        self._ask(self.role.value, encode_bind(self._bind), now)

    def take(self) -> bytes:
        """What is to be written to the connection; given once."""
        octets = b"".join(self._out)
        self._out.clear()
        return octets

    def room(self, now: float) -> int:
        """How many more submit_sm may be written now."""
        if self.state is not State.BOUND or self.role is Role.RECEIVER or now < self._paused_until:
            return 0
        return max(0, int(self._open) - self._submitted)

    def is_throttled(self, now: float) -> bool:
        """Whether the SMSC has asked for less, and this is the pause that it gets."""
        return now < self._paused_until

    def submit(self, message: ShortMessage, now: float) -> int:
        """Write a submit_sm, for which there must be room. Gives its sequence number."""
        if self.room(now) <= 0:
            raise ValueError("there is no room in the window")
        self._submitted += 1
        return self._ask(Command.SUBMIT_SM, encode_submit(message), now)

    def answer(self, delivered: Delivered, status: int) -> bool:
        """Write the response to what was delivered; whether there is a connection for it."""
        if self.state is State.CLOSED:
            return False
        self._respond(delivered.command, delivered.sequence, status, b"\0")
        return True

    def unbind(self, now: float) -> list[Event]:
        """Say good-bye: nothing more is submitted, and nothing more taken."""
        if self.state is State.BOUND:
            self.state = State.UNBINDING
            self._ask(Command.UNBIND, b"", now)
            return []
        return self._end("it was not bound")

    def tick(self, now: float) -> list[Event]:
        """What has come to pass by the mere passing of time."""
        if self.state is State.CLOSED:
            return []
        events: list[Event] = []
        for sequence, (command, until) in list(self._asked.items()):
            if until > now:
                break  # they are in the order in which their time is over
            if command is not Command.SUBMIT_SM:
                return events + self._end(f"no answer to {command.name.lower()}")
            self._forget(sequence)
            events.append(Unanswered(sequence))
        if self.state is State.BOUND and now - self._heard_at >= self._limits.enquire_link_s:
            enquiring = any(command is Command.ENQUIRE_LINK for command, _ in self._asked.values())
            if not enquiring:
                self._ask(Command.ENQUIRE_LINK, b"", now)
        return events

    def receive(self, octets: bytes, now: float) -> list[Event]:
        """Take in what came on the connection, cut anyhow."""
        self._heard_at = now
        self._buffer += octets
        events: list[Event] = []
        start = 0
        while self.state is not State.CLOSED and len(self._buffer) - start >= HEADER.size:
            length, command, status, sequence = HEADER.unpack_from(self._buffer, start)
            if not HEADER.size <= length <= MOST_OCTETS:
                # Where the next PDU begins, nobody can know.
                self._out.append(encode(Command.GENERIC_NACK, Status.INVALID_COMMAND_LENGTH, sequence))
                events += [Odd(command, "its length cannot be"), *self._end("out of step")]
                break
            if len(self._buffer) - start < length:
                break
            body = bytes(self._buffer[start + HEADER.size : start + length])
            start += length
            if command & RESPONSE:
                events += self._response(command, status, sequence, body, now)
            else:
                events += self._request(command, sequence, body)
        del self._buffer[:start]
        return events

    def _request(self, command: int, sequence: int, body: bytes) -> Iterator[Event]:
        if command not in _COMMANDS:
            self._out.append(encode(Command.GENERIC_NACK, Status.INVALID_COMMAND_ID, sequence))
            yield Odd(command, "unknown")
            return
        known = Command(command)
        if known not in _TAKES[self.state]:
            # Whoever says good-bye has no room for a message, and it will come again.
            leaving = self.state is State.UNBINDING and known in _READERS
            status = Status.TEMPORARY_APP_ERROR if leaving else Status.INVALID_BIND_STATUS
            self._respond(known, sequence, status, b"\0" if known in _READERS else b"")
            yield Odd(command, f"it came while {self.state.value}")
            return
        match known:
            case Command.ENQUIRE_LINK:
                self._respond(known, sequence, Status.OK)
            case Command.UNBIND:
                self._respond(known, sequence, Status.OK)
                yield from self._end("the SMSC has unbound")
            case Command.DELIVER_SM | Command.DATA_SM:
                try:
                    message = _READERS[known](body)
                except Malformed as error:
                    self._respond(known, sequence, error.status, b"\0")
                    yield Odd(command, str(error))
                else:
                    yield Delivered(known, sequence, message)
            case _:  # an alert_notification is not answered
                return

    def _response(self, command: int, status: int, sequence: int, body: bytes, now: float) -> Iterator[Event]:
        asked, _ = self._asked.get(sequence, (None, 0.0))
        if asked is None or command not in (asked | RESPONSE, Command.GENERIC_NACK):
            yield Late(command, status)
            return
        self._forget(sequence)
        if asked is Command.SUBMIT_SM:
            self._adapt(status, now)
            yield Answered(sequence, status, "" if command == Command.GENERIC_NACK else message_id_of(body))
        elif asked is Command.UNBIND:
            yield from self._end(UNBOUND)
        elif asked is self.role.value:
            if status == Status.OK and command != Command.GENERIC_NACK:
                self.state = State.BOUND
                yield Bound()
            else:
                yield Refused(status)
                yield from self._end("the SMSC refused the bind")

    def _adapt(self, status: int, now: float) -> None:
        """Ask for less where the SMSC says that it is too much, and slowly for more again."""
        if status in (Status.THROTTLED, Status.QUEUE_FULL):
            if now >= self._paused_until:  # once for all that was under way
                self._open = max(1.0, self._open / 2)
                self._pause_s = min(max(FIRST_PAUSE_S, 2 * self._pause_s), LONGEST_PAUSE_S)
                self._paused_until = now + self._pause_s
        elif status == Status.OK:
            self._pause_s = 0.0
            self._open = min(float(self._limits.window), self._open + 1 / self._open)

    def _ask(self, command: Command, body: bytes, now: float) -> int:
        self._sequence = self._sequence % LAST_SEQUENCE + 1
        while self._sequence in self._asked:
            self._sequence = self._sequence % LAST_SEQUENCE + 1
        self._asked[self._sequence] = command, now + self._limits.response_s
        self._out.append(encode(command, Status.OK, self._sequence, body))
        return self._sequence

    def _respond(self, command: Command, sequence: int, status: int, body: bytes = b"") -> None:
        self._out.append(encode(command | RESPONSE, status, sequence, body))

    def _forget(self, sequence: int) -> None:
        command, _ = self._asked.pop(sequence)
        if command is Command.SUBMIT_SM:
            self._submitted -= 1

    def _end(self, why: str) -> list[Event]:
        if self.state is State.CLOSED:
            return []
        self.state = State.CLOSED
        return [Ended(why)]


_READERS: dict[Command, Callable[[bytes], ShortMessage]] = {
    Command.DELIVER_SM: decode_deliver,
    Command.DATA_SM: decode_data,
}
