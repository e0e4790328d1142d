"""The composition root: builds everything, starts it in order, stops it in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog
import uvicorn

from maskline.api.access_log import AccessLog
from maskline.api.app import Checks, build_app, build_ops_app
from maskline.api.auth import BasicAuth
from maskline.api.context import Context
from maskline.api.edge import Edge
from maskline.api.limits import RateLimit
from maskline.api.render import Renderer
from maskline.api.wire import Wire
from maskline.carriers.base import (
    Carrier,
    Means,
)
from maskline.carriers.kinds import CarrierAccount, read_accounts
from maskline.carriers.sandbox import SandboxCarrier
from maskline.clock import Clock, SystemClock
from maskline.datadir import ACCOUNT_FILE, ensure_account, open_store, open_vault
from maskline.domain.address import is_public, parse_networks
from maskline.domain.model import DAY, SECOND
from maskline.flows import inbound
from maskline.flows.absent import Absent
from maskline.flows.adoptions import Adoptions
from maskline.flows.alerts import Alerts
from maskline.flows.call_relay import CallRelay
from maskline.flows.callbacks import Callbacks
from maskline.flows.calls import Calls
from maskline.flows.carrier_events import take_event
from maskline.flows.customers import Customers
from maskline.flows.failover import FailOver
from maskline.flows.handsets import Handsets
from maskline.flows.health import Health
from maskline.flows.inbox import StoreInbox
from maskline.flows.intercepts import Intercepts
from maskline.flows.ledger import StoreLedger
from maskline.flows.media import MediaRelay
from maskline.flows.messages import Messages, SendOptions
from maskline.flows.optout_notices import OptOutNotices
from maskline.flows.restored import Restored, begin_anew
from maskline.flows.retention import Sweeper
from maskline.flows.sessions import Sessions
from maskline.flows.silence import Silence
from maskline.flows.strangers import Strangers
from maskline.listening import Listening, check_tls, listen
from maskline.mint import Mint
from maskline.net import HttpClient, anywhere
from maskline.settings import Settings
from maskline.worker import Worker

DRAIN_S = 10

_log = structlog.get_logger(__name__)


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


def _open_accounts(
    accounts: Mapping[str, CarrierAccount], means: Means, sandbox: SandboxCarrier | None
) -> dict[str, Carrier]:
    """Every carrier account at work, by name."""
    opened = {
        name: account.open(replace(means, url=f"{means.url}/{name}")) for name, account in accounts.items()
    }
    return {**opened, sandbox.name: sandbox} if sandbox is not None else opened


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
    `listening` and `index`: the sockets that it shares with other processes, and which of these it is, from 0.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        *,
        resend_restored: bool = False,
        listening: Listening | None = None,
        index: int = 0,
    ) -> None:
        self.settings = settings
        self._listening = listening
        self._index = index
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
        bring = partial(take_event, store, mint, receive, silence)
        self._http = await HttpClient(
            may_reach=anywhere if settings.allow_private_webhooks else is_public
        ).open()
        # Where an account's carrier is, the operator has said; how much goes there at a time, its slots limit.
        self._carrier_http = await HttpClient(may_reach=anywhere, host_connections=0).open()
        sandbox = SandboxCarrier(StoreLedger(store), clock, mint, bring) if settings.sandbox else None
        means = Means(self._carrier_http, clock, bring, StoreInbox(store), f"{url}/carriers")
        self._carriers = carriers = _open_accounts(accounts, means, sandbox)
        delivers = settings.role != "api"
        media = MediaRelay(clock, vault, self._http, url, carriers)
        outages_after_s = {name: float(account.options.outage_after_s) for name, account in accounts.items()}
        messages = Messages(
            store,
            clock,
            mint,
            carriers if delivers else {},
            options,
            media,
            silence=silence,
            health=Health(store, clock, mint, outages_after_s),
        )
        customers = Customers(vault, self._http, url)
        calls = Calls(store, clock, mint, customers)
        call_relay = CallRelay(store, mint, vault, self._http, calls)
        self._worker: Worker | None = None
        checks: Checks = {}
        if delivers:
            self._worker = worker = self._make_worker(run, mint, messages, customers, options, accounts)
            await worker.start()
            checks["worker"] = lambda: worker.is_running
            for task in (Adoptions(store, clock, mint, carriers), silence):
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
            carriers=carriers,
            sandbox=sandbox,
            guard_services=settings.guard_services,
        )
        await self._serve_http(context, checks, listening)
        file = Path(settings.data) / ACCOUNT_FILE
        return Running(
            url=url,
            address=address if settings.role != "worker" else next(iter(listening.ops_urls), ""),
            ops_urls=listening.ops_urls,
            account_sid=account_sid,
            account_file=file if settings.account_sid is None and file.exists() else None,
            sandbox=sandbox is not None,
            carriers={name: account.kind for name, account in accounts.items()},
            restored=restored,
        )

    def _make_worker(
        self,
        run: str,
        mint: Mint,
        messages: Messages,
        customers: Customers,
        options: SendOptions,
        accounts: Mapping[str, CarrierAccount],
    ) -> Worker:
        """What delivers, with all that it does beside that."""
        settings, store, clock = self.settings, self._store, self._clock
        retention_us, event_retention_us = settings.retention_days * DAY, settings.event_retention_days * DAY
        return Worker(
            store,
            clock,
            mint,
            messages,
            Sweeper(store, clock, mint, retention_us, event_retention_us),
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
                FailOver(store, clock, mint, messages.health, messages.carriers, options.validity_us),
                Absent(store, mint, messages.carriers),
            ],
        )

    async def _serve_http(self, context: Context, checks: Checks, listening: Listening) -> None:
        """Answer at both ports, or at those of them that there are."""
        settings = self.settings
        limit = RateLimit(settings.rate_limit, self._clock) if settings.rate_limit else None
        docs_url = settings.more_info_url
        access_log = (
            AccessLog(parse_networks(settings.trusted_proxies or "")) if settings.access_log else None
        )
        app = build_app(context, checks, docs_url, limit, settings.cors_origin, access_log=access_log)
        measured = (app.requests, self._store, context.messages, self._worker)
        ops_app = build_ops_app(context, checks, docs_url, [owner for owner in measured if owner is not None])
        served = [
            (_http(one, settings, tls=one is app), socket)
            for one, socket in ((app, listening.main), (ops_app, listening.ops[self._index]))
            if socket is not None
        ]
        self._https = [http for http, _ in served]
        self._serving = [asyncio.create_task(http.serve(sockets=[socket])) for http, socket in served]
        while not all(http.started for http in self._https):
            if any(task.done() for task in self._serving):
                raise RuntimeError("the HTTP server did not start")
            await asyncio.sleep(0.005)

    def _run_carriers(self) -> Checks:
        """Have every carrier account keep up what it needs; whether each does."""
        checks: Checks = {}
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
