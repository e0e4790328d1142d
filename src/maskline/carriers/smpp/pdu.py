"""SMPP 3.4 on the wire: PDUs to octets and back. Pure.

Reading is strict about lengths, since a PDU that lies about one may hide half a message, and lenient about everything
that an SMSC adds: fields longer than the standard has them and TLVs that nobody knows are kept as they are. Only an
address that no database could look up is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from maskline.carriers.base import is_id

HEADER = struct.Struct(">IIII")
_TLV = struct.Struct(">HH")

RESPONSE = 0x8000_0000
"""The bit of a command that makes it the response."""
MOST_OCTETS = 70_000
"""Of a PDU: a payload is 64 KiB at most. Whoever announces more is out of step."""


class Command(IntEnum):
    GENERIC_NACK = 0x8000_0000
    BIND_RECEIVER = 0x1
    BIND_TRANSMITTER = 0x2
    SUBMIT_SM = 0x4
    DELIVER_SM = 0x5
    UNBIND = 0x6
    BIND_TRANSCEIVER = 0x9
    ENQUIRE_LINK = 0x15
    ALERT_NOTIFICATION = 0x102
    DATA_SM = 0x103


class Status(IntEnum):
    """What a response says, as far as we say it or act on it; an SMSC may say anything."""

    OK = 0x0
    INVALID_COMMAND_LENGTH = 0x2
    INVALID_COMMAND_ID = 0x3
    INVALID_BIND_STATUS = 0x4
    ALREADY_BOUND = 0x5
    SYSTEM_ERROR = 0x8
    INVALID_SOURCE = 0xA
    INVALID_DESTINATION = 0xB
    BIND_FAILED = 0xD
    INVALID_PASSWORD = 0xE
    INVALID_SYSTEM_ID = 0xF
    QUEUE_FULL = 0x14
    INVALID_SYSTEM_TYPE = 0x53
    THROTTLED = 0x58
    TEMPORARY_APP_ERROR = 0x64
    PERMANENT_APP_ERROR = 0x65
    REJECT_APP_ERROR = 0x66
    INVALID_TLV_STREAM = 0xC0
    INVALID_PARAMETER_LENGTH = 0xC2


class Tag(IntEnum):
    """Of a TLV."""

    RECEIPTED_MESSAGE_ID = 0x001E
    SAR_REFERENCE = 0x020C
    SAR_TOTAL = 0x020E
    SAR_PLACE = 0x020F
    MESSAGE_PAYLOAD = 0x0424
    MESSAGE_STATE = 0x0427


class Malformed(Exception):
    """Octets that are no PDU of their kind. `status` is what their sender is told."""

    def __init__(self, status: Status, what: str) -> None:
        super().__init__(what)
        self.status = status


@dataclass(frozen=True, slots=True)
class Address:
    """`ton`, `npi`: type of number and numbering plan."""

    ton: int
    npi: int
    digits: str


@dataclass(frozen=True, slots=True)
class ShortMessage:
    """What submit_sm, deliver_sm and data_sm carry. `content` is the short message or the message payload."""

    source: Address
    destination: Address
    content: bytes
    data_coding: int = 0
    esm_class: int = 0
    registered_delivery: int = 0
    service_type: str = ""
    tlvs: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bind:
    """Who binds, as every bind request says it."""

    system_id: str
    password: str
    system_type: str = ""
    address_range: str = ""


def encode(command: int, status: int, sequence: int, body: bytes = b"") -> bytes:
    """A whole PDU."""
    return HEADER.pack(HEADER.size + len(body), command, status, sequence) + body


def encode_bind(bind: Bind) -> bytes:
    """The body of a bind request, for interface version 3.4."""
    names = b"".join(map(_string, (bind.system_id, bind.password, bind.system_type)))
    return names + b"\x34\0\0" + _string(bind.address_range)


def encode_submit(message: ShortMessage) -> bytes:
    """The body of a submit_sm, its content as a short message; a payload is one of its TLVs."""
    content = message.content
    return b"".join(
        [
            _string(message.service_type),
            _address(message.source),
            _address(message.destination),
            # protocol_id, priority_flag; schedule_delivery_time and validity_period are empty.
            bytes((message.esm_class, 0, 0, 0, 0)),
            # replace_if_present_flag; sm_default_msg_id.
            bytes((message.registered_delivery, 0, message.data_coding, 0, len(content))),
            content,
            *(_TLV.pack(tag, len(value)) + value for tag, value in message.tlvs.items()),
        ]
    )


def decode_deliver(body: bytes) -> ShortMessage:
    """The body of a deliver_sm (or of a submit_sm, which has the same fields). Raises Malformed."""
    service_type, end = _read_string(body, 0)
    source, end = _read_address(body, end, Status.INVALID_SOURCE)
    destination, end = _read_address(body, end, Status.INVALID_DESTINATION)
    esm_class, _, _ = _octets(body, end, 3)
    _, end = _read_string(body, end + 3)
    _, end = _read_string(body, end)
    registered, _, coding, _, length = _octets(body, end, 5)
    end += 5
    content = body[end : end + length]
    if len(content) < length:
        raise Malformed(Status.INVALID_PARAMETER_LENGTH, "a short message ends before its length")
    tlvs = _read_tlvs(body, end + length)
    payload = tlvs.get(Tag.MESSAGE_PAYLOAD)
    if payload:
        content = payload
    return ShortMessage(source, destination, content, coding, esm_class, registered, service_type, tlvs)


def decode_data(body: bytes) -> ShortMessage:
    """The body of a data_sm. Raises Malformed."""
    service_type, end = _read_string(body, 0)
    source, end = _read_address(body, end, Status.INVALID_SOURCE)
    destination, end = _read_address(body, end, Status.INVALID_DESTINATION)
    esm_class, registered, coding = _octets(body, end, 3)
    tlvs = _read_tlvs(body, end + 3)
    content = tlvs.get(Tag.MESSAGE_PAYLOAD, b"")
    return ShortMessage(source, destination, content, coding, esm_class, registered, service_type, tlvs)


def message_id_of(body: bytes) -> str:
    """The id in the body of a submit_sm_resp; empty where there is none, as in refusals."""
    return body.partition(b"\0")[0].decode("latin-1")


def _string(text: str) -> bytes:
    octets = text.encode("latin-1")
    if b"\0" in octets:
        raise ValueError("a NUL would end the field")
    return octets + b"\0"


def _address(address: Address) -> bytes:
    return bytes((address.ton, address.npi)) + _string(address.digits)


def _octets(body: bytes, start: int, count: int) -> bytes:
    octets = body[start : start + count]
    if len(octets) < count:
        raise Malformed(Status.INVALID_COMMAND_LENGTH, "it ends within its fields")
    return octets


def _read_string(body: bytes, start: int) -> tuple[str, int]:
    end = body.find(b"\0", start)
    if end < 0:
        raise Malformed(Status.INVALID_COMMAND_LENGTH, "a string has no end")
    return body[start:end].decode("latin-1"), end + 1


def _read_address(body: bytes, start: int, refusal: Status) -> tuple[Address, int]:
    ton, npi = _octets(body, start, 2)
    digits, end = _read_string(body, start + 2)
    if not is_id(digits):
        raise Malformed(refusal, "an address is too long")
    return Address(ton, npi, digits), end


def _read_tlvs(body: bytes, start: int) -> dict[int, bytes]:
    tlvs = {}
    while start < len(body):
        if start + _TLV.size > len(body):
            raise Malformed(Status.INVALID_TLV_STREAM, "it ends within a TLV")
        tag, length = _TLV.unpack_from(body, start)
        start += _TLV.size
        if start + length > len(body):
            raise Malformed(Status.INVALID_TLV_STREAM, "it ends within a TLV")
        tlvs[tag] = body[start : start + length]
        start += length
    return tlvs
