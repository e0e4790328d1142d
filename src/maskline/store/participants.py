"""Participants: who is on which proxy number, and the one place where that is decided.

A person's row is locked first and serialises their creates; the unique index on active pairs is the last judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskline.domain import problems
from maskline.domain.assign import Person, PoolNumber, Refusal, check_explicit
from maskline.domain.channel import scheme_of
from maskline.domain.model import Mode, Participant, ProxyNumber, Session, SessionStatus
from maskline.domain.phone import Phone, mask
from maskline.domain.problems import Problem
from maskline.domain.session import as_of
from maskline.store.columns import parameters, params_of
from maskline.store.engine import Tx
from maskline.store.numbers import COUNTED, count_use, find_number, find_number_by_sid, unknown_sid
from maskline.store.pages import Page, Seek, fetch_page, key_params
from maskline.store.people import (
    find_past,
    find_taken,
    release_numbers,
    remember_number,
    still_cooling,
    take_person,
)
from maskline.store.session_ends import close_expired_of_person, count_ended
from maskline.store.sessions import COLUMNS_OF_S, make_session

MOST_PARTICIPANTS = 2

PARTICIPANT_COLUMNS = (
    "service_sid, sid, session_sid, identifier, identifier_key, friendly_name, proxy_identifier,"
    " proxy_identifier_sid, deleted_at, created_at, updated_at"
)


class Outdated(Exception):
    """Every number of the ranked list has been taken meanwhile: rank again on a new snapshot."""


@dataclass(frozen=True, slots=True)
class NewParticipant:
    """A participant to be added. `phone` is None for somebody on a channel, who always names a sender.

    `choice`: the ranked SIDs of candidate numbers, or why there is none. `cooldown_us`: how long a number cools down
    that this person has left. `invalid`: the number in the identifier is not one that this Service takes.
    """

    participant: Participant
    phone: Phone | None
    proxy_identifier: str | None
    proxy_identifier_sid: str | None
    choice: list[str] | Refusal
    cooldown_us: int = 0
    invalid: bool = False


def find_participant(tx: Tx, service_sid: str, session_sid: str, sid: str) -> Participant | None:
    """The Participant with this SID in this Session, deleted or not."""
    row = tx.execute(
        f"SELECT {PARTICIPANT_COLUMNS} FROM participants"
        " WHERE service_sid = :service AND session_sid = :session AND sid = :sid",
        {"service": service_sid, "sid": sid, "session": session_sid},
    ).fetchone()
    return Participant(*row) if row else None


def load_participant(tx: Tx, service_sid: str, session_sid: str, sid: str) -> Participant:
    """As `find_participant`. Raises 20404."""
    participant = find_participant(tx, service_sid, session_sid, sid)
    if participant is None:
        raise Problem(problems.NOT_FOUND)
    return participant


def list_participants(
    tx: Tx, service_sid: str, session_sid: str, seek: Seek, *, identifier_key: str | None = None
) -> Page[Participant]:
    """A page of the Session's Participants, deleted ones included; only this person's, if given."""
    person = "" if identifier_key is None else " AND identifier_key = :key"

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        return tx.execute(
            f"SELECT {PARTICIPANT_COLUMNS} FROM participants"
            f" WHERE service_sid = :service AND session_sid = :session{person} AND {condition}"
            f" ORDER BY {order} LIMIT :limit",
            {
                "service": service_sid,
                "session": session_sid,
                "key": identifier_key,
                "limit": limit,
                **key_params(seek),
            },
        ).fetchall()

    return fetch_page(fetch, ["sid"], seek, lambda row: Participant(*row))


_CANDIDATES = f"""
SELECT sid, phone_number, iso_country, calling_code, is_reserved, voice, sms, participants FROM numbers
WHERE service_sid = :service AND {COUNTED} AND is_reserved <= :reserved"""


def load_candidates(tx: Tx, service_sid: str, *, reserved: bool) -> list[PoolNumber]:
    """The numbers and short codes of the pool, with or without the reserved ones, and their load as of now.

    A pool is read for each participant, so what the choice does not need is not read.
    """
    rows = tx.execute(_CANDIDATES, {"service": service_sid, "reserved": int(reserved)}).fetchall()
    pool = [PoolNumber._make(row) for row in rows]
    if not any(number.participants for number in pool) or not (ended := count_ended(tx, service_sid)):
        return pool
    return [
        number._replace(participants=number.participants - ended.get(number.phone_number, (0, 0))[1])
        for number in pool
    ]


def pool_number(number: ProxyNumber) -> PoolNumber:
    """What the choice needs to know of a pool number."""
    return PoolNumber(
        sid=number.sid,
        phone_number=number.phone_number,
        country=number.iso_country,
        calling_code=number.calling_code,
        reserved=number.is_reserved,
        voice=number.voice,
        sms=number.sms,
        participants=number.participants,
    )


def load_person(tx: Tx, service_sid: str, key: str, phone: Phone | None, cooldown_us: int = 0) -> Person:
    """What is known of a person in this Service: numbers had before, those in use, and those cooling down as of now."""
    history, released = find_past(tx, service_sid, key)
    rows = tx.execute(
        " UNION ALL ".join(
            f"SELECT p.proxy_identifier, {COLUMNS_OF_S} FROM {table} p JOIN sessions s ON s.service_sid = p.service_sid"
            " AND s.sid = p.session_sid WHERE p.service_sid = :service AND p.identifier_key = :key AND p.active = 1"
            for table in ("participants", "former_numbers")
        ),
        {"service": service_sid, "key": key},
    ).fetchall()
    taken = set()
    for number, *row in rows:
        session = as_of(make_session(tuple(row)), tx.now, tx.idle_close_us)
        if session.status is not SessionStatus.CLOSED:
            taken.add(number)
        elif session.ended_at is not None:  # as it will be written down
            released[number] = max(session.ended_at, released.get(number, 0))
    return Person(
        key=key,
        country=phone.country if phone else None,
        calling_code=phone.calling_code if phone else 0,
        history=tuple(history),
        taken=frozenset(taken),
        cooling=frozenset(still_cooling(tx, released, cooldown_us)),
    )


def add_participant(tx: Tx, session: Session, new: NewParticipant, account_sid: str) -> Participant:
    """Give a person a proxy number in `session` and insert the Participant, in one go.

    Checks in the order of the specification's section 4. Raises Outdated, and 80607, 80404, 80616, 80103, 80612, 80609,
    80402, 80301, 80304, 80606, 80605, 80604 and what `choice` refuses.
    """
    person = new.participant
    if session.status is SessionStatus.CLOSED:
        raise Problem(problems.SESSION_CLOSED)
    own = find_number(tx, person.identifier_key)
    # A number of a pool would write to itself for ever.
    if new.invalid or (own is not None and own.service_sid is not None):
        raise Problem(problems.IDENTIFIER_INVALID, f"Identifier {mask(person.identifier)}")
    on_channel = scheme_of(person.identifier_key) != ""
    if on_channel and session.mode is not Mode.MESSAGE_ONLY:
        raise Problem(problems.IDENTIFIER_UNSUPPORTED_IN_MODE)
    take_person(tx, person.service_sid, person.identifier_key)
    close_expired_of_person(tx, person.service_sid, person.identifier_key)
    _refuse_if_known(tx, session, person)
    number = _explicit(tx, session, new, account_sid) if _is_explicit(new) else _first_free(tx, new)
    sessions = 0 if session_uses(tx, session, number.phone_number) else 1
    participant = Participant(
        service_sid=person.service_sid,
        sid=person.sid,
        session_sid=session.sid,
        identifier=person.identifier,
        identifier_key=person.identifier_key,
        friendly_name=person.friendly_name,
        proxy_identifier=number.phone_number,
        proxy_identifier_sid=None if on_channel else number.sid,
        deleted_at=None,
        created_at=person.created_at,
        updated_at=person.updated_at,
    )
    tx.execute(
        f"INSERT INTO participants ({PARTICIPANT_COLUMNS}, active) VALUES ({parameters(PARTICIPANT_COLUMNS)}, 1)",
        params_of(participant),
    )
    count_use(tx, number.phone_number, sessions=sessions, participants=1)
    remember_number(tx, participant.service_sid, participant.identifier_key, number.phone_number)
    return participant


def _refuse_if_known(tx: Tx, session: Session, person: Participant) -> None:
    others = tx.execute(
        "SELECT identifier_key, deleted_at FROM participants WHERE service_sid = ? AND session_sid = ?",
        (session.service_sid, session.sid),
    ).fetchall()
    if (person.identifier_key, None) in others:
        raise Problem(problems.PARTICIPANT_ALREADY_IN_SESSION)
    if any(key == person.identifier_key for key, _ in others):
        raise Problem(problems.PARTICIPANT_WAS_DELETED)
    if sum(deleted_at is None for _, deleted_at in others) >= MOST_PARTICIPANTS:
        raise Problem(problems.TOO_MANY_PARTICIPANTS)


def _is_explicit(new: NewParticipant) -> bool:
    return new.proxy_identifier is not None or new.proxy_identifier_sid is not None


def _explicit(tx: Tx, session: Session, new: NewParticipant, account_sid: str) -> ProxyNumber:
    """The number, or the sender, that was asked for."""
    key, named = new.participant.identifier_key, new.proxy_identifier
    scheme = scheme_of(key)
    if (named is not None and scheme_of(named) != scheme) or (
        scheme and new.proxy_identifier_sid is not None
    ):
        raise Problem(problems.PAIR_INVALID, "They are not of one channel")
    if scheme:
        assert named is not None
        number = _load_sender(tx, session, named, account_sid)
    else:
        number = _load_named(tx, session, named, new.proxy_identifier_sid, account_sid)
    person = load_person(tx, session.service_sid, key, new.phone)
    refusal = check_explicit(person, session.mode, pool_number(number))
    if refusal is not None:
        raise Problem(refusal.code, refusal.detail)
    return number


def _load_sender(tx: Tx, session: Session, address: str, account_sid: str) -> ProxyNumber:
    """The account's channel sender of this address, if it is wired to the Session's Service. Raises 80304."""
    sender = find_number(tx, address)
    if sender is None or (sender.account_sid, sender.service_sid) != (account_sid, session.service_sid):
        raise Problem(problems.PROXY_NOT_MANAGED, f"ProxyIdentifier {mask(address)}")
    return sender


def _load_named(
    tx: Tx, session: Session, value: str | None, sid: str | None, account_sid: str
) -> ProxyNumber:
    """The number of the pool with this value, this SID or both. Raises 80301, 80606, 80402, 80605."""
    by_value = find_number(tx, value) if value is not None else None
    by_sid = find_number_by_sid(tx, sid) if sid is not None else None
    if sid is not None and (by_sid is None or by_sid.account_sid != account_sid):
        raise unknown_sid(sid)
    if value is not None and (by_value is None or by_value.account_sid != account_sid):
        raise Problem(problems.PROXY_NOT_OWNED)
    if by_value and by_sid and by_value.sid != by_sid.sid:
        raise Problem(problems.PAIR_INVALID, "ProxyIdentifier and ProxyIdentifierSid name two numbers")
    number = by_value or by_sid
    assert number is not None
    if number.service_sid != session.service_sid:
        raise Problem(problems.PROXY_NOT_IN_SERVICE)
    return number


def _first_free(tx: Tx, new: NewParticipant) -> ProxyNumber:
    if isinstance(new.choice, Refusal):
        raise Problem(new.choice.code, new.choice.detail)
    person = new.participant
    taken = find_taken(tx, person.service_sid, person.identifier_key)
    if new.cooldown_us:
        _, released = find_past(tx, person.service_sid, person.identifier_key)
        taken |= still_cooling(tx, released, new.cooldown_us).keys()
    for sid in new.choice:
        number = find_number_by_sid(tx, sid)
        if (
            number is not None
            and number.service_sid == person.service_sid
            and not number.is_reserved
            and number.phone_number not in taken
        ):
            return number
    raise Outdated


def session_uses(tx: Tx, session: Session, phone_number: str) -> bool:
    """Whether one of the Session's active participants is on this number, or was before it moved."""
    rows = tx.execute(
        "SELECT 1 FROM participants WHERE service_sid = :service AND session_sid = :session"
        " AND proxy_identifier = :number AND active + 0 = 1"
        " UNION ALL SELECT 1 FROM former_numbers WHERE service_sid = :service AND session_sid = :session"
        " AND proxy_identifier = :number AND active + 0 = 1",
        {"service": session.service_sid, "session": session.sid, "number": phone_number},
    )
    return rows.fetchone() is not None


