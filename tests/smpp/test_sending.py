"""A message that goes out: what is written, and what each answer of the SMSC, or none, makes of it."""

import asyncio
import struct
from pathlib import Path

import pytest
from cryptography.x509 import DNSName

from maskline.carriers.base import Accepted, CarrierError, Kind
from maskline.store.sqlite import SqliteStore
from tests.smpp.conftest import Desk, at_work
from tests.support.certified import LOOPBACK, certified
from tests.support.clock import FakeClock
from tests.support.smsc import (
    INVALID_DESTINATION,
    INVALID_PASSWORD,
    OK,
    SILENT,
    SYSTEM_ERROR,
    THROTTLED,
    VENDORS,
    Smsc,
    pdu,
)
from tests.support.until import until


async def refusal(sent: "asyncio.Task[Accepted]") -> CarrierError:
    with pytest.raises(CarrierError) as caught:
        async with asyncio.timeout(10):
            await sent
    # Nothing of a message, and of a number no more than its mask, may be read in a log.
    assert not any(said in caught.value.detail for said in ("hello", "4155550100", "2125550101"))
    return caught.value


async def test_a_text_goes_out_with_its_numbers_and_comes_back_with_an_id(desk: Desk) -> None:
    desk.smsc.ids.append("abc-1")
    assert await desk.send("hello @ €") == Accepted("abc-1")
    (submit,) = desk.smsc.submitted
    assert (submit.source_addr, submit.source_addr_ton, submit.source_addr_npi) == (b"14155550100", 1, 1)
    assert (submit.destination_addr, submit.dest_addr_ton, submit.dest_addr_npi) == (b"12125550101", 1, 1)
    assert (submit.data_coding, submit.esm_class, submit.registered_delivery) == (0, 0, 1)
    assert submit.short_message == b"hello \x00 \x1be"


async def test_yes_without_an_id_is_yes(desk: Desk) -> None:
    desk.smsc.ids.append("")
    assert await desk.send("hello") == Accepted(None)


async def test_yes_with_any_octets_for_an_id_is_yes(desk: Desk) -> None:
    desk.smsc.holds = True
    sent = desk.send("hello")
    await until(lambda: desk.smsc.due)
    connection, heard = desk.smsc.due.popleft()
    content = bytes(range(128, 256)) * 2
    head = struct.pack(">4L", 16 + len(content), 0x80000004, OK, heard.sequence)
    connection.say(head + content)
    assert await sent == Accepted(content.decode("latin-1").strip())
    desk.smsc.holds = False
    assert await desk.send("another") == Accepted("2")


@pytest.mark.parametrize("octets", [3, 12, 16, 18])
async def test_a_response_that_breaks_off_is_none_and_nothing_goes_again(desk: Desk, octets: int) -> None:
    desk.smsc.holds = True
    sent = desk.send("hello")
    await until(lambda: desk.smsc.due)
    connection, heard = desk.smsc.due.popleft()
    connection.say(pdu("submit_sm_resp", heard.sequence, message_id="abc-1").generate()[:octets])
    connection.writer.close()
    assert (await refusal(sent)).kind is Kind.UNCERTAIN
    desk.smsc.holds = False
    await desk.bound_again()
    assert await desk.send("another") == Accepted("2")
    assert [submit.short_message for submit in desk.smsc.submitted] == [b"hello", b"another"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (THROTTLED, Kind.THROTTLED),
        (0x14, Kind.THROTTLED),
        (SYSTEM_ERROR, Kind.UNREACHABLE),
        (0x64, Kind.UNREACHABLE),
        (INVALID_DESTINATION, Kind.REJECTED),
        (VENDORS, Kind.REJECTED),
        (INVALID_PASSWORD, Kind.MISCONFIGURED),
    ],
)
async def test_a_refusal_is_told_by_its_kind(desk: Desk, status: int, kind: Kind) -> None:
    desk.smsc.script.append(status)
    error = await refusal(desk.send("hello"))
    assert error.kind is kind
    assert f"{status:08x}" in error.detail


async def test_no_response_is_uncertain_and_a_late_one_changes_nothing(desk: Desk) -> None:
    desk.smsc.holds = True
    sent = desk.send("hello")
    await until(lambda: desk.smsc.due)
    await desk.pass_until(sent.done)
    assert (await refusal(sent)).kind is Kind.UNCERTAIN
    desk.smsc.holds = False
    desk.smsc.answer()
    assert await desk.send("another") == Accepted("2")


