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

from maskline.domain import problems
from maskline.domain.interaction import MessageStatus
from maskline.domain.model import SECOND, OnUncertain, OutboxState, SessionStatus
from maskline.domain.optout import rules_of
from maskline.domain.phone import mask
from maskline.domain.problems import Code
from maskline.domain.service_settings import read_settings
from maskline.domain.session import as_of
from maskline.domain.throughput import UNLIMITED, Throughput, next_free
from maskline.store.engine import MOST_ITEMS, Turn, Tx, Wake, batched
from maskline.store.events import insert_event
from maskline.store.health import take_try
from maskline.store.optouts import CONFIRMATION, is_blocked
from maskline.store.outbox import finish
from maskline.store.record import is_told, merge_leg, note_error
from maskline.store.sessions import COLUMNS_OF_S, make_session

FAILED, UNKNOWN = int(MessageStatus.FAILED), int(MessageStatus.DELIVERY_UNKNOWN)
PARKED, HELD = int(OutboxState.PARKED), int(OutboxState.HELD)
UNCERTAIN = int(OutboxState.UNCERTAIN)

ASK_LATER_US = 5 * SECOND
LOOKS = 16
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
class Started:
    """A message that is this worker's to hand over, once. `settings` is what its Service keeps of them. `ask`: its
    hand-over is uncertain, and the carrier can be asked; it must not be sent now.
    """

    id: int
    attempts: int
    expires_at: int
    number: str
    account_sid: str
    service_sid: str
    session_sid: str
    interaction_sid: str
    message_sid: str
    recipient: str
    payload: str
    carrier_account: str
    settings: str
    mms: bool
    """Whether its number carries media."""
    ask: bool
    handed_at: int
    """Of one to ask for: when it was handed over."""
    brought_by: str
    """The carrier account that brought it; empty: none did itself."""


@dataclass(slots=True)
class Stopped:
    """A message that will not be handed over now, for whoever waits for it: its leg as it is."""

    interaction_sid: str
    status: int
    updated_at: int


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


COLUMNS = """id, order_key, seq, state, due_at, attempts, expires_at, number, account_sid, service_sid, session_sid,
       interaction_sid, message_sid, recipient, payload, uncertain, coalesce(handed_at, started_at), brought_by,
       CASE state WHEN 4 THEN carrier_account ELSE handed_to END"""
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
NUMBER = "SELECT service_sid, carrier_account, next_free_at, mms, gap_us, former FROM numbers WHERE phone_number = ?"
_ACCOUNT = "SELECT next_free_at FROM carrier_paces WHERE carrier_account = ?"
_NEW_ACCOUNT = (
    "INSERT INTO carrier_paces (carrier_account, next_free_at) VALUES (?, 0) ON CONFLICT DO NOTHING"
)

# By whoever is the first of those that have seen the same.
_TAKE_NUMBER = "UPDATE numbers SET next_free_at = ? WHERE phone_number = ? AND next_free_at = ?"
_TAKE_ACCOUNT = "UPDATE carrier_paces SET next_free_at = ? WHERE carrier_account = ? AND next_free_at = ?"

# Its settings, and whether anybody has opted out of the Service at all, so that where nobody has, that is all it costs.
_SERVICE = """
SELECT v.settings, (SELECT 1 FROM optouts WHERE service_sid = ?1 LIMIT 1) FROM services v
CROSS JOIN sessions s ON s.service_sid = v.sid AND s.sid = ?2 WHERE v.sid = ?1"""

# The same for a message of no Session, which is there as long as it is.
_SERVICE_ALONE = """
SELECT v.settings, (SELECT 1 FROM optouts WHERE service_sid = ?1 LIMIT 1) FROM services v
CROSS JOIN interactions i ON i.service_sid = v.sid AND i.session_sid = '' AND i.sid = ?2 WHERE v.sid = ?1"""

