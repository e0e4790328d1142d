"""Which carrier accounts are in trouble, or down, for all processes that hand messages to them (`domain.health`).

A row is there while an account is in trouble, so that where all is well nothing is written and little is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple

from maskline.domain import problems
from maskline.domain.health import TRY_US, Trouble, with_failure, with_refusal
from maskline.domain.problems import Code
from maskline.store.engine import Tx
from maskline.store.events import insert_event

_COLUMNS = "account_sid, failing_since, failed_at, failures, down_since, refused, try_at"
_ALL = f"SELECT carrier_account, {_COLUMNS} FROM carrier_health"
_KEEP = f"""
INSERT INTO carrier_health (carrier_account, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (carrier_account) DO UPDATE SET account_sid = excluded.account_sid,
       failing_since = excluded.failing_since, failed_at = excluded.failed_at, failures = excluded.failures,
       down_since = excluded.down_since, refused = excluded.refused, try_at = excluded.try_at"""
_CLEAR = "DELETE FROM carrier_health WHERE carrier_account = ?"
_TRY_NOW = "UPDATE carrier_health SET try_at = ? WHERE carrier_account = ? AND try_at > ?"
_TAKE_TRY = "UPDATE carrier_health SET try_at = ? WHERE carrier_account = ? AND try_at <= ?"


def find_troubles(tx: Tx) -> dict[str, Trouble]:
    """Every account in trouble, by name."""
    return {
        name: Trouble(account, since, at, failures, down_since, bool(refused), try_at)
        for name, account, since, at, failures, down_since, refused, try_at in tx.execute(_ALL)
    }


def note_failure(
    tx: Tx, carrier_account: str, account_sid: str, outage_after_us: int, event_sid: str
) -> Trouble:
    """A hand-over has failed for what may be the carrier's sake. With an event if that makes the account down."""
    before = find_troubles(tx).get(carrier_account)
    after = with_failure(before, account_sid, tx.now, outage_after_us)
    if after != before:
        _keep(tx, carrier_account, after)
    if after.is_down and not (before and before.is_down):
        _tell(tx, carrier_account, after, problems.CARRIER_DOWN, event_sid)
    return after


def note_refusal(tx: Tx, carrier_account: str, account_sid: str, event_sid: str) -> Trouble:
    """The carrier has refused the account's credentials. With an event the first time."""
    before = find_troubles(tx).get(carrier_account)
    after = with_refusal(before, account_sid, tx.now)
    _keep(tx, carrier_account, after)
    if not (before and before.refused):
        _tell(tx, carrier_account, after, problems.CARRIER_PAUSED, event_sid)
    return after


def note_success(tx: Tx, carrier_account: str, event_sid: str) -> bool:
    """The carrier has taken a message: its trouble is over. With an event if the account was down, as is returned."""
    before = find_troubles(tx).get(carrier_account)
    tx.execute(_CLEAR, (carrier_account,))
    if before is None or not before.is_down:
        return False
    _tell(tx, carrier_account, before, problems.CARRIER_RESUMED, event_sid)
    return True


def try_now(tx: Tx, carrier_accounts: Iterable[str]) -> None:
    """Let each of these be tried at once: their settings may be others by now."""
    tx.executemany(_TRY_NOW, [(tx.now, name, tx.now) for name in carrier_accounts])


def take_try(tx: Tx, carrier_account: str) -> bool:
    """Whether a message may try this account now, which is down: of all that ask, one a minute."""
    return tx.execute(_TAKE_TRY, (tx.now + TRY_US, carrier_account, tx.now)).rowcount > 0


def _keep(tx: Tx, carrier_account: str, trouble: Trouble) -> None:
    *known, refused, try_at = astuple(trouble)
    tx.execute(_KEEP, (carrier_account, *known, int(refused), try_at))


def _tell(tx: Tx, carrier_account: str, trouble: Trouble, code: Code, event_sid: str) -> None:
    insert_event(tx, event_sid, trouble.account_sid, code, f"carrier account {carrier_account}")
