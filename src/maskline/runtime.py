"""The composition root: builds everything, starts it in order, stops it in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog
import uvicorn

from maskline.api.access_log import AccessLog
from maskline.api.app import build_app, build_ops_app
from maskline.api.auth import BasicAuth
from maskline.api.context import Context
from maskline.api.edge import Edge
from maskline.api.limits import RateLimit
from maskline.api.render import Renderer
from maskline.api.wire import Wire
from maskline.carriers.base import (
    Carrier,
    CarrierError,
    CarrierEvent,
    Checked,
    Inbound,
    Kind,
    Means,
    Notice,
    Report,
)
from maskline.carriers.kinds import CarrierAccount, read_accounts
from maskline.carriers.sandbox import SandboxCarrier
from maskline.clock import Clock, SystemClock
from maskline.datadir import ACCOUNT_FILE, ensure_account, open_store, open_vault
from maskline.domain.address import is_public, parse_networks
from maskline.domain.model import DAY, SECOND
from maskline.domain.sandbox import Abilities, Handed, HandOver, HandsetMessage, Outcome, Todo
from maskline.flows import inbound, receipts
from maskline.flows.absent import Absent
from maskline.flows.adoptions import Adoptions
from maskline.flows.alerts import Alerts
from maskline.flows.call_relay import CallRelay
from maskline.flows.callbacks import Callbacks
from maskline.flows.calls import Calls
from maskline.flows.customers import Customers
from maskline.flows.failover import FailOver
from maskline.flows.handsets import Handsets
from maskline.flows.health import Health
from maskline.flows.inbox import NoInbox, StoreInbox
from maskline.flows.intercepts import Intercepts
from maskline.flows.media import MediaRelay
from maskline.flows.messages import Messages, SendOptions
from maskline.flows.optout_notices import OptOutNotices
from maskline.flows.restored import Restored, begin_anew
from maskline.flows.retention import Sweeper
from maskline.flows.sessions import Sessions
from maskline.flows.silence import Silence
from maskline.flows.strangers import Strangers
from maskline.listening import Listening, listen
from maskline.mint import Mint
from maskline.net import HttpClient, anywhere
from maskline.settings import Settings, SettingsError
from maskline.store import sandbox as books
from maskline.store.engine import Store, StoreInDoubt, StoreUnavailable
from maskline.store.receive import Received
from maskline.worker import Worker

DRAIN_S = 10

_log = structlog.get_logger(__name__)


class StoreLedger:
    """The sandbox's books, kept in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def hand_over(self, item: HandOver) -> Handed:
        try:
            return await self._store.batch(books.hand_over, item)
        except StoreInDoubt as error:
            raise CarrierError(Kind.UNCERTAIN, str(error)) from error
        except StoreUnavailable as error:
            raise CarrierError(Kind.UNREACHABLE, str(error)) from error

    async def add_text(self, message: HandsetMessage, payload: str) -> Todo | None:
        return await self._store.batch(books.add_texts, (message, payload))

    async def abilities(self, account_sid: str) -> Abilities:
        return await self._store.read(books.find_abilities, account_sid)

    async def find_taken(self, account_sid: str, reference: str) -> str | None:
        return await self._store.read(books.find_taken, account_sid, reference)

    async def find_script(self, account_sid: str, number: str) -> Outcome | None:
        return await self._store.read(books.find_script, account_sid, number)

    async def due(self, most: int) -> tuple[list[Todo], int | None, int]:
        return await self._store.read(books.due_todos, most)

    async def done(self, todos: list[Todo]) -> None:
        await self._store.batch(books.done_todos, todos)

    async def postpone(self, todos: list[Todo], by_us: int) -> None:
        await self._store.write(books.postpone_todos, todos, by_us)


def check_tls(settings: Settings) -> None:
    """Whether the certificate and its key can be used. Raises SettingsError."""
    if settings.tls_cert is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"tls_cert and tls_key: not a certificate chain in PEM form and its key: {error}"
        ) from None


