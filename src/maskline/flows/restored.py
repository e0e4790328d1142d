"""The first start on a restored backup: what waited in it is given up, or sent after all; then it is a backup no more.

Nothing may be at work on the database. The mark goes last, so that a process that dies in between begins again.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from maskline.domain.model import Instant
from maskline.mint import Mint
from maskline.store.backup import MARK, unmark
from maskline.store.engine import Store
from maskline.store.meta import find_meta
from maskline.store.restored import give_up_texts, give_up_waiting

STEP = 500

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that has become the database, and when it was made. `sends` of the messages that waited are unknown
    now, `received` of those that people wrote were not passed on. `resends`: what waited is sent.
    """

    made_at: Instant
    sends: int = 0
    received: int = 0
    resends: bool = False


async def begin_anew(store: Store, mint: Mint, *, resend: bool) -> Restored | None:
    """Settle what waited in the backup that this database is; None if it is none."""
    mark = await store.read(find_meta, MARK)
    if mark is None:
        return None
    made_at = Instant(int(mark))
    sends = received = 0
    if not resend:
        after = 0
        while True:
            done = await store.write(give_up_waiting, after, _event_sids(mint))
            sends, received, after = sends + done.sends, received + done.received, done.after
            _log.info("restored.giving_up", sends=sends, received=received)
            if not after:
                break
        count = STEP
        while count == STEP:
            count = await store.write(give_up_texts, _event_sids(mint))
            received += count
    await store.write(unmark)
    _log.warning("restored.begun", sends=sends, received=received, resends=resend)
    return Restored(made_at, sends, received, resend)


def _event_sids(mint: Mint) -> list[str]:
    return [mint.sid("NO") for _ in range(STEP)]
