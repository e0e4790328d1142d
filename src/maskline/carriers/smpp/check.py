"""A look at an SMSC: whether it is there and lets us in. Only a transmitter binds, to which nothing can be brought."""

from __future__ import annotations

import asyncio

from maskline.carriers.base import Checked
from maskline.carriers.smpp.link import Link, bind_of, connect
from maskline.carriers.smpp.options import SmppOptions
from maskline.carriers.smpp.pdu import Status
from maskline.carriers.smpp.session import Delivered, Role
from maskline.clock import Clock

LOOK_S = 10.0

_REMEDIES: dict[int, str] = {
    Status.INVALID_PASSWORD: "correct password in the settings",
    Status.INVALID_SYSTEM_ID: "correct system_id in the settings",
    Status.INVALID_SYSTEM_TYPE: "ask the operator for the system_type",
    Status.ALREADY_BOUND: "none is needed if a server is bound now: the operator allows no further bind",
    Status.BIND_FAILED: "ask the operator whether the account is open, from which addresses, and for how many binds",
}


class Look:
    """Owns one connection for a moment."""

    def __init__(self) -> None:
        self.seen = asyncio.Event()

    def opened(self, link: Link) -> None:
        self.seen.set()

    def freed(self, link: Link) -> None:
        return

    def delivered(self, link: Link, delivered: Delivered) -> None:
        link.answer(delivered, Status.TEMPORARY_APP_ERROR)

    def lost(self, link: Link) -> None:
        self.seen.set()


async def look(name: str, options: SmppOptions, clock: Clock) -> Checked:
    """Bind, and say good-bye."""
    at = f"{options.host}, port {options.port}"
    owner = Look()
    link = Link(Role.TRANSMITTER, *bind_of(options), clock, owner, name)
    try:
        await connect(link, options)
    except (OSError, TimeoutError) as error:
        said = f"the SMSC at {at} cannot be reached: {str(error) or type(error).__name__}"
        return Checked(said, "look at host, port and tls, and whether the operator lets this address in")
    try:
        await clock.wait(owner.seen, LOOK_S)
        if link.was_bound:
            link.unbind()
            await clock.wait(link.closed, 1.0)
            return Checked(f"the SMSC at {at} lets {options.system_id} in")
    finally:
        link.abort()
    if link.refusal is None:
        return Checked(
            f"the SMSC at {at} does not answer a bind", "ask the operator whether it speaks SMPP 3.4"
        )
    remedy = _REMEDIES.get(link.refusal, _REMEDIES[Status.BIND_FAILED])
    return Checked(f"the SMSC at {at} refuses the bind: command_status 0x{link.refusal:08x}", remedy)
