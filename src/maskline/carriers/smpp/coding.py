"""Between maskline's messages and SMPP's: alphabets, long messages, addresses, receipts. Pure.

`compose` makes the submit_sm of a message, `read` says what a deliver_sm or data_sm is. What a handset sends is read
leniently; only what no reader could make a text of is `Unreadable`.

    receipt   id:0123456789 sub:001 dlvrd:001 submit date:2611260458 done date:2611260459 stat:DELIVRD err:000 text:hi
    header    05 00 03 RR NN PP: part PP of NN with reference RR; 06 08 04 RR RR NN PP the same with a longer one
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from maskline.carriers.base import Outgoing, is_id
from maskline.carriers.smpp.options import Ids, SmppOptions
from maskline.carriers.smpp.pdu import Address, ShortMessage, Tag
from maskline.domain.interaction import MessageStatus
from maskline.domain.text import Alphabet, decode_gsm, encode_text, split_segments

MOST_PARTS = 255

_HEADER = 0x40
"""Of esm_class: the short message begins with a user data header."""
_KIND = 0x3C
_RECEIPT, _NOTIFICATION = 0x04, 0x20

_DATA_CODINGS = {Alphabet.GSM: 0, Alphabet.LATIN_1: 3, Alphabet.UCS_2: 8}

_IA5 = "ascii"
_CONTROL = re.compile(rb"[^\t\n\r -\xff]")
"""What no text in ASCII has. Some SMSCs say ASCII and write GSM 03.38, where this is @, _ or the escape of a €."""
# data_coding -> how Python reads it. 0, the SMSC's own alphabet, is a setting.
_CODECS = {
    1: _IA5,
    3: "latin-1",
    6: "iso8859_5",  # Cyrillic
    7: "iso8859_8",  # Hebrew
    8: "utf-16-be",
    14: "cp949",  # KS C 5601
}

# message_state, and the word for it in a receipt's text, by which SMSCs differ in the end of it.
_STATES = {
    1: MessageStatus.SENT,  # en route
    2: MessageStatus.DELIVERED,
    3: MessageStatus.UNDELIVERED,  # expired
    4: MessageStatus.UNDELIVERED,  # deleted
    5: MessageStatus.UNDELIVERED,
    6: MessageStatus.SENT,  # accepted: somebody has it, which need not be the recipient
    7: MessageStatus.SENT,  # unknown: it was sent, and that is all
    8: MessageStatus.UNDELIVERED,  # rejected
}
_WORDS = {
    "ENROU": MessageStatus.SENT,
    "BUFFE": MessageStatus.SENT,
    "DELIV": MessageStatus.DELIVERED,
    "EXPIR": MessageStatus.UNDELIVERED,
    "DELET": MessageStatus.UNDELIVERED,
    "UNDEL": MessageStatus.UNDELIVERED,
    "FAILE": MessageStatus.UNDELIVERED,
    "ACCEP": MessageStatus.SENT,
    "UNKNO": MessageStatus.SENT,
    "REJEC": MessageStatus.UNDELIVERED,
}
_ID = re.compile(r"\bid:\s*([^\s:]+)(?=\s|$)", re.IGNORECASE)
_STAT = re.compile(r"\bstat(?:us)?:\s*([A-Za-z]{5})", re.IGNORECASE)

_BASES = {"hexadecimal": 16, "decimal": 10}
_MOST_OCTETS = 4
"""Of a number in a TLV, the last ones: none has more than two, and what makes a reference of it stays short."""


@dataclass(frozen=True, slots=True)
class Text:
    """A whole message from somebody."""

    sender: str
    number: str
    body: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a long message. `reference` is one for all of its parts, and says how they are marked."""

    sender: str
    number: str
    reference: str
    total: int
    place: int
    coding: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a message of ours. `number` is ours."""

    number: str
    message_id: str
    status: MessageStatus


@dataclass(frozen=True, slots=True)
class Unreadable:
    """No text, and no receipt."""

    sender: str
    number: str
    why: str


def compose(message: Outgoing, options: SmppOptions, reference: int) -> list[ShortMessage]:
    """The submit_sm of a message, in order. `reference` is what its parts have in common; one octet of it is sent.

    A receipt is asked for the last part: there is one status for all of them, and one id to know it by.
    """
    alphabet, texts = split_segments(message.body, _alphabets(message.body, options))
    contents = [_encode(text, alphabet, options) for text in texts]
    headers: list[bytes] = [b""] * len(contents)
    tlvs: list[dict[int, bytes]] = [{} for _ in contents]
    if len(contents) > 1:
        total = len(contents)
        match options.long_messages:
            case "udh" if total <= MOST_PARTS:
                headers = [bytes((5, 0, 3, reference & 0xFF, total, place)) for place in range(1, total + 1)]
            case "sar" if total <= MOST_PARTS:
                tlvs = [
                    {
                        Tag.SAR_REFERENCE: bytes((0, reference & 0xFF)),
                        Tag.SAR_TOTAL: bytes((total,)),
                        Tag.SAR_PLACE: bytes((place,)),
                    }
                    for place in range(1, total + 1)
                ]
            case _:
                tlvs, headers, contents = [{Tag.MESSAGE_PAYLOAD: b"".join(contents)}], [b""], [b""]
    source = _address(message.from_, options.source_ton, options.source_npi, options)
    destination = _address(message.to, options.destination_ton, options.destination_npi, options)
    last = len(contents) - 1
    return [
        ShortMessage(
            source=source,
            destination=destination,
            content=header + content,
            data_coding=_DATA_CODINGS[alphabet],
            esm_class=_HEADER if header else 0,
            registered_delivery=int(options.receipts and place == last),
            service_type=options.service_type,
            tlvs=parameters,
        )
        for place, (header, content, parameters) in enumerate(zip(headers, contents, tlvs, strict=True))
    ]


def read(message: ShortMessage, options: SmppOptions) -> Text | Piece | Receipt | Unreadable | None:
    """What a carrier has brought; None if it is nothing for anybody, such as that a handset has shown a message."""
    kind = message.esm_class & _KIND
    sender, number = read_address(message.source, options), read_address(message.destination, options)
    if kind in (_RECEIPT, _NOTIFICATION) or (kind == 0 and Tag.RECEIPTED_MESSAGE_ID in message.tlvs):
        receipt = _read_receipt(message, number, options)
        return receipt or Unreadable(
            sender, number, "a receipt without an id that can be, or without a state"
        )
    if kind:
        return None
    content, reference, total, place = message.content, "", 1, 1
    if message.esm_class & _HEADER:
        header = _read_header(content)
        if header is None:
            return Unreadable(sender, number, "a header that is longer than its message")
        if any(element in header for element in (4, 5)):
            return Unreadable(sender, number, "for an application and not for a person")
        content = content[content[0] + 1 :]
        if 0 in header and len(header[0]) == 3:
            reference, (_, total, place) = f"8:{header[0][0]}", header[0]
        elif 8 in header and len(header[8]) == 4:
            reference, (total, place) = f"16:{header[8][:2].hex()}", header[8][2:]
    elif Tag.SAR_REFERENCE in message.tlvs:
        reference = f"sar:{_number(message, Tag.SAR_REFERENCE)}"
        total, place = _number(message, Tag.SAR_TOTAL), _number(message, Tag.SAR_PLACE)
    if codec_of(message.data_coding) is None:
        return Unreadable(sender, number, f"data_coding {message.data_coding} is not for texts")
    if 1 < total <= MOST_PARTS and 1 <= place <= total:
        return Piece(sender, number, reference, total, place, message.data_coding, content)
    return Text(sender, number, decode([(message.data_coding, content)], options))


def decode(contents: list[tuple[int, bytes]], options: SmppOptions) -> str:
    """The text of a message from its parts, in order, each with its data_coding. A character may begin in one and end
    in the next, whoever cut it so. NUL, which no text of ours may have, is left out.
    """
    runs: list[tuple[str, bytes]] = []
    for coding, content in contents:
        codec = codec_of(coding) or ""
        if runs and runs[-1][0] == codec:
            runs[-1] = codec, runs[-1][1] + content
        else:
            runs.append((codec, content))
    return "".join(_decode(codec, content, options) for codec, content in runs).replace("\0", "")


def codec_of(data_coding: int) -> str | None:
    """How Python reads it, `` being the SMSC's own alphabet; None where it is no text, or in no alphabet known here."""
    if data_coding < 0x10:
        return "" if data_coding == 0 else _CODECS.get(data_coding)
    # As in TS 23.038: a text with a class, or one that says that there is voice mail.
    if data_coding < 0x40:
        return {0: "", 2: "utf-16-be"}.get(data_coding >> 2 & 3)
    if data_coding >= 0xF0:
        return None if data_coding & 4 else ""
    if data_coding >= 0xC0:
        return "utf-16-be" if data_coding >= 0xE0 else ""
    return None


