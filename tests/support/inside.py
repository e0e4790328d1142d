"""The whole server inside the test's own process: real API, store, worker and sandbox, under a clock that stands still.

Requests reach the application as the wire would hand them over, without a socket; every answer is checked.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from maskline.api.wire import Application, Exchange
from maskline.runtime import Server
from maskline.settings import Settings
from maskline.store.engine import Tx
from tests.support.asks import Asks
from tests.support.checked import check_reply
from tests.support.clock import FakeClock
from tests.support.house import fingerprint
from tests.support.private import private
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, Api, Form, Reply
from tests.support.until import turns

QUIET_ROUNDS = 4


class Inside:
    """Use as `async with`."""

    def __init__(
        self,
        directory: Path,
        clock: FakeClock | None = None,
        *,
        allow_private_webhooks: bool = True,
        **settings: Any,
    ) -> None:
        self.url = "http://inside.test"
        self._client = Api(self.url)  # for what it knows; it never connects
        self.clock = clock or FakeClock()
        said = Settings(
            data=str(directory),
            port=0,
            account_sid=ACCOUNT_SID,
            auth_token=AUTH_TOKEN,
            public_url=self.url,
            send_wait_ms=0,
            allow_private_webhooks=allow_private_webhooks,
            **settings,
        )
        self._server = Server(said, self.clock)

    async def __aenter__(self) -> Self:
        await self._server.start()
        self.store = self._server._store
        self._asks = Asks(self.store)
        self._leaving = private(self.store.path)
        self._leaving.__enter__()
        self._app = self._server._https[0].config.app
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop()
        self._leaving.__exit__(kind, error, trace)

    async def request(
        self,
        method: str,
        path: str,
        form: Form | bytes | None = None,
        headers: Mapping[bytes, bytes] | None = None,
    ) -> Reply:
        exchange = Exchange(None)
        exchange.method = method
        exchange.path, _, query = path.removeprefix(self.url).partition("?")
        exchange.query = query.encode()
        exchange.headers = {b"authorization": self._client._auth.encode(), **(headers or {})}
        if isinstance(form, bytes):
            exchange.body = form
        elif form is not None:
            pairs = form.items() if isinstance(form, Mapping) else form
            exchange.body = urlencode(list(pairs), doseq=True).encode()
            exchange.headers[b"content-type"] = b"application/x-www-form-urlencoded"
        reply = await _answer(self._app, exchange)
        check_reply(method, path, reply, self._client)
        return reply

    async def get(self, path: str) -> Any:
        """What must be there."""
        reply = await self.request("GET", path)
        assert reply.status == 200, (path, reply.raw)
        return reply.json

    async def post(self, path: str, form: Form | None = None) -> Any:
        """What must succeed."""
        reply = await self.request("POST", path, form or {})
        assert reply.status in (200, 201), (path, reply.raw)
        return reply.json

    async def bring(self, url: str, form: Mapping[str, str] | bytes, headers: Mapping[str, str]) -> Reply:
        """What somebody sends to an address of ours without credentials: a form, or a body as it is."""
        raw = {name.lower().encode(): value.encode() for name, value in headers.items()}
        return await self.request("POST", url, form, {b"authorization": b"", **raw})

    async def pages(self, path: str, key: str) -> list[Any]:
        """All rows of a list."""
        rows: list[Any] = []
        following: str | None = f"{path}?PageSize=1000"
        while following is not None:
            page = await self.get(following)
            rows += page[key]
            following = page["meta"]["next_page_url"]
        return rows

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        return await self.store.read(lambda tx: tx.execute(sql, values).fetchall())

    async def quiet(self) -> None:
        """Until nothing moves any more without time passing, and nobody asks the store anything."""
        same, last = 0, None
        for _ in range(5000):
            begun = self._asks.begun
            now = await self.store.write(_all)
            await turns()
            alone = self._asks.begun == begun + 1 and not self._asks.unanswered
            same = same + 1 if now == last and alone else 0
            if same == QUIET_ROUNDS:
                return
            last = now
        raise AssertionError("it does not come to rest")

    async def see(self, address: str) -> Reply:
        """What somebody without credentials is shown at an address of ours, whatever it is."""
        exchange = Exchange(None)
        exchange.method, exchange.path = "GET", address.removeprefix(self.url)
        return await _answer(self._app, exchange)

    async def ops(self, path: str) -> Reply:
        """What the ops port answers."""
        exchange = Exchange(None)
        exchange.method, exchange.path = "GET", path
        return await _answer(self._server._https[1].config.app, exchange)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and everything happen that this makes happen."""
        self.clock.advance(seconds)
        await self.quiet()


async def _answer(app: Application, exchange: Exchange) -> Reply:
    status, lines, body = await app(exchange)
    headers = (line.split(": ", 1) for line in lines.decode().splitlines())
    return Reply(status, {name.lower(): value for name, value in headers}, body)


def _all(tx: Tx) -> list[Any]:
    handsets = "SELECT count(*), sum(handovers) FROM sandbox_messages"
    return [
        *fingerprint(tx),
        tx.execute(handsets).fetchall(),
        tx.execute("SELECT sid FROM sandbox_todo").fetchall(),
    ]
