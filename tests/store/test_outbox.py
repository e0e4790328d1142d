"""The walk over the outbox: step by step to its end, past whatever is in it."""

from maskline.domain.model import OutboxState
from maskline.store.engine import Tx
from maskline.store.outbox import find_expired
from maskline.store.sqlite import SqliteStore

INSERT = """
INSERT INTO outbox (id, topic, state, order_key, seq, number, due_at, expires_at, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload)
VALUES (?, ?, ?, ?, 1, '', 0, ?, '', '', '', '', '', '', '')"""

WAITING, HELD, STARTED, DEAD = OutboxState.WAITING, OutboxState.HELD, OutboxState.STARTED, OutboxState.DEAD


async def test_what_is_past_its_time_is_found_in_steps_of_the_same_length(store: SqliteStore) -> None:
    def fill(tx: Tx) -> None:
        late, later = tx.now, tx.now + 10**12
        rows = [
            ("send", WAITING, late),
            ("send", STARTED, late),
            ("send", HELD, later),
            ("callback", WAITING, late),
            ("callback", HELD, late),
            ("callback", DEAD, late),
            ("callback", DEAD, late),
            ("receipt", WAITING, late),
            ("send", HELD, late),
        ]
        tx.executemany(
            INSERT, [(10 * i, topic, int(state), f"{i}", at) for i, (topic, state, at) in enumerate(rows, 1)]
        )

    await store.write(fill)
    sends: list[int] = []
    callbacks: list[int] = []
    stops: list[int] = []
    while not stops or stops[-1]:
        found = await store.read(find_expired, stops[-1] if stops else 0, 3)
        sends += found.sends
        callbacks += found.callbacks
        stops.append(found.after)
    assert sends == [10, 90]
    assert callbacks == [40]
    assert stops == [30, 60, 90, 0]
