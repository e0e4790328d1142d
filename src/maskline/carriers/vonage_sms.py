"""Vonage's SMS API, the older of its two: texts only.

    POST {rest}/sms/json     Basic; from=14155550100&to=12125550177&text=hi&type=text&client-ref=SM…
                             &callback=https://…/carriers/north/receipt
    200 {"message-count": "1", "messages": [{"to": …, "message-id": "0A…", "status": "0"}]}
    200 {"message-count": "1", "messages": [{"status": "1", "error-text": "…"}]}
    POST …/carriers/north/sms          a form or JSON, with sig
      {"msisdn": "12125550177", "to": "14155550100", "messageId": "0A…", "type": "text", "text": "hi", "api-key": …,
       "concat": "true", "concat-ref": "17", "concat-total": "2", "concat-part": "1", "timestamp": …, "sig": …}
    POST …/carriers/north/receipt      {"msisdn": "12125550177", "to": "14155550100", "messageId": "0A…",
       "status": "delivered", "client-ref": "SM…", …}

Of a long text each part has an id and receipts of its own, all with our reference: our SID and, behind a dot, of how
many parts it is. Which of them a receipt is about it does not say. One from a handset comes in parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maskline.carriers.base import Accepted, CarrierError, Inbound, Kind, Notice, Outgoing, Report
from maskline.carriers.twilio_forms import MOST_NUMBER, MOST_SID
from maskline.carriers.vonage_numbers import read_number
from maskline.carriers.webhooks import FORM, NotSigned, WebRequest, required_at, text_at
from maskline.domain import problems
from maskline.domain.interaction import MessageStatus
from maskline.domain.part import OWN_ID, Part
from maskline.domain.text import Alphabet, encode_text, fits_gsm

# What its statuses say of a message that it did not take (https://developer.vonage.com, API errors, SMS).
KINDS: Mapping[str, Kind] = {
    "1": Kind.THROTTLED,  # faster than the account may
    "4": Kind.MISCONFIGURED,
    "5": Kind.UNCERTAIN,  # something went wrong there
    "8": Kind.MISCONFIGURED,  # the account is barred,
    "9": Kind.MISCONFIGURED,  # or has no money left,
    "10": Kind.THROTTLED,  # or has too many connections,
    "11": Kind.MISCONFIGURED,  # or may not use HTTP
    "14": Kind.MISCONFIGURED,  # it wants requests to be signed
    "32": Kind.MISCONFIGURED,
}

# Its words for how far a message is. Whatever it says of one, it has it.
STATUSES: Mapping[str, MessageStatus] = {
    "accepted": MessageStatus.SENT,
    "buffered": MessageStatus.SENT,
    "unknown": MessageStatus.SENT,
    "delivered": MessageStatus.DELIVERED,
    "expired": MessageStatus.UNDELIVERED,
    "failed": MessageStatus.UNDELIVERED,
    "deleted": MessageStatus.UNDELIVERED,
    "rejected": MessageStatus.FAILED,
}

MOST_CALLBACK = 100
"""How long the address for receipts may be."""
_MOST_PARTS = 255


def form_of(message: Outgoing, callback: str) -> dict[str, str]:
    """The request that sends a message; what becomes of it is told to `callback`. Raises CarrierError."""
    if message.media:
        raise CarrierError(Kind.REJECTED, "the SMS API takes no media")
    return {
        "from": message.from_.removeprefix("+"),
        "to": message.to.removeprefix("+"),
        "text": message.body,
        "type": "text" if fits_gsm(message.body) else "unicode",
        "client-ref": _reference_of(message),
        "callback": callback,
    }


def read_sent(content: Mapping[str, Any]) -> Accepted:
    """What an answer says of a message. If any part of it was taken, it is not sent again. Raises CarrierError."""
    parts = content.get("messages")
    parts = parts if isinstance(parts, list) else []
    statuses = [text_at(part, "status") for part in parts]
    if "0" in statuses:
        return Accepted(text_at(parts[statuses.index("0")], "message-id") or None)
    codes = [status for status in statuses if status.isdecimal()]
    if not codes:
        return Accepted(None)
    kinds = [KINDS.get(code, Kind.REJECTED) for code in codes]
    place = kinds.index(Kind.UNCERTAIN) if Kind.UNCERTAIN in kinds else 0
    raise CarrierError(kinds[place], f"code {codes[place]}")


def fields_of(request: WebRequest) -> dict[str, str]:
    """What a webhook says, as it is signed, whichever way the account has it said. Raises NotSigned."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM:
        return dict(request.form_as_signed())
    fields: dict[str, str] = {}
    for name, value in request.json_as_signed().items():
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise NotSigned("a field is neither a text nor a whole number")
        fields[name] = str(value)
    return fields


def read_text(account: str, fields: Mapping[str, str]) -> Inbound | Part | Notice:
    """What was sent to a number of ours. Raises Unreadable."""
    sid = required_at(fields, "messageId", most=MOST_SID)
    to = read_number(required_at(fields, "to", most=MOST_NUMBER))
    sender = read_number(required_at(fields, "msisdn", most=MOST_NUMBER))
    if fields.get("type") == "binary":
        return Notice(account, to, sender, problems.MESSAGE_UNREADABLE, "it is binary")
    text = fields.get("text", "")
    place, total = (_count(fields.get(name, "")) for name in ("concat-part", "concat-total"))
    if fields.get("concat") != "true" or not 1 <= place <= total or total < 2:
        return Inbound(account, sid, to, sender, text)
    return Part(
        carrier_account=account,
        sender=sender,
        number=to,
        reference=required_at(fields, "concat-ref", most=MOST_SID),
        place=place,
        total=total,
        message_id=f"parts.{sid}",
        coding=0,
        content=text.encode("utf-8", "replace").hex(),
        digest=f"{OWN_ID}{sid}",
    )


def read_receipt(account: str, fields: Mapping[str, str]) -> list[Report]:
    """What is told of a message. Raises Unreadable."""
    sid = required_at(fields, "messageId", most=MOST_SID)
    number = read_number(required_at(fields, "to", most=MOST_NUMBER))
    status = STATUSES.get(fields.get("status", ""))
    own_sid, _, parts = fields.get("client-ref", "").partition(".")
    if status is None:
        return []
    return [Report(account, number, sid, status, own_sid, parts=max(1, _count(parts)))]


def decode(parts: Sequence[Part]) -> str:
    """The text of parts that follow each other."""
    return "".join(bytes.fromhex(part.content).decode() for part in parts)


def _reference_of(message: Outgoing) -> str:
    parts = _count_parts(message.body)
    return message.sid if parts == 1 else f"{message.sid}.{parts}"


def _count_parts(text: str) -> int:
    """In how many parts a text goes on, at the least: it may be one more, if no character is cut in two."""
    alphabet, width = (Alphabet.GSM, 1) if fits_gsm(text) else (Alphabet.UCS_2, 2)
    units = len(encode_text(text, alphabet)) // width
    return 1 if units <= alphabet.alone else -(-units // alphabet.room)


def _count(text: str) -> int:
    """A number of parts, or 0 if it is none."""
    return (
        int(text) if text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= _MOST_PARTS else 0
    )
