"""The machine: bind, window, deadlines, good-byes, and whatever octets an SMSC may send."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.carriers.smpp.pdu import (
    HEADER,
    RESPONSE,
    Address,
    Bind,
    Command,
    ShortMessage,
    Status,
    encode,
    encode_submit,
)
from maskline.carriers.smpp.session import (
    LAST_SEQUENCE,
    Answered,
    Bound,
    Delivered,
    Ended,
    Event,
    Late,
    Limits,
    Odd,
    Refused,
    Role,
    Session,
    State,
    Unanswered,
)

HELLO = ShortMessage(Address(1, 1, "15550001111"), Address(1, 1, "15550002222"), b"hello")
LIMITS = Limits(window=4, enquire_link_s=30, response_s=7)
BIND = Bind("me", "secret")


@dataclass(frozen=True)
class Said:
    """A PDU that we have written."""

    command: int
    status: int
    sequence: int
    body: bytes


def said(session: Session) -> list[Said]:
    octets, pdus = session.take(), []
    while octets:
        length, command, status, sequence = HEADER.unpack_from(octets)
        pdus.append(Said(command, status, sequence, octets[HEADER.size : length]))
        octets = octets[length:]
    return pdus


def answer(pdu: Said, status: int = 0, body: bytes = b"\0") -> bytes:
    return encode(pdu.command | RESPONSE, status, pdu.sequence, body)


def opened(role: Role = Role.TRANSCEIVER) -> Session:
    session = Session(role, BIND, LIMITS)
    session.open(0)
    return session


def bound(role: Role = Role.TRANSCEIVER) -> Session:
    session = opened(role)
    (bind,) = said(session)
    assert session.receive(answer(bind, body=b"smsc\0"), 0) == [Bound()]
    return session


def submitted(session: Session, count: int = 1, now: float = 0) -> list[Said]:
    for _ in range(count):
        session.submit(HELLO, now)
    return said(session)


@pytest.mark.parametrize("role", Role)
def test_it_binds_in_its_role(role: Role) -> None:
    session = opened(role)
    (bind,) = said(session)
    assert (bind.command, bind.sequence) == (role.value, 1)
    assert session.room(0) == 0
    assert session.receive(answer(bind), 0) == [Bound()]
    assert session.state is State.BOUND
    assert session.room(0) == (0 if role is Role.RECEIVER else 4)


@pytest.mark.parametrize("status", [Status.INVALID_PASSWORD, Status.BIND_FAILED, 0x400])
def test_a_refused_bind_is_the_end(status: int) -> None:
    session = opened()
    (bind,) = said(session)
    refused, ended = session.receive(answer(bind, status, b""), 0)
    assert refused == Refused(status)
    assert isinstance(ended, Ended)
    assert session.state is State.CLOSED


def test_a_bind_that_nobody_answers_is_the_end() -> None:
    session = opened()
    assert session.tick(6.9) == []
    assert session.tick(7) == [Ended("no answer to bind_transceiver")]
    assert session.tick(8) == []


def test_the_window_is_never_passed() -> None:
    session = bound()
    first, *_ = submitted(session, 4)
    assert session.room(0) == 0
    with pytest.raises(ValueError, match="room"):
        session.submit(HELLO, 0)
    assert session.receive(answer(first, body=b"id-1\0"), 1) == [Answered(first.sequence, 0, "id-1")]
    assert session.room(1) == 1


def test_answers_come_in_any_order_and_each_counts_once() -> None:
    session = bound()
    one, two = submitted(session, 2)
    assert session.receive(answer(two, body=b"2\0"), 1) == [Answered(two.sequence, 0, "2")]
    assert session.receive(answer(one, body=b"1\0"), 1) == [Answered(one.sequence, 0, "1")]
    assert session.receive(answer(one, body=b"1\0"), 1) == [Late(Command.SUBMIT_SM | RESPONSE, 0)]
    assert session.room(1) == 4


def test_a_message_without_an_answer_gives_its_place_back_and_its_answer_is_late() -> None:
    session = bound()
    (one,) = submitted(session, now=1)
    assert session.tick(7.9) == []
    assert session.tick(8) == [Unanswered(one.sequence)]
    assert session.room(8) == 4
    assert session.receive(answer(one), 9) == [Late(Command.SUBMIT_SM | RESPONSE, 0)]
    assert session.state is State.BOUND


def test_a_nack_answers_what_it_is_about() -> None:
    session = bound()
    (one,) = submitted(session)
    nack = encode(Command.GENERIC_NACK, Status.INVALID_COMMAND_LENGTH, one.sequence)
    assert session.receive(nack, 1) == [Answered(one.sequence, Status.INVALID_COMMAND_LENGTH, "")]
    assert session.receive(encode(Command.GENERIC_NACK, 3, 0), 1) == [Late(Command.GENERIC_NACK, 3)]


@pytest.mark.parametrize("status", [Status.THROTTLED, Status.QUEUE_FULL])
def test_throttling_slows_this_bind_more_each_time(status: Status) -> None:
    session = bound()
    for pdu in submitted(session, 4):
        session.receive(answer(pdu, status), 0)
    assert session.room(0.9) == 0
    assert session.is_throttled(0.9)
    assert session.room(1) == 2  # one pause and one halving for all that was under way
    for pdu in submitted(session, 2, now=1):
        session.receive(answer(pdu, status), 1)
    assert session.room(2.9) == 0
    assert session.room(3) == 1


def test_after_throttling_the_window_opens_again_bit_by_bit() -> None:
    session = bound()
    (pdu,) = submitted(session)
    session.receive(answer(pdu, Status.THROTTLED), 0)
    rooms = []
    for _ in range(6):
        rooms.append(session.room(1))
        (pdu,) = submitted(session, now=1)
        session.receive(answer(pdu), 1)
    assert rooms == [2, 2, 2, 3, 3, 3]
    assert not session.is_throttled(1)


def test_silence_is_asked_about_and_then_ends_it() -> None:
    session = bound()
    session.tick(29)
    assert said(session) == []
    assert session.tick(30) == []
    (enquiry,) = said(session)
    assert enquiry.command == Command.ENQUIRE_LINK
    session.tick(31)
    assert said(session) == []  # one at a time
    assert session.receive(answer(enquiry, body=b""), 32) == []
    assert session.tick(61) == []
    assert session.tick(62) == []
    assert session.tick(69) == [Ended("no answer to enquire_link")]


def test_enquiries_and_unbind_are_answered() -> None:
    session = bound()
    assert session.receive(encode(Command.ENQUIRE_LINK, 0, 77), 0) == []
    assert said(session) == [Said(Command.ENQUIRE_LINK | RESPONSE, 0, 77, b"")]
    (ended,) = session.receive(encode(Command.UNBIND, 0, 78), 0)
    assert isinstance(ended, Ended)
    assert said(session) == [Said(Command.UNBIND | RESPONSE, 0, 78, b"")]


def test_a_delivery_waits_for_its_answer() -> None:
    session = bound()
    (delivered,) = session.receive(encode(Command.DELIVER_SM, 0, 9, encode_submit(HELLO)), 0)
    assert delivered == Delivered(Command.DELIVER_SM, 9, HELLO)
    assert said(session) == []
    assert session.answer(delivered, Status.TEMPORARY_APP_ERROR)
    assert said(session) == [
        Said(Command.DELIVER_SM | RESPONSE, Status.TEMPORARY_APP_ERROR, 9, b"\0"),
    ]


def test_after_good_bye_messages_are_put_off_and_answers_still_go_out() -> None:
    session = bound()
    (delivered,) = session.receive(encode(Command.DELIVER_SM, 0, 9, encode_submit(HELLO)), 0)
    assert isinstance(delivered, Delivered)
    assert session.unbind(1) == []
    (unbind,) = said(session)
    session.receive(encode(Command.DELIVER_SM, 0, 10, encode_submit(HELLO)), 1)
    assert session.answer(delivered, Status.OK)
    put_off, taken = said(session)
    assert (put_off.sequence, put_off.status) == (10, Status.TEMPORARY_APP_ERROR)
    assert (taken.sequence, taken.status) == (9, Status.OK)
    assert session.receive(answer(unbind, body=b""), 2) == [Ended("unbound")]
    assert not session.answer(delivered, Status.OK)


def test_what_we_do_not_know_is_answered_as_such_and_harms_nothing() -> None:
    session = bound()
    outbind, query = 0x0B, 0x03
    events = session.receive(encode(outbind, 0, 5, b"x\0y\0") + encode(query, 0, 6), 0)
    assert [type(event) for event in events] == [Odd, Odd]
    assert said(session) == [
        Said(Command.GENERIC_NACK, Status.INVALID_COMMAND_ID, sequence, b"") for sequence in (5, 6)
    ]
    session.receive(encode(Command.SUBMIT_SM, 0, 7, encode_submit(HELLO)), 0)
    (refused,) = said(session)
    assert (refused.command, refused.status) == (Command.SUBMIT_SM | RESPONSE, Status.INVALID_BIND_STATUS)
    assert session.state is State.BOUND


def test_a_delivery_that_lies_about_its_lengths_is_refused_alone() -> None:
    session = bound()
    body = encode_submit(HELLO)[:-1]
    good = encode(Command.DELIVER_SM, 0, 2, encode_submit(HELLO))
    odd, delivered = session.receive(encode(Command.DELIVER_SM, 0, 1, body) + good, 0)
    assert isinstance(odd, Odd)
    assert isinstance(delivered, Delivered)
    (refused,) = said(session)
    assert (refused.sequence, refused.status) == (1, Status.INVALID_PARAMETER_LENGTH)


@pytest.mark.parametrize("length", [0, 15, 70_001, 0xFFFF_FFFF])
def test_a_length_that_cannot_be_ends_it(length: int) -> None:
    session = bound()
    odd, ended = session.receive(HEADER.pack(length, Command.DELIVER_SM, 0, 4), 0)
    assert isinstance(odd, Odd)
    assert isinstance(ended, Ended)
    assert said(session) == [Said(Command.GENERIC_NACK, Status.INVALID_COMMAND_LENGTH, 4, b"")]
    assert session.receive(b"more", 1) == []


def test_sequence_numbers_begin_again_and_pass_over_those_in_use() -> None:
    session = bound()
    (first,) = submitted(session)
    session._sequence = LAST_SEQUENCE - 1
    assert [pdu.sequence for pdu in submitted(session, 3)] == [LAST_SEQUENCE, 1, 3]
    assert first.sequence == 2


pdus = st.builds(
    encode,
    command=st.one_of(
        st.sampled_from([*Command, *(command | RESPONSE for command in Command)]), st.integers(0, 2**32 - 1)
    ),
    status=st.sampled_from([0, 1, 0x58, 0x400]),
    sequence=st.integers(0, 6),
    body=st.one_of(st.just(b""), st.just(encode_submit(HELLO)), st.binary(max_size=40)),
)
streams = st.lists(st.one_of(pdus, pdus, pdus, st.binary(max_size=20)), max_size=12).map(b"".join)


def play(octets: bytes, cuts: Iterable[int]) -> tuple[list[Event], list[Said], State]:
    """What comes of a stream that arrives in these pieces, at one instant."""
    session = bound()
    for _ in range(3):
        session.submit(HELLO, 0)
    events: list[Event] = []
    start = 0
    for cut in [*sorted(cuts), len(octets)]:
        events += session.receive(octets[start:cut], 0)
        start = cut
    return events, said(session), session.state


@given(streams, st.data())
def test_any_octets_in_any_pieces_come_to_the_same(octets: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(octets)), max_size=10))
    whole = play(octets, [])
    assert play(octets, cuts) == whole
    assert play(octets, range(len(octets))) == whole


@given(streams)
def test_every_message_is_answered_at_most_once_and_every_delivery_can_be(octets: bytes) -> None:
    events, written, state = play(octets, [])
    answered = [event.sequence for event in events if isinstance(event, Answered)]
    assert len(answered) == len(set(answered)) <= 3
    ends = [event for event in events if isinstance(event, Ended)]
    assert (state is State.CLOSED) == (len(ends) == 1)
    assert not ends or events[-1] == ends[0]  # nothing happens after it
    assert sum(pdu.command == Command.SUBMIT_SM for pdu in written) == 3