def canonical_id(message_id: str, ids: Ids) -> str:
    """A message's id in the one form in which its response's and its receipt's are the same."""
    base = _BASES.get(ids)
    if base is None:
        return message_id.strip()
    try:
        return str(int(message_id, base))
    except ValueError:
        return message_id.strip()


def read_address(address: Address, options: SmppOptions) -> str:
    """A number in E.164 form where that is what it is; else, as of short codes and names, as it came."""
    digits = address.digits.strip()
    plain = digits.removeprefix("+")
    if not plain.isascii() or not plain.isdigit():
        return digits
    if digits.startswith("+") or address.ton == 1:
        return f"+{plain.removeprefix('00')}"
    if address.ton == 2 and options.country:
        return f"+{options.country}{plain.lstrip('0')}"
    if address.ton == 0 and plain.startswith("00"):
        return f"+{plain[2:]}"
    # Many an SMSC leaves the type open; a short code is shorter than any number with its country.
    if address.ton == 0 and len(plain) > 7 and not plain.startswith("0"):
        return f"+{plain}"
    return digits


def _alphabets(body: str, options: SmppOptions) -> list[Alphabet]:
    """What this text may be written in."""
    alphabets = [Alphabet.UCS_2]
    if options.latin_1:
        alphabets.append(Alphabet.LATIN_1)
    # To an SMSC whose own alphabet is Latin-1, that is how GSM's is written, and it lacks some of it.
    if options.alphabet == "gsm" or max(body, default="") <= "\xff":
        alphabets.append(Alphabet.GSM)
    return alphabets


