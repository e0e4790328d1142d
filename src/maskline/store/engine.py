"""What a store offers: `read`, `write` and `batch`, each a plain synchronous function run in one transaction.

No `await` fits inside such a function, so no network call can sit in a transaction; it may be run again after a
conflict, so it must be deterministic: SIDs, keys and instants are made before and come in as arguments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum, IntFlag
from typing import Any, ClassVar, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeVar

from maskline.domain.model import Instant, StoreBodies
from maskline.domain.optout import OBEYS_NOTHING, Rules
from maskline.metrics import Metric, Sample

P = ParamSpec("P")
R = TypeVar("R")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

MOST_ITEMS = 256
"""The most items of one function that one commit carries."""

MOST_WAITING = 2000
"""With this many accepts waiting, a further one is refused (503) before anything is stored."""

ALL = 2**63 - 1
"""As a LIMIT: no limit."""


class StoreUnavailable(Exception):
    """The database cannot be reached or written now. Nothing of what was asked is stored."""


class StoreInDoubt(StoreUnavailable):
    """The database cannot be reached now, and what was asked may yet turn out to be stored."""


class InDoubt(Exception):
    """Whether the transaction was committed is not known, as nobody answers. `find_out` says it: None, not yet."""

    def __init__(self, find_out: Callable[[], bool | None]) -> None:
        super().__init__("the connection was lost while it committed")
        self.find_out = find_out


class StoreRefused(Exception):
    """The database would not do this one operation, and nothing of it is stored; it does others."""


class Cursor(Protocol):
    """What `execute` gives: rows to fetch, and how many were changed."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Wake(IntFlag):
    """Whom a commit wakes: whoever waits for one thing here, or else elsewhere; OTHERS: other processes in any case."""

    NOBODY = 0
    SENDS = 1
    CALLBACKS = 2
    ASKS = 4
    NOTICES = 8
    WAITERS = 16
    OTHERS = 32


class Wants(NamedTuple):
    """What a Service wants of its traffic: to be told of it, to be asked about it, to be asked about strangers; how
    long it keeps what people write; how many messages of a pair it takes (0: any number); and what it makes of
    opt-outs.
    """

    callbacks: bool = False
    intercept: bool = False
    strangers: bool = False
    bodies: StoreBodies = StoreBodies.ALWAYS
    pair_limit: int = 0
    optouts: Rules = OBEYS_NOTHING


def never() -> bool:
    """False."""
    return False


def no_pseudonym(_: str) -> str:
    """Where there is no key that could make one."""
    raise RuntimeError("this database was opened without its secret key")


