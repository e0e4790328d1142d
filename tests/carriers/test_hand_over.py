"""What every carrier over HTTP has to do with a message: hand it over once, and know what may have become of it.

The other end is a stand-in that misbehaves in every way that such ends do.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest

from maskline.carriers import rest
from maskline.carriers.base import Accepted, CarrierError, Kind
from tests.carriers.benches import OURS, OVER_HTTP, THEIRS, Bench, outgoing
from tests.support.clock import FakeClock
from tests.support.vendor import Taken, Trouble


@pytest.fixture(params=list(OVER_HTTP))
async def bench(
    request: pytest.FixtureRequest, clock: FakeClock, record_property: Callable[[str, object], None]
) -> AsyncIterator[Bench]:
    record_property("carrier", request.param)
    async with OVER_HTTP[request.param](clock) as bench:
        yield bench


@contextmanager
def hurried() -> Iterator[None]:
    """A request that will not be answered may take no longer than a moment; what is answered takes what it takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rest, "WITHIN_S", 0.5)
        yield


async def refused(bench: Bench, **fields: str) -> CarrierError:
    with pytest.raises(CarrierError) as caught:
        await bench.carrier.send(outgoing(**fields))
    # Nothing of a message, and of a number no more than its mask, may be read in a log.
    assert fields.get("body", "hi there") not in caught.value.detail
    assert OURS[2:] not in caught.value.detail and fields.get("to", THEIRS)[2:] not in caught.value.detail
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        "hi there",
        "é ü ñ € {}[]~|\\^",
        "漢字 и 🍕🎉",
        "a=b&c=d%20+ +;#",
        "two\nlines\r\n\tand a tab",
        "x" * 1600,
    ],
)
async def test_a_message_arrives_once_and_as_it_is(bench: Bench, body: str) -> None:
    accepted = await bench.carrier.send(outgoing(body))
    (taken,) = bench.vendor.taken
    assert (taken.from_, taken.to, taken.body, taken.media) == (OURS, THEIRS, body, ())
    assert accepted == Accepted(taken.id)


async def test_media_go_with_it_or_alone(bench: Bench) -> None:
    media = ("https://masked.test/media/a?b=c&d=e", "https://masked.test/media/2")
    if not bench.can.mms:
        with pytest.raises(CarrierError) as caught:
            await bench.carrier.send(outgoing("two pictures", media=media))
        assert caught.value.kind is Kind.REJECTED and bench.vendor.requests == []
        return
    await bench.carrier.send(outgoing("two pictures", media=media))
    await bench.carrier.send(outgoing("", media=media[:1]))
    assert [(one.body, one.media) for one in bench.vendor.taken] == [("two pictures", media), ("", media[:1])]


async def test_each_has_an_id_of_its_own(bench: Bench) -> None:
    ids = {(await bench.carrier.send(outgoing())).carrier_id for _ in range(3)}
    assert len(ids) == 3 and None not in ids


async def test_the_vendors_refusals_are_told_apart(bench: Bench) -> None:
    assert (await refused(bench, to=bench.refused)).kind is Kind.REJECTED
    if bench.opted_out is not None:
        assert (await refused(bench, to=bench.opted_out)).kind is Kind.OPTED_OUT
    assert bench.vendor.taken == []


@pytest.mark.parametrize(
    ("trouble", "kind", "after_s"),
    [
        (Trouble.STALLS, Kind.UNCERTAIN, None),
        (Trouble.TAKES_AND_STALLS, Kind.UNCERTAIN, None),
        (Trouble.DROPS, Kind.UNCERTAIN, None),
        (Trouble.TAKES_AND_DROPS, Kind.UNCERTAIN, None),
        (Trouble.TAKES_AND_FAILS, Kind.UNCERTAIN, None),
        (Trouble.FAILS, Kind.UNCERTAIN, None),
        (Trouble.PAGE_500, Kind.UNCERTAIN, None),
        (Trouble.PAGE_408, Kind.UNCERTAIN, None),
        (Trouble.PAGE, Kind.REJECTED, None),
        (Trouble.REDIRECTS, Kind.MISCONFIGURED, None),
        (Trouble.REFUSES_CREDENTIALS, Kind.MISCONFIGURED, None),
        (Trouble.THROTTLES, Kind.THROTTLED, None),
        (Trouble.THROTTLES_7, Kind.THROTTLED, 7),
        (Trouble.THROTTLES_UNTIL, Kind.THROTTLED, 7),
    ],
)
async def test_what_may_have_been_taken_is_uncertain_and_nothing_else(
    bench: Bench, trouble: Trouble, kind: Kind, after_s: float | None
) -> None:
    bench.vendor.then(trouble)
    with hurried() if trouble in (Trouble.STALLS, Trouble.TAKES_AND_STALLS) else nullcontext():
        error = await refused(bench)
    assert (error.kind, error.retry_after_s) == (kind, after_s)
    assert len(bench.vendor.requests) == 1  # whatever came of it, it was asked once
    if bench.vendor.taken:
        assert kind is Kind.UNCERTAIN
    # The account goes on with the next.
    assert (await bench.carrier.send(outgoing("another"))).carrier_id is not None


