"""What the writer writes through on PostgreSQL: one connection, the cluster's turn for each round, and a look at what
became of a commit whose answer was lost; and what the driver's errors mean.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import errors

from maskline.domain.model import Instant
from maskline.store.engine import InDoubt, StoreRefused, StoreUnavailable, Tx
from maskline.store.postgres_dial import IDLE_LIMIT_MS, Dialer
from maskline.store.postgres_line import Answer, Line
from maskline.store.postgres_tx import Connection

WAIT_LIMIT_MS = 10_000
"""How long a write waits for its turn, and for a row, at the most. Whoever was frozen has lost the turn long before."""
WRITE_PATIENCE_S = 15.0
"""How long a server may be silent: longer than it lets anything take, but for what its disk or its standbys make of a
commit. Of one that takes too long for us it is looked up what became of it."""

TURN = 0x6D61736B6C696E65
"""The advisory lock that a write's transaction holds, alone or with others: the bytes of `maskline`."""

_BEGIN = """
WITH turn AS MATERIALIZED (SELECT {lock}({turn}))
UPDATE runs SET round = round + 1, seen_at = $2 + (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * $3
FROM turn WHERE id = $1
RETURNING round, seen_at"""
_BEGIN_ALONE = _BEGIN.format(lock="pg_advisory_xact_lock", turn=TURN)
_BEGIN_SIDE_BY_SIDE = _BEGIN.format(lock="pg_advisory_xact_lock_shared", turn=TURN)
ENTER = """
INSERT INTO runs (id, seen_at, round)
VALUES ($1, $2, 0) ON CONFLICT DO NOTHING"""
# No error if the row is held: this may be asked for days, and each error leaves a prepared statement behind.
_WAS_COMMITTED = """
SELECT (SELECT round FROM runs WHERE id = $1 FOR UPDATE SKIP LOCKED), EXISTS (SELECT 1 FROM runs WHERE id = $1)"""
_LEAVE = "UPDATE runs SET seen_at = 0 WHERE id = $1"

# PostgreSQL ends a transaction that is idle, but none whose client stands still in the midst of what it sends, or takes
# no answers. That would keep the turn for as long as it stands still.
_END_FROZEN = f"""
SELECT pg_terminate_backend(a.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.classid = {TURN >> 32} AND l.objid = {TURN & 0xFFFFFFFF} AND l.objsubid = 1
AND l.granted AND a.datname = current_database() AND a.wait_event_type = 'Client'
AND a.state_change < clock_timestamp() - $1 * interval '1 millisecond'"""


def is_conflict(error: BaseException) -> bool:
    """Whether a transaction lost against another one."""
    return isinstance(error, errors.SerializationFailure | errors.DeadlockDetected)


def is_environment(error: BaseException) -> bool:
    """Whether it is the database that has a problem."""
    known = psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError
    return isinstance(error, known) and not is_conflict(error)


_WRONG_STATEMENT = "42"
"""The class of errors that are a statement's own, whatever its values."""


def for_caller(error: Exception) -> Exception:
    """What a caller is told of an error that its own operation met. What PostgreSQL says of a row holds its values,
    which are nobody's to read in a log.
    """
    if not isinstance(error, psycopg.Error):
        return error
    told: Exception
    if is_environment(error) or is_conflict(error):
        told = StoreUnavailable(in_one_line(error))
    else:
        said = error.diag
        is_ours = (said.sqlstate or "").startswith(_WRONG_STATEMENT)
        where = said.message_primary if is_ours else said.constraint_name or said.table_name
        told = StoreRefused(f"{type(error).__name__}: {where}" if where else type(error).__name__)
    return told.with_traceback(error.__traceback__)


def in_one_line(error: Exception) -> str:
    """What the driver says in several."""
    return " ".join(str(error).split())


def _die(error: BaseException) -> None:
    os.write(2, f"maskline: the database cannot be written any more, stopping: {error}\n".encode())
    os._exit(1)


def database_time(connection: Connection) -> Instant:
    """By its own clock, now."""
    row = connection.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").fetchone()
    assert row is not None
    return Instant(row[0])


def take_turn(connection: psycopg.Connection[Any]) -> None:
    """Have the turn until the connection ends, however long those who work take before."""
    connection.execute(f"SET lock_timeout = {WAIT_LIMIT_MS}")
    while True:
        try:
            connection.execute("SELECT pg_advisory_lock($1)", (TURN,))
        except errors.LockNotAvailable:
            end_frozen(connection)
        else:
            connection.execute("SET lock_timeout = DEFAULT")
            return