_HOLDER, _FORMER_HOLDER = (
    f"""
SELECT {COLUMNS_OF_S} FROM {table} p
JOIN sessions s ON s.service_sid = p.service_sid AND s.sid = p.session_sid
WHERE p.service_sid = ?1 AND p.identifier_key = ?2 AND p.proxy_identifier = ?3 AND p.active = 1
AND p.session_sid <> ?4"""
    for table in ("participants", "former_numbers")
)


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
        most = min(MOST_ITEMS, 2 * free + LOOKS)
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
                    tx.oldest_us = max(tx.oldest_us, tx.now - rows[looked][4])
                    tx.wake |= Wake.OTHERS
                return
            self._start_fresh(rows[looked : looked + room])
            looked += room
        self._starts.more = len(rows) == most

    def _start_fresh(self, rows: list[Any]) -> None:
        """Start these, but hold those that are behind something of their order key."""
        asked = Asked(self._tx, rows)
        while rows:
            behind = self._tx.find_each(_EARLIER, [(row[1], row[2]) for row in rows])
            first: list[Any] = []
            keys: set[str] = set()
            later: list[Any] = []
            for row, earlier in zip(rows, behind, strict=True):
                if earlier is not None:
                    self._put(row, HELD, None)
                elif row[1] in keys:
                    later.append(row)
                else:
                    keys.add(row[1])
                    first.append(row)
            self._start(first, asked)
            rows = later  # behind one of these, unless that is gone by now

    def _waiting(self, most: int) -> bool:
        """Start up to so many of what waits already. Returns False if nothing does that could go."""
        tx = self._tx
        if most <= 0:
            return True
        waiting, first_lane = tx.list_each(_WAITING, [(tx.now, most)]), self._ask_lane(self._starts.lane)
        if due := waiting[0]:
            self._was_due = True
            self._start(due, Asked(tx, due))
            first_lane = self._ask_lane(self._starts.lane)  # what could not start waits in one by now
        left, parked = most, False
        for lane in self._lanes(first_lane):
            parked = True
            room = min(left, self._free.get(lane[0], 0))
            before = len(self._starts.started)
            if room and (lane[0], "") not in self._busy:
                rows = tx.execute(_LANE, (*lane, room)).fetchall()
                asked = Asked(tx, rows)
                self._start(rows[:1], asked)
                if lane not in self._busy:
                    self._start(rows[1:], asked)
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

    def _start(self, rows: list[Any], asked: Asked) -> None:
        """Start these, of different order keys that nothing is before, or put each where it belongs."""
        tx, item = self._tx, self._item
        starting: list[tuple[Any, ...]] = []
        for row in rows:
            number, service, holder = asked.of(row)
            service_sid, account, free_at, mms, gap_us, former = number or (None, "", 0, 0, None, 0)
            if service is None:
                finish(tx, row[0], row[1])  # deleted, and its messages with it
                continue
            if row[15] and is_told(tx, row[9], row[10], row[11]):
                finish(tx, row[0], row[1])  # it was taken, and is not sent again
                continue
            # Where the number is in the directory no more, there is nobody to ask.
            ask, code = row[3] == UNCERTAIN and number is not None, None
            if row[18] in item.free:
                account = row[18]  # only that one can tell, whoever carries the number by now
            elif row[18] is not None:
                ask, code = False, _why_lost(service[0])
            held_by = holder or (_former_holder_of(tx, row) if former else None)
            code = code or (None if ask else _why_not(tx, row, service_sid, mms, service, held_by))
            if code is not None:
                if item.event_sids:  # else it fails in a later turn, with an event
                    self._starts.stopped.append(_fail(tx, item.event_sids.pop(), row, code))
                continue
            has_slot = self._free.get(account, 0) > 0
            goes = has_slot and (ask or self._has_turn(account, row[7], free_at, gap_us))
            if goes and account in item.down and not take_try(tx, account):
                self._free[account], goes = 0, False
            if not goes and ask:
                tx.execute(_POSTPONE, (tx.now + ASK_LATER_US, row[0]))
                continue
            if not goes:
                self._put(row, PARKED, account)
                if not has_slot and account not in item.down:
                    tx.wake |= Wake.OTHERS
                continue
            starting.append((item.run, tx.now, account, row[0]))
            tx.started += 1
            self._free[account] -= 1
            self._starts.started.append(make_started(row, row[5] + 1, account, service[0], mms, ask))
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
        if row[3] != state:
            self._tx.execute(_PUT, (state, account, row[0]))
            self._starts.stopped.append(Stopped(row[11], int(MessageStatus.QUEUED), self._tx.now))


class Asked:
    """What has to be known of these rows before they start, asked together."""

    def __init__(self, tx: Tx, rows: Sequence[Any]) -> None:
        numbers = [*dict.fromkeys(row[7] for row in rows)]
        sessions = [*dict.fromkeys((row[9], row[10]) for row in rows if row[10])]
        alone = [(row[9], row[11]) for row in rows if not row[10]]
        # Of a row of no Session nobody has the pair: whoever has the number now, it goes to the person whom it answers.
        pairs = {row[0]: _pair_of(row) for row in rows if row[10]}
        self._asked = (
            (numbers, tx.find_each(NUMBER, [(number,) for number in numbers])),
            (sessions, tx.find_each(_SERVICE, sessions)),
            (alone, tx.find_each(_SERVICE_ALONE, alone)),
            (pairs, tx.find_each(_HOLDER, [*pairs.values()])),
        )
        self._known: dict[Any, Any] | None = None

    def of(self, row: Any) -> tuple[Any, Any, Any]:
        """Its number's row in the directory; its Service, as _SERVICE has it, or None if its Session, or what has none,
        is gone; and the Session of who else has its pair by now.
        """
        if self._known is None:
            self._known = {
                key: found for keys, asked in self._asked for key, found in zip(keys, asked, strict=True)
            }
        known = self._known
        return known[row[7]], known[row[9], row[10] or row[11]], known.get(row[0])


