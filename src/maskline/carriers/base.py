"""What a carrier is to maskline: it takes a message once and says what became of it, and it brings events.

A carrier says what it can do (`Capabilities`), and fails in one way only: `CarrierError`, with a kind that says
whether the message may have been taken. The policies of the vendor are the vendor's to enforce. What an operator can
say of an account are its `Options`, and what it works with it is handed (`Means`): it knows nothing else of maskline.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from maskline.clock import Clock
from maskline.domain.http import Answer
from maskline.domain.interaction import MessageStatus
from maskline.domain.media import Medium
from maskline.domain.model import SECOND
from maskline.domain.part import Part
from maskline.domain.problems import Code
from maskline.domain.throughput import Throughput, gap_of


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to hand over. `sid` is our own SID of it, and its key where the carrier takes keys. For a look-up:
    `handed_at` is when it was handed over.
    """

    sid: str
    account_sid: str
    from_: str
    to: str
    body: str
    media: tuple[str, ...] = ()
    handed_at: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """The carrier has it, under this id of its own. None: it said yes without one (GARBLED): sent, never repeated."""

    carrier_id: str | None


MOST_ID = 191
"""Characters in a carrier's id of a message."""


def is_id(said: str) -> bool:
    """Whether this can be a carrier's id of a message: any database keeps it, and a report can name it."""
    return len(said) <= MOST_ID and "\0" not in said


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message that somebody sent to a number of ours. `forwarded`: it is not the carrier account that says so, but
    who has the number, so it may be about anything.
    """

    carrier_account: str
    carrier_id: str
    to: str
    from_: str
    body: str
    media: tuple[Medium, ...] = ()
    forwarded: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a carrier says later of a message: `number` is ours, `carrier_id` the carrier's id of the message, `sid` our
    own, where the carrier gives it back. `opted_out`: it failed because the recipient has opted out. `parts`: if it is
    about a part of a long text, of how many that is; then `carrier_id` is the part's, and `sid` is there.
    """

    carrier_account: str
    number: str
    carrier_id: str
    status: MessageStatus
    sid: str = ""
    opted_out: bool = False
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about a message to a number of ours that its owner has to know: it becomes an event. `why`
    says nothing of what was written.
    """

    carrier_account: str
    to: str
    from_: str
    code: Code
    why: str = ""


CarrierEvent = Inbound | Report | Notice

Bring = Callable[[CarrierEvent], Awaitable[bool]]
"""Takes an event in for good: the other end may be acknowledged once it returns. False: a message is to a number that
this account carries for nobody, and is not kept. Raises if it could not be stored: it has to come again.
"""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the carrier can do. `carrier_keys`: a repeat under the same key is not sent twice. `look_up`: it can be
    asked whether it took a message, which may turn up until `settle_s` after its hand-over. `parts`: of how many parts
    a text may be that it is handed as one.
    """

    sms: bool = True
    mms: bool = False
    voice: bool = False
    receipts: bool = False
    carrier_keys: bool = False
    look_up: bool = False
    settle_s: int = 0
    parts: int = 1


class Kind(Enum):
    """Kinds of failure, by what may have happened to the message."""

    UNREACHABLE = "unreachable"
    """DNS, connect, TLS, pool time-out: certainly not taken; retry."""
    THROTTLED = "throttled"
    """Certainly not taken; retry after what the carrier asks."""
    REJECTED = "rejected"
    """Certainly refused, for good."""
    OPTED_OUT = "opted out"
    """Refused because the recipient has opted out."""
    MISCONFIGURED = "misconfigured"
    """The account's credentials are refused: nothing of this account can be sent until that is mended."""
    UNCERTAIN = "uncertain"
    """It may have been taken: time-out or close after the first byte, 5xx."""