@pytest.mark.parametrize(
    "trouble", [Trouble.TAKES_AND_BABBLES, Trouble.TAKES_AND_NESTS, Trouble.TAKES_AND_CUTS_SHORT]
)
async def test_a_yes_without_an_id_is_a_yes(bench: Bench, trouble: Trouble) -> None:
    bench.vendor.then(trouble)
    assert await bench.carrier.send(outgoing()) == Accepted(None)
    assert len(bench.vendor.taken) == 1


async def test_where_nobody_listens_nothing_is_taken(bench: Bench) -> None:
    await bench.vendor.__aexit__(None, None, None)
    assert (await refused(bench)).kind is Kind.UNREACHABLE
    await bench.vendor.__aenter__()


async def test_a_connection_that_is_closed_as_it_is_used_sends_nothing_twice(bench: Bench) -> None:
    await bench.carrier.send(outgoing("first"))
    bench.vendor.then(Trouble.TAKES_AND_DROPS)
    assert (await refused(bench, body="second")).kind is Kind.UNCERTAIN
    assert bench.vendor.connections == 1
    assert [one.body for one in bench.vendor.taken] == ["first", "second"]


async def test_a_repeat_is_sent_again_unless_it_takes_keys(bench: Bench) -> None:
    message = outgoing()
    bench.vendor.then(Trouble.TAKES_AND_FAILS)
    with pytest.raises(CarrierError):
        await bench.carrier.send(message)
    await bench.carrier.send(message)
    assert len(bench.vendor.taken) == (1 if bench.can.carrier_keys else 2)


async def test_what_it_took_can_be_found(bench: Bench) -> None:
    assert bench.can.look_up
    message = outgoing("was it taken?", handed_at=bench.clock.now())
    assert list(await bench.carrier.look_up(message)) == []
    other = await bench.carrier.send(outgoing("another text"))
    await bench.carrier.send(outgoing("was it taken?", to="+12125550178"))
    # Where a list does not show texts, that it is another's is known here.
    others = [] if bench.lists_texts else [other.carrier_id]
    assert list(await bench.carrier.look_up(message)) == others
    bench.vendor.then(Trouble.TAKES_AND_STALLS)
    with hurried(), pytest.raises(CarrierError):
        await bench.carrier.send(message)
    taken: Taken = bench.vendor.taken[-1]
    bench.clock.advance(30)
    assert list(await bench.carrier.look_up(message)) == [taken.id, *others]
    # The same text a while later is another message.
    await bench.carrier.send(outgoing("was it taken?"))
    assert list(await bench.carrier.look_up(message)) == [taken.id, *others]
    bench.vendor.then(Trouble.FAILS, Trouble.PAGE, Trouble.TAKES_AND_BABBLES, Trouble.REFUSES_CREDENTIALS)
    for _ in range(4):
        with pytest.raises(CarrierError):
            await bench.carrier.look_up(message)


async def test_it_can_be_found_among_many(bench: Bench) -> None:
    """Two who write much to each other, at great length: what a list of that says is long."""
    for _ in range(200):
        await bench.carrier.send(outgoing("x" * 1600))
    message = outgoing("was it taken?", handed_at=bench.clock.now())
    accepted = await bench.carrier.send(message)
    assert accepted.carrier_id in await bench.carrier.look_up(message)