def _encode(text: str, alphabet: Alphabet, options: SmppOptions) -> bytes:
    if alphabet is Alphabet.GSM and options.alphabet == "latin-1":
        alphabet = Alphabet.LATIN_1
    return encode_text(text, alphabet)


def _decode(codec: str, content: bytes, options: SmppOptions) -> str:
    if codec == _IA5:
        is_gsm = content.isascii() and _CONTROL.search(content) is not None
        return decode_gsm(content) if is_gsm else content.decode("latin-1")  # an eighth bit is of neither
    if codec:
        return content.decode(codec, "replace")
    return decode_gsm(content) if options.alphabet == "gsm" else content.decode("latin-1")


def _address(number: str, ton: int | None, npi: int | None, options: SmppOptions) -> Address:
    if number.startswith("+"):
        form = 1, 1, number if options.plus else number[1:]
    elif number.isascii() and number.isdigit():
        form = 3, 0, number  # a short code is the network's own
    else:
        form = 5, 0, number
    return Address(form[0] if ton is None else ton, form[1] if npi is None else npi, form[2])


def _read_header(content: bytes) -> dict[int, bytes] | None:
    """The elements of a user data header; None if it does not fit into its message."""
    end = content[0] + 1 if content else 1
    if len(content) < end:
        return None
    elements: dict[int, bytes] = {}
    start = 1
    while start + 2 <= end:
        element, length = content[start], content[start + 1]
        elements[element] = content[start + 2 : min(start + 2 + length, end)]
        start += 2 + length
    return elements


def _number(message: ShortMessage, tag: Tag) -> int:
    return int.from_bytes(message.tlvs.get(tag, b"")[-_MOST_OCTETS:])


def _read_receipt(message: ShortMessage, number: str, options: SmppOptions) -> Receipt | None:
    text = decode([(message.data_coding, message.content)], options)
    found = _ID.search(text)
    message_id = message.tlvs.get(Tag.RECEIPTED_MESSAGE_ID, b"").partition(b"\0")[0].decode("latin-1")
    message_id = message_id or (found[1] if found else "")
    status = _STATES.get(_number(message, Tag.MESSAGE_STATE))
    if status is None and (word := _STAT.search(text)):
        status = _WORDS.get(word[1].upper())
    message_id = canonical_id(message_id, options.receipt_ids)
    if not message_id or not is_id(message_id) or status is None:
        return None
    return Receipt(number, message_id, status)