class CarrierError(Exception):
    """A hand-over that did not succeed. `detail` is for the log and holds no body and no full number."""

    def __init__(self, kind: Kind, detail: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail
        self.retry_after_s = retry_after_s


class NotCarried(CarrierError):
    """The account has no such number."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(Kind.REJECTED, detail)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the settings can say of an account; each kind of carrier adds its own, with a sentence each
    (`msgspec.Meta(description=…)`) from which its page is made.
    """

    messages_per_second: Annotated[
        Annotated[float, Meta(ge=0.001)] | None,
        Meta(description="How many messages a second it is handed at most, of all its numbers together."),
    ] = None
    number_messages_per_second: Annotated[
        Annotated[float, Meta(ge=0.001)] | None,
        Meta(description="How many each of its numbers sends at most, unless it has a rate of its own."),
    ] = None
    window_s: Annotated[
        float,
        Meta(
            ge=0, le=3600, description="Over how long that is counted: so many seconds' worth may go at once."
        ),
    ] = 1

    report_within_s: Annotated[
        int,
        Meta(
            ge=0,
            description="When it reports on nothing that it took for so long, an event says so; 0: never.",
        ),
    ] = 3600

    outage_after_s: Annotated[
        int,
        Meta(
            ge=0,
            description="When every hand-over has failed for so long, its messages wait until one succeeds; 0: never.",
        ),
    ] = 60

    def limit(self, can: Capabilities) -> Capabilities:
        """What an account with these options can do, of what its kind can."""
        return can

    @property
    def throughput(self) -> Throughput:
        """The limits."""
        return Throughput(
            gap_of(self.messages_per_second),
            gap_of(self.number_messages_per_second),
            round(self.window_s * SECOND),
        )


class Http(Protocol):
    """Calls an API. Redirects are answers like any other."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        within_s: float,
    ) -> Answer:
        """Ask this once. Raises HttpError."""


class Inbox(Protocol):
    """What an account has brought that its other end may not know of, or not all of. Every method has committed when it
    returns; it raises if it could not.
    """

    async def keep_part(self, part: Part) -> list[Part]:
        """Keep a part of a message. Gives all parts, in order, if that makes it complete and it has not gone on."""

    async def mark_brought(self, part: Part) -> None:
        """The message of this part has gone on."""

    async def waiting_parts(self, carrier_account: str, wait_s: float, most: int) -> list[list[Part]]:
        """Messages that have to go on: complete ones, and those of which the first part came so long ago."""

    async def answered(self, carrier_account: str, number: str, carrier_id: str) -> None:
        """The other end has been told that this `Inbound` to the number is taken. It may not have heard that yet."""

    async def settled(self, carrier_account: str, answered: Sequence[tuple[str, str]]) -> None:
        """The other end has heard that these (number, id) are taken, and will not bring them again."""

    async def unsettled(self, carrier_account: str) -> list[tuple[str, bool]]:
        """The ids of what was brought in the last ten minutes and is not `settled`, and whether it was `answered`."""


@dataclass(frozen=True, slots=True)
class Means:
    """What an account is handed to work with. `url` is where its own webhooks are, without a slash at the end."""

    http: Http
    clock: Clock
    bring: Bring
    inbox: Inbox
    url: str


Keep = Callable[[str], Awaitable[None]]
"""Keeps, for good, where a number's traffic goes, in the carrier's own words."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was looked at; what is wrong has a remedy."""

    says: str
    remedy: str | None = None


class Carrier(Protocol):
    """One account at one carrier. What has a body here, a carrier without the need leaves out."""

    name: str

    async def capabilities(self, account_sid: str) -> Capabilities:
        """What it can do for this account."""

    async def send(self, message: Outgoing) -> Accepted:
        """Hand the message over once. Raises CarrierError."""

    async def look_up(self, message: Outgoing) -> Sequence[str]:
        """The ids of all that it took and that may be this message. Raises CarrierError.

        Called only where `capabilities` says that it can be asked.
        """
        raise NotImplementedError

    async def adopt(self, account_sid: str, number: str, keep: Keep) -> None:
        """Bring here from now on what comes to this number of the account: it is about to join a pool.

        Where it goes until now is kept before that is changed. Harmless to repeat. Raises CarrierError, with nothing
        changed; NotCarried if the number is not its own.
        """
        return

    async def release(self, number: str, former: str) -> None:
        """Bring what comes to this number where it went before, as it was kept, unless others have changed that.

        Harmless to repeat. Raises CarrierError, NotCarried.
        """
        return

    async def check(self, numbers: Sequence[str]) -> Sequence[Checked]:
        """Look whether the account can work, and whether what comes to these numbers of pools is brought here. Changes
        nothing, and sends nothing to anybody.
        """
        return ()

    async def take_part(self, part: Part) -> bool:
        """Take in a part of a long message that it has heard, and bring that on if it is whole now. As `Bring`."""
        return False

    def fetchable(self, url: str) -> str:
        """The address by which a medium is fetched that this account has brought: with its credentials, if needed."""
        return url

    async def run(self) -> None:
        """Keep up what the account needs for as long as the server lives, a connection for example, until cancelled."""
        return

    async def close(self) -> None:
        """Say good-bye: nothing more will be sent, and what was is answered. `run` is cancelled afterwards."""
        return


class CarrierKind(Protocol):
    """The class of a carrier, as the registry has it (`carriers.kinds`)."""

    @property
    def options(self) -> type[Options]: ...

    @property
    def can(self) -> Capabilities:
        """What an account can do at most."""

    def __call__(self, name: str, options: Any, means: Means) -> Carrier:
        """The account of this name, in the running loop."""
