"""A whole maskline in one process, without HTTP: real store and real flows, a fake clock, a scripted carrier."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from maskline.carriers.base import Inbound, Report
from maskline.datadir import new_account
from maskline.domain.channel import parse_channel
from maskline.domain.directory import read_address
from maskline.domain.ids import (
    AccountSid,
    MessageSid,
    NumberSid,
    ParticipantSid,
    ServiceSid,
    SessionSid,
    instant_of,
)
from maskline.domain.interaction import WORDS, MessageStatus
from maskline.domain.media import Medium
from maskline.domain.model import (
    SECOND,
    GeoMatchLevel,
    Instant,
    Interaction,
    Mode,
    NumberSelectionBehavior,
    Participant,
    ProxyNumber,
    Service,
    Session,
    SessionStatus,
)
from maskline.domain.phone import parse_phone
from maskline.flows import inbound, receipts
from maskline.flows.alerts import Alerts
from maskline.flows.call_relay import CallRelay
from maskline.flows.callbacks import Callbacks
from maskline.flows.calls import Calls
from maskline.flows.customers import Customers
from maskline.flows.intercepts import Intercepts
from maskline.flows.media import MediaRelay
from maskline.flows.messages import Messages, SendOptions, encode_data
from maskline.flows.numbers import add_number, new_entry, new_number
from maskline.flows.optout_notices import OptOutNotices
from maskline.flows.retention import Sweeper
from maskline.flows.services import create_service
from maskline.flows.sessions import (
    Sessions,
    Wanted,
    change_session,
    remove_participant,
    remove_session,
)
from maskline.flows.strangers import Strangers
from maskline.mint import Mint
from maskline.net import HttpClient, anywhere
from maskline.store.accept import NewMessage
from maskline.store.accounts import find_account, insert_account
from maskline.store.engine import Store, Tx
from maskline.store.idempotency import Key
from maskline.store.numbers import insert_number
from maskline.store.participants import NewParticipant
from maskline.store.postgres import PostgresStore
from maskline.store.receive import Received
from maskline.store.record import Fate, Outcome
from maskline.store.send_rows import Started
from maskline.store.sessions import load_session
from maskline.store.sqlite import SqliteStore
from maskline.vault import Vault
from maskline.worker import Looks, Worker
from tests.support.asks import Asks
from tests.support.carrier import ScriptedCarrier
from tests.support.clock import FakeClock
from tests.support.private import note, private
from tests.support.until import turns, until

ACCOUNT = AccountSid("AC" + "c3" * 16)
AUTH_TOKEN = "a7" * 16
VALIDITY_S = 14400
HOME = "https://masked.example"
QUIET_ROUNDS = 5
VAULT = Vault("5e" * 32)


def proxy(i: int) -> str:
    """The i-th number for a pool."""
    return f"+1415201{i:04d}"


def person(i: int) -> str:
    """The i-th person's number."""
    return f"+1212201{i:04d}"


