"""PDUs on the wire, against another codec (smpplib) and against octets that lie."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smpplib import smpp

from maskline.carriers.smpp.pdu import (
    HEADER,
    Address,
    Bind,
    Command,
    Malformed,
    ShortMessage,
    Status,
    Tag,
    decode_data,
    decode_deliver,
    encode,
    encode_bind,
    encode_submit,
    message_id_of,
)


class Counter:
    """What smpplib takes sequence numbers from."""

    sequence = 7

    def next_sequence(self) -> int:
        return self.sequence


octet = st.integers(0, 255)
digits = st.text(alphabet="+0123456789", max_size=19)
addresses = st.builds(Address, ton=st.integers(0, 6), npi=st.integers(0, 18), digits=digits)
messages = st.builds(
    ShortMessage,
    source=addresses,
    destination=addresses,
    content=st.binary(max_size=254),
    data_coding=octet,
    esm_class=octet,
    registered_delivery=octet,
    service_type=st.text(alphabet="ABC", max_size=4),
    tlvs=st.dictionaries(
        st.integers(0, 0xFFFF).filter(lambda tag: tag != Tag.MESSAGE_PAYLOAD), st.binary(max_size=9)
    ),
)


def theirs(command: Command, body: bytes) -> Any:
    """What smpplib reads in it."""
    return smpp.parse_pdu(encode(command, 0, 7, body), client=Counter(), allow_unknown_opt_params=True)


def deliver(**fields: Any) -> bytes:
    """The body of a deliver_sm that smpplib has made."""
    made: bytes = smpp.make_pdu(
        "deliver_sm", client=Counter(), source_addr="15550001111", destination_addr="15550002222", **fields
    ).generate()
    return made[HEADER.size :]


@given(messages)
def test_a_message_is_read_as_it_was_written(message: ShortMessage) -> None:
    read = decode_deliver(encode_submit(message))
    assert (read.source, read.destination, read.content) == (
        message.source,
        message.destination,
        message.content,
    )
    assert (read.data_coding, read.esm_class, read.registered_delivery, read.service_type) == (
        message.data_coding,
        message.esm_class,
        message.registered_delivery,
        message.service_type,
    )
    assert read.tlvs == message.tlvs


@given(messages)
def test_another_codec_reads_what_we_write(message: ShortMessage) -> None:
    read = theirs(Command.SUBMIT_SM, encode_submit(ShortMessage(**{**fields(message), "tlvs": {}})))
    assert (read.source_addr_ton, read.source_addr_npi, read.source_addr.decode()) == (
        message.source.ton,
        message.source.npi,
        message.source.digits,
    )
    assert read.destination_addr.decode() == message.destination.digits
    assert (read.esm_class, read.data_coding, read.registered_delivery) == (
        message.esm_class,
        message.data_coding,
        message.registered_delivery,
    )
    assert (read.short_message or b"") == message.content


def fields(message: ShortMessage) -> dict[str, Any]:
    return {name: getattr(message, name) for name in ShortMessage.__slots__}


def test_another_codec_reads_our_segments_and_our_bind() -> None:
    some = Address(1, 1, "15550001111")
    payload = {Tag.MESSAGE_PAYLOAD: b"long " * 100}
    read = theirs(Command.SUBMIT_SM, encode_submit(ShortMessage(some, some, b"", tlvs=payload)))
    assert (read.short_message, read.message_payload) == (b"", b"long " * 100)
    tlvs = {Tag.SAR_REFERENCE: b"\1\2", Tag.SAR_TOTAL: b"\3", Tag.SAR_PLACE: b"\1"}
    read = theirs(Command.SUBMIT_SM, encode_submit(ShortMessage(some, some, b"x", tlvs=tlvs)))
    assert (read.sar_msg_ref_num, read.sar_total_segments, read.sar_segment_seqnum) == (0x102, 3, 1)
    bind = theirs(Command.BIND_TRANSCEIVER, encode_bind(Bind("me", "secret", "SMPP", "1555")))
    assert (bind.system_id, bind.password, bind.system_type) == (b"me", b"secret", b"SMPP")
    assert (bind.interface_version, bind.address_range) == (0x34, b"1555")


@given(st.binary(max_size=254), octet, octet)
def test_we_read_what_another_codec_writes(content: bytes, coding: int, esm_class: int) -> None:
    read = decode_deliver(deliver(short_message=content, data_coding=coding, esm_class=esm_class))
    assert (read.content, read.data_coding, read.esm_class) == (content, coding, esm_class)
    assert (read.source.digits, read.destination.digits) == ("15550001111", "15550002222")


def test_a_payload_is_the_content() -> None:
    assert decode_deliver(deliver(message_payload=b"long " * 100)).content == b"long " * 100
    made = smpp.make_pdu(
        "data_sm", client=Counter(), source_addr="1", destination_addr="2", message_payload=b"x" * 300
    )
    assert decode_data(made.generate()[HEADER.size :]).content == b"x" * 300


def test_tlvs_are_kept_as_they_are_whoever_knows_them() -> None:
    tail = b"\x14\x01\0\3abc" + b"\0\x1e\0\x05" + b"12345" + b"\x04\x27\0\2\0\2"
    read = decode_deliver(deliver(short_message=b"") + tail)
    assert read.tlvs == {0x1401: b"abc", Tag.RECEIPTED_MESSAGE_ID: b"12345", Tag.MESSAGE_STATE: b"\0\2"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", Status.INVALID_COMMAND_LENGTH),
        (b"\0\1\1" + b"1" * 30, Status.INVALID_COMMAND_LENGTH),  # the address has no end
        (deliver(short_message=b"hello")[:-2], Status.INVALID_PARAMETER_LENGTH),
        (deliver(short_message=b"hello") + b"\0\x1e\0", Status.INVALID_TLV_STREAM),
        (deliver(short_message=b"hello") + b"\0\x1e\0\x09short", Status.INVALID_TLV_STREAM),
        (b"\0\1\1" + b"1" * 192 + b"\0", Status.INVALID_SOURCE),
        (b"\0\1\1" + b"1" * 191 + b"\0\1\1" + b"2" * 192 + b"\0", Status.INVALID_DESTINATION),
    ],
)
def test_a_body_that_lies_about_its_lengths_is_refused(body: bytes, status: Status) -> None:
    with pytest.raises(Malformed) as refused:
        decode_deliver(body)
    assert refused.value.status is status


@pytest.mark.parametrize(
    ("long", "status"),
    [("source_addr", Status.INVALID_SOURCE), ("destination_addr", Status.INVALID_DESTINATION)],
)
def test_a_data_sm_with_an_address_that_no_database_keeps_is_refused(long: str, status: Status) -> None:
    numbers = {"source_addr": "1", "destination_addr": "2", long: "3" * 192}
    body = b"\0" + b"".join(
        b"\1\1" + numbers[one].encode() + b"\0" for one in ("source_addr", "destination_addr")
    )
    with pytest.raises(Malformed) as refused:
        decode_data(body + b"\0\0\0")
    assert refused.value.status is status


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(body: bytes) -> None:
    for read in (decode_deliver, decode_data):
        try:
            read(body)
        except Malformed:
            continue
    message_id_of(body)


@given(messages, st.data())
def test_no_beginning_of_a_message_is_taken_for_the_whole(message: ShortMessage, data: st.DataObject) -> None:
    body = encode_submit(ShortMessage(**{**fields(message), "tlvs": {}}))
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(Malformed):
        decode_deliver(body[:cut])


def test_ids_are_read_with_and_without_an_end() -> None:
    assert message_id_of(b"abc\0") == message_id_of(b"abc") == "abc"
    assert message_id_of(b"") == message_id_of(b"\0") == ""


def test_no_field_can_be_ended_from_inside() -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode_bind(Bind("me\0", "x"))
