"""Group commit: one thread that writes what waits, a round at a time, through one connection of an engine.

A round runs each function once over its items and commits once, without a timer, so a lone request waits for nobody.
What fails alone, fails alone: if anything in a round fails, the round begins again, and the items of the failing
function run one by one under savepoints.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, Protocol

from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.metrics import ROUND_ITEMS, ROUND_SECONDS, WAITING_ACCEPTS, Histogram, Metric, Sample
from maskline.store.engine import (
    MOST_WAITING,
    Batched,
    InDoubt,
    ItemT,
    P,
    R,
    ResultT,
    StoreInDoubt,
    StoreUnavailable,
    Turn,
    Tx,
    Wake,
)
from maskline.store.rounds import Group, Job, Rounds, turn_of

MOST_REPEATS = 5
"""How often a round is run again that lost against somebody else's transaction."""

DOUBT_S = 10.0
"""How long whoever waits for a round is kept waiting while nobody can say whether it was committed."""
ASK_S = 0.1

_IN_DOUBT = "the database is away, and cannot be asked whether it has done what it was told last"

_Settled = tuple["asyncio.Future[Any]", Any]


class Engine(Protocol):
    """A connection to write through. Everything runs in the writer's thread."""

    def begin(self, *, side_by_side: bool) -> Tx:
        """Open a transaction, in which only others of this kind may run at the same time, or none."""

    def execute(self, sql: str) -> object:
        """Run a statement about savepoints."""

    def commit(self) -> None:
        """Raises InDoubt where nobody knows, and otherwise where the transaction is certainly not committed."""

    def rollback(self) -> None:
        """Leave no transaction open, whatever has failed."""

    def is_conflict(self, error: Exception) -> bool:
        """Whether the transaction lost against another one, and had better be run again."""

    def is_environment(self, error: Exception) -> bool:
        """Whether the database itself has a problem, not one item: nothing of the round may be acknowledged."""

    def for_caller(self, error: Exception) -> Exception:
        """What a caller is told of an error that its own operation met."""

    def tend(self) -> None:
        """After each commit."""

    def die(self, error: BaseException) -> None:
        """End the process: the writer cannot go on."""


