"""Opt-outs: who gets no messages of a Service any more, from which of its numbers.

A row says what somebody asked for, whatever the Service's settings are; what is blocked by it is `domain.optout`'s to
say, by the settings at that moment. A person is looked up by a keyed hash of their identifier key (`tx.pseudonym`) and
by nothing else, so an opt-out counts for ever: to erase a person is to blank `identifier`, which is only shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskline.domain import problems
from maskline.domain.model import Instant
from maskline.domain.optout import Ask, Rules, Scope, Source, is_dropped
from maskline.domain.problems import Problem
from maskline.store.engine import Tx
from maskline.store.optout_notices import insert_notices
from maskline.store.pages import Page, Seek, fetch_page, key_params
from maskline.store.relay import find_bound
from maskline.store.wants import wants_of

EVERY = ""
"""The proxy number of an opt-out from all of the Service."""

CONFIRMATION = "confirmation "
"""What the order key of an answer to a word begins with: it goes to somebody who has opted out, too."""


@dataclass(frozen=True, slots=True)
class OptOut:
    """One opt-out. `identifier` is None once its person has been erased; `proxy_number` may be EVERY."""

    sid: str
    account_sid: str
    service_sid: str
    identifier: str | None
    proxy_number: str
    source: str
    created_at: Instant


_COLUMNS = "sid, account_sid, service_sid, identifier, proxy_number, source, created_at"

_INSERT = """
INSERT INTO optouts (service_sid, identifier_hash, proxy_number, sid, account_sid, identifier, source, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_NAME = """
UPDATE optouts SET identifier = ?
WHERE service_sid = ? AND identifier_hash = ? AND proxy_number = ? AND identifier IS NULL"""

_CARRY = """
INSERT INTO optouts (service_sid, identifier_hash, proxy_number, sid, account_sid, identifier, source, created_at)
SELECT service_sid, identifier_hash, ?, ?, account_sid, identifier, source, created_at FROM optouts
WHERE service_sid = ? AND identifier_hash = ? AND proxy_number = ?
ON CONFLICT DO NOTHING"""

_DELETE = "DELETE FROM optouts WHERE service_sid = ? AND identifier_hash = ?"
_NUMBERS = "SELECT proxy_number FROM optouts WHERE service_sid = ? AND identifier_hash = ?"


def insert_optout(
    tx: Tx, sid: str, account_sid: str, service_sid: str, key: str, number: str, source: Source
) -> bool:
    """Write down that the person of this identifier key opts out; False if that has been written down before.

    Of somebody who was erased and is named again the identifier is shown again.
    """
    place = (service_sid, tx.pseudonym(key), number)
    if tx.execute(_INSERT, (*place, sid, account_sid, key, source.value, tx.now)).rowcount:
        return True
    tx.execute(_NAME, (key, *place))
    return False


def note_refusal(tx: Tx, sid: str, account_sid: str, service_sid: str, key: str, number: str) -> None:
    """A carrier refused a message from this number because the person has opted out of them.

    Where words are not obeyed that is not kept: nothing that the person writes would ever end it.
    """
    rules = wants_of(tx, service_sid).optouts
    if rules.obeys:
        begun = _begin(tx, sid, account_sid, service_sid, key, rules.asked_from(number), Source.CARRIER)
        if rules.tells and begun:
            insert_notices(tx, account_sid, service_sid, key, number, Ask.OPT_OUT, begun)


@dataclass(frozen=True, slots=True)
class Obeyed:
    """What a text was: whether it is dropped, and what its sender is answered (empty: nothing)."""

    dropped: bool = False
    reply: str = ""


def obey_word(
    tx: Tx, sid: str, account_sid: str, service_sid: str, key: str, number: str, word: str
) -> Obeyed:
    """Do what somebody's word to this number asks for, if anything. Answered is only what changes something: a machine
    that says the same again and again hears of it once.
    """
    rules = wants_of(tx, service_sid).optouts
    ask = rules.ask_of(word)
    if ask is None:
        return Obeyed()
    if ask is Ask.OPT_OUT:
        changed = _begin(tx, sid, account_sid, service_sid, key, rules.asked_from(number), Source.WORD)
    else:
        changed = _end(tx, service_sid, key, number, rules.scope)
    if rules.tells and changed:
        insert_notices(tx, account_sid, service_sid, key, number, ask, changed)
    return Obeyed(is_dropped(word, ask), rules.reply_to(ask) if changed else "")


def _begin(
    tx: Tx, sid: str, account_sid: str, service_sid: str, key: str, number: str, source: Source
) -> list[tuple[str, str]]:
    """Write an opt-out down. Returns what has begun by it: SID and proxy number, or nothing."""
    begun = insert_optout(tx, sid, account_sid, service_sid, key, number, source)
    return [(sid, number)] if begun else []


def _end(tx: Tx, service_sid: str, key: str, number: str, scope: Scope) -> list[tuple[str, str]]:
    """The person takes messages again: from this number, or by the scope from all. What is from all ends either way.

    Returns what has ended: SIDs and proxy numbers.
    """
    where, params = _DELETE, [service_sid, tx.pseudonym(key)]
    if scope is Scope.NUMBER:
        where, params = f"{_DELETE} AND proxy_number IN (?, '')", [*params, number]
    return tx.execute(f"{where} RETURNING sid, proxy_number", params).fetchall()


def carry_optout(tx: Tx, sid: str, service_sid: str, key: str, before: str, number: str) -> None:
    """Who had opted out of messages from the number `before` has opted out of those from this one, which follows it."""
    tx.execute(_CARRY, (number, sid, service_sid, tx.pseudonym(key), before))


def is_blocked(tx: Tx, service_sid: str, key: str, number: str, rules: Rules) -> bool:
    """Whether this person gets no message of the Service, whose rules these are, from this number.

    Whoever had another number before their Session moved means both: its carrier may tell of an opt-out late.
    """
    numbers = [row[0] for row in tx.execute(_NUMBERS, (service_sid, tx.pseudonym(key))).fetchall()]
    if rules.blocks(numbers, number):
        return True
    bound = find_bound(tx, service_sid, key, number) if numbers else []
    return any(rules.blocks(numbers, other) for other in bound)


def find_optout(tx: Tx, service_sid: str, key: str, number: str) -> OptOut | None:
    """That of this person from this number, or from EVERY."""
    row = tx.execute(
        f"SELECT {_COLUMNS} FROM optouts WHERE service_sid = ? AND identifier_hash = ? AND proxy_number = ?",
        (service_sid, tx.pseudonym(key), number),
    ).fetchone()
    return OptOut(*row) if row else None


def load_optout(tx: Tx, service_sid: str, sid: str) -> OptOut:
    """The Service's opt-out with this SID. Raises 20404."""
    row = tx.execute(
        f"SELECT {_COLUMNS} FROM optouts WHERE service_sid = ? AND sid = ?", (service_sid, sid)
    ).fetchone()
    if row is None:
        raise Problem(problems.NOT_FOUND)
    return OptOut(*row)


def list_optouts(
    tx: Tx, service_sid: str, seek: Seek, *, key: str | None = None, number: str | None = None
) -> Page[OptOut]:
    """A page of the Service's opt-outs; only those of this person, only those from this number."""
    only = "" if key is None else "AND identifier_hash = :hash "
    only += "" if number is None else "AND proxy_number = :number "
    person = None if key is None else tx.pseudonym(key)

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        return tx.execute(
            f"SELECT {_COLUMNS} FROM optouts WHERE service_sid = :service {only}AND {condition}"
            f" ORDER BY {order} LIMIT :limit",
            {"service": service_sid, "hash": person, "number": number, "limit": limit, **key_params(seek)},
        ).fetchall()

    return fetch_page(fetch, ["sid"], seek, lambda row: OptOut(*row))


def delete_optout(tx: Tx, service_sid: str, sid: str) -> None:
    """Their person takes messages again. Raises 20404."""
    if not tx.execute("DELETE FROM optouts WHERE service_sid = ? AND sid = ?", (service_sid, sid)).rowcount:
        raise Problem(problems.NOT_FOUND)


def count_optouts(tx: Tx, service_sid: str, key: str) -> int:
    """How many opt-outs of this person are kept."""
    return len(tx.execute(_NUMBERS, (service_sid, tx.pseudonym(key))).fetchall())


def unname_optouts(tx: Tx, service_sid: str, key: str) -> None:
    """The person is erased: what they asked for still counts, and shows nobody."""
    tx.execute(
        "UPDATE optouts SET identifier = NULL WHERE service_sid = ? AND identifier_hash = ?",
        (service_sid, tx.pseudonym(key)),
    )
