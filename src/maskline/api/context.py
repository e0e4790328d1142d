"""What the handlers work with: built once by the composition root, handed to every module of the API."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from maskline.api.http import Authenticator
from maskline.api.render import Renderer
from maskline.carriers.base import Bring, Carrier, Inbound
from maskline.carriers.sandbox import SandboxCarrier
from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.problems import Code, Problem
from maskline.flows.call_relay import CallRelay
from maskline.flows.calls import Calls
from maskline.flows.handsets import Handsets
from maskline.flows.media import MediaRelay
from maskline.flows.messages import Messages
from maskline.flows.sessions import Sessions
from maskline.mint import Mint
from maskline.store.engine import Store
from maskline.store.receive import Received
from maskline.vault import Vault


@dataclass(frozen=True, slots=True)
class Context:
    """`sandbox` is None where the sandbox carrier is off. `guard_services`: those in use cannot be deleted.

    `receive` takes in for good a message that a carrier brings, `bring` whatever one brings.
    """

    store: Store
    clock: Clock
    mint: Mint
    vault: Vault
    auth: Authenticator
    render: Renderer
    sessions: Sessions
    messages: Messages
    calls: Calls
    call_relay: CallRelay
    handsets: Handsets
    media: MediaRelay
    receive: Callable[[Inbound], Awaitable[Received]]
    bring: Bring
    carriers: Mapping[str, Carrier]
    sandbox: SandboxCarrier | None
    guard_services: bool


_CANONICAL = re.compile(r"[A-Z]{2}[0-9a-f]{32}")

_MALFORMED: dict[str, Code] = {
    "KS": problems.NOT_FOUND,
    "KC": problems.SESSION_SID_INVALID,
    "KP": problems.PARTICIPANT_SID_INVALID,
    "KI": problems.INTERACTION_SID_INVALID,
    "PN": problems.PHONE_NUMBER_SID_INVALID,
    "SC": problems.NOT_FOUND,  # Twilio has no code for it
}


def sid_in_path(text: str, prefix: str) -> str:
    """A SID of this kind as it is stored. Raises the code that Twilio has for a malformed one of its kind."""
    if text[:2] == prefix and _CANONICAL.fullmatch(text) is not None:
        return text
    if not is_sid(text, prefix):
        raise Problem(_MALFORMED[prefix])
    return canonical(text)