class Writer:
    """The writing half of a store. `tell_others`: wakes those whom a commit wants woken and nobody here is who
    can do something.
    """

    def __init__(self, engine: Engine, clock: Clock, tell_others: Callable[[], None] | None = None) -> None:
        self._engine = engine
        self._tell_others = tell_others
        self._loop = asyncio.get_running_loop()
        self._rounds = Rounds(self._loop, clock)
        self._accepts_waiting = 0
        self._in_doubt = self._failing = self._closing = False
        self._subscribers: list[tuple[Wake, asyncio.Event, Callable[[], bool]]] = []
        self._counts: Counter[tuple[Metric, tuple[str, ...]]] = Counter()
        self._round_s, self._round_items = Histogram(ROUND_SECONDS), Histogram(ROUND_ITEMS)
        self._thread = threading.Thread(target=self._write_rounds, name="maskline-write", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Finish what waits. Nothing may be handed in afterwards."""
        self._closing = True
        self._rounds.close()
        await asyncio.to_thread(self._thread.join)

    # Handing in

    async def write(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        self._check()
        future: asyncio.Future[R] = self._loop.create_future()
        self._rounds.put((None, (fn, args, kwargs), future))
        return await future

    async def batch(self, batched: Batched[ItemT, ResultT], item: ItemT) -> ResultT:
        self._check()
        if batched.turn is Turn.ACCEPT:
            if self._accepts_waiting >= MOST_WAITING:
                raise Problem(problems.UNAVAILABLE, headers={"Retry-After": "1"})
            self._accepts_waiting += 1
        future: asyncio.Future[ResultT] = self._loop.create_future()
        self._rounds.put((batched, item, future))
        return await future

    def _check(self) -> None:
        if self._in_doubt:
            raise StoreUnavailable(_IN_DOUBT)

    def is_working(self) -> bool:
        """Whether the last round met a database that could be written."""
        return not self._failing and not self._in_doubt

    def measures(self) -> Iterator[Sample]:
        for (metric, labels), count in self._counts.items():
            yield metric, labels, count
        yield ROUND_SECONDS, (), self._round_s
        yield ROUND_ITEMS, (), self._round_items
        yield WAITING_ACCEPTS, (), self._accepts_waiting

    def overloaded(self) -> bool:
        return self._accepts_waiting >= MOST_WAITING

    def subscribe(self, wake: Wake, is_full: Callable[[], bool]) -> asyncio.Event:
        event = asyncio.Event()
        self._subscribers.append((wake, event, is_full))
        return event

    def _settle_round(self, settled: list[_Settled], accepts: int, tx: Tx, took_s: float) -> None:
        self._round_s.note(took_s)
        self._round_items.note(len(settled))
        if tx.counted:
            self._counts.update(tx.counted)
        self._settle(settled, accepts, tx.wake)

    def _settle(self, settled: list[_Settled], accepts: int, wake: Wake) -> None:
        self._accepts_waiting -= accepts
        for future, result in settled:
            if future.done():  # its caller has gone away
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        unheard, too_much = wake, False
        for wanted, event, is_full in self._subscribers:
            if wake & wanted:
                event.set()
                unheard &= ~wanted
                too_much |= is_full()
        if (unheard or too_much) and self._tell_others is not None:
            self._tell_others()

    # Writing: everything below runs in the writer's thread

    def _write_rounds(self) -> None:
        try:
            while (groups := self._rounds.take()) is not None:
                self._round(groups)
        except BaseException as error:
            # Without its writer the process would take requests and answer none.
            self._engine.die(error)

    def _round(self, groups: list[Group]) -> None:
        """Run a round's jobs and commit them; nobody is told before."""
        began = time.perf_counter()
        accepts = sum(len(jobs) for batched, jobs in groups if turn_of(batched) is Turn.ACCEPT)
        try:
            tx, settled = self._commit(groups)
        except Exception as error:
            self._failing = True
            self._abandon(groups, accepts, error)
            return
        self._failing = False
        if tx.started or tx.oldest_us:
            self._rounds.note_starts(tx.started, tx.oldest_us)
        took_s = time.perf_counter() - began
        self._loop.call_soon_threadsafe(self._settle_round, settled, accepts, tx, took_s)
        self._engine.tend()

    def _commit(self, groups: list[Group]) -> tuple[Tx, list[_Settled]]:
        engine, guarded, repeats = self._engine, False, 0
        side_by_side = all(batched is not None and batched.side_by_side for batched, _ in groups)
        while True:
            try:
                tx = engine.begin(side_by_side=side_by_side)
                settled = self._run(tx, groups, guarded=guarded)
                try:
                    engine.commit()
                except InDoubt as doubt:
                    if not self._was_committed(groups, doubt):
                        raise
            except Exception as error:
                if engine.is_conflict(error) and repeats < MOST_REPEATS:
                    repeats += 1
                elif isinstance(error, InDoubt) or engine.is_environment(error) or guarded:
                    raise
                else:
                    # An item that fails fails alone: begin again, and where a group fails run its items one by one.
                    guarded = True
                engine.rollback()
            else:
                return tx, settled

    def _was_committed(self, groups: list[Group], doubt: InDoubt) -> bool:
        """Ask until somebody answers. Meanwhile everybody else is told at once that the database is away, and after a
        while whoever made a request that is in the round, which may yet be found to be stored. What a worker has
        started or ended it must hear of, however late: nobody else looks after it.
        """
        until = time.monotonic() + DOUBT_S
        requests = [job for batched, jobs in groups if turn_of(batched) > Turn.START for job in jobs]
        self._in_doubt = True
        try:
            while (known := doubt.find_out()) is None:
                self._tell_away([job for _, jobs in self._rounds.take_waiting() for job in jobs])
                if time.monotonic() >= until:
                    self._tell_away(requests, doubt)
                    requests = []
                    if self._closing:
                        return False
                time.sleep(ASK_S)
        finally:
            self._in_doubt = False
        return known

    def _tell_away(self, jobs: list[Job], cause: Exception | None = None) -> None:
        if jobs:
            failure = StoreInDoubt(_IN_DOUBT) if cause else StoreUnavailable(_IN_DOUBT)
            failure.__cause__ = cause
            accepts = 0 if cause else sum(turn_of(job[0]) is Turn.ACCEPT for job in jobs)
            settled: list[_Settled] = [(job[2], failure) for job in jobs]
            self._loop.call_soon_threadsafe(self._settle, settled, accepts, Wake.NOBODY)

    def _run(self, tx: Tx, groups: list[Group], *, guarded: bool) -> list[_Settled]:
        """Run every job of a round in one transaction.

        Hot functions do not fail as a rule and a savepoint makes SQLite copy each page that it changes, so they run
        without one unless `guarded`. Plain writes may refuse what they are asked, and always have one.
        """
        settled: list[_Settled] = []
        for batched, jobs in groups:
            if batched is None:
                settled += [(job[2], self._alone(tx, job)) for job in jobs]
            elif guarded:
                settled += self._guarded(tx, batched, jobs)
            else:
                results = batched.fn(tx, [job[1] for job in jobs])
                settled += [(job[2], result) for job, result in zip(jobs, results, strict=True)]
        return settled

    def _guarded(self, tx: Tx, batched: Batched[Any, Any], jobs: list[Job]) -> list[_Settled]:
        noted = tx.noted()
        self._engine.execute("SAVEPOINT job")
        try:
            results = batched.fn(tx, [job[1] for job in jobs])
            self._engine.execute("RELEASE job")
            return [(job[2], result) for job, result in zip(jobs, results, strict=True)]
        except Exception as error:
            self._undo(error)
            tx.forget_since(noted)
            return [(job[2], self._alone(tx, job)) for job in jobs]

    def _alone(self, tx: Tx, job: Job) -> Any:
        """The result of one job under a savepoint of its own, or the exception that it gets."""
        batched, work, _ = job
        noted = tx.noted()
        self._engine.execute("SAVEPOINT job")
        try:
            if batched is None:
                fn, args, kwargs = work
                result = fn(tx, *args, **kwargs)
            else:
                (result,) = batched.fn(tx, [work])
            self._engine.execute("RELEASE job")
        except Exception as error:
            self._undo(error)
            tx.forget_since(noted)
            return self._engine.for_caller(error)
        return result

    def _undo(self, error: Exception) -> None:
        """Back to the savepoint; raises `error` on if it is not one item's."""
        if self._engine.is_environment(error) or self._engine.is_conflict(error):
            raise error
        self._engine.execute("ROLLBACK TO job")
        self._engine.execute("RELEASE job")

    def _abandon(self, groups: list[Group], accepts: int, error: Exception) -> None:
        self._engine.rollback()
        failure = StoreUnavailable(str(error))
        failure.__cause__ = error
        settled: list[_Settled] = [(job[2], failure) for _, jobs in groups for job in jobs]
        self._loop.call_soon_threadsafe(self._settle, settled, accepts, Wake.NOBODY)
