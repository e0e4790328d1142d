"""Services and their pools: created, changed, deleted, each in one transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from maskline.domain import problems
from maskline.domain.ids import AccountSid, NumberSid
from maskline.domain.model import Instant, ProxyNumber, Service
from maskline.domain.phone import mask, parse_phone
from maskline.domain.problems import Problem
from maskline.store.engine import Tx
from maskline.store.idempotency import Key, claim_or_replay
from maskline.store.numbers import (
    find_number,
    find_number_by_sid,
    insert_number,
    join_pool,
    leave_pool,
    load_pool_number,
    set_reserved,
)
from maskline.store.services import delete_service, insert_service, load_service, update_service
from maskline.store.sessions import as_of_now, close_expired_on_number


def create_service(tx: Tx, service: Service, key: Key | None) -> Service:
    """Add a Service. Raises Replayed, 80602."""
    claim_or_replay(tx, key, service.sid)
    insert_service(tx, service)
    return service


def change_service(tx: Tx, account_sid: str, sid: str, changes: dict[str, Any]) -> Service:
    """Set the given fields of a Service. Raises 20404, 80602."""
    service = load_service(tx, account_sid, sid)
    changed = replace(service, **changes, updated_at=Instant(max(tx.now, service.updated_at)))
    update_service(tx, changed)
    return changed


def remove_service(tx: Tx, account_sid: str, sid: str) -> None:
    """Delete a Service with all below it. Raises 20404."""
    delete_service(tx, load_service(tx, account_sid, sid))


def new_number(
    sid: str,
    phone_number: str,
    account_sid: str,
    carrier_account: str,
    now: Instant,
    friendly_name: str | None = None,
) -> ProxyNumber:
    """A number for the directory, with every capability a sandbox number has. Raises 80406."""
    phone = parse_phone(phone_number)
    if phone is None:
        raise Problem(problems.PHONE_NUMBER_INVALID, "PhoneNumber")
    return ProxyNumber(
        sid=NumberSid(sid),
        phone_number=phone.e164,
        account_sid=AccountSid(account_sid),
        carrier_account=carrier_account,
        service_sid=None,
        friendly_name=friendly_name or phone.e164,
        iso_country=phone.country,
        calling_code=phone.calling_code,
        voice=True,
        sms=True,
        mms=True,
        is_reserved=False,
        in_use=0,
        participants=0,
        created_at=now,
        updated_at=now,
    )


def add_number(
    tx: Tx,
    account_sid: str,
    service_sid: str,
    *,
    sid: str | None,
    number: ProxyNumber | None,
    reserved: bool,
    sandbox: bool,
    key: Key | None,
) -> ProxyNumber:
    """Put a number of the account, named by SID or by value, into the pool.

    With the sandbox on, a number that nobody carries becomes a sandbox number of this account.
    Raises Replayed, 20404, 80301, 80601, 80104, 80101, 80622, 80701.
    """
    service = load_service(tx, account_sid, service_sid)
    by_sid = find_number_by_sid(tx, sid) if sid is not None else None
    by_value = find_number(tx, number.phone_number) if number is not None else None
    if sid is not None and (by_sid is None or by_sid.account_sid != account_sid):
        raise Problem(problems.PHONE_NUMBER_SID_NOT_FOUND)
    if by_sid is not None and number is not None and by_sid.phone_number != number.phone_number:
        raise Problem(problems.PARAMETER_INVALID, "Sid and PhoneNumber name two numbers")
    found = by_sid or by_value
    if found is None:
        assert number is not None
        if not sandbox:
            raise Problem(problems.PHONE_NUMBER_SID_NOT_FOUND, mask(number.phone_number))
        found = number
    if found.account_sid != account_sid:
        raise Problem(problems.NUMBER_NOT_AVAILABLE)
    # A number that was known before keeps its SID: that it is the one under the key tells of a repeat.
    claim_or_replay(tx, key, found.sid, fresh=found is number)
    if found is number:
        insert_number(tx, number)
    join_pool(tx, found, service.sid, reserved=reserved)
    return load_pool_number(tx, service.sid, found.sid)


def change_number(tx: Tx, account_sid: str, service_sid: str, sid: str, reserved: bool | None) -> ProxyNumber:
    """Mark a pool number reserved or not. Raises 20404, 80622."""
    service = load_service(tx, account_sid, service_sid)
    number = load_pool_number(tx, service.sid, sid)
    if reserved is not None:
        set_reserved(tx, number, reserved=reserved)
    return as_of_now(tx, [load_pool_number(tx, service.sid, sid)])[0]


def remove_number(tx: Tx, account_sid: str, service_sid: str, sid: str) -> None:
    """Take a number out of the pool. Raises 20404, 80611."""
    service = load_service(tx, account_sid, service_sid)
    number = load_pool_number(tx, service.sid, sid)
    close_expired_on_number(tx, number)
    leave_pool(tx, number)
