"""What a webhook in Twilio's manner says of a message or of a call: its fields, once they are known to be signed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count

from maskline.carriers.base import MOST_ID, Inbound
from maskline.carriers.webhooks import CallAsked, Unreadable
from maskline.domain.media import Medium, read_type

MOST_NUMBER = MOST_SID = MOST_ID
_SIDS = re.compile("[A-Z]{2}[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What Twilio's SIDs look like, and those of who speaks as they do."""


def read_message(form: Mapping[str, str], carrier_account: str) -> Inbound:
    """A text to a number of ours. Raises Unreadable."""
    return Inbound(
        carrier_account=carrier_account,
        carrier_id=read_sid(form, "MessageSid")
        or read_sid(form, "SmsSid")
        or required(form, "SmsSid", MOST_SID),
        to=required(form, "To", MOST_NUMBER),
        from_=required(form, "From", MOST_NUMBER),
        body=form.get("Body", ""),
        media=_media(form),
    )


def read_call(form: Mapping[str, str]) -> CallAsked:
    """A call to a number of ours. Raises Unreadable."""
    read_sid(form, "CallSid")
    for name in ("CallSid", "To"):
        required(form, name, MOST_SID)
    if len(form.get("From", "")) > MOST_NUMBER:  # empty where the caller hides it
        raise Unreadable(f"From (at most {MOST_NUMBER} characters)")
    return CallAsked(form)


def required(form: Mapping[str, str], name: str, most: int) -> str:
    """A field that must be there and not be empty. Raises Unreadable."""
    if not (value := form.get(name, "")):
        raise Unreadable(f"{name} is required")
    if len(value) > most:
        raise Unreadable(f"{name} (at most {most} characters)")
    return value


def read_sid(form: Mapping[str, str], name: str) -> str:
    """Its own name for what it brings; empty if there is none. One of Twilio's with more behind it is refused: what is
    signed has no borders, so a signed request could be played again as another one by moving the next field into it.

    Raises Unreadable.
    """
    sid = form.get(name, "")
    if len(sid) > MOST_SID:
        raise Unreadable(f"{name} (at most {MOST_SID} characters)")
    known = _SIDS.match(sid)
    if known is not None and known.end() < len(sid):
        raise Unreadable(name)
    return sid


def _media(form: Mapping[str, str]) -> tuple[Medium, ...]:
    """What came with it, by its own count: NumMedia may say anything."""
    media = []
    for number in count():
        if not (url := form.get(f"MediaUrl{number}")):
            break
        media.append(Medium(url, read_type(form.get(f"MediaContentType{number}"))))
    return tuple(media)
