"""SignalWire: the same wire as Twilio's under the account's own host, with UUIDs as ids and a signature of its own.

    POST https://{space}/api/laml/2010-04-01/Accounts/{project_id}/Messages.json        Basic {project_id}:{api_token}
    POST …/carriers/north/message        X-SignalWire-Signature: …

What is signed is the address and the body as it came (hexadecimal), or, as Twilio does, the address and the fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

from msgspec import Meta

from maskline.carriers.base import Kind, Options
from maskline.carriers.twilio import KINDS, TwilioCarrier
from maskline.domain.signature import check, check_whole

# Where it has a code for what Twilio has one for, it is Twilio's (https://developer.signalwire.com, error codes).
OWN_KINDS: Mapping[int, Kind] = {
    **KINDS,
    4001: Kind.MISCONFIGURED,  # the balance does not cover it,
    10001: Kind.MISCONFIGURED,  # the space may not do this,
    10002: Kind.MISCONFIGURED,  # nor may a trial account,
    10004: Kind.MISCONFIGURED,  # or the project is another's
}


class SignalWireOptions(Options, frozen=True):
    """What the settings say of an account."""

    space: Annotated[
        str,
        Meta(
            pattern=r"^(https?://)?[A-Za-z0-9.-]+(:[0-9]+)?$",
            description="Its host, such as shop.signalwire.com.",
        ),
    ]
    project_id: Annotated[
        str, Meta(pattern="^[0-9a-f-]{36}$", description="The project's id, such as 7b981d06-fa9e-….")
    ]
    api_token: Annotated[
        str, Meta(min_length=1, description="An API token with the scopes messaging, calling and numbers.")
    ]
    signing_key: Annotated[
        str, Meta(min_length=1, description="The project's signing key, which signs its webhooks.")
    ]


class SignalWireCarrier(TwilioCarrier):
    """One account."""

    options: ClassVar[type[Options]] = SignalWireOptions
    kinds: ClassVar[Mapping[int, Kind]] = OWN_KINDS
    vendor: ClassVar[str] = "SignalWire"
    header: ClassVar[str] = "X-SignalWire-Signature"

    def open(self, options: SignalWireOptions) -> tuple[str, str, str]:
        self._signing_key = options.signing_key
        host = options.space if "://" in options.space else f"https://{options.space}"
        url = f"{host}/api/laml/2010-04-01/Accounts/{options.project_id}"
        return url, options.project_id, options.api_token

    def has_signed(
        self, url: str, fields: Iterable[tuple[str, str]], headers: Mapping[str, str], body: bytes
    ) -> bool:
        given = headers.get(self.header.lower(), "")
        # Both are tried, so that the time taken tells nothing.
        return any(
            [check(self._signing_key, url, fields, given), check_whole(self._signing_key, url, body, given)]
        )
