"""What a carrier brings in one batch becomes what it would become one after the other, by a few statements for all."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from maskline.domain.model import SECOND
from maskline.domain.optout import OPTOUT_PREFIX, word_of
from maskline.flows.messages import encode_data
from maskline.store.engine import Tx
from maskline.store.postgres_tx import PostgresTx, executing
from maskline.store.receive import Received, receive_messages
from maskline.store.relay import NewInbound
from tests.support.house import VALIDITY_S, House, person

ADDRESS = "https://customer.test/"
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "told": {"callback_url": ADDRESS},
    "asked": {"intercept_callback_url": ADDRESS, "settings": '{"store_bodies": "until-final"}'},
    "strangers": {"out_of_session_callback_url": ADDRESS, "settings": '{"store_bodies": "never"}'},
    "limited": {"settings": '{"pair_limit": 3}'},
}
TABLES = {
    "sessions": "*",
    "participants": "*",
    "interactions": "*",
    "passing_bodies": "*",
    "received": "*",
    "paces": "*",
    "optouts": "*",
    "events": "*",
    "outbox": "topic, state, turn, order_key, seq, number, due_at, expires_at, interaction_sid, message_sid,"
    " recipient, payload, brought_by",
}
ITEMS = 120


class Undone(Exception):
    """Carries what was seen out of a transaction that is not kept."""


async def outcome(house: House, items: list[NewInbound], size: int) -> Any:
    """What is answered, stored, woken and counted where so many are received at a time."""

    def look(tx: Tx) -> None:
        answers: list[Any] = []
        for first in range(0, len(items), size):
            answers += receive_messages.fn(tx, items[first : first + size])
        tables = {
            name: Counter(map(tuple, tx.execute(f"SELECT {columns} FROM {name}").fetchall()))  # noqa: S608
            for name, columns in TABLES.items()
        }
        lines: dict[str, list[int]] = {}
        for order_key, seq in tx.execute("SELECT order_key, seq FROM outbox ORDER BY id").fetchall():
            lines.setdefault(order_key, []).append(seq)
        raise Undone(answers, tables, lines, tx.wake, Counter(tx.counted))

    with pytest.raises(Undone) as seen:
        await house.store.write(look)
    return seen.value.args


async def crowd(house: House) -> list[tuple[str, str]]:
    """Who may write where: people of Sessions, those who have left or are alone, and strangers."""
    pairs = [(person(n), "+14155550999") for n in range(2)]  # a number that nobody has
    for number, fields in enumerate(KINDS.values()):
        service = await house.service(numbers=2, **fields)
        for _ in range(2):
            _, *people = await house.pair(service)
            pairs += [(one.identifier, one.proxy_identifier) for one in people]
        closed, gone, _ = await house.pair(service)
        await house.close(closed)
        pairs.append((gone.identifier, gone.proxy_identifier))
        alone = await house.add(await house.session(service))
        pairs += [(alone.identifier, alone.proxy_identifier), (person(10 + number), gone.proxy_identifier)]
    return pairs


def text(house: House, rng: random.Random, sender: str, to: str) -> NewInbound:
    body = rng.choice(["hello", "STOP", "START", "how are you", "see you"])
    sid = house.mint.sid("KI")
    word = word_of(body)
    return NewInbound(
        carrier_account=rng.choice([house.carrier.name] * 9 + ["another"]),
        carrier_id=house.mint.sid("IN"),
        to=to,
        sender=sender,
        data=encode_data(body),
        validity_us=VALIDITY_S * SECOND,
        sid=sid,
        inbound_sid=house.mint.sid("SM"),
        outbound_sid=house.mint.sid("SM"),
        event_sid=house.mint.sid("NO"),
        brought_by=rng.choice([house.carrier.name, None]),
        word=word,
        optout_sid=house.mint.sid(OPTOUT_PREFIX),
    )


@pytest.mark.parametrize("seed", range(3))
async def test_a_batch_is_what_each_would_be_in_its_turn(house: House, seed: int) -> None:
    rng = random.Random(seed)
    pairs = await crowd(house)
    items = [text(house, rng, *rng.choice(pairs)) for _ in range(ITEMS)]
    for place in rng.sample(range(1, ITEMS), 10):  # the carrier repeats some
        earlier = items[rng.randrange(place)]
        items[place] = replace(items[place], carrier_id=earlier.carrier_id)
    alone = await outcome(house, items, 1)
    answers, tables, _, _, counted = alone
    assert any(answer.repeated for answer in answers)
    assert all(tables.values())
    assert len({labels for _, labels in counted}) >= 7  # every way that a text can go
    for size in (7, ITEMS):
        assert await outcome(house, items, size) == alone


class Counting:
    """A connection that counts what it is asked."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.asked = 0

    def execute(self, *values: Any) -> Any:
        self.asked += 1
        return self._connection.execute(*values)


async def statements(house: House, items: list[NewInbound]) -> int:
    """How many statements it takes to receive these."""

    def receive(tx: Tx) -> int:
        assert isinstance(tx, PostgresTx)
        counting: Any = Counting(tx._connection)
        tx._connection, tx.execute = counting, executing(counting)
        answers = receive_messages.fn(tx, items)
        assert all(isinstance(one, Received) and one.interaction_sid for one in answers)
        return counting.asked

    return await house.store.write(receive)


@pytest.mark.engine("postgres")
async def test_many_texts_take_no_more_statements_than_one(house: House) -> None:
    people = [one for _ in range(4) for one in (await house.pair(await house.service(2)))[1:]]
    rng = random.Random(1)
    many = [
        replace(
            text(house, rng, one.identifier, one.proxy_identifier),
            word="",
            carrier_account=house.carrier.name,
        )
        for one in people * 5
    ]
    _, alone, _ = await house.pair(await house.service(2))
    one = replace(
        text(house, rng, alone.identifier, alone.proxy_identifier),
        word="",
        carrier_account=house.carrier.name,
    )
    assert await statements(house, many) == await statements(house, [one])
