"""How deep the outbox is, and for how long what is due has waited: for whoever watches over it. A bounded read."""

from __future__ import annotations

from maskline.domain.model import SECOND, OutboxState
from maskline.metrics import OUTBOX_AGE, OUTBOX_ROWS, STATES, TOPICS, Sample
from maskline.store.engine import Tx

MOST = 50_000
"""So many rows are looked at. What is dead stays for long, and is counted apart so that it hides nothing."""

_WORDS = {
    OutboxState.FRESH: "waiting",
    OutboxState.WAITING: "waiting",
    OutboxState.UNCERTAIN: "waiting",
    OutboxState.PARKED: "parked",
    OutboxState.HELD: "held",
    OutboxState.STARTED: "started",
    OutboxState.DEAD: "dead",
}

# The newest first: what is left of old ones is mostly dead.
_ROWS = """
SELECT topic, state, count(*) FROM (SELECT topic, state FROM outbox WHERE id > 0 ORDER BY id DESC LIMIT ?) AS few
WHERE state <> 6 GROUP BY topic, state"""
_DEAD = """
SELECT topic, 6, count(*) FROM (SELECT topic FROM outbox WHERE state = 6 LIMIT ?) AS few GROUP BY topic"""

# Fresh rows are in the order of their arrival; so are parked ones within their lane, and there are few lanes.
_FRESH = "SELECT topic, due_at FROM outbox WHERE state = 0 ORDER BY id LIMIT 1"
_PARKED = """
SELECT topic, min(due_at) FROM (SELECT topic, due_at FROM outbox WHERE state = 2 LIMIT ?) AS few GROUP BY topic"""
_DUE = "SELECT topic, due_at FROM outbox WHERE topic = ? AND state IN (1, 5) ORDER BY due_at LIMIT 1"


def measure_outbox(tx: Tx, most: int = MOST) -> list[Sample]:
    """The samples of OUTBOX_ROWS and OUTBOX_AGE."""
    rows = tx.execute(_ROWS, (most,)).fetchall() + tx.execute(_DEAD, (most,)).fetchall()
    depth = {(topic, state): 0 for topic in TOPICS for state in STATES}
    for topic, state, count in rows:
        depth[topic, _WORDS[OutboxState(state)]] += count
    oldest = dict.fromkeys(TOPICS, tx.now)
    waiting = tx.execute(_FRESH).fetchall() + tx.execute(_PARKED, (most,)).fetchall()
    for topic in TOPICS:
        waiting += tx.execute(_DUE, (topic,)).fetchall()
    for topic, due_at in waiting:
        oldest[topic] = min(oldest[topic], due_at)
    return [
        *((OUTBOX_ROWS, labels, float(count)) for labels, count in depth.items()),
        *((OUTBOX_AGE, (topic,), (tx.now - due_at) / SECOND) for topic, due_at in oldest.items()),
    ]
