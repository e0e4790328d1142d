"""T2: which messages are handed over now. Marks them started, in one statement each, before anything is sent. Hot.

Fresh rows are looked at in the order of their arrival, so that of two with one order key the earlier is always seen
first. One that cannot start is put where it waits: held behind an earlier one of its order key, or parked under its
carrier account and number. What waits already gets a share of the free slots, never all of them, so that neither a
storm of retries nor a number with a long queue stands in the way of new messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maskline.domain.interaction import MessageStatus
from maskline.domain.model import SECOND, OutboxState
from maskline.domain.throughput import UNLIMITED, Throughput, next_free
from maskline.store.engine import MOST_ITEMS, Turn, Tx, Wake, batched
from maskline.store.health import take_try
from maskline.store.outbox import finish
from maskline.store.record import has_outcome
from maskline.store.send_rows import (
    ATTEMPTS,
    COLUMNS,
    DUE_AT,
    HANDED_TO,
    ID,
    INTERACTION_SID,
    MAY_BE_TAKEN,
    NUMBER,
    ORDER_KEY,
    SEQ,
    SERVICE_SID,
    SESSION_SID,
    STATE,
    Facts,
    Started,
    find_former_holder,
    make_started,
)
from maskline.store.unsendable import Stopped, fail, why_lost, why_not

PARKED, HELD = int(OutboxState.PARKED), int(OutboxState.HELD)
UNCERTAIN = int(OutboxState.UNCERTAIN)

ASK_LATER_US = 5 * SECOND
MORE_FRESH = 16
"""So many fresh rows more than would fill the free slots twice are looked at."""
WAITING_SHARE = 8
"""What waits already gets one in so many of the free slots, and whatever fresh rows leave over."""


@dataclass(slots=True)
class StartRequest:
    """What a worker can take: free slots by carrier account, and SIDs for the events that this may raise.

    `count` rises with each request and `lane` is where the last one stopped, so that everything gets its turn.
    `down`: accounts that one message tries a minute, of all that ask; what waits for them does not mean that sending
    falls behind. `throughput`: of accounts that have a limit.
    """

    run: str
    free: dict[str, int]
    event_sids: list[str]
    count: int = 0
    lane: tuple[str, str] = ("", "")
    down: frozenset[str] = frozenset()
    throughput: Mapping[str, Throughput] = field(default_factory=dict)


@dataclass(slots=True)
class Starts:
    """What T2 did: rows to send, rows that are not sent, where to go on, and how long until the next row is due (None:
    none is); by the database's time, which need not be this process's.

    `more`: there was more to look at than one request looks at.
    """

    lane: tuple[str, str]
    started: list[Started] = field(default_factory=list)
    stopped: list[Stopped] = field(default_factory=list)
    next_due_us: int | None = None
    more: bool = False


_FRESH = f"SELECT {COLUMNS} FROM outbox WHERE state = 0 ORDER BY id LIMIT ?"
_WAITING = f"""
SELECT {COLUMNS} FROM outbox
WHERE topic = 'send' AND state IN (1, 5) AND due_at <= ? ORDER BY due_at LIMIT ?"""
_NEXT_DUE = "SELECT due_at FROM outbox WHERE topic = 'send' AND state IN (1, 5) ORDER BY due_at LIMIT 1"
_NEXT_LANE = """
SELECT carrier_account, number FROM outbox WHERE state = 2 AND (carrier_account, number) > (?, ?)
ORDER BY carrier_account, number LIMIT 1"""
_LANE = f"""
SELECT {COLUMNS} FROM outbox WHERE state = 2 AND carrier_account = ? AND number = ? ORDER BY turn, id LIMIT ?"""
_EARLIER = "SELECT 1 FROM outbox WHERE order_key = ? AND seq < ? AND state + 0 <> 0 LIMIT 1"
_START = """
UPDATE outbox SET state = 4, owner = ?, started_at = ?, attempts = attempts + 1, carrier_account = ? WHERE id = ?"""
_POSTPONE = "UPDATE outbox SET due_at = ? WHERE id = ?"
_PUT = "UPDATE outbox SET state = ?, carrier_account = ? WHERE id = ?"
_ACCOUNT = "SELECT next_free_at FROM carrier_paces WHERE carrier_account = ?"
_NEW_ACCOUNT = (
    "INSERT INTO carrier_paces (carrier_account, next_free_at) VALUES (?, 0) ON CONFLICT DO NOTHING"
)

# By whoever is the first of those that have seen the same.
_TAKE_NUMBER = "UPDATE numbers SET next_free_at = ? WHERE phone_number = ? AND next_free_at = ?"
_TAKE_ACCOUNT = "UPDATE carrier_paces SET next_free_at = ? WHERE carrier_account = ? AND next_free_at = ?"


@batched(Turn.START)
def start_sends(tx: Tx, items: list[StartRequest]) -> list[Starts | Exception]:
    """Give each worker the due messages that it has slots for."""
    return [_Starter(tx, item).run() for item in items]


class _Starter:
    """One request, while it is served."""

    def __init__(self, tx: Tx, item: StartRequest) -> None:
        self._tx = tx
        self._item = item
        self._free = dict(item.free)
        for run, account in tx.freed:
            if run == item.run and account in self._free and account not in item.down:
                self._free[account] += 1
        self._starts = Starts(item.lane)
        self._busy: set[tuple[str, str]] = set()
        """Numbers whose turn has not come; under '' their account's."""
        self._free_at: int | None = None
        """When the first of them is."""
        self._taken: dict[str, int] = {}
        """When the numbers may send again of which messages have been started."""
        self._was_due = False
        """Whether anything was that waits for its time."""

    def run(self) -> Starts:
        tx, item, starts = self._tx, self._item, self._starts
        free = sum(self._free.values())
        most = min(MOST_ITEMS, 2 * free + MORE_FRESH)
        fresh, next_due = tx.list_each(_FRESH, [(most,)]), tx.find_each(_NEXT_DUE, [()])
        may_wait = self._waiting((free + item.count % WAITING_SHARE) // WAITING_SHARE)
        self._fresh(fresh[0], most)
        # What has been put aside since then cannot go yet, and what has been released wakes the worker.
        if may_wait:
            self._waiting(sum(self._free.values()))
        if self._was_due:
            next_due = tx.find_each(_NEXT_DUE, [()])
        (row,) = next_due
        dues = [due_at for due_at in (row and row[0], self._free_at) if due_at is not None]
        starts.next_due_us = min(dues) - tx.now if dues else None
        return starts

    def _fresh(self, rows: list[Any], most: int) -> None:
        tx = self._tx
        looked = 0
        while looked < len(rows):
            # As many at a time as there are slots: usually all of them start, and nothing else is looked at.
            room = sum(self._free.values())
            if room <= 0:
                if not self._item.down:
                    tx.oldest_us = max(tx.oldest_us, tx.now - rows[looked][DUE_AT])
                    tx.wake |= Wake.OTHERS
                return
            self._start_fresh(rows[looked : looked + room])
            looked += room
        self._starts.more = len(rows) == most

    def _start_fresh(self, rows: list[Any]) -> None:
        """Start these, but hold those that are behind something of their order key."""
        facts = Facts(self._tx, rows)
        while rows:
            behind = self._tx.find_each(_EARLIER, [(row[ORDER_KEY], row[SEQ]) for row in rows])
            first: list[Any] = []
            keys: set[str] = set()
            later: list[Any] = []
            for row, earlier in zip(rows, behind, strict=True):
                if earlier is not None:
                    self._put(row, HELD, None)
                elif row[ORDER_KEY] in keys:
                    later.append(row)
                else:
                    keys.add(row[ORDER_KEY])
                    first.append(row)
            self._start(first, facts)
            rows = later  # behind one of these, unless that is gone by now

    def _waiting(self, most: int) -> bool:
        """Start up to so many of what waits already. Returns False if nothing does that could go."""
        tx = self._tx
        if most <= 0:
            return True
        waiting, first_lane = tx.list_each(_WAITING, [(tx.now, most)]), self._ask_lane(self._starts.lane)
        if due := waiting[0]:
            self._was_due = True
            self._start(due, Facts(tx, due))
            first_lane = self._ask_lane(self._starts.lane)  # what could not start waits in one by now
        left, parked = most, False
        for lane in self._lanes(first_lane):
            parked = True
            room = min(left, self._free.get(lane[0], 0))
            before = len(self._starts.started)
            if room and (lane[0], "") not in self._busy:
                rows = tx.execute(_LANE, (*lane, room)).fetchall()
                facts = Facts(tx, rows)
                self._start(rows[:1], facts)
                if lane not in self._busy:
                    self._start(rows[1:], facts)
            left -= len(self._starts.started) - before
            if left <= 0:
                self._starts.lane = lane
                return True
        if not parked:
            self._starts.lane = ("", "")
        return parked or bool(due)

    def _ask_lane(self, after: tuple[str, str]) -> Sequence[Any]:
        return self._tx.find_each(_NEXT_LANE, [after])

    def _lanes(self, first: Sequence[Any]) -> Iterator[tuple[str, str]]:
        """Every carrier account and number with parked rows once, beginning behind where the last request stopped: with
        the `first` there.
        """
        after = self._starts.lane
        wrapped = False
        (row,) = first
        while True:
            if row is not None:
                lane = (row[0], row[1])
                if wrapped and lane > after:
                    return
                yield lane
            elif wrapped or after == ("", ""):
                return
            else:
                lane, wrapped = ("", ""), True
            (row,) = self._ask_lane(lane)

    def _start(self, rows: list[Any], facts: Facts) -> None:
        """Start these, of different order keys that nothing is before, or put each where it belongs."""
        tx, item = self._tx, self._item
        starting: list[tuple[Any, ...]] = []
        for row in rows:
            number, service, holder = facts.of(row)
            pool, account, free_at, mms, gap_us, former = number or (None, "", 0, 0, None, 0)
            if service is None:
                finish(tx, row[ID], row[ORDER_KEY])  # deleted, and its messages with it
                continue
            if row[MAY_BE_TAKEN] and has_outcome(
                tx, row[SERVICE_SID], row[SESSION_SID], row[INTERACTION_SID]
            ):
                finish(tx, row[ID], row[ORDER_KEY])  # it was taken, and is not sent again
                continue
            # Where the number is in the directory no more, there is nobody to ask.
            ask, code = row[STATE] == UNCERTAIN and number is not None, None
            if row[HANDED_TO] in item.free:
                account = row[HANDED_TO]  # only that one can tell, whoever carries the number by now
            elif row[HANDED_TO] is not None:
                ask, code = False, why_lost(service[0])
            held_by = holder or (find_former_holder(tx, row) if former else None)
            code = code or (None if ask else why_not(tx, row, pool, mms, service, held_by))
            if code is not None:
                if item.event_sids:  # else it fails in a later turn, with an event
                    self._starts.stopped.append(fail(tx, item.event_sids.pop(), row, code))
                continue
            has_slot = self._free.get(account, 0) > 0
            goes = has_slot and (ask or self._has_turn(account, row[NUMBER], free_at, gap_us))
            if goes and account in item.down and not take_try(tx, account):
                self._free[account], goes = 0, False
            if not goes and ask:
                tx.execute(_POSTPONE, (tx.now + ASK_LATER_US, row[ID]))
                continue
            if not goes:
                self._put(row, PARKED, account)
                if not has_slot and account not in item.down:
                    tx.wake |= Wake.OTHERS
                continue
            starting.append((item.run, tx.now, account, row[ID]))
            tx.started += 1
            self._free[account] -= 1
            self._starts.started.append(make_started(row, row[ATTEMPTS] + 1, account, service[0], mms, ask))
        tx.executemany(_START, starting)

    def _has_turn(self, account: str, number: str, free_at: int, gap_us: int | None) -> bool:
        """Whether the rates of the number and of its account let one more go now, which is then counted."""
        limits = self._item.throughput.get(account, UNLIMITED)
        gap_us = limits.number_gap_us if gap_us is None else gap_us
        free_at = self._taken.get(number, free_at)
        if free_at > self._tx.now:
            return self._waits(account, number, free_at)
        if limits.gap_us and not self._take_account(account, limits):
            return False
        if gap_us:
            after = next_free(free_at, self._tx.now, gap_us, limits.window_us)
            if self._tx.execute(_TAKE_NUMBER, (after, number, free_at)).rowcount == 0:
                return self._waits(account, number, self._tx.now)
            self._taken[number] = after
        return True

    def _take_account(self, account: str, limits: Throughput) -> bool:
        tx = self._tx
        found = tx.execute(_ACCOUNT, (account,)).fetchone()
        if found is None:
            tx.execute(_NEW_ACCOUNT, (account,))
        free_at = found[0] if found else 0
        if free_at > tx.now:
            return self._waits(account, "", free_at)
        after = next_free(free_at, tx.now, limits.gap_us, limits.window_us)
        if tx.execute(_TAKE_ACCOUNT, (after, account, free_at)).rowcount == 0:
            return self._waits(account, "", tx.now)
        return True

    def _waits(self, account: str, number: str, free_at: int) -> bool:
        self._busy.add((account, number))
        self._free_at = free_at if self._free_at is None else min(self._free_at, free_at)
        return False

    def _put(self, row: Any, state: int, account: str | None) -> None:
        if row[STATE] != state:
            self._tx.execute(_PUT, (state, account, row[ID]))
            self._starts.stopped.append(
                Stopped(row[INTERACTION_SID], int(MessageStatus.QUEUED), self._tx.now)
            )
