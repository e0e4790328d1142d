"""Traffic for which there is no Session: the form that asks the OutOfSessionCallbackUrl, and what its answer means.

The form has the names of Twilio's inbound webhooks, and of the last Session of the pair if there was one. It hands the
customer the real numbers of both sides; that is what it is for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from maskline.domain import problems
from maskline.domain.dates import iso_date, parse_instant
from maskline.domain.geo import area_code, find_area
from maskline.domain.ids import AccountSid
from maskline.domain.media import media_of
from maskline.domain.model import Instant, Mode, Participant, Session
from maskline.domain.phone import country_of
from maskline.domain.problems import Problem
from maskline.domain.text import count_segments
from maskline.domain.twiml import TwimlError, Verb, parse_twiml

MOST_TTL = 2_147_483_646
MOST_IDENTIFIER, MOST_PROXY, MOST_NAME = 191, 255, 191
# Half a character of UTF-16, which JSON can name, is no text: nothing that has it can be kept.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# What Twilio sends of add-ons where nobody has any.
_NO_ADD_ONS = '{"status":"successful","message":null,"code":null,"results":{}}'


@dataclass(frozen=True, slots=True)
class LastSession:
    """The last Session of a pair that is over, the participant who writes or calls, and the other one if there was."""

    session: Session
    inbound: Participant
    outbound: Participant | None


@dataclass(frozen=True, slots=True)
class AutoCreate:
    """The Session that the customer wants for a stranger and the one they are to reach."""

    identifier: str
    proxy_identifier: str | None = None
    unique_name: str | None = None
    mode: Mode | None = None
    ttl: int | None = None
    expiry_at: Instant | None = None


def render_message_form(
    account_sid: str, sid: str, from_: str, to: str, data: str, last: LastSession | None
) -> dict[str, str]:
    """What is asked of a message; `data` is as an Interaction has it."""
    content = json.loads(data)
    body, media = content.get("body", ""), media_of(content)
    form = {
        **_common(account_sid),
        **_place("From", from_),
        **_place("To", to),
        "MessageSid": sid,
        "SmsSid": sid,
        "SmsMessageSid": sid,
        "SmsStatus": "received",
        "Body": body,
        "NumMedia": str(len(media)),
        "NumSegments": str(count_segments(body)),
    }
    for number, medium in enumerate(media):
        form[f"MediaUrl{number}"] = medium.url
        form[f"MediaContentType{number}"] = medium.known_type
    return form | render_last(account_sid, last)


def render_call_form(
    account_sid: str, from_: str, to: str, asked: Mapping[str, str], last: LastSession | None
) -> dict[str, str]:
    """What is asked of a call: what its carrier `asked` goes with it, keys that were pressed among it."""
    form = {
        **_place("From", from_),
        **_place("Caller", from_),
        **_place("To", to),
        **_place("Called", to),
        "CallStatus": "ringing",
        "Direction": "inbound",
        **asked,
        **_common(account_sid),
    }
    return form | render_last(account_sid, last)


def _common(account_sid: str) -> dict[str, str]:
    return {"AccountSid": account_sid, "ApiVersion": "2010-04-01", "AddOns": _NO_ADD_ONS}


def _place(side: str, address: str) -> dict[str, str]:
    """A number and where it is, as far as its digits tell. What they do not tell is empty."""
    code = area_code(address)
    area = find_area(code) if code is not None else None
    return {
        side: address,
        f"{side}City": "",
        f"{side}State": area.region if area is not None else "",
        f"{side}Zip": "",
        f"{side}Country": country_of(address) or "",
    }


def render_last(account_sid: str, last: LastSession | None) -> dict[str, str]:
    """The fields of the last Session and its participants; what has no value has no key."""
    if last is None:
        return {}
    session = last.session
    dates = {
        "DateCreated": session.created_at,
        "DateUpdated": session.updated_at,
        "DateStarted": session.started_at,
        "DateEnded": session.ended_at,
        "DateLastInteraction": session.last_interaction_at,
    }
    fields: dict[str, str | None] = {
        "sessionSid": session.sid,
        "sessionUniqueName": session.unique_name,
        "sessionAccountSid": account_sid,
        "sessionServiceSid": session.service_sid,
        "sessionStatus": session.status,
        "sessionMode": session.mode,
        "sessionClosedReason": session.closed_reason,
        "ttl": str(session.ttl),
        **{f"session{name}": None if at is None else iso_date(at) for name, at in dates.items()},
    }
    for side, participant in (("inbound", last.inbound), ("outbound", last.outbound)):
        if participant is not None:
            fields |= _participant(f"{side}Participant", AccountSid(account_sid), participant)
    return {name: value for name, value in fields.items() if value is not None}


def _participant(prefix: str, account_sid: AccountSid, participant: Participant) -> dict[str, str | None]:
    return {
        f"{prefix}Sid": participant.sid,
        f"{prefix}Identifier": participant.identifier,
        f"{prefix}FriendlyName": participant.friendly_name,
        f"{prefix}ProxyIdentifier": participant.proxy_identifier,
        f"{prefix}ProxyIdentifierSid": participant.proxy_identifier_sid,
        f"{prefix}AccountSid": account_sid,
        f"{prefix}ServiceSid": participant.service_sid,
        f"{prefix}SessionSid": participant.session_sid,
        f"{prefix}DateCreated": iso_date(participant.created_at),
        f"{prefix}DateUpdated": iso_date(participant.updated_at),
    }


def read_answer(content_type: str, body: bytes) -> list[Verb] | AutoCreate | None:
    """What a 2xx answer says: TwiML to carry out, a Session to make, or nothing.

    Raises TwimlError, and Problem (80701) for JSON that asks for no Session.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if not body.strip():
        return None
    if kind in ("application/xml", "text/xml"):
        return parse_twiml(body, content_type)
    if kind == "application/json":
        return _read_json(body)
    return None


