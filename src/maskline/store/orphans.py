"""Messages that a dead run was handing over (`runs.find_orphans`): another run takes them, to find out what became of
them. None is sent by that.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskline.store.engine import Turn, Tx, batched
from maskline.store.runs import ORPHANED
from maskline.store.send_rows import ATTEMPTS, COLUMNS, HANDED_TO, Facts, Started, make_started

_ORPHAN = f"SELECT {COLUMNS} FROM outbox WHERE id = :id AND topic = 'send' AND {ORPHANED}"
_TAKE = "UPDATE outbox SET owner = ? WHERE id = ?"


@dataclass(slots=True)
class OrphanClaim:
    """Rows that a run wants to judge, where who has started them was not heard of after `silent_since`."""

    run: str
    silent_since: int
    ids: list[int]


@batched(Turn.START)
def take_orphans(tx: Tx, items: list[OrphanClaim]) -> list[list[Started] | Exception]:
    """Take over what dead runs had started: its outcome is unknown, and now this run's to find."""
    return [_take_orphans(tx, item) for item in items]


def _take_orphans(tx: Tx, item: OrphanClaim) -> list[Started]:
    orphans = []
    for row_id in item.ids:
        params = {"id": row_id, "run": item.run, "silent_since": item.silent_since}
        row = tx.execute(_ORPHAN, params).fetchone()
        if row is None:
            continue
        tx.execute(_TAKE, (item.run, row_id))
        number, service, _ = Facts(tx, [row]).of(row)
        settings, _ = service or ("{}", None)
        _, account, _, mms, _, _ = number or (None, "", 0, 0, None, 0)
        orphans.append(make_started(row, row[ATTEMPTS], row[HANDED_TO] or account, settings, mms, ask=True))
    return orphans
