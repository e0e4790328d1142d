"""Media from one handset on their way to the other: fetched from where they are, so that nobody at the other end learns
where that is. A carrier's address of a medium may name the account or the number that sent it.

The link holds the address itself, sealed, and who brought it, so nothing is kept; it is good for a while. Whoever sends
a message may name any address: only what a carrier account has brought itself is fetched with its credentials. What is
not what people send each other, or too large, is not passed on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from maskline.carriers.base import Carrier
from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.http import HttpError
from maskline.domain.media import UNKNOWN, Medium, read_type
from maskline.domain.model import DAY, SECOND
from maskline.domain.problems import Problem
from maskline.net import HttpClient
from maskline.vault import Vault, WrongKey

KIND = "medium"
LINK_LIFE_US = 30 * DAY
MOST_BYTES = 5 * 1024 * 1024
MOST_AT_ONCE, MOST_EACH = 32, 8
"""How many are fetched at a time: in all, and of one account's messages, so that nobody takes all the places."""
DEADLINE_S = 30.0
MOST_UNREAD, MOST_UNREAD_EACH = 256 * 1024 * 1024, 64 * 1024 * 1024
"""How many bytes may be kept for those who have asked for media and have not read them yet, likewise."""

# No markup, which could act in the name of this server.
_PASSED_ON = re.compile(
    r"(image|audio|video)/(?!svg)[^/]+|text/(plain|vcard|x-vcard|calendar)|application/(pdf|ogg)"
)
_UNSAID = ("", UNKNOWN, "binary/octet-stream")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A medium as it is passed on, of a message of this account."""

    account_sid: str
    content_type: str
    content: bytes


class MediaRelay:
    """Makes links, and fetches what they stand for. `public_url` is what they begin with; `carriers` are the accounts,
    each of which knows what opens what it has brought.
    """

    def __init__(
        self, clock: Clock, vault: Vault, http: HttpClient, public_url: str, carriers: Mapping[str, Carrier]
    ) -> None:
        self._clock = clock
        self._vault = vault
        self._http = http
        self._carriers = carriers
        self._root = f"{public_url.rstrip('/')}/media/"
        self._under_way: Counter[str] = Counter()
        self._unread: Counter[str] = Counter()

    def link(self, medium: Medium, brought_by: str, account_sid: str, sendable_until: int) -> str:
        """A link to a medium of an account's message that this carrier account brought, good for a month longer than
        that can wait to be sent. Always the same one.
        """
        until_s = (sendable_until + LINK_LIFE_US) // SECOND
        concealed = f"{until_s:x} {account_sid} {brought_by} {medium.content_type} {medium.url}"
        return self._root + self._vault.conceal(KIND, concealed)

    async def fetch(self, token: str) -> Fetched:
        """What a link stands for; it counts until it `was_read`. Raises 20404, 20503, 11200."""
        try:
            until_s, account_sid, brought_by, said, url = self._vault.reveal(KIND, token).split(" ", 4)
        except (WrongKey, ValueError):
            raise Problem(problems.NOT_FOUND) from None
        if self._clock.now() >= int(until_s, 16) * SECOND:
            raise Problem(problems.NOT_FOUND)
        under_way, unread = self._under_way, self._unread
        full = under_way.total() >= MOST_AT_ONCE or unread.total() >= MOST_UNREAD
        if full or under_way[account_sid] >= MOST_EACH or unread[account_sid] >= MOST_UNREAD_EACH:
            raise Problem(problems.UNAVAILABLE, headers={"Retry-After": "1"})
        under_way[account_sid] += 1
        try:
            fetched = await self._fetch(account_sid, brought_by, Medium(url, said))
        finally:
            under_way -= Counter((account_sid,))  # keeps only who still has some
        unread[account_sid] += len(fetched.content)
        return fetched

    def was_read(self, fetched: Fetched) -> None:
        """It is kept no longer for whoever asked for it."""
        self._unread -= Counter({fetched.account_sid: len(fetched.content)})

    async def _fetch(self, account_sid: str, brought_by: str, medium: Medium) -> Fetched:
        carrier = self._carriers.get(brought_by)
        url = medium.url if carrier is None else carrier.fetchable(medium.url)
        try:
            answer = await self._http.fetch(url, most_bytes=MOST_BYTES, total_s=DEADLINE_S)
        except HttpError as error:
            raise _unavailable(error.kind.value) from None
        if answer.status != 200:
            raise _unavailable(f"it answers {answer.status}")
        content_type = read_type(answer.content_type)
        if content_type in _UNSAID:
            content_type = medium.known_type
        if not _PASSED_ON.fullmatch(content_type):
            raise _unavailable(f"{content_type} is not passed on")
        return Fetched(account_sid, content_type, answer.body)


def _unavailable(why: str) -> Problem:
    _log.info("media.unavailable", why=why)
    return Problem(problems.MEDIUM_UNAVAILABLE, why)
