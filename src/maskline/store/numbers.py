"""The number directory and the pools: which number is whose, who carries it, in which Service's pool it is.

Always read inside the transaction that decides by it, never from a cache.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from maskline.domain import problems
from maskline.domain.model import NumberKind, ProxyNumber
from maskline.domain.problems import Problem
from maskline.store.adoptions import want_look
from maskline.store.columns import parameters, params_of
from maskline.store.engine import Tx
from maskline.store.events import insert_event
from maskline.store.pages import Page, Seek, fetch_page, key_params

MOST_UNRESERVED, MOST_RESERVED = 500, 5000
NEARLY_FULL_PERCENT = 85
"""Of either: there an event is written."""

_COLUMNS = (
    "sid, phone_number, account_sid, carrier_account, service_sid, friendly_name, iso_country, calling_code,"
    " voice, sms, mms, is_reserved, in_use, participants, created_at, updated_at, gap_us"
)
_BY_NUMBER = f"SELECT {_COLUMNS} FROM numbers WHERE phone_number = ?"

# Senders of channels are in no list of the API, are never chosen automatically and count against no limit.
COUNTED = f"substr(sid, 1, 2) <> '{NumberKind.CHANNEL.value}'"


def _number(row: tuple[Any, ...]) -> ProxyNumber:
    values: list[Any] = list(row)
    values[8:12] = map(bool, row[8:12])
    return ProxyNumber(*values)


def find_number(tx: Tx, phone_number: str) -> ProxyNumber | None:
    """The directory's row for an E.164 number."""
    row = tx.execute(_BY_NUMBER, (phone_number,)).fetchone()
    return _number(row) if row else None


def find_numbers(tx: Tx, phone_numbers: Sequence[str]) -> list[ProxyNumber | None]:
    """The directory's row for each of these."""
    rows = tx.find_each(_BY_NUMBER, [(number,) for number in phone_numbers])
    return [_number(row) if row else None for row in rows]


def find_number_by_sid(tx: Tx, sid: str) -> ProxyNumber | None:
    """The directory's row for a PN SID."""
    row = tx.execute(f"SELECT {_COLUMNS} FROM numbers WHERE sid = :sid", {"sid": sid}).fetchone()
    return _number(row) if row else None


def unknown_sid(sid: str) -> Problem:
    """That the account has nothing of this SID: 80303 for a short code's, 80301 for any other."""
    if NumberKind(sid[:2]) is NumberKind.SHORT_CODE:
        return Problem(problems.SHORT_CODE_SID_NOT_FOUND)
    return Problem(problems.PHONE_NUMBER_SID_NOT_FOUND)


def find_carried_by(tx: Tx, service_sid: str, carrier_accounts: Collection[str]) -> set[str]:
    """The SIDs of the pool's numbers that these accounts carry."""
    rows = tx.execute(
        "SELECT sid, carrier_account FROM numbers WHERE service_sid = ?", (service_sid,)
    ).fetchall()
    return {sid for sid, account in rows if account in carrier_accounts}


def insert_number(tx: Tx, number: ProxyNumber) -> None:
    """Add a number to the directory."""
    tx.execute(f"INSERT INTO numbers ({_COLUMNS}) VALUES ({parameters(_COLUMNS)})", params_of(number))


def load_own_number(tx: Tx, account_sid: str, sid: str) -> ProxyNumber:
    """An entry of the account. Raises 20404."""
    number = find_number_by_sid(tx, sid)
    if number is None or number.account_sid != account_sid:
        raise Problem(problems.NOT_FOUND)
    return number


def list_own_numbers(tx: Tx, account_sid: str, seek: Seek, filters: dict[str, str]) -> Page[ProxyNumber]:
    """A page of the account's phone numbers, in pools or not, the newest first.

    `filters`, by column: `phone_number` and `friendly_name`, each exactly.
    """
    wanted = "".join(f" AND {column} = :{column}" for column in sorted(filters))

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        return tx.execute(
            f"SELECT {_COLUMNS} FROM numbers WHERE account_sid = :account AND sid >= 'PN' AND sid < 'PO'{wanted}"
            f" AND {condition} ORDER BY {order} LIMIT :limit",
            {"account": account_sid, "limit": limit, **filters, **key_params(seek)},
        ).fetchall()

    return fetch_page(fetch, ["sid"], seek, _number)


def list_numbers(tx: Tx, account_sid: str | None = None) -> list[ProxyNumber]:
    """The directory, or one account's part of it, in order of number."""
    whose = "" if account_sid is None else "WHERE account_sid = :account "
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM numbers {whose}ORDER BY phone_number", {"account": account_sid}
    ).fetchall()
    return [_number(row) for row in rows]


def load_pool_number(tx: Tx, service_sid: str, sid: str) -> ProxyNumber:
    """A member of the pool. Raises 20404."""
    number = find_number_by_sid(tx, sid)
    if number is None or number.service_sid != service_sid:
        raise Problem(problems.NOT_FOUND)
    return number