def end_frozen(connection: Connection) -> None:
    """End what holds the turn and has been waiting for its client for too long."""
    connection.execute(_END_FROZEN, (IDLE_LIMIT_MS,)).fetchall()


class _Forgotten(Exception):
    """This run has been silent for so long that its row is gone: without it there is no turn."""


class PostgresEngine:
    """What the writer writes through: one connection, dialled anew whenever it was lost."""

    def __init__(
        self,
        dialer: Dialer,
        run: str,
        make_tx: Callable[[Connection, Callable[[], Instant]], Tx],
        own_time: Callable[[], Instant] | None,
    ) -> None:
        self._dialer = dialer
        self._run = run
        self._make_tx = make_tx
        self._own_time = own_time
        self._line: Line | None = None
        self._is_old = self._is_forgotten = self._is_held_up = False
        self._turn = Answer()
        self._round: int | None = None
        """Its number among those of this run; None until the turn is looked at."""
        self.for_caller = for_caller
        self.die = _die

    def begin(self, *, side_by_side: bool = False) -> Tx:
        """Put down what begins a transaction; its turn comes with the first answer in it that is looked at."""
        how = _BEGIN_SIDE_BY_SIDE if side_by_side else _BEGIN_ALONE
        own, scale = (0, 1) if self._own_time is None else (self._own_time(), 0)
        self._is_old, self._round = self._line is not None and not self._line.closed, None
        line = self._connect()
        if self._is_forgotten:
            # By itself: until it is committed that it is there, it cannot be asked what became of a round.
            line.begin("BEGIN")
            line.execute(ENTER, (self._run, own or database_time(line)))
            line.run("COMMIT")
        line.begin("BEGIN")
        self._turn = line.execute(how, (self._run, own, scale))
        return self._make_tx(line, self._take_turn)

    def _take_turn(self) -> Instant:
        """Look at the turn: the transaction's time. Raises _Forgotten."""
        row = self._turn.fetchone()
        self._is_forgotten = row is None
        if row is None:
            raise _Forgotten
        self._round = row[0]
        return Instant(row[1])

    def execute(self, sql: str) -> None:
        assert self._line is not None
        self._line.run(sql)

    def commit(self) -> None:
        assert self._line is not None
        if self._round is None:
            self._take_turn()
        try:
            self._line.run("COMMIT")
        except psycopg.Error as error:
            if not self._line.closed:
                raise
            raise InDoubt(self._was_committed) from error

    def _was_committed(self) -> bool | None:
        """After the connection was lost at COMMIT: what the row of this run says. None if nobody answers, or if it is
        still held by the lost transaction.
        """
        try:
            found, is_known = self._connect().execute(_WAS_COMMITTED, (self._run,)).fetchone()
        except psycopg.Error:
            return None
        return None if is_known and found is None else found == self._round

    def rollback(self) -> None:
        line = self._line
        if line is None or line.closed:
            return
        try:
            line.run("ROLLBACK")
            if self._is_held_up:
                end_frozen(line)
        except psycopg.Error:
            line.close()
        self._is_held_up = False

    def _connect(self) -> Line:
        if self._line is None or self._line.closed:
            self._line = Line(self._dialer.dial(), WRITE_PATIENCE_S)
            self._line.run(f"SET lock_timeout = {WAIT_LIMIT_MS}")
        return self._line

    def is_conflict(self, error: Exception) -> bool:
        is_gone = self._line is not None and self._line.closed
        if is_gone and self._is_old and self._round is None:  # found out only now, and there may be a new one
            return isinstance(error, psycopg.OperationalError)
        return is_conflict(error) or isinstance(error, _Forgotten)

    def is_environment(self, error: Exception) -> bool:
        if isinstance(error, errors.ReadOnlySqlTransaction) and self._line is not None:
            self._line.close()  # it is no primary any more; the next one dialled is
        self._is_held_up = isinstance(error, errors.LockNotAvailable)
        return is_environment(error)

    def tend(self) -> None:
        pass

    def close(self) -> None:
        """Leave: what this run has started and not ended is anybody's to judge now."""
        if self._line is not None and not self._line.closed:
            with contextlib.suppress(psycopg.Error):  # then it is missed after a while
                self._line.execute(_LEAVE, (self._run,))
                self._line.land()
            self._line.close()