class _Http(uvicorn.Server):
    """uvicorn without its signal handlers: the runtime stops it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _http(app: Edge, settings: Settings, *, tls: bool) -> _Http:
    return _Http(
        uvicorn.Config(
            app,  # no ASGI application: Wire calls it
            http=Wire,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=DRAIN_S,
            ssl_certfile=settings.tls_cert if tls else None,
            ssl_keyfile=settings.tls_key if tls else None,
        )
    )


async def check_account(
    settings: Settings, account: CarrierAccount, numbers: Sequence[str]
) -> Sequence[Checked]:
    """What a carrier says of an account, and of these numbers of it. Nothing is changed."""

    async def bring(_: CarrierEvent) -> bool:
        return False

    http = await HttpClient(may_reach=anywhere).open()
    try:
        url = settings.public_url or f"http://{settings.host}:{settings.port}"
        means = Means(http, SystemClock(), bring, NoInbox(), f"{url}/carriers/{account.name}")
        return await account.open(means).check(numbers)
    finally:
        await http.close()


async def _bring(
    store: Store,
    mint: Mint,
    receive: Callable[[Inbound], Awaitable[Received]],
    silence: Silence,
    event: CarrierEvent,
) -> bool:
    match event:
        case Inbound():
            return (await receive(event)).known
        case Report():
            silence.reported(event.carrier_account)
            await receipts.report(store, mint, event)
            return True
        case Notice():
            return await inbound.notify(store, mint, event)


def _open_accounts(
    accounts: Mapping[str, CarrierAccount], means: Means, carrier: SandboxCarrier | None
) -> dict[str, Carrier]:
    """Every carrier account at work, by name."""
    opened = {
        name: account.open(replace(means, url=f"{means.url}/{name}")) for name, account in accounts.items()
    }
    return {**opened, carrier.name: carrier} if carrier is not None else opened


def _limits_of_silence(accounts: Mapping[str, CarrierAccount]) -> dict[str, float]:
    """For how long each account that reports may be silent."""
    return {
        name: account.options.report_within_s
        for name, account in accounts.items()
        if account.can.receipts and account.options.report_within_s
    }


def _lives(task: asyncio.Task[None]) -> bool:
    """Whether a task does what it is to do, or has done it."""
    return not task.done() or (not task.cancelled() and task.exception() is None)


def _address(settings: Settings, listening: Listening) -> str:
    """Where the API is, here or, for role worker, where its other servers are taken to be."""
    port = settings.port if listening.main is None else listening.main.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{port}"


@dataclass(slots=True)
class Running:
    """What a started server tells about itself. `url` is the public one, `address` where it listens ("": nowhere);
    `ops_urls` has one for each of its processes.
    """

    url: str
    address: str
    ops_urls: list[str]
    account_sid: str
    account_file: Path | None
    sandbox: bool
    carriers: Mapping[str, str]
    """The other carrier accounts, and of what kind each is."""
    restored: Restored | None
    """Of the first start on a backup."""


class Server:
    """One server process. `start`, then `serve` until `request_stop` or a signal, then everything is closed.

    `resend_restored`: if the database is a restored backup, what waited in it is sent, though it may have been before.
    `listening` and `place`: the sockets that it shares with other processes, and which of these it is.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        *,
        resend_restored: bool = False,
        listening: Listening | None = None,
        place: int = 0,
    ) -> None:
        self.settings = settings
        self._listening = listening
        self._place = place
        self._resend_restored = resend_restored
        self._clock = clock or SystemClock()
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> Running:
        """Open the database, listen, start the worker.

        Raises SettingsError, AlreadyServed, SchemaTooNew, StoreUnavailable, WrongDatabase, CannotListen, OSError.
        """
        settings, clock = self.settings, self._clock
        check_tls(settings)
        accounts = read_accounts(settings.carriers)
        mint = Mint(clock)
        vault = open_vault(settings)
        self._store = store = await open_store(settings, clock, vault, run=(run := mint.sid("RN")))
        # The database first: a second server on it is told so, whichever port it wants.
        try:
            listening = self._listening or listen(settings)
        except BaseException:
            await store.close()
            raise
        account_sid = await ensure_account(store, settings, mint, vault, clock)
        restored = await begin_anew(store, mint, resend=self._resend_restored)
        address = _address(settings, listening)
        url = settings.public_url or address

        options = SendOptions(settings.send_wait_ms / 1000, settings.send_validity_s * SECOND)

        receive = partial(inbound.receive, store, mint, options)
        silence = Silence(store, clock, mint, _limits_of_silence(accounts))
        bring = partial(_bring, store, mint, receive, silence)
        self._http = await HttpClient(
            may_reach=anywhere if settings.allow_private_webhooks else is_public
        ).open()
        # Where an account's carrier is, the operator has said; how much goes there at a time, its slots limit.
        self._carrier_http = await HttpClient(may_reach=anywhere, host_connections=0).open()
        carrier = SandboxCarrier(StoreLedger(store), clock, mint, bring) if settings.sandbox else None
        known = _open_accounts(
            accounts, Means(self._carrier_http, clock, bring, StoreInbox(store), f"{url}/carriers"), carrier
        )
        self._carriers = known
        works, serves = settings.role != "api", settings.role != "worker"
        carriers = known if works else {}
        media = MediaRelay(clock, vault, self._http, url, known)
        outages_after_s = {name: float(account.options.outage_after_s) for name, account in accounts.items()}
        health = Health(store, clock, mint, outages_after_s)
        messages = Messages(store, clock, mint, carriers, options, media, silence=silence, health=health)
        self._worker: Worker | None = None
        customers = Customers(vault, self._http, url)
        calls = Calls(store, clock, mint, customers)
        call_relay = CallRelay(store, mint, vault, self._http, calls)
        checks: dict[str, Callable[[], bool]] = {}
        if works:
            worker = Worker(
                store,
                clock,
                mint,
                messages,
                Sweeper(
                    store, clock, mint, settings.retention_days * DAY, settings.event_retention_days * DAY
                ),
                [
                    Callbacks(store, clock, mint, customers),
                    Intercepts(store, clock, mint, customers),
                    Strangers(store, clock, mint, customers, options.validity_us),
                    OptOutNotices(store, clock, mint, customers),
                    Alerts(store, clock, mint, customers),
                ],
                run=run,
                slots=settings.send_slots,
                throughput={name: account.options.throughput for name, account in accounts.items()},
                looks=[
                    FailOver(store, clock, mint, health, carriers, options.validity_us),
                    Absent(store, mint, carriers),
                ],
            )
            self._worker = worker
            await worker.start()
            checks["worker"] = lambda: worker.is_running
            for task in (Adoptions(store, clock, mint, known), silence):
                self._tasks.append(asyncio.create_task(task.run()))
            checks |= self._run_carriers()
        context = Context(
            store=store,
            clock=clock,
            mint=mint,
            vault=vault,
            auth=BasicAuth(store, vault, clock),
            render=Renderer(url),
            sessions=Sessions(store, clock),
            messages=messages,
            calls=calls,
            call_relay=call_relay,
            handsets=Handsets(store, clock, mint, calls, call_relay),
            media=media,
            receive=receive,
            bring=bring,
            carriers=known,
            sandbox=carrier,
            guard_services=settings.guard_services,
        )
        limit = RateLimit(settings.rate_limit, clock) if settings.rate_limit else None
        docs_url = settings.more_info_url
        access_log = (
            AccessLog(parse_networks(settings.trusted_proxies or "")) if settings.access_log else None
        )
        app = build_app(context, checks, docs_url, limit, settings.cors_origin, access_log=access_log)
        owners = [owner for owner in (app.requests, store, messages, self._worker) if owner is not None]
        ops_app = build_ops_app(context, checks, docs_url, owners)
        served = [
            (_http(one, settings, tls=one is app), socket)
            for one, socket in ((app, listening.main), (ops_app, listening.ops[self._place]))
            if socket is not None
        ]
        self._https = [http for http, _ in served]
        self._serving = [asyncio.create_task(http.serve(sockets=[socket])) for http, socket in served]
        while not all(http.started for http in self._https):
            if any(task.done() for task in self._serving):
                raise RuntimeError("the HTTP server did not start")
            await asyncio.sleep(0.005)
        file = Path(settings.data) / ACCOUNT_FILE
        return Running(
            url=url,
            address=address if serves else next(iter(listening.ops_urls), ""),
            ops_urls=listening.ops_urls,
            account_sid=account_sid,
            account_file=file if settings.account_sid is None and file.exists() else None,
            sandbox=carrier is not None,
            carriers={name: account.kind for name, account in accounts.items()},
            restored=restored,
        )

    def _run_carriers(self) -> dict[str, Callable[[], bool]]:
        """Have every carrier account keep up what it needs; whether each does."""
        checks: dict[str, Callable[[], bool]] = {}
        for name, carrier in self._carriers.items():
            running = asyncio.create_task(carrier.run(), name=f"carrier {name}")
            self._tasks.append(running)
            checks[name if name == SandboxCarrier.name else f"carriers.{name}"] = partial(_lives, running)
        return checks

    def request_stop(self) -> None:
        """Ask `serve` to stop."""
        self._stop.set()

    def heed_signals(self) -> None:
        """From here on SIGINT and SIGTERM ask `serve` to stop, too, though it may have to start before."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)

    async def serve(self, lifeline: int | None = None) -> None:
        """Run until asked to stop, by `request_stop` or since `lifeline`, a file descriptor, can be read from; then
        stop in order.
        """
        loop = asyncio.get_running_loop()
        if lifeline is not None:
            loop.add_reader(lifeline, self._stop.set)
        await self._stop.wait()
        if lifeline is not None:
            loop.remove_reader(lifeline)
        await self.stop()

    async def stop(self) -> None:
        """Stop in reverse: first what brings work in, then what does it, then the database."""
        for http in self._https:
            http.should_exit = True
        await asyncio.gather(*self._serving, return_exceptions=True)
        if self._worker is not None:
            await self._worker.stop()
        for carrier in self._carriers.values():
            try:
                await carrier.close()
            except Exception:
                _log.exception("carrier.close_failed", carrier=carrier.name)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.close()
        await self._carrier_http.close()
        await self._store.close()