def list_pool(tx: Tx, service_sid: str, kind: NumberKind, seek: Seek) -> Page[ProxyNumber]:
    """A page of the pool's members of one kind, the last added first."""

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        return tx.execute(
            f"SELECT {_COLUMNS} FROM numbers WHERE service_sid = :service AND substr(sid, 1, 2) = :kind"
            f" AND {condition} ORDER BY {order} LIMIT :limit",
            {"service": service_sid, "kind": kind, "limit": limit, **key_params(seek)},
        ).fetchall()

    return fetch_page(fetch, ["created_at", "sid"], seek, _number)


def _make_room(tx: Tx, number: ProxyNumber, service_sid: str, reserved: bool, event_sid: str) -> None:
    """See that the pool can take one more of this sort, and tell when that makes it nearly full. Raises 80622."""
    if number.kind is NumberKind.CHANNEL:
        return
    (count,) = tx.execute(
        f"SELECT count(*) FROM numbers WHERE service_sid = :service AND {COUNTED} AND is_reserved = :reserved",
        {"service": service_sid, "reserved": int(reserved)},
    ).fetchone()
    most = MOST_RESERVED if reserved else MOST_UNRESERVED
    if count >= most:
        raise Problem(problems.POOL_FULL)
    if count + 1 == most * NEARLY_FULL_PERCENT // 100:
        detail = f"{count + 1} {'reserved' if reserved else 'unreserved'} numbers"
        insert_event(
            tx, event_sid, number.account_sid, problems.POOL_NEARLY_FULL, detail, service_sid=service_sid
        )


def join_pool(tx: Tx, number: ProxyNumber, service_sid: str, *, reserved: bool, event_sid: str) -> None:
    """Put an entry of the account into the pool. Raises 80104, 80105, 80101, 80622."""
    if number.service_sid == service_sid:
        raise Problem(
            problems.SHORT_CODE_ALREADY_IN_SERVICE
            if number.kind is NumberKind.SHORT_CODE
            else problems.NUMBER_ALREADY_IN_SERVICE
        )
    if number.service_sid is not None:
        raise Problem(problems.NUMBER_IN_OTHER_SERVICE)
    _make_room(tx, number, service_sid, reserved, event_sid)
    tx.execute(
        "UPDATE numbers SET service_sid = :service, is_reserved = :reserved, in_use = 0, participants = 0, former = 0,"
        " created_at = :now, updated_at = :now WHERE sid = :sid",
        {"service": service_sid, "reserved": int(reserved), "now": _later(tx, number), "sid": number.sid},
    )


def _later(tx: Tx, number: ProxyNumber) -> int:
    """Now, or the row's last change if the clock has stepped back since."""
    return max(tx.now, number.updated_at)


def set_reserved(tx: Tx, number: ProxyNumber, *, reserved: bool, event_sid: str) -> None:
    """Mark a pool member reserved or not. Raises 80622 when the pool has no room for one more of that sort."""
    if number.is_reserved == reserved:
        return
    assert number.service_sid is not None
    _make_room(tx, number, number.service_sid, reserved, event_sid)
    tx.execute(
        "UPDATE numbers SET is_reserved = :reserved, updated_at = :now WHERE sid = :sid",
        {"reserved": int(reserved), "now": _later(tx, number), "sid": number.sid},
    )


def rename_number(tx: Tx, number: ProxyNumber, friendly_name: str) -> None:
    """Give an entry another name."""
    tx.execute(
        "UPDATE numbers SET friendly_name = :name, updated_at = :now WHERE sid = :sid",
        {"name": friendly_name, "now": _later(tx, number), "sid": number.sid},
    )


def set_gap(tx: Tx, number: ProxyNumber, gap_us: int | None) -> None:
    """Give an entry a rate of its own, or none. It holds from the next message on."""
    tx.execute(
        "UPDATE numbers SET gap_us = :gap, next_free_at = 0, updated_at = :now WHERE sid = :sid",
        {"gap": gap_us, "now": _later(tx, number), "sid": number.sid},
    )


def leave_pool(tx: Tx, number: ProxyNumber) -> None:
    """Take a number out of its pool. Raises 80611 while an active Session uses it."""
    left = tx.execute(
        "UPDATE numbers SET service_sid = NULL, is_reserved = 0, participants = 0, updated_at = :now"
        " WHERE sid = :sid AND in_use = 0",
        {"sid": number.sid, "now": _later(tx, number)},
    )
    if left.rowcount == 0:
        raise Problem(problems.NUMBER_IN_ACTIVE_SESSIONS)
    want_look(tx, number.phone_number)


def delete_number(tx: Tx, number: ProxyNumber) -> None:
    """Take an entry out of the directory, and so of its pool. Raises 80611 while an active Session uses it."""
    gone = tx.execute("DELETE FROM numbers WHERE sid = :sid AND in_use = 0", {"sid": number.sid})
    if gone.rowcount == 0:
        raise Problem(problems.NUMBER_IN_ACTIVE_SESSIONS)
    want_look(tx, number.phone_number)


def count_use(tx: Tx, phone_number: str, *, sessions: int, participants: int, former: int = 0) -> None:
    """Raise or lower a number's counters: active Sessions that use it, their active participants on it, and those who
    had it before.
    """
    tx.execute(
        "UPDATE numbers SET in_use = in_use + :sessions, participants = participants + :participants,"
        " former = former + :former WHERE phone_number = :number",
        {"sessions": sessions, "participants": participants, "former": former, "number": phone_number},
    )
