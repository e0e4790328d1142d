"""Numbers: what an account has, and which of it is in a Service's pool.

Plain functions are one transaction each. To take a number out may take several: the Sessions past their limit that
still hold it are written down as closed first, a few hundred at a time, and that stands whatever comes of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum

from maskline.carriers.base import Carrier, NotCarried
from maskline.domain import problems, sandbox
from maskline.domain.directory import CAN, Address
from maskline.domain.ids import AccountSid, NumberSid
from maskline.domain.model import SECOND, Instant, NumberKind, ProxyNumber
from maskline.domain.phone import mask, parse_phone
from maskline.domain.problems import Problem
from maskline.flows.adoptions import AGAIN_S, adopt
from maskline.store.adoptions import want_adoption
from maskline.store.engine import Store, Tx
from maskline.store.idempotency import Key, claim_or_replay
from maskline.store.numbers import (
    delete_number,
    find_number,
    find_number_by_sid,
    insert_number,
    join_pool,
    leave_pool,
    load_own_number,
    load_pool_number,
    rename_number,
    set_reserved,
    unknown_sid,
)
from maskline.store.services import load_service
from maskline.store.session_ends import MOST_CLOSED, as_of_now, close_expired_on_number


def new_entry(
    sid: str,
    address: Address,
    account_sid: str,
    carrier_account: str,
    now: Instant,
    friendly_name: str | None = None,
    abilities: dict[str, bool] | None = None,
    gap_us: int | None = None,
) -> ProxyNumber:
    """An entry for the directory, in no pool. `sid` is of the address's kind."""
    return ProxyNumber(
        sid=NumberSid(sid),
        phone_number=address.value,
        account_sid=AccountSid(account_sid),
        carrier_account=carrier_account,
        service_sid=None,
        friendly_name=friendly_name or address.value,
        iso_country=address.country,
        calling_code=address.calling_code,
        **(abilities or CAN[address.kind]),
        is_reserved=False,
        in_use=0,
        participants=0,
        created_at=now,
        updated_at=now,
        gap_us=gap_us,
    )


def new_number(
    sid: str,
    phone_number: str,
    account_sid: str,
    carrier_account: str,
    now: Instant,
    friendly_name: str | None = None,
) -> ProxyNumber:
    """A phone number for the directory, with every capability. Raises 80406."""
    phone = parse_phone(phone_number)
    if phone is None:
        raise Problem(problems.PHONE_NUMBER_INVALID, "PhoneNumber")
    address = Address(NumberKind.PHONE, phone.e164, phone.country, phone.calling_code)
    return new_entry(sid, address, account_sid, carrier_account, now, friendly_name)


# The pool of a Service


async def add_to_pool(
    store: Store,
    carriers: Mapping[str, Carrier],
    account_sid: str,
    service_sid: str,
    *,
    sid: str | None,
    number: ProxyNumber | None,
    reserved: bool,
    event_sid: str,
    key: Key | None,
) -> ProxyNumber:
    """Put a number of the account, named by SID or by value, into the pool; its carrier is told to bring it here first.

    Raises CarrierError, with nothing changed, and what `add_number` does.
    """
    named = (account_sid, service_sid, sid, number)
    found = await store.read(_find_for_pool, *named, carriers)
    if found.service_sid is None:
        carrier = carriers[found.carrier_account]
        try:
            await adopt(store, carrier, account_sid, found.phone_number)
        except NotCarried as error:
            said = f"Carrier account {carrier.name} does not carry it ({error.detail})"
            raise Problem(problems.PHONE_NUMBER_SID_NOT_FOUND, said) from None
    return await store.write(add_number, *named, carriers, reserved=reserved, event_sid=event_sid, key=key)


def add_number(
    tx: Tx,
    account_sid: str,
    service_sid: str,
    sid: str | None,
    number: ProxyNumber | None,
    carriers: Collection[str],
    *,
    reserved: bool,
    event_sid: str,
    key: Key | None,
) -> ProxyNumber:
    """The write of `add_to_pool`. A phone number that nobody carries is added as `number` says: with the sandbox on, as
    a sandbox number of this account.

    Raises Replayed, 20404, 80301, 80303, 80601, 80104, 80105, 80101, 80622, 80701.
    """
    found = _find_for_pool(tx, account_sid, service_sid, sid, number, carriers)
    # A number that was known before keeps its SID: that it is the one under the key tells of a repeat.
    claim_or_replay(tx, key, found.sid, fresh=found is number)
    if found is number:
        insert_number(tx, found)
    service = load_service(tx, account_sid, service_sid)
    # Its carrier has been told, but perhaps the opposite since, if the number has left another pool just now.
    _join(tx, found, service.sid, reserved=reserved, event_sid=event_sid, told_in_us=AGAIN_S * SECOND)
    return load_pool_number(tx, service.sid, found.sid)


