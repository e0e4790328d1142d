"""Statements that go out together: on a line to PostgreSQL, what nobody looks at waits for what somebody does.

A statement is put down, and goes out with the next one whose answer is looked at, or with what ends the transaction:
one way there and back for all of them. The server takes them in their order and stops at the first that fails, so an
error is raised to whoever has the answers brought. That is at the latest who commits, and nobody is told before.

Here it is libpq that is spoken to, and not a cursor of the driver, which costs several times what its statement does.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult

PLANS_S = 5.0
"""How long a line keeps a plan at most. It is made for as much as there is at that moment: where that is next to
nothing, it may well read all, which is slow a few thousand rows later."""
MOST_PREPARED = 1000

_INT8 = psycopg.adapters.types["int8"].oid
_UNKNOWN = 0
_FORGET = "DEALLOCATE ALL"

_Prepared = tuple[str, tuple[int, ...]]
"""A statement's text, and the types of its values."""


class Answer:
    """What a statement gives. To look at it has it brought, with all before it."""

    __slots__ = ("_count", "_line", "_rows")

    def __init__(self, line: Line | None = None) -> None:
        """Without a line: that of no statement at all."""
        self._line = line
        self._rows: Iterator[Any] = iter(())
        self._count = 0

    def take(self, rows: list[Any], count: int) -> None:
        """It has come."""
        self._line, self._rows, self._count = None, iter(rows), count

    def _bring(self) -> None:
        if self._line is not None:
            self._line.land()
        if self._line is not None:
            raise psycopg.ProgrammingError("the statement was not run")

    @property
    def rowcount(self) -> int:
        self._bring()
        return self._count

    def fetchone(self) -> Any:
        self._bring()
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        self._bring()
        return list(self._rows)

    def __iter__(self) -> Iterator[Any]:
        self._bring()
        return self._rows


class Line:
    """A connection, which nothing else may be asked of any more. It counts as lost when the server is silent for
    `patience_s` while it is waited for: one that stands still keeps its connections open.
    """

    def __init__(self, connection: psycopg.Connection[Any], patience_s: float) -> None:
        self._connection = connection
        self._patience_ms = patience_s * 1000
        self._pgconn = connection.pgconn
        self._pgconn.nonblocking = 1  # else libpq waits for room to send for ever, and lets nobody else go on
        self._pgconn.enter_pipeline_mode()
        self._socket = select.poll()
        self._loading = Transformer(connection)
        self._waiting: list[tuple[Answer, _Prepared, list[bytes | None]]] = []
        self._names: dict[_Prepared, bytes] = {}
        """What is prepared; empty after an error."""
        self._numbers = count(1)
        self._planned_at = 0.0

    @property
    def closed(self) -> bool:
        return self._connection.closed

    @property
    def pid(self) -> int:
        """Of the server's process at the other end."""
        return self._pgconn.backend_pid

    def close(self) -> None:
        self._connection.close()

    def begin(self, how: str) -> None:
        """Put down what begins a transaction; now and then its statements are planned anew. Raises psycopg.Error."""
        if time.monotonic() - self._planned_at >= PLANS_S:
            self.run("DISCARD PLANS")
            self._planned_at = time.monotonic()
        self.execute(how)

    def execute(self, text: str, values: Sequence[Any] = ()) -> Answer:
        """Put down a statement. Raises psycopg.ProgrammingError and psycopg.DataError for what is no value."""
        types, params = [], []
        for value in values:
            kind, param = _param(value)
            types.append(kind)
            params.append(param)
        answer = Answer(self)
        self._waiting.append((answer, (text, tuple(types)), params))
        return answer

    def run(self, words: str) -> None:
        """Have done what has no answer, such as COMMIT, after all that waits. Before ROLLBACK none of that is done, and
        if a statement has failed, all that has been prepared is forgotten: its tables may be others now.
        """
        goes_back = words.startswith("ROLLBACK")
        if goes_back:
            self._waiting.clear()
        forgets = goes_back and not self._names
        self.execute(words)
        if forgets:
            self.execute(_FORGET)
        self.land()
        if forgets:
            self._names.clear()

    def land(self) -> None:
        """Send what waits and bring its answers. Raises the error of the first that failed; what was behind it was not
        run. Of a connection that is lost meanwhile, `closed` is true then.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            flight = self._take_off(waiting)
            error, whole = self._bring(flight)
        except BaseException:
            self.close()  # part of it may be on its way: whatever is asked next would get its answers
            raise
        if not whole:
            self.close()
        if error is not None:
            self._names.clear()
            raise error

    def _take_off(self, waiting: list[tuple[Answer, _Prepared, list[bytes | None]]]) -> list[Answer]:
        """Send these; the answers that will come, those to what is prepared included."""
        pgconn, names = self._pgconn, self._names
        flight = []
        if len(names) > MOST_PREPARED:
            names.clear()
            pgconn.send_query_params(_FORGET.encode(), None)
            flight.append(Answer())
        for answer, prepared, params in waiting:
            name = names.get(prepared)
            if name is None:
                name = names[prepared] = b"m%d" % next(self._numbers)
                pgconn.send_prepare(name, prepared[0].encode(), prepared[1])
                flight.append(Answer())
            pgconn.send_query_prepared(name, params)
            flight.append(answer)
        pgconn.pipeline_sync()
        while pgconn.flush():
            # A server that cannot get rid of its answers would read no more.
            self._wait(select.POLLIN | select.POLLOUT)
        return flight

    def _bring(self, flight: list[Answer]) -> tuple[psycopg.Error | None, bool]:
        """Take these answers: the first error, and whether the server has come to the end and goes on."""
        next_result, loading = self._next_result, self._loading
        error: psycopg.Error | None = None
        try:
            for answer in flight:
                result = next_result()
                if result is None:
                    raise psycopg.OperationalError("the connection is lost")
                next_result()  # None: each has one
                if result.status == ExecStatus.TUPLES_OK:
                    loading.set_pgresult(result)
                    rows = result.ntuples
                    answer.take(loading.load_rows(0, rows, tuple), rows)
                elif result.status == ExecStatus.COMMAND_OK:
                    answer.take([], result.command_tuples or 0)
                elif error is None:
                    error = _error_of(result)
            result = next_result()
        except psycopg.OperationalError as lost:
            return error or lost, False
        return error, result is not None and result.status == ExecStatus.PIPELINE_SYNC

    def _next_result(self) -> PGresult | None:
        pgconn = self._pgconn
        while pgconn.is_busy():
            self._wait(select.POLLIN)
        return pgconn.get_result()

    def _wait(self, events: int) -> None:
        """Until the server does something, and take what it says; others go on meanwhile."""
        self._socket.register(self._pgconn.socket, events)
        if not self._socket.poll(self._patience_ms):
            raise psycopg.OperationalError("the server does not answer")
        self._pgconn.consume_input()


def _param(value: Any) -> tuple[int, bytes | None]:
    """The type of a value, and itself as PostgreSQL reads it."""
    if value is None:
        return _UNKNOWN, None
    if isinstance(value, str):
        encoded = value.encode()
        if b"\0" in encoded:
            raise psycopg.DataError("a text with a zero")
        return _UNKNOWN, encoded
    if isinstance(value, int):
        return _INT8, b"%d" % value
    raise psycopg.ProgrammingError(f"a {type(value).__name__} is no value")


def _error_of(result: PGresult) -> psycopg.Error:
    if result.error_field(DiagnosticField.SQLSTATE) is None:  # not the server's word
        return psycopg.OperationalError(result.get_error_message())
    return psycopg.errors.error_from_result(result)
