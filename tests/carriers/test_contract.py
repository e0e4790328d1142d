"""The contract of a carrier, as each of them keeps it, the sandbox and SMPP too: what `send` and the rest mean.

What the other end does for it is named by its effect; each bench knows how its other end is brought to do so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
import pytest

from maskline.carriers import kinds
from maskline.carriers.base import Capabilities, Carrier, CarrierError, Kind, Means, Outgoing
from maskline.carriers.sandbox import SandboxCarrier
from maskline.carriers.smpp.carrier import SmppCarrier
from maskline.carriers.smpp.options import SmppOptions
from maskline.domain.sandbox import Abilities, Outcome
from maskline.domain.text import decode_gsm
from maskline.flows.inbox import NoInbox
from maskline.flows.ledger import StoreLedger
from maskline.mint import Mint
from maskline.net import HttpClient
from maskline.store.engine import Store
from maskline.store.sandbox import set_abilities, set_script
from tests.carriers.benches import OURS, OVER_HTTP, THEIRS, outgoing
from tests.support.clock import FakeClock
from tests.support.private import note
from tests.support.smsc import CUTS, INVALID_DESTINATION, LOSES, THROTTLED, Smsc
from tests.support.until import until
from tests.support.vendor import Trouble


class Effect(Enum):
    """What happens to the next message."""

    TAKEN_UNHEARD = "it is taken, and nobody hears so"
    LOST = "it is lost, and nobody hears so"
    THROTTLED = "it is not taken now"
    REFUSED = "it is refused"


TROUBLES = {
    Effect.TAKEN_UNHEARD: Trouble.TAKES_AND_STALLS,
    Effect.LOST: Trouble.STALLS,
    Effect.THROTTLED: Trouble.THROTTLES,
    Effect.REFUSED: Trouble.PAGE,
}
OUTCOMES = {
    Effect.TAKEN_UNHEARD: Outcome.UNCERTAIN_DELIVERED,
    Effect.LOST: Outcome.UNCERTAIN_LOST,
    Effect.THROTTLED: Outcome.THROTTLE,
    Effect.REFUSED: Outcome.FAIL,
}
STATUSES = {
    Effect.TAKEN_UNHEARD: CUTS,
    Effect.LOST: LOSES,
    Effect.THROTTLED: THROTTLED,
    Effect.REFUSED: INVALID_DESTINATION,
}
KINDS = {
    Effect.TAKEN_UNHEARD: Kind.UNCERTAIN,
    Effect.LOST: Kind.UNCERTAIN,
    Effect.THROTTLED: Kind.THROTTLED,
    Effect.REFUSED: Kind.REJECTED,
}


@dataclass
class Kept:
    """A carrier, what it says of itself, and its other end: what that has taken, and what it does with the next."""

    carrier: Carrier
    can: Capabilities
    clock: FakeClock
    taken: Callable[[], Awaitable[list[tuple[str, str, str, tuple[str, ...]]]]]
    then: Callable[[Effect], Awaitable[None]]


@asynccontextmanager
async def over_smpp(clock: FakeClock) -> AsyncIterator[Kept]:
    """An account with several binds, since one is lost with what nobody hears of."""

    async def bring(_: object) -> bool:
        return True

    async with Smsc() as smsc:
        said = {"host": "127.0.0.1", "port": smsc.port, "system_id": "me", "password": "secret", "binds": 4}
        means = Means(HttpClient(), clock, bring, NoInbox(), "")
        carrier = SmppCarrier("north", msgspec.convert(said, SmppOptions), means)
        running = asyncio.create_task(carrier.run())

        async def taken() -> list[tuple[str, str, str, tuple[str, ...]]]:
            return [(id_, f"+{one.destination_addr.decode()}", _text_of(one), ()) for id_, one in smsc.taken]

        async def then(effect: Effect) -> None:
            smsc.script.append(STATUSES[effect])

        try:
            await until(lambda: sum(link.is_bound for link in carrier._links) == 4)
            yield Kept(carrier, SmppCarrier.can, clock, taken, then)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def _text_of(submit: Any) -> str:
    content: bytes = submit.short_message
    return decode_gsm(content) if submit.data_coding == 0 else content.decode("utf-16-be")


@pytest.fixture(params=["sandbox", "sandbox with keys", "smpp", *OVER_HTTP])
async def kept(
    request: pytest.FixtureRequest,
    store: Store,
    clock: FakeClock,
    mint: Mint,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> AsyncIterator[Kept]:
    record_property("carrier", request.param)
    monkeypatch.setattr("maskline.carriers.rest.WITHIN_S", 0.2)
    if request.param in OVER_HTTP:
        async with OVER_HTTP[request.param](clock) as bench:

            async def taken() -> list[tuple[str, str, str, tuple[str, ...]]]:
                return [(one.id, one.to, one.body, one.media) for one in bench.vendor.taken]

            async def then(effect: Effect) -> None:
                bench.vendor.then(TROUBLES[effect])

            yield Kept(bench.carrier, bench.can, clock, taken, then)
        return
    if request.param == "smpp":
        async with over_smpp(clock) as smpp:
            yield smpp
        return

    async def bring(_: object) -> bool:
        return True

    keys = request.param == "sandbox with keys"
    await store.write(set_abilities, "AC1", Abilities(carrier_keys=keys, look_up=True))
    carrier = SandboxCarrier(StoreLedger(store), clock, mint, bring)

    async def handsets() -> list[tuple[str, str, str, tuple[str, ...]]]:
        sql = (
            "SELECT sid, to_number, body, media, handovers FROM sandbox_messages"
            " WHERE status NOT IN ('failed', 'lost') ORDER BY sid"
        )
        rows = await store.read(lambda tx: tx.execute(sql).fetchall())
        repeats = 1 if keys else None
        return [
            (sid, to, body, tuple(json.loads(media)))
            for sid, to, body, media, count in rows
            for _ in range(repeats or count)
        ]

    async def script(effect: Effect) -> None:
        await store.write(set_script, "AC1", THEIRS, OUTCOMES[effect], None, 1)

    yield Kept(carrier, await carrier.capabilities("AC1"), clock, handsets, script)


def message(body: str, **fields: object) -> Outgoing:
    note("", body)
    return outgoing(body, **fields)


def test_no_kind_is_left_out() -> None:
    assert set(kinds.KINDS) <= {"smpp", *OVER_HTTP}


async def test_what_it_takes_is_what_it_was_handed_and_has_an_id(kept: Kept) -> None:
    accepted = [await kept.carrier.send(message(body)) for body in ("first 🍕", "second & é")]
    taken = await kept.taken()
    assert sorted(one[1:3] for one in taken) == [(THEIRS, "first 🍕"), (THEIRS, "second & é")]
    assert {one.carrier_id for one in accepted} == {one[0] for one in taken}
    assert OURS not in {one[0] for one in taken}


async def test_media_go_with_it_where_it_says_so(kept: Kept) -> None:
    media = ("https://masked.test/media/1", "https://masked.test/media/2")
    if not kept.can.mms:
        with pytest.raises(CarrierError) as caught:
            await kept.carrier.send(message("two pictures", media=media))
        assert caught.value.kind is Kind.REJECTED and await kept.taken() == []
        return
    await kept.carrier.send(message("two pictures", media=media))
    assert [one[3] for one in await kept.taken()] == [media]


@pytest.mark.parametrize("effect", Effect)
async def test_what_fails_says_whether_it_may_have_been_taken(kept: Kept, effect: Effect) -> None:
    await kept.then(effect)
    with pytest.raises(CarrierError) as caught:
        await kept.carrier.send(message("is it there?"))
    assert caught.value.kind is KINDS[effect]
    assert "is it there?" not in caught.value.detail
    # The next one goes as if nothing had been.
    assert (await kept.carrier.send(message("the next one"))).carrier_id is not None
    bodies = [one[2] for one in await kept.taken()]
    assert bodies.count("is it there?") == (1 if effect is Effect.TAKEN_UNHEARD else 0)
    assert bodies.count("the next one") == 1


@pytest.mark.parametrize("effect", [Effect.TAKEN_UNHEARD, Effect.LOST])
async def test_what_nobody_heard_of_can_be_asked_for(kept: Kept, effect: Effect) -> None:
    if not kept.can.look_up:
        with pytest.raises(NotImplementedError):
            await kept.carrier.look_up(message("was it taken?"))
        return
    unheard = message("was it taken?", handed_at=kept.clock.now())
    await kept.then(effect)
    with pytest.raises(CarrierError):
        await kept.carrier.send(unheard)
    found = list(await kept.carrier.look_up(unheard))
    taken = [one[0] for one in await kept.taken() if one[2] == "was it taken?"]
    assert found == (taken if effect is Effect.TAKEN_UNHEARD else [])


async def test_a_repeat_is_another_message_unless_it_takes_keys(kept: Kept) -> None:
    once = message("once or twice")
    await kept.then(Effect.TAKEN_UNHEARD)
    with pytest.raises(CarrierError):
        await kept.carrier.send(once)
    again = await kept.carrier.send(once)
    assert again.carrier_id is not None
    assert len(await kept.taken()) == (1 if kept.can.carrier_keys else 2)


async def test_what_is_left_out_does_no_harm(kept: Kept) -> None:
    async def keep(_: str) -> None:
        raise AssertionError("there is nothing to keep for a channel's sender")

    await kept.carrier.adopt("AC1", "whatsapp:+14155550100", keep)
    await kept.carrier.close()
    assert isinstance(await kept.carrier.capabilities("AC1"), Capabilities)