def _find_for_pool(
    tx: Tx,
    account_sid: str,
    service_sid: str,
    sid: str | None,
    number: ProxyNumber | None,
    carriers: Collection[str],
) -> ProxyNumber:
    """The number that is named: the account's, or `number` itself if the directory has none of this value. It must be
    carried by one of `carriers`, the accounts by name.
    """
    load_service(tx, account_sid, service_sid)
    by_sid = find_number_by_sid(tx, sid) if sid is not None else None
    by_value = find_number(tx, number.phone_number) if number is not None else None
    if sid is not None and (by_sid is None or by_sid.account_sid != account_sid):
        raise unknown_sid(sid)
    if by_sid is not None and number is not None and by_sid.phone_number != number.phone_number:
        raise Problem(problems.PARAMETER_INVALID, "Sid and PhoneNumber name two numbers")
    found = by_sid or by_value
    if found is None:
        assert number is not None
        if number.carrier_account not in carriers:
            raise Problem(problems.PHONE_NUMBER_SID_NOT_FOUND, mask(number.phone_number))
        found = number
    if found.account_sid != account_sid:
        raise Problem(problems.NUMBER_NOT_AVAILABLE)
    if found.carrier_account not in carriers:
        said = f"Carrier account {found.carrier_account}, which carries it, is not in the settings or off"
        raise Problem(problems.PHONE_NUMBER_SID_NOT_FOUND, said)
    return found


def change_number(
    tx: Tx, account_sid: str, service_sid: str, sid: str, reserved: bool | None, event_sid: str
) -> ProxyNumber:
    """Mark a pool number reserved or not. Raises 20404, 80622."""
    service = load_service(tx, account_sid, service_sid)
    number = load_pool_number(tx, service.sid, sid)
    if reserved is not None:
        set_reserved(tx, number, reserved=reserved, event_sid=event_sid)
    return as_of_now(tx, [load_pool_number(tx, service.sid, sid)])[0]


async def remove_number(store: Store, account_sid: str, service_sid: str, sid: str) -> None:
    """Take a number out of the pool. Raises 20404, 80611."""

    def load(tx: Tx) -> ProxyNumber:
        return load_pool_number(tx, load_service(tx, account_sid, service_sid).sid, sid)

    await _free(store, load, leave_pool)


# The directory


class Entered(StrEnum):
    """What became of an entry that was to stand in the directory."""

    ADDED = "added"
    JOINED = "joined"
    """It stood there, and is now in the pool too."""
    UNCHANGED = "unchanged"
    """It stands there, and says the same."""


def enter(
    tx: Tx, number: ProxyNumber, service_sid: str | None, event_sid: str, *, named: bool, reserved: bool
) -> Entered:
    """Have an entry stand in the directory, and with a Service in its pool.

    `named`: its friendly name was chosen, and is compared, too. Raises 20404 for the Service, 80601 for an entry of
    another account, 21422 for one that stands there with other facts, 80104, 80105, 80101, 80622.
    """
    service = load_service(tx, number.account_sid, service_sid) if service_sid is not None else None
    found = find_number(tx, number.phone_number)
    if found is None:
        insert_number(tx, number)
        if service is not None:
            _join(tx, number, service.sid, reserved=reserved, event_sid=event_sid)
        return Entered.ADDED
    if found.account_sid != number.account_sid:
        raise Problem(problems.NUMBER_NOT_AVAILABLE, f"It is of account {found.account_sid}")
    if _facts(found, named) != _facts(number, named):
        raise Problem(
            problems.NUMBER_TAKEN, "It is there already, with another carrier, name, rate or capability"
        )
    if service is None or (found.service_sid, found.is_reserved) == (service.sid, reserved):
        return Entered.UNCHANGED
    _join(tx, found, service.sid, reserved=reserved, event_sid=event_sid)
    return Entered.JOINED


def _join(
    tx: Tx, number: ProxyNumber, service_sid: str, *, reserved: bool, event_sid: str, told_in_us: int = 0
) -> None:
    """Put an entry into a pool, and have the server tell its carrier after so long; beside it, nobody has done so."""
    join_pool(tx, number, service_sid, reserved=reserved, event_sid=event_sid)
    if number.carrier_account != sandbox.NAME:
        want_adoption(tx, number, told_in_us)


def _facts(number: ProxyNumber, named: bool) -> tuple[object, ...]:
    name = number.friendly_name if named else None
    able = number.voice, number.sms, number.mms
    return number.carrier_account, number.iso_country, name, able, number.gap_us


def create_own_number(tx: Tx, number: ProxyNumber, key: Key | None) -> ProxyNumber:
    """Add a phone number to the account's. Raises Replayed, 21422 if it is somebody's already."""
    claim_or_replay(tx, key, number.sid)
    if find_number(tx, number.phone_number) is not None:
        raise Problem(problems.NUMBER_TAKEN, mask(number.phone_number))
    insert_number(tx, number)
    return number


def change_own_number(tx: Tx, account_sid: str, sid: str, friendly_name: str | None) -> ProxyNumber:
    """Give a phone number of the account another name. Raises 20404."""
    number = load_own_number(tx, account_sid, sid)
    if friendly_name is not None:
        rename_number(tx, number, friendly_name or number.phone_number)
    return load_own_number(tx, account_sid, sid)


async def delete_own_number(store: Store, account_sid: str, sid: str) -> None:
    """Take an entry of the account out of its pool and of the directory. Raises 20404, 80611.

    A message that still waits to leave by it is not sent.
    """
    await _free(store, lambda tx: load_own_number(tx, account_sid, sid), delete_number)


async def _free(
    store: Store, load: Callable[[Tx], ProxyNumber], take_out: Callable[[Tx, ProxyNumber], None]
) -> None:
    def close(tx: Tx) -> int:
        return close_expired_on_number(tx, load(tx))

    def finish(tx: Tx) -> None:
        number = load(tx)
        close_expired_on_number(tx, number)
        take_out(tx, number)

    while await store.write(close) == MOST_CLOSED:
        pass
    await store.write(finish)
