"""A message from a carrier's word to the partner's handset: received (T1), and from there the path of any message."""

from __future__ import annotations

from maskline.carriers.base import Inbound, Notice
from maskline.domain.ids import inbound_leg_sid, outbound_leg_sid
from maskline.domain.media import Medium
from maskline.domain.optout import OPTOUT_PREFIX, word_of
from maskline.domain.phone import identifier_key
from maskline.domain.text import split_body
from maskline.flows.messages import SendOptions, encode_data, prefix_of, received_key
from maskline.mint import Mint
from maskline.store.engine import Store
from maskline.store.receive import Received, note_inbound, receive_messages
from maskline.store.relay import NewInbound


async def receive(store: Store, mint: Mint, options: SendOptions, message: Inbound) -> Received:
    """Take a message in for good; the carrier may be acknowledged once this returns.

    A text that not every carrier takes as one goes on as several; what came with it goes with the last of them.
    """
    to, word = identifier_key(message.to), word_of(message.body)

    def make(body: str, brought: tuple[Medium, ...] = ()) -> NewInbound:
        sid, prefix = mint.sid("KI"), prefix_of(brought)
        media = tuple(medium.url for medium in brought)
        media_types = tuple(medium.known_type for medium in brought)
        return NewInbound(
            carrier_account=message.carrier_account,
            carrier_id=received_key(message.carrier_account, to, message.carrier_id),
            to=to,
            sender=identifier_key(message.from_),
            data=encode_data(body, media, media_types),
            validity_us=options.validity_us,
            sid=sid,
            inbound_sid=inbound_leg_sid(sid, prefix),
            outbound_sid=outbound_leg_sid(sid, prefix),
            event_sid=mint.sid("NO"),
            brought_by=None if message.forwarded else message.carrier_account,
            word=word,
            optout_sid=mint.sid(OPTOUT_PREFIX) if word else "",
        )

    *before, last = split_body(message.body)
    first, *more = *map(make, before), make(last, message.media)
    first.more = tuple(more)
    return await store.batch(receive_messages, first)


async def notify(store: Store, mint: Mint, notice: Notice) -> bool:
    """Write an event about a message to a number; whether it is a number that the account carries."""
    to, sender = identifier_key(notice.to), identifier_key(notice.from_)
    return await store.write(
        note_inbound, notice.carrier_account, to, sender, notice.code, notice.why, mint.sid("NO")
    )