def _read_json(body: bytes) -> AutoCreate:
    try:
        # By the standard JSON is UTF-8, whatever charset the header names.
        decoded = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise Problem(problems.PARAMETER_INVALID, "The answer is not JSON in UTF-8") from None
    if isinstance(decoded, str):
        raise TwimlError(
            problems.TWIML_UNREADABLE, "the answer is a quoted string: an object was encoded as JSON twice"
        )
    if not isinstance(decoded, dict):
        raise Problem(problems.PARAMETER_INVALID, "The answer is no JSON object")
    identifier = _text(decoded, "participantIdentifier", MOST_IDENTIFIER)
    if not identifier:
        raise Problem(problems.PARAMETER_INVALID, "participantIdentifier is required")
    mode = _text(decoded, "mode", 20)
    date = _text(decoded, "dateExpiry", 40)
    try:
        return AutoCreate(
            identifier=identifier,
            proxy_identifier=_text(decoded, "participantProxyIdentifier", MOST_PROXY) or None,
            unique_name=_text(decoded, "uniqueName", MOST_NAME) or None,
            mode=Mode(mode.lower()) if mode else None,
            ttl=_ttl(decoded.get("ttl")),
            expiry_at=parse_instant(date) if date else None,
        )
    except ValueError:
        wrong = f"dateExpiry or mode (one of {', '.join(Mode)})"
        raise Problem(problems.PARAMETER_INVALID, wrong) from None


def _text(decoded: dict[str, object], name: str, most: int) -> str | None:
    value = decoded.get(name)
    if value is None or (isinstance(value, str) and len(value) <= most and _UNSTORABLE.search(value) is None):
        return value
    raise Problem(problems.PARAMETER_INVALID, f"{name} (a text of at most {most} characters)")


def _ttl(value: object) -> int | None:
    """A whole number, or one as a text."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(MOST_TTL)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TTL:
        raise Problem(problems.PARAMETER_INVALID, f"ttl (a whole number of seconds up to {MOST_TTL})")
    return value
