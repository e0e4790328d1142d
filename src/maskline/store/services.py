"""Services: the top of everything, owned by one account."""

from __future__ import annotations

from typing import Any

from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.model import GeoMatchLevel, NumberSelectionBehavior, Service
from maskline.domain.problems import Problem
from maskline.store.adoptions import want_looks
from maskline.store.columns import names_in, parameters, params_of
from maskline.store.engine import Tx
from maskline.store.pages import Page, Seek, fetch_page, key_params

_COLUMNS = (
    "sid, account_sid, unique_name, default_ttl, callback_url, intercept_callback_url, out_of_session_callback_url,"
    " chat_instance_sid, geo_match_level, number_selection_behavior, settings, created_at, updated_at"
)


def _service(row: tuple[Any, ...]) -> Service:
    values: list[Any] = list(row)
    values[8:10] = GeoMatchLevel(row[8]), NumberSelectionBehavior(row[9])
    return Service(*values)


def find_service(tx: Tx, account_sid: str, sid: str) -> Service | None:
    """The Service with this SID, if it is the account's."""
    row = tx.execute(
        f"SELECT {_COLUMNS} FROM services WHERE sid = :sid AND account_sid = :account",
        {"sid": sid, "account": account_sid},
    ).fetchone()
    return _service(row) if row else None


def find_owner(tx: Tx, sid: str) -> str | None:
    """The account that has this Service."""
    row = tx.execute("SELECT account_sid FROM services WHERE sid = ?", (sid,)).fetchone()
    return str(row[0]) if row else None


def load_service(tx: Tx, account_sid: str, sid: str) -> Service:
    """The Service with this SID. Raises 20404 if there is none of this account."""
    service = find_service(tx, account_sid, canonical(sid)) if is_sid(sid, "KS") else None
    if service is None:
        raise Problem(problems.NOT_FOUND)
    return service


def load_service_by_name(tx: Tx, account_sid: str, sid_or_name: str) -> Service:
    """The Service with this SID or, failing that, this UniqueName. Raises 20404."""
    if is_sid(sid_or_name, "KS"):
        service = find_service(tx, account_sid, canonical(sid_or_name))
        if service is not None:
            return service
    row = tx.execute(
        f"SELECT {_COLUMNS} FROM services WHERE account_sid = :account AND unique_name = :name",
        {"account": account_sid, "name": sid_or_name},
    ).fetchone()
    if row is None:
        raise Problem(problems.NOT_FOUND)
    return _service(row)


def _refuse_taken_name(tx: Tx, service: Service) -> None:
    taken = tx.execute(
        "SELECT 1 FROM services WHERE account_sid = :account AND unique_name = :name AND sid <> :sid",
        {"account": service.account_sid, "name": service.unique_name, "sid": service.sid},
    ).fetchone()
    if taken:
        raise Problem(problems.SERVICE_NAME_TAKEN)


def insert_service(tx: Tx, service: Service) -> None:
    """Add a Service. Raises 80602 if its name is taken."""
    _refuse_taken_name(tx, service)
    tx.execute(f"INSERT INTO services ({_COLUMNS}) VALUES ({parameters(_COLUMNS)})", params_of(service))


def update_service(tx: Tx, service: Service) -> None:
    """Write a changed Service. Raises 80602 if its new name is taken."""
    _refuse_taken_name(tx, service)
    names = names_in(_COLUMNS)[2:]
    tx.execute(
        f"UPDATE services SET {', '.join(f'{name} = :{name}' for name in names)} WHERE sid = :sid",
        params_of(service),
    )


def list_services(tx: Tx, account_sid: str, seek: Seek, *, unique_name: str | None = None) -> Page[Service]:
    """A page of the account's Services; only the one of this name, if given."""
    named = "" if unique_name is None else "AND unique_name = :name "

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        return tx.execute(
            f"SELECT {_COLUMNS} FROM services WHERE account_sid = :account {named}AND {condition}"
            f" ORDER BY {order} LIMIT :limit",
            {"account": account_sid, "name": unique_name, "limit": limit, **key_params(seek)},
        ).fetchall()

    return fetch_page(fetch, ["sid"], seek, _service)


def list_every_service(tx: Tx) -> list[Service]:
    """The Services of all accounts, the oldest first."""
    return [_service(row) for row in tx.execute(f"SELECT {_COLUMNS} FROM services ORDER BY sid").fetchall()]


def delete_service(tx: Tx, service: Service) -> None:
    """Make a Service and all below it unreachable, and free its name and numbers; `purge_step` removes the rest."""
    tx.execute("DELETE FROM services WHERE sid = :sid", {"sid": service.sid})
    want_looks(tx, service.sid)
    tx.execute(
        "UPDATE numbers SET service_sid = NULL, is_reserved = 0, in_use = 0, participants = 0, updated_at = :now"
        " WHERE service_sid = :sid",
        {"sid": service.sid, "now": tx.now},
    )
    tx.execute("INSERT INTO purges VALUES (:sid, '') ON CONFLICT DO NOTHING", {"sid": service.sid})