def leave_former(tx: Tx, session: Session, participant_sid: str, number: str | None = None) -> None:
    """The numbers that the participant had before, or this one of them, answer no more."""
    which = "" if number is None else " AND proxy_identifier = :number"
    left = tx.execute(
        "UPDATE former_numbers SET active = 0 WHERE service_sid = :service AND session_sid = :session"
        f" AND participant_sid = :sid{which} AND active + 0 = 1 RETURNING proxy_identifier",
        {
            "service": session.service_sid,
            "session": session.sid,
            "sid": participant_sid,
            "number": number,
        },
    ).fetchall()
    for (former,) in left:
        count_use(tx, former, sessions=-int(not session_uses(tx, session, former)), participants=0, former=-1)


def delete_participant(tx: Tx, session: Session, participant: Participant) -> None:
    """Delete softly: the row stays with its date, the pair is free at once. Raises 20404 for one deleted before."""
    if session.status is not SessionStatus.CLOSED:
        release_numbers(tx, session.service_sid, session.sid, tx.now, participant.sid)
    deleted = tx.execute(
        "UPDATE participants SET active = 0, deleted_at = :now, updated_at = :now"
        " WHERE service_sid = :service AND session_sid = :session AND sid = :sid AND deleted_at IS NULL",
        {
            "now": max(tx.now, participant.updated_at),
            "service": participant.service_sid,
            "session": participant.session_sid,
            "sid": participant.sid,
        },
    )
    if deleted.rowcount == 0:
        raise Problem(problems.NOT_FOUND)
    if session.status is not SessionStatus.CLOSED:
        last = not session_uses(tx, session, participant.proxy_identifier)
        count_use(tx, participant.proxy_identifier, sessions=-int(last), participants=-1)
        leave_former(tx, session, participant.sid)
