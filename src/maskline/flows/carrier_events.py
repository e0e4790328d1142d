"""Whatever a carrier account brings goes to the flow that it is for, and is taken in for good there (`base.Bring`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from maskline.carriers.base import CarrierEvent, Inbound, Notice, Report
from maskline.flows import inbound, receipts
from maskline.flows.silence import Silence
from maskline.mint import Mint
from maskline.store.engine import Store
from maskline.store.receive import Received


async def take_event(
    store: Store,
    mint: Mint,
    receive: Callable[[Inbound], Awaitable[Received]],
    silence: Silence,
    event: CarrierEvent,
) -> bool:
    """Take one in. False: a message is to a number that the account carries for nobody."""
    match event:
        case Inbound():
            return (await receive(event)).known
        case Report():
            silence.reported(event.carrier_account)
            await receipts.report(store, mint, event)
            return True
        case Notice():
            return await inbound.notify(store, mint, event)
