"""Which carrier accounts can be handed messages now. What is known is in the database, so that all processes agree;
this is what one of them makes of it, and how it adds to it.

Where all is well, a hand-over costs nothing here. A failure is written down at most once a second for each account, a
success only while its account is in trouble: at once in the process that knows of it, and in another when it looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog

from maskline.clock import Clock
from maskline.domain.health import Trouble, with_refusal
from maskline.domain.model import SECOND, Instant
from maskline.mint import Mint
from maskline.store.engine import Store, StoreUnavailable, Tx
from maskline.store.health import find_troubles, note_failure, note_refusal, note_success, try_now

LOOK_S = 2.0
NOTE_S = 1.0

_log = structlog.get_logger(__name__)


class Health:
    """`outages_after_s`: for how long each account may fail before it is down; one that is not in it may for ever."""

    def __init__(
        self, store: Store, clock: Clock, mint: Mint, outages_after_s: Mapping[str, float] | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._outages_after_s = outages_after_s or {}
        self._troubles: dict[str, Trouble] = {}
        self._changes = 0
        self._writing = 0
        self._worked_at: dict[str, int] = {}
        self._noted: dict[str, tuple[float, str]] = {}
        self._ahead_us = 0
        """How far the time of the store, which all instants here are of, was ahead of this process at the last look."""

    def _now(self) -> int:
        return self._clock.now() + self._ahead_us

    def trouble(self, carrier_account: str) -> Trouble | None:
        """That of an account that is down."""
        trouble = self._troubles.get(carrier_account)
        return trouble if trouble is not None and trouble.is_down else None

    def down(self) -> frozenset[str]:
        """The accounts that are down."""
        return frozenset(name for name, trouble in self._troubles.items() if trouble.is_down)

    def slots(self, carrier_account: str, free: int) -> int:
        """How many of `free` slots this account may use now; one that is down is tried by one message each minute."""
        trouble = self.trouble(carrier_account)
        if trouble is None:
            return free
        return min(free, 1) if self._now() >= trouble.try_at else 0

    def note_start(self, carrier_account: str) -> None:
        """A message of this account has been started. If the account is down, it is the one of this minute."""
        trouble = self.trouble(carrier_account)
        if trouble is not None:
            self._troubles[carrier_account] = trouble.tried(self._now())
            self._changes += 1

    async def begin(self, carrier_accounts: list[str]) -> None:
        """The process begins, perhaps with other settings than the last one: what is down is tried at once."""
        await self._store.write(try_now, carrier_accounts)
        await self.refresh()

    async def refresh(self) -> None:
        """See what other processes know."""
        changes = self._changes
        found, now = await self._store.read(_find_troubles_now)
        self._ahead_us = now - self._clock.now()
        if self._writing or changes != self._changes:  # it may be older than what is known here
            return
        self._troubles = found
        for name, trouble in list(found.items()):
            if self._worked_at.get(name, 0) > trouble.failing_since:
                await self._clear(name)

    async def worked(self, carrier_account: str) -> None:
        """The carrier has taken a message."""
        self._worked_at[carrier_account] = self._now()
        if carrier_account in self._troubles:
            await self._clear(carrier_account)

    async def failed(
        self, carrier_account: str, account_sid: str, message_sid: str, *, uncertain: bool
    ) -> None:
        """The carrier could not be reached or, `uncertain`, nobody knows what it did. A message whose outcome is
        unknown each time may itself be what is wrong, so it counts once.
        """
        after_s = self._outages_after_s.get(carrier_account, 0)
        if not after_s or self.trouble(carrier_account) is not None:
            return
        at, last = self._noted.get(carrier_account, (0.0, ""))
        now = self._clock.uptime()
        if last and (now - at < NOTE_S or (uncertain and message_sid == last)):
            return
        self._noted[carrier_account] = now, message_sid
        outage_after_us = round(after_s * SECOND)
        try:
            with self._change():
                trouble = await self._store.write(
                    note_failure, carrier_account, account_sid, outage_after_us, self._mint.sid("NO")
                )
                self._troubles[carrier_account] = trouble
        except StoreUnavailable:
            return  # the next one will be written down
        if trouble.is_down:
            _log.error("carrier.down", carrier=carrier_account)

    async def refused(self, carrier_account: str, account_sid: str) -> None:
        """The carrier has refused the account's credentials."""
        known = self.trouble(carrier_account)
        if known is not None and known.refused:
            return
        # Before anything is awaited: what is about to be started waits already.
        self._troubles[carrier_account] = with_refusal(known, account_sid, self._now())
        _log.error("carrier.paused", carrier=carrier_account)
        try:
            with self._change():
                trouble = await self._store.write(
                    note_refusal, carrier_account, account_sid, self._mint.sid("NO")
                )
                self._troubles[carrier_account] = trouble
        except StoreUnavailable:
            _log.warning("carrier.pause_not_stored", carrier=carrier_account)

    async def _clear(self, carrier_account: str) -> None:
        trouble = self._troubles.pop(carrier_account, None)
        if trouble is None:
            return
        try:
            with self._change():
                resumed = await self._store.write(note_success, carrier_account, self._mint.sid("NO"))
        except StoreUnavailable:
            self._troubles[carrier_account] = trouble  # the next success will be written down
        else:
            if resumed:
                _log.warning("carrier.resumed", carrier=carrier_account)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """What is looked up meanwhile is not to be believed."""
        self._writing += 1
        try:
            yield
        finally:
            self._writing -= 1
            self._changes += 1


def _find_troubles_now(tx: Tx) -> tuple[dict[str, Trouble], Instant]:
    return find_troubles(tx), tx.now
