"""Opt-outs that the customer or the operator writes down, instead of the person."""

from __future__ import annotations

from maskline.domain import problems
from maskline.domain.channel import parse_channel
from maskline.domain.optout import Source
from maskline.domain.phone import identifier_key, mask, parse_phone
from maskline.domain.problems import Problem
from maskline.store.engine import Tx
from maskline.store.idempotency import Key, claim_or_replay
from maskline.store.numbers import find_number
from maskline.store.optouts import EVERY, OptOut, find_optout, insert_optout, load_optout
from maskline.store.services import load_service


def read_person(text: str) -> str:
    """The identifier key of whom this phone number or channel address is. Raises 80404."""
    if parse_phone(text, possible=True) is None and parse_channel(text, possible=True) is None:
        raise Problem(problems.IDENTIFIER_INVALID, f"Identifier {mask(text)}")
    return identifier_key(text)


def read_number(tx: Tx, service_sid: str, text: str) -> str:
    """The proxy number of the Service that this is; EVERY for an empty text. Raises 80605."""
    if not text:
        return EVERY
    number = find_number(tx, identifier_key(text))
    if number is None or number.service_sid != service_sid:
        raise Problem(problems.PROXY_NOT_IN_SERVICE, mask(text))
    return number.phone_number


def create_optout(
    tx: Tx, account_sid: str, service_sid: str, sid: str, identifier: str, proxy: str, key: Key | None
) -> OptOut:
    """Write down that a person gets no messages from a proxy number of the Service, or (empty) from any of it.

    Who has opted out before has. Raises Replayed, 20404, 80404, 80605.
    """
    service = load_service(tx, account_sid, service_sid)
    person, number = read_person(identifier), read_number(tx, service.sid, proxy)
    known = find_optout(tx, service.sid, person, number)
    if known is not None:
        sid = known.sid
    claim_or_replay(tx, key, sid, fresh=known is None)
    insert_optout(tx, sid, account_sid, service.sid, person, number, Source.API)
    return load_optout(tx, service.sid, sid)
