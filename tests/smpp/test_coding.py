"""Between our messages and SMPP's: alphabets, long messages, numbers, receipts."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.carriers.base import Outgoing
from maskline.carriers.smpp.coding import (
    Piece,
    Receipt,
    Text,
    Unreadable,
    canonical_id,
    codec_of,
    compose,
    decode,
    read,
    read_address,
)
from maskline.carriers.smpp.options import SmppOptions
from maskline.carriers.smpp.pdu import Address, ShortMessage, Tag, decode_deliver, encode_submit
from maskline.domain.interaction import MessageStatus
from maskline.domain.text import count_segments

US, THEM = "+14155550100", "+12125550101"


def options(**said: Any) -> SmppOptions:
    return msgspec.convert({"host": "smsc", "system_id": "me", **said}, SmppOptions)


def out(body: str, to: str = THEM, from_: str = US) -> Outgoing:
    return Outgoing(sid="SM" + "0" * 32, account_sid="AC", from_=from_, to=to, body=body)


def message(content: bytes = b"", **fields: Any) -> ShortMessage:
    made = {"source": Address(1, 1, THEM[1:]), "destination": Address(1, 1, US[1:]), "content": content}
    return ShortMessage(**{**made, **fields})


@pytest.mark.parametrize(
    ("said", "body", "coding", "content"),
    [
        ({}, "hé @ [x]", 0, b"h\x05 \x00 \x1b<x\x1b>"),
        ({}, "ça", 8, "ça".encode("utf-16-be")),
        ({}, "🙂", 8, b"\xd8\x3d\xde\x42"),
        ({"latin_1": True}, "ça", 3, b"\xe7a"),
        ({"latin_1": True}, "ça 🙂", 8, "ça 🙂".encode("utf-16-be")),
        ({"alphabet": "latin-1"}, "hé @ [x]", 0, b"h\xe9 @ [x]"),
        ({"alphabet": "latin-1"}, "10 €", 8, "10 €".encode("utf-16-be")),  # GSM has it, Latin-1 has not
        ({"alphabet": "latin-1", "latin_1": True}, "ça", 3, b"\xe7a"),
        ({}, "", 0, b""),
    ],
)
def test_a_text_is_written_in_an_alphabet_that_has_it(
    said: Any, body: str, coding: int, content: bytes
) -> None:
    (submit,) = compose(out(body), options(**said), 0)
    assert (submit.data_coding, submit.content) == (coding, content)


bodies = st.text(alphabet=st.sampled_from("aé€[ç🙂я\u0301"), max_size=700)
settings = st.fixed_dictionaries(
    {
        "alphabet": st.sampled_from(["gsm", "latin-1"]),
        "latin_1": st.booleans(),
        "long_messages": st.sampled_from(["udh", "sar", "payload"]),
    }
)


@given(bodies, settings, st.integers(0, 255))
def test_whatever_goes_out_is_read_as_it_was_by_another_of_us(body: str, said: Any, reference: int) -> None:
    known = options(**said)
    submits = compose(out(body), known, reference)
    heard = [read(decode_deliver(encode_submit(submit)), known) for submit in submits]
    if len(submits) == 1:
        assert heard == [Text(US, THEM, body)]
        return
    pieces = [piece for piece in heard if isinstance(piece, Piece)]
    assert [piece.place for piece in pieces] == [*range(1, len(submits) + 1)]
    assert {(piece.reference, piece.total) for piece in pieces} == {(pieces[0].reference, len(submits))}
    assert decode([(piece.coding, piece.content) for piece in pieces], known) == body
    assert said["latin_1"] or said["alphabet"] == "latin-1" or len(submits) == count_segments(body)
    for submit in submits:  # what a handset can show, alone
        assert len(submit.content) <= (160 if submit.data_coding == 0 else 140)
    assert [submit.registered_delivery for submit in submits] == [0] * (len(submits) - 1) + [1]


def test_a_payload_is_one_message_and_a_short_one_needs_none() -> None:
    (submit,) = compose(out("a" * 400), options(long_messages="payload"), 0)
    assert (submit.content, submit.tlvs, submit.esm_class) == (b"", {Tag.MESSAGE_PAYLOAD: b"a" * 400}, 0)
    (submit,) = compose(out("a" * 160), options(long_messages="payload"), 0)
    assert submit.content == b"a" * 160


def test_more_parts_than_a_header_can_count_go_as_a_payload() -> None:
    assert len(compose(out("a" * 153 * 255), options(), 0)) == 255
    assert len(compose(out("a" * (153 * 255 + 1)), options(), 0)) == 1


@pytest.mark.parametrize(
    ("number", "said", "address"),
    [
        ("+14155550100", {}, Address(1, 1, "14155550100")),
        ("+14155550100", {"plus": True}, Address(1, 1, "+14155550100")),
        ("+14155550100", {"source_ton": 0, "source_npi": 0}, Address(0, 0, "14155550100")),
        ("12345", {}, Address(3, 0, "12345")),
        ("12345", {"source_ton": 6}, Address(6, 0, "12345")),
        ("SHOP", {}, Address(5, 0, "SHOP")),
    ],
)
def test_a_number_is_written_by_its_form_or_as_the_settings_say(
    number: str, said: Any, address: Address
) -> None:
    (submit,) = compose(out("x", from_=number), options(**said), 0)
    assert submit.source == address
    assert submit.destination == Address(1, 1, f"{'+' * bool(said.get('plus'))}12125550101")


@pytest.mark.parametrize(
    ("address", "said", "number"),
    [
        (Address(1, 1, "12125550101"), {}, "+12125550101"),
        (Address(1, 1, "+12125550101"), {}, "+12125550101"),
        (Address(1, 1, "0012125550101"), {}, "+12125550101"),
        (Address(0, 0, "+12125550101"), {}, "+12125550101"),
        (Address(0, 0, "12125550101"), {}, "+12125550101"),
        (Address(0, 0, "0044201234567"), {}, "+44201234567"),
        (Address(0, 0, "12345"), {}, "12345"),
        (Address(0, 0, "0201234567"), {}, "0201234567"),
        (Address(2, 1, "0201234567"), {"country": "44"}, "+44201234567"),
        (Address(2, 1, "0201234567"), {}, "0201234567"),
        (Address(3, 0, "12345"), {}, "12345"),
        (Address(5, 0, "SHOP"), {}, "SHOP"),
        (Address(1, 1, ""), {}, ""),
        (Address(1, 1, "²³"), {}, "²³"),
    ],
)
def test_a_number_is_read_whatever_its_type_says(address: Address, said: Any, number: str) -> None:
    assert read_address(address, options(**said)) == number


@pytest.mark.parametrize(
    ("coding", "content", "text"),
    [
        (0, b"\x00\x1be", "@€"),
        (1, b"@[]", "@[]"),
        (1, b"tab\tand\r\nline \xe9", "tab\tand\r\nline \xe9"),
        (1, b"a\x00b.c \x11 \x1be \x05", "a@b.c _ € é"),
        (3, b"\xe7a", "ça"),
        (6, b"\xdf\xe0\xd8", "пр\u0438"),
        (8, b"\xd8\x3d\xde\x42", "🙂"),
        (8, b"\xd8\x3d", "\ufffd"),
        (8, b"\x00a\x00\x00\x00b\x00", "ab\ufffd"),
        (0x10, b"flash", "flash"),
        (0x18, b"\x04\x3f", "п"),
        (0xF0, b"\x00", "@"),
        (0xC8, b"voice mail", "voice mail"),
        (0xE0, b"\x04\x3f", "п"),
    ],
)
def test_what_comes_is_read_by_its_data_coding(coding: int, content: bytes, text: str) -> None:
    assert read(message(content, data_coding=coding), options()) == Text(THEM, US, text)


@pytest.mark.parametrize("coding", [2, 4, 5, 9, 10, 13, 15, 0x14, 0x50, 0xF4, 0xF5])
def test_what_is_no_text_is_not_made_one(coding: int) -> None:
    assert codec_of(coding) is None
    assert isinstance(read(message(b"\1\2\3", data_coding=coding), options()), Unreadable)


B = "id:{} sub:001 dlvrd:001 submit date:2611260458 done date:2611260459 stat:{} err:000 text:hello"


@pytest.mark.parametrize(
    ("text", "message_id", "status"),
    [
        (B.format("0123456789", "DELIVRD"), "0123456789", MessageStatus.DELIVERED),
        (B.format("a1b2-c3", "EXPIRED"), "a1b2-c3", MessageStatus.UNDELIVERED),
        (B.format("7", "UNDELIV"), "7", MessageStatus.UNDELIVERED),
        (B.format("7", "DELETED"), "7", MessageStatus.UNDELIVERED),
        (B.format("7", "REJECTD"), "7", MessageStatus.UNDELIVERED),
        (B.format("7", "ACCEPTD"), "7", MessageStatus.SENT),
        (B.format("7", "ENROUTE"), "7", MessageStatus.SENT),
        (B.format("7", "UNKNOWN"), "7", MessageStatus.SENT),
        ("ID: 7 Stat: DELIVERED", "7", MessageStatus.DELIVERED),
        ("id:7 status:Undeliverable", "7", MessageStatus.UNDELIVERED),
        ("sub:001 stat:DELIVRD id:7", "7", MessageStatus.DELIVERED),
    ],
)
def test_receipts_are_read_in_every_way_of_writing_them(
    text: str, message_id: str, status: MessageStatus
) -> None:
    assert read(message(text.encode(), esm_class=4), options()) == Receipt(US, message_id, status)


def test_a_receipts_parameters_go_before_its_text() -> None:
    tlvs = {Tag.RECEIPTED_MESSAGE_ID: b"real\0", Tag.MESSAGE_STATE: b"\2"}
    heard = read(message(B.format("other", "EXPIRED").encode(), esm_class=4, tlvs=tlvs), options())
    assert heard == Receipt(US, "real", MessageStatus.DELIVERED)
    # Many an SMSC leaves out the NUL behind the id, the mark of a receipt, or one of the two.
    tlvs = {Tag.RECEIPTED_MESSAGE_ID: b"real"}
    heard = read(message(b"stat:DELIVRD", tlvs=tlvs), options())
    assert heard == Receipt(US, "real", MessageStatus.DELIVERED)


@pytest.mark.parametrize("text", [b"", b"id:7", b"stat:DELIVRD", b"id: stat:WHATEVER", b"hello"])
def test_a_receipt_that_says_nothing_is_none(text: bytes) -> None:
    assert isinstance(read(message(text, esm_class=4), options()), Unreadable)


@pytest.mark.parametrize(
    ("written", "ids", "known"),
    [
        ("00FF", "hexadecimal", "255"),
        ("ff", "hexadecimal", "255"),
        ("0000000255", "decimal", "255"),
        ("00FF", "text", "00FF"),
        (" a ", "text", "a"),
        ("not a number", "decimal", "not a number"),
        ("", "hexadecimal", ""),
    ],
)
def test_an_id_is_one_however_it_is_written(written: str, ids: Any, known: str) -> None:
    assert canonical_id(written, ids) == known


short = st.builds(
    ShortMessage,
    source=st.builds(Address, st.integers(0, 255), st.integers(0, 255), st.text(max_size=20)),
    destination=st.builds(Address, st.integers(0, 255), st.integers(0, 255), st.text(max_size=20)),
    content=st.binary(max_size=60),
    data_coding=st.integers(0, 255),
    esm_class=st.integers(0, 255),
    tlvs=st.dictionaries(st.sampled_from(Tag), st.binary(max_size=8)),
)


@given(short, settings)
def test_anything_that_is_brought_can_be_read(brought: ShortMessage, said: Any) -> None:
    heard = read(brought, options(**said))
    if isinstance(heard, Text):
        heard.body.encode()  # no half characters,
        assert "\0" not in heard.body  # and nothing that no text may have
    if isinstance(heard, Piece):
        assert 1 <= heard.place <= heard.total


def test_settings_that_contradict_themselves_are_refused() -> None:
    for said in ({"tls_ca": "x.pem"}, {"tls": True, "tls_ca": "/nowhere/x.pem"}, {"country": "0"}):
        with pytest.raises(msgspec.ValidationError):
            options(**said)


def test_a_number_that_is_longer_than_any_is_read_by_its_end() -> None:
    """Its text is kept, and what it is kept by stays short."""
    tlvs = {
        Tag.SAR_REFERENCE: b"\xa5" * 3000 + b"\1\2\3\4",
        Tag.SAR_TOTAL: b"\0" * 3000 + b"\2",
        Tag.SAR_PLACE: b"\1",
    }
    piece = read(ShortMessage(Address(1, 1, "1"), Address(1, 1, "2"), b"part", tlvs=tlvs), options())
    assert isinstance(piece, Piece)
    assert (piece.reference, piece.total, piece.place) == (f"sar:{0x01020304}", 2, 1)