def _former_holder_of(tx: Tx, row: Any) -> Any:
    """The same for whoever had the pair before their Session moved, as it still answers them."""
    return tx.execute(_FORMER_HOLDER, _pair_of(row)).fetchone() if row[10] else None


def _pair_of(row: Any) -> tuple[Any, ...]:
    """Of a row of the outbox: its Service, recipient, number and Session."""
    return row[9], row[13], row[7], row[10]


def make_started(row: Any, attempts: int, account: str, settings: str, mms: int, ask: bool) -> Started:
    """A message by its row, as COLUMNS has it."""
    return Started(
        id=row[0],
        attempts=attempts,
        expires_at=row[6],
        number=row[7],
        account_sid=row[8],
        service_sid=row[9],
        session_sid=row[10],
        interaction_sid=row[11],
        message_sid=row[12],
        recipient=row[13],
        payload=row[14],
        carrier_account=account,
        settings=settings,
        mms=bool(mms),
        ask=ask,
        handed_at=row[16] or 0,
        brought_by=row[17] or "",
    )


def _why_not(
    tx: Tx, row: Any, pool: str | None, mms: int, service: tuple[str, int | None], holder: Any
) -> Code | None:
    """Why this message may not be sent any more, if so. `service`: a row of _SERVICE; `holder`: of _HOLDER."""
    number, service_sid, recipient = row[7], row[9], row[13]
    if row[6] <= tx.now:
        return problems.VALIDITY_PASSED
    if pool != service_sid:
        return problems.SESSION_EXPIRED
    if holder is not None:
        other = as_of(make_session(holder), tx.now, tx.idle_close_us)
        if other.status is not SessionStatus.CLOSED:
            return problems.SESSION_EXPIRED
    settings, has_optouts = service
    if not mms and row[12].startswith("MM") and read_settings(settings)["mms_fallback"] == "fail":
        return problems.MEDIA_NOT_CARRIED
    if not has_optouts or row[1].startswith(CONFIRMATION):
        return None
    blocked = is_blocked(tx, service_sid, recipient, number, rules_of(settings))
    return problems.RECIPIENT_OPTED_OUT if blocked else None


def _why_lost(settings: str) -> Code | None:
    """Why a message is given up that an account may have taken which is no longer here to be asked, if it is."""
    resend = read_settings(settings)["on_uncertain"] == OnUncertain.RESEND
    return None if resend else problems.DELIVERY_UNKNOWN


def _fail(tx: Tx, event_sid: str, row: Any, code: Code) -> Stopped:
    finish(tx, row[0], row[1])
    status = FAILED
    if row[15]:  # a carrier may have taken it before: nobody can say that it failed
        status, code = UNKNOWN, problems.DELIVERY_UNKNOWN
    leg = merge_leg(tx, row[9], row[10], row[11], status, None)
    note_error(tx, row[9], row[10], row[11], code)
    where = {"service_sid": row[9], "session_sid": row[10], "interaction_sid": row[11]}
    insert_event(tx, event_sid, row[8], code, f"to {mask(row[13])}", **where)
    known, updated_at = leg or (status, tx.now)
    return Stopped(row[11], known, updated_at)


def fail_expired(tx: Tx, ids: list[int], event_sids: list[str]) -> list[Stopped]:
    """Fail those of these rows that are still unstarted and past their validity, whatever they wait for."""
    stopped = []
    for row_id, event_sid in zip(ids, event_sids, strict=True):
        row = tx.execute(
            f"SELECT {COLUMNS} FROM outbox WHERE id = ? AND state <> 4 AND expires_at <= ?", (row_id, tx.now)
        ).fetchone()
        if row is None:
            continue
        if row[15] and is_told(tx, row[9], row[10], row[11]):
            finish(tx, row[0], row[1])
        else:
            stopped.append(_fail(tx, event_sid, row, problems.VALIDITY_PASSED))
    return stopped