class Tx:
    """One transaction.

    `now` is the only time in it. `idle_close_us` is the operator's idle limit, which every reader of a Session needs;
    `pseudonym` is the vault's. A function adds to `wake` whom the commit shall wake; the start of sends reports in
    `oldest_us` and `started` how far behind it is, so that the writer can slow what comes in. `wants` remembers what
    each Service wants. `counted` is what has come to pass in it, each with its labels: metrics, once it is committed.
    `freed` has a run and its carrier account for each hand-over whose outcome is in it: so many more may be started in
    the same transaction, and never more are under way after any commit than before it.

    A hot function reads for all of its items, decides, and writes for all. `executemany`, `find_each` and `list_each`
    run one statement for each of many rows of values; where that is one statement for all (PostgreSQL), each sees the
    tables as they were before the first of them. So no two of them may write to the same row. `in_sets`: it is. What
    is asked in a row, before any of it is looked at, goes there together.
    """

    in_sets: ClassVar = False

    __slots__ = (
        "counted",
        "execute",
        "executemany",
        "freed",
        "idle_close_us",
        "now",
        "oldest_us",
        "pseudonym",
        "started",
        "wake",
        "wants",
    )

    def __init__(
        self,
        execute: Callable[..., Cursor],
        executemany: Callable[..., Cursor],
        now: Instant,
        idle_close_us: int,
        pseudonym: Callable[[str], str] = no_pseudonym,
    ) -> None:
        self.execute = execute
        self.executemany = executemany
        self.now = now
        self.idle_close_us = idle_close_us
        self.pseudonym = pseudonym
        self.wake = Wake.NOBODY
        self.wants: dict[str, Wants] = {}
        self.counted: list[tuple[Metric, tuple[str, ...]]] = []
        self.freed: list[tuple[str, str]] = []
        self.oldest_us = 0
        self.started = 0

    def find_each(self, text: str, many: Sequence[Sequence[Any]]) -> Sequence[Any]:
        """For each of these rows of values the first row that the statement gives, or None."""
        execute = self.execute
        return [execute(text, values).fetchone() for values in many]

    def list_each(self, text: str, many: Sequence[Sequence[Any]]) -> Sequence[list[Any]]:
        """For each of these rows of values all rows that the statement gives."""
        execute = self.execute
        return [execute(text, values).fetchall() for values in many]

    def count(self, metric: Metric, *labels: str) -> None:
        """One more of this has come to pass."""
        self.counted.append((metric, labels))

    def noted(self) -> tuple[Wake, int, int]:
        """How much it has noted by now, for `forget_since`."""
        return self.wake, len(self.counted), len(self.freed)

    def forget_since(self, noted: tuple[Wake, int, int]) -> None:
        """What has happened since then is undone, back to a savepoint."""
        self.wake, counted, freed = noted
        del self.counted[counted:], self.freed[freed:]


class Turn(IntEnum):
    """The order in which one round of the writer serves what waits: first what frees, last what adds."""

    OUTCOME = 0
    START = 1
    RECEIVE = 2
    WRITE = 3
    ACCEPT = 4


class Batched(Generic[ItemT, ResultT]):
    """A hot write: a function of a batch, which answers each item with its result or with the exception it gets.

    `side_by_side`: another process may run it at the same time on the same database. It locks what it goes by.
    """

    __slots__ = ("fn", "side_by_side", "turn")

    def __init__(
        self,
        turn: Turn,
        fn: Callable[[Tx, list[ItemT]], Sequence[ResultT | Exception]],
        *,
        side_by_side: bool = False,
    ) -> None:
        self.turn = turn
        self.fn = fn
        self.side_by_side = side_by_side


def batched(
    turn: Turn, *, side_by_side: bool = False
) -> Callable[[Callable[[Tx, list[ItemT]], Sequence[ResultT | Exception]]], Batched[ItemT, ResultT]]:
    """Declare a function of a batch, in which turn it is served, and whether many processes may run it at once."""
    return lambda fn: Batched(turn, fn, side_by_side=side_by_side)


class Store(Protocol):
    """A database behind three verbs. What is returned has been committed (reads: was one snapshot).

    `is_shared`: other processes may have it, too, and do what this one has stored to be done.
    """

    is_shared: ClassVar[bool]

    async def close(self) -> None:
        """Finish what waits, then close. Nothing may be handed in afterwards."""

    async def read(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `fn` on one snapshot."""

    async def write(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `fn` and commit. What it raises is raised here, with nothing of it stored. Raises StoreRefused."""

    async def batch(self, batched: Batched[ItemT, ResultT], item: ItemT) -> ResultT:
        """Hand one item to a hot write; it is run and committed with whatever else waits."""

    def subscribe(self, wake: Wake, is_full: Callable[[], bool] = never) -> asyncio.Event:
        """An event that is set after each commit that asked for this to be woken. `is_full`: whether who waits for it
        can do no more just now, so that those who wait for it in other processes are woken, too.
        """

    async def cut_log(self) -> bool:
        """Leave nothing of what has been overwritten in the log either. False: others kept it busy; ask again."""

    def measures(self) -> Iterable[Sample]:
        """Its own figures, and what transactions have counted."""

    def overloaded(self) -> bool:
        """Whether so many accepts wait that a further one would be refused."""

    def is_writable(self) -> bool:
        """Whether what is handed in now has any prospect of being stored, as far as is known."""
