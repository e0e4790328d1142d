"""…/Messages/{MM}/Media: what goes with a message's leg, in Twilio's shape, read-only. And what media links are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

from maskline.api import v2010
from maskline.api.context import Context
from maskline.api.http import Answer, Request
from maskline.api.render import Json
from maskline.domain import problems
from maskline.domain.media import MEDIA_PREFIX, Medium, media_of, media_sid
from maskline.domain.problems import Problem
from maskline.domain.webhook_url import as_sent, is_url
from maskline.flows.media import MediaRelay
from maskline.store.engine import Tx
from maskline.store.legs import FoundLeg, load_leg
from maskline.store.pages import Page, Seek

# It is a stranger's: a browser must take it for what it is said to be, and let it do nothing.
_INERT = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'",
    "Cache-Control": "private, max-age=3600",
}


@dataclass(frozen=True, slots=True)
class _Attached:
    sid: str
    medium: Medium
    of: FoundLeg


def _load(tx: Tx, account_sid: str, message_sid: str) -> list[_Attached]:
    """The media of this message, in their order. Raises 20404 if there is no such message."""
    leg = load_leg(tx, account_sid, "message", message_sid)
    media = media_of(json.loads(leg.interaction.data))
    return [_Attached(media_sid(leg.sid, number), medium, leg) for number, medium in enumerate(media)]


def _page(media: list[_Attached], seek: Seek) -> Page[_Attached]:
    """Few enough to read all, and go through them by their SIDs."""
    (key,) = seek.key if seek.key is not None and len(seek.key) == 1 else (None,)
    if (seek.key is not None and key is None) or not isinstance(key, str | None):
        raise Problem(problems.PARAMETER_INVALID, "PageToken is of another list")
    before = [one for one in media if key is not None and one.sid < key]
    after = [one for one in media if key is None or one.sid > key]
    if seek.back and key is not None:
        return Page(before[-seek.size :], newer=len(before) > seek.size, older=True)
    return Page(after[: seek.size], newer=key is not None, older=len(after) > seek.size)


class MessageMedia:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def list(self, request: Request) -> Answer:
        message_sid = v2010.sid_of(request, "SM", "MM", name="message")
        account_sid = request.account_sid
        return await v2010.answer_list(
            self._c.store,
            request,
            f"Messages/{message_sid}/Media",
            "media_list",
            lambda tx, seek: _page(_load(tx, account_sid, message_sid), seek),
            lambda one: _render(one, account_sid),
        )

    async def fetch(self, request: Request) -> Answer:
        """What it is; or, at its address without `.json`, where it can be fetched from."""
        message_sid = v2010.sid_of(request, "SM", "MM", name="message")
        sid = v2010.sid_of(request, MEDIA_PREFIX)
        media = await self._c.store.read(_load, request.account_sid, message_sid)
        for one in media:
            if one.sid != sid:
                continue
            if v2010.is_json(request):
                return Answer(_render(one, request.account_sid))
            if is_url(one.medium.url):  # a carrier may bring anything
                return Answer(None, 307, {"Location": as_sent(one.medium.url)})
        raise Problem(problems.NOT_FOUND)


class Links:
    """The handler of links to media (`MediaRelay`), for whoever has one."""

    def __init__(self, relay: MediaRelay) -> None:
        self._relay = relay

    async def fetch(self, request: Request) -> Answer:
        fetched = await self._relay.fetch(request.sids["token"])
        request.exchange.sent = partial(self._relay.was_read, fetched)
        return Answer(fetched.content, headers={"Content-Type": fetched.content_type, **_INERT})


def _render(one: _Attached, account_sid: str) -> Json:
    created = v2010.render_date(one.of.interaction.created_at)
    return {
        "sid": one.sid,
        "account_sid": account_sid,
        "parent_sid": one.of.sid,
        "content_type": one.medium.known_type,
        "date_created": created,
        "date_updated": created,
        "uri": v2010.uri(account_sid, f"Messages/{one.of.sid}/Media", one.sid),
    }