async def test_a_link_that_breaks_makes_uncertain_only_what_was_written(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    async with at_work(store, clock, smsc, window=2) as desk:
        await desk.bound()
        smsc.holds = True
        written = [desk.send("one"), desk.send("two")]
        await until(lambda: len(smsc.due) == 2)
        waiting = desk.send("three")
        smsc.cut()
        assert [(await refusal(sent)).kind for sent in written] == [Kind.UNCERTAIN] * 2
        smsc.due.clear()
        smsc.holds = False
        await desk.pass_until(waiting.done)
        # It was never written; whether it still goes out or is given back, it is not uncertain.
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(outcome, Accepted) or outcome.kind is Kind.UNREACHABLE  # type: ignore[union-attr]
        assert len(smsc.submitted) == 2 + isinstance(outcome, Accepted)


async def test_what_waits_for_a_new_bind_goes_out_over_it(desk: Desk) -> None:
    await desk.cut()
    sent = desk.send("hello")
    await desk.bound_again()
    assert await sent == Accepted("1")


async def test_without_a_bind_it_is_unreachable_after_a_moment(store: SqliteStore, clock: FakeClock) -> None:
    async with Smsc() as gone:
        pass
    async with at_work(store, clock, gone) as desk:
        sent = desk.send("hello")
        await desk.pass_until(sent.done)
        assert (await refusal(sent)).kind is Kind.UNREACHABLE


async def test_a_full_window_holds_the_next_back_until_there_is_room(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    async with at_work(store, clock, smsc, window=2) as desk:
        await desk.bound()
        smsc.holds = True
        sent = [desk.send(f"number {i}") for i in range(4)]
        await until(lambda: len(smsc.due) == 2)
        smsc.answer(1)
        await until(lambda: len(smsc.due) == 2)
        smsc.holds = False
        smsc.answer()
        await asyncio.gather(*sent)
        assert [submit.short_message for submit in smsc.submitted] == [
            f"number {i}".encode() for i in range(4)
        ]


async def test_a_window_that_stays_full_throttles(store: SqliteStore, clock: FakeClock, smsc: Smsc) -> None:
    async with at_work(store, clock, smsc, window=1) as desk:
        await desk.bound()
        smsc.holds = True
        first, second = desk.send("one"), desk.send("two")
        await until(lambda: smsc.due)
        await desk.pass_until(second.done)
        assert (await refusal(second)).kind is Kind.THROTTLED
        smsc.answer()
        assert await first == Accepted("1")


async def test_throttling_slows_one_bind_and_not_its_neighbour(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    async with at_work(store, clock, smsc, binds=2) as desk:
        await desk.bound(2)
        smsc.script.append(THROTTLED)
        assert (await refusal(desk.send("one"))).kind is Kind.THROTTLED
        slowed = smsc.heard.index(smsc.submitted[0])
        assert await desk.send("two") == Accepted("2")
        assert await desk.send("three") == Accepted("3")
        assert [link.is_throttled for link in desk.carrier._links].count(True) == 1
        assert slowed


async def test_a_pair_sends_over_its_transmitter_only(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    async with at_work(store, clock, smsc, mode="pair") as desk:
        await desk.bound(2)
        assert sorted(smsc.bound) == ["receiver", "transmitter"]
        assert await desk.send("hello") == Accepted("1")


async def test_a_refused_password_is_misconfigured_until_it_is_right(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    smsc.refusal = INVALID_PASSWORD
    async with at_work(store, clock, smsc) as desk:
        await until(lambda: desk.carrier._sending.refusal)
        assert (await refusal(desk.send("hello"))).kind is Kind.MISCONFIGURED
        binds = len(smsc.heard)
        await desk.pass_time(59)
        assert len(smsc.heard) == binds  # no storm
        smsc.refusal = 0
        await desk.bound_again()
        assert await desk.send("hello") == Accepted("1")


async def test_a_bind_that_is_refused_for_now_is_unreachable(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    smsc.refusal = 0x05
    async with at_work(store, clock, smsc) as desk:
        await until(lambda: smsc.heard)
        sent = desk.send("hello")
        await desk.pass_until(sent.done)
        assert (await refusal(sent)).kind is Kind.UNREACHABLE


async def test_a_silent_smsc_is_left_and_bound_anew(desk: Desk) -> None:
    (old,) = desk.smsc.connections
    desk.smsc.is_alive = False
    await desk.pass_until(lambda: old not in desk.smsc.connections)
    desk.smsc.is_alive = True
    await desk.bound_again()
    assert await desk.send("hello") == Accepted("1")


LONG = "0123456789" * 20 + "€"


async def test_a_long_text_goes_in_parts_and_its_last_one_asks_for_the_receipt(desk: Desk) -> None:
    desk.smsc.ids.extend(["first", "last"])
    assert await desk.send(LONG) == Accepted("last")
    one, two = desk.smsc.submitted
    assert [part.esm_class for part in (one, two)] == [0x40, 0x40]
    assert [part.registered_delivery for part in (one, two)] == [0, 1]
    assert one.short_message[:3] == two.short_message[:3] == b"\5\0\3"
    assert one.short_message[3] == two.short_message[3]
    assert (one.short_message[4:6], two.short_message[4:6]) == (b"\2\1", b"\2\2")
    assert one.short_message[6:] + two.short_message[6:] == b"0123456789" * 20 + b"\x1be"


async def test_two_long_texts_to_one_person_have_references_of_their_own(desk: Desk) -> None:
    await desk.send(LONG)
    await desk.send(LONG)
    references = [part.short_message[3] for part in desk.smsc.submitted]
    assert references[0] == references[1]
    assert references[2] == references[3] == (references[0] + 1) % 256


async def test_if_the_first_part_is_refused_no_other_is_sent(desk: Desk) -> None:
    desk.smsc.script.append(THROTTLED)
    assert (await refusal(desk.send(LONG))).kind is Kind.THROTTLED
    assert len(desk.smsc.submitted) == 1


async def test_a_later_part_that_is_throttled_is_given_again_alone(desk: Desk) -> None:
    desk.smsc.script.extend([OK, SYSTEM_ERROR])
    sent = desk.send(LONG)
    await until(lambda: len(desk.smsc.submitted) == 2)
    await desk.pass_until(sent.done)
    assert await sent == Accepted("3")
    assert [part.short_message[5] for part in desk.smsc.submitted] == [1, 2, 2]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(INVALID_DESTINATION, Kind.REJECTED), (SILENT, Kind.UNCERTAIN), (THROTTLED, Kind.UNCERTAIN)],
)
async def test_once_a_part_is_taken_the_message_never_goes_again(desk: Desk, status: int, kind: Kind) -> None:
    desk.smsc.script.extend([OK, *[status] * 99])
    sent = desk.send(LONG)
    await until(lambda: len(desk.smsc.submitted) == 2)
    await desk.pass_until(sent.done)
    assert (await refusal(sent)).kind is kind


async def test_if_the_link_breaks_between_parts_it_is_uncertain(desk: Desk) -> None:
    desk.smsc.script.extend([OK, SILENT])
    sent = desk.send(LONG)
    await until(lambda: len(desk.smsc.submitted) == 2)
    desk.smsc.cut()
    assert (await refusal(sent)).kind is Kind.UNCERTAIN


async def test_a_good_bye_waits_for_answers_and_is_said(desk: Desk) -> None:
    desk.smsc.holds = True
    sent = desk.send("hello")
    await until(lambda: desk.smsc.due)
    closing = asyncio.create_task(desk.carrier.close())
    desk.smsc.answer()
    assert await sent == Accepted("1")

    def closed() -> bool:
        desk.clock.advance(0.05)
        return closing.done()

    await until(closed)
    await closing
    assert desk.smsc.heard[-1].command == "unbind"
    await until(lambda: not desk.smsc.connections)
    await desk.pass_time(5)
    assert not desk.smsc.connections


async def test_a_sender_that_is_gone_leaves_its_place(
    store: SqliteStore, clock: FakeClock, smsc: Smsc
) -> None:
    async with at_work(store, clock, smsc, window=1) as desk:
        await desk.bound()
        smsc.holds = True
        first, second = desk.send("one"), desk.send("two")
        await until(lambda: smsc.due)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        smsc.holds = False
        smsc.answer()
        assert await first == Accepted("1")
        assert await desk.send("three") == Accepted("2")


@pytest.mark.parametrize("trusted", [True, False])
async def test_over_tls_only_an_smsc_that_is_who_it_says(
    store: SqliteStore, clock: FakeClock, tmp_path: Path, trusted: bool
) -> None:
    serves, _ = certified(tmp_path, LOOPBACK if trusted else DNSName("smsc.example"))
    said = {"tls": True, "tls_ca": str(tmp_path / "peer.pem")}
    async with Smsc(serves) as smsc, at_work(store, clock, smsc, **said) as desk:
        if trusted:
            await desk.bound()
            assert await desk.send("hello") == Accepted("1")
        else:
            sent = desk.send("hello")
            await desk.pass_until(sent.done)
            assert (await refusal(sent)).kind is Kind.UNREACHABLE
            assert smsc.heard == []