class House:
    """What the API would be given, and short verbs for what it would do with it."""

    def __init__(
        self,
        store: Store,
        clock: FakeClock,
        *,
        wait_s: float = 0,
        deadline_s: float = 10.0,
        carrier: ScriptedCarrier | None = None,
        may_reach: Callable[[str], bool] = anywhere,
    ) -> None:
        self.store = store
        self._asks = Asks(store)
        self.clock = clock
        self.mint = Mint(clock)
        self.carrier = carrier or ScriptedCarrier()
        self.options = SendOptions(wait_s, VALIDITY_S * SECOND)
        self.vault = VAULT
        self.http = HttpClient(may_reach=may_reach)
        self.relay = MediaRelay(clock, self.vault, self.http, HOME, {self.carrier.name: self.carrier})
        self.messages = Messages(
            store,
            clock,
            self.mint,
            {self.carrier.name: self.carrier},
            self.options,
            self.relay,
            deadline_s=deadline_s,
        )
        self.sessions = Sessions(store, clock)
        self.sweeper = Sweeper(store, clock, self.mint)
        self.customers = Customers(self.vault, self.http, HOME)
        self.callbacks = Callbacks(store, clock, self.mint, self.customers)
        self.intercepts = Intercepts(store, clock, self.mint, self.customers)
        self.strangers = Strangers(store, clock, self.mint, self.customers, self.options.validity_us)
        self.notices = OptOutNotices(store, clock, self.mint, self.customers)
        self.alerts = Alerts(store, clock, self.mint, self.customers)
        self.calls = Calls(store, clock, self.mint, self.customers)
        self.call_relay = CallRelay(store, self.mint, self.vault, self.http, self.calls)
        self.looks: list[Looks] = []
        self._proxies = count(1)
        self._people = count(1000)  # those below are the tests' own
        self._carrier_ids = count(1)

    # Making

    async def service(self, numbers: int = 1, **fields: Any) -> Service:
        """A Service with so many numbers in its pool."""
        sid = self.mint.sid("KS")
        now = self.clock.now()
        values: dict[str, Any] = {
            "sid": ServiceSid(sid),
            "account_sid": ACCOUNT,
            "unique_name": sid,
            "default_ttl": 0,
            "callback_url": None,
            "intercept_callback_url": None,
            "out_of_session_callback_url": None,
            "chat_instance_sid": None,
            "geo_match_level": GeoMatchLevel.COUNTRY,
            "number_selection_behavior": NumberSelectionBehavior.PREFER_STICKY,
            "settings": "{}",
            "created_at": now,
            "updated_at": now,
        }
        service = await self.store.write(create_service, Service(**{**values, **fields}), None)
        for _ in range(numbers):
            await self.number(service)
        return service

    async def number(
        self, service: Service, value: str | None = None, *, reserved: bool = False
    ) -> ProxyNumber:
        """A number, a new one unless named, that joins the pool."""
        number = new_number(
            NumberSid(self.mint.sid("PN")),
            value or proxy(next(self._proxies)),
            ACCOUNT,
            self.carrier.name,
            self.clock.now(),
        )
        return await self.store.write(
            add_number,
            ACCOUNT,
            service.sid,
            sid=None,
            number=number,
            reserved=reserved,
            carriers=[self.carrier.name],
            event_sid=self.mint.sid("NO"),
            key=None,
        )

    async def sender(self, service: Service | None, address: str) -> ProxyNumber:
        """A channel sender, wired to a Service or to none."""
        read, now = read_address(address), self.clock.now()
        sender = new_entry(self.mint.sid(read.kind), read, ACCOUNT, self.carrier.name, now)
        wired = replace(sender, service_sid=service and service.sid)
        await self.store.write(insert_number, wired)
        return wired

    def wanted(self, identifier: str | None = None, proxy_identifier: str | None = None) -> Wanted:
        identifier = identifier or person(next(self._people))
        phone = parse_phone(identifier)
        assert phone is not None or parse_channel(identifier), identifier
        return Wanted(ParticipantSid(self.mint.sid("KP")), identifier, phone, None, proxy_identifier, None)

    def ranked(
        self, session: Session, identifier: str, choice: list[str], cooldown_us: int = 0
    ) -> NewParticipant:
        """Somebody who is to be added to a Session, with a list of numbers that was ranked before."""
        wanted, now = self.wanted(identifier), self.clock.now()
        one = Participant(
            service_sid=session.service_sid,
            sid=wanted.sid,
            session_sid=session.sid,
            identifier=identifier,
            identifier_key=identifier,
            friendly_name=None,
            proxy_identifier="",
            proxy_identifier_sid=None,
            deleted_at=None,
            created_at=now,
            updated_at=now,
        )
        return NewParticipant(one, wanted.phone, None, None, choice, cooldown_us)

    async def session(
        self, service: Service, *people: str | Wanted, key: Key | None = None, **fields: Any
    ) -> Session:
        """A Session with these people in it."""
        sid = self.mint.sid("KC")
        now = Instant(instant_of(sid))
        values: dict[str, Any] = {
            "service_sid": service.sid,
            "sid": SessionSid(sid),
            "unique_name": None,
            "status": SessionStatus.OPEN,
            "closed_reason": None,
            "mode": Mode.VOICE_AND_MESSAGE,
            "ttl": 0,
            "expiry_at": None,
            "started_at": None,
            "ended_at": None,
            "last_interaction_at": None,
            "active_from_at": now,
            "created_at": now,
            "updated_at": now,
        }
        return await self.sessions.create(
            ACCOUNT,
            Session(**{**values, **fields}),
            [one if isinstance(one, Wanted) else self.wanted(one) for one in people],
            key,
            own_ttl="ttl" in fields,
        )

    async def add(
        self, session: Session, identifier: str | None = None, proxy_identifier: str | None = None
    ) -> Participant:
        """One more participant, a new person unless named."""
        wanted = self.wanted(identifier, proxy_identifier)
        return await self.sessions.add(ACCOUNT, session.service_sid, session.sid, wanted, None)

    async def pair(
        self, service: Service | None = None, **fields: Any
    ) -> tuple[Session, Participant, Participant]:
        """A Session with two new people."""
        session = await self.session(service or await self.service(), **fields)
        return session, await self.add(session), await self.add(session)

    # Changing

    async def update(self, session: Session, status: SessionStatus | None = None, **changes: Any) -> Session:
        return await self.store.write(
            change_session, ACCOUNT, session.service_sid, session.sid, status, changes
        )

    async def close(self, session: Session) -> Session:
        return await self.update(session, SessionStatus.CLOSED)

    async def reopen(self, session: Session) -> Session:
        return await self.update(session, SessionStatus.IN_PROGRESS)

    async def delete(self, session: Session) -> None:
        await self.store.write(remove_session, ACCOUNT, session.service_sid, session.sid)

    async def remove(self, participant: Participant) -> None:
        await self.store.write(
            remove_participant, ACCOUNT, participant.service_sid, participant.session_sid, participant.sid
        )

    # Traffic

    async def say(
        self, to: Participant, body: str = "hello there", key: Key | None = None, media: tuple[str, ...] = ()
    ) -> Interaction:
        """A message from the API to a participant."""
        note(to.identifier, body)
        made = await self.messages.create(ACCOUNT, to.service_sid, to.session_sid, to.sid, body, key, media)
        return made.interaction

    async def hear(
        self,
        from_: str | Participant,
        to: str | None = None,
        body: str = "hi to you",
        carrier_id: str | None = None,
        media: tuple[Medium, ...] = (),
    ) -> Received:
        """Somebody's handset writes to a proxy number: a participant's to their own, unless named."""
        if isinstance(from_, Participant):
            from_, to = from_.identifier, to or from_.proxy_identifier
        assert to is not None
        carrier_id = carrier_id or f"in-{next(self._carrier_ids)}"
        note(from_, body)
        message = Inbound(self.carrier.name, carrier_id, to, from_, body, media)
        return await inbound.receive(self.store, self.mint, self.options, message)

    async def report(self, message: Interaction, status: MessageStatus, number: str) -> bool:
        """The carrier reports on a message that it took."""
        assert message.outbound is not None
        carrier_id = self.carrier.id_of(message.outbound.resource_sid)
        return await receipts.report(
            self.store, self.mint, Report(self.carrier.name, number, carrier_id, status)
        )

    async def report_of(self, carrier_id: str, word: str, number: str) -> bool:
        """The carrier reports on what it took under this id."""
        status = MessageStatus[word.upper().replace("-", "_")]
        return await receipts.report(
            self.store, self.mint, Report(self.carrier.name, number, carrier_id, status)
        )

    def message(self, to: Participant, body: str = "hello", key: Key | None = None) -> NewMessage:
        """What `accept_messages` is handed for a message to this participant."""
        return NewMessage(
            account_sid=ACCOUNT,
            service_sid=to.service_sid,
            session_sid=to.session_sid,
            participant_sid=to.sid,
            sid=self.mint.sid("KI"),
            message_sid=MessageSid(self.mint.sid("SM")),
            data=encode_data(body),
            validity_us=VALIDITY_S * SECOND,
            key=key,
        )

    # Looking

    def outcome(self, row: Started, run: str, fate: Fate, **fields: Any) -> Outcome:
        """What `record_outcomes` is handed for a message that this run has started."""
        place = row.account_sid, row.service_sid, row.session_sid, row.interaction_sid
        return Outcome(row.id, run, *place, fate, self.mint.sid("NO"), **fields)

    async def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return await self.store.read(lambda tx: tx.execute(sql, params).fetchall())

    async def one(self, sql: str, *params: Any) -> Any:
        ((value,),) = await self.rows(sql, *params)
        return value

    async def fetch(self, session: Session) -> Session:
        return await self.store.read(load_session, session.service_sid, session.sid)

    async def status(self, message: Interaction | str) -> str:
        """The word for how far a message's outbound leg is."""
        sid = message if isinstance(message, str) else message.sid
        return WORDS[await self.one("SELECT outbound_status FROM interactions WHERE sid = ?", sid)]

    async def statuses(self) -> list[str]:
        return [
            WORDS[row[0]] for row in await self.rows("SELECT outbound_status FROM interactions ORDER BY sid")
        ]

    async def events(self) -> list[int]:
        """The codes of all events, in the order in which they were written."""
        return [row[0] for row in await self.rows("SELECT code FROM events ORDER BY created_at, sid")]

    async def outbox(self) -> int:
        return await self.one("SELECT count(*) FROM outbox")

    # Working

    def new_worker(self, *, run: str | None = None, slots: int = 64) -> Worker:
        return Worker(
            self.store,
            self.clock,
            self.mint,
            self.messages,
            self.sweeper,
            [self.callbacks, self.intercepts, self.strangers, self.notices, self.alerts],
            run=run or self.mint.sid("RN"),
            slots=slots,
            looks=self.looks,
        )

    @asynccontextmanager
    async def working(self, *, slots: int = 64) -> AsyncIterator[Worker]:
        """With a worker that delivers meanwhile."""
        await self.store.write(self.open_account)
        await self.http.open()
        worker = self.new_worker(slots=slots)
        await worker.start()
        await self.quiet()
        try:
            yield worker
        except BaseException:
            self.carrier.mend()  # or the worker waits for what stalls
            raise
        finally:
            await worker.stop()
            await self.http.close()

    def open_account(self, tx: Tx) -> None:
        """The account, whose token signs callbacks."""
        if find_account(tx, ACCOUNT) is None:
            insert_account(tx, new_account(self.mint, self.vault, self.clock, ACCOUNT, AUTH_TOKEN, "house"))

    async def quiet(self) -> None:
        """Wait until nothing moves any more, in the tables or at the carrier, and nobody asks the store anything."""
        same, last = 0, None
        for _ in range(5000):
            begun = self._asks.begun
            now = await self.store.write(fingerprint), len(self.carrier.sent), len(self.carrier.asked)
            await turns()
            alone = self._asks.begun == begun + 1 and not self._asks.unanswered
            same = same + 1 if now == last and alone else 0
            if same == QUIET_ROUNDS:
                return
            last = now
        raise AssertionError("it does not come to rest")

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and everything happen that this makes happen."""
        self.clock.advance(seconds)
        await self.quiet()


def fingerprint(tx: Tx) -> list[Any]:
    return [
        tx.execute(sql).fetchall()
        for sql in (
            "SELECT order_key, seq, state, due_at, attempts FROM outbox",
            "SELECT count(*), sum(outbound_status) FROM interactions",
            "SELECT count(*) FROM events",
            "SELECT status, count(*) FROM sessions GROUP BY status",
        )
    ]


@asynccontextmanager
async def held_writer(store: Store) -> AsyncIterator[None]:
    """Keep the writer busy, so that whatever is handed in meanwhile waits for its next round."""
    entered, go = threading.Event(), threading.Event()

    def hold(tx: Tx) -> None:
        entered.set()
        assert go.wait(30)

    holding = asyncio.create_task(store.write(hold))
    await until(entered.is_set)
    try:
        yield
        await turns(3)
    finally:
        go.set()
        await holding


@asynccontextmanager
async def locked_out(store: SqliteStore | PostgresStore) -> AsyncIterator[None]:
    """Somebody else keeps the database locked meanwhile, and the writer waits for nobody."""
    sqlite = isinstance(store, SqliteStore)
    patience = "PRAGMA busy_timeout = {}" if sqlite else "SET lock_timeout = {}"
    await store.write(lambda tx: tx.execute(patience.format(0 if sqlite else 1)) and None)
    somebody: Any
    if isinstance(store, SqliteStore):
        somebody = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
        somebody.execute("BEGIN IMMEDIATE")
    else:
        somebody = store._dialer.dial()
        somebody.execute("BEGIN")
        somebody.execute("LOCK TABLE runs IN EXCLUSIVE MODE")
    try:
        yield
    finally:
        somebody.execute("ROLLBACK")
        somebody.close()
        await store.write(lambda tx: tx.execute(patience.format(5000 if sqlite else 0)) and None)


@asynccontextmanager
async def opened(directory: Any, clock: FakeClock, **options: Any) -> AsyncIterator[SqliteStore]:
    """A store over a database in this directory, for tests that cannot use the fixture."""
    store = await SqliteStore(directory / "maskline.db", clock, pseudonym=VAULT.pseudonym, **options).open()
    try:
        with private(store.path):
            yield store
    finally:
        await store.close()
