"""T1 of an inbound message: from a carrier's word to a durable relay, or to an event that says why there is none. Hot.

The carrier is answered only after this has been committed; what it sends again stops at `received`. What is asked about
each message is asked once for the whole batch, and what most of them lead to, a relay, is written in a few statements
for all: nothing that one message of a batch does changes where another goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from maskline.domain import problems
from maskline.domain.channel import scheme_of
from maskline.domain.ids import sibling_sid
from maskline.domain.phone import mask
from maskline.domain.problems import Code
from maskline.domain.route import Match, OutOfSession, Refused, Route, incoming
from maskline.metrics import INBOUND
from maskline.store.engine import Turn, Tx, batched
from maskline.store.events import insert_event
from maskline.store.optouts import obey_word
from maskline.store.paces import Admission, count_message
from maskline.store.relay import (
    Bound,
    NewInbound,
    ask_pairs,
    find_bound,
    find_match,
    matches_of,
    relay_each,
)
from maskline.store.sessionless import Reply, insert_reply, may_reply
from maskline.store.strangers import ask_waits, insert_stranger
from maskline.store.wants import ask_wants, wants_of

_NUMBER = "SELECT account_sid, service_sid, carrier_account FROM numbers WHERE phone_number = ?"
_BROUGHT = "SELECT 1 FROM received WHERE carrier_account = ? AND carrier_id = ?"
_BRING = "INSERT INTO received (carrier_account, carrier_id, received_at) VALUES (?, ?, ?)"


Pair = tuple[str, str, str]
"""A Service, a sender and a proxy number."""


@dataclass(slots=True)
class Received:
    """What became of it. `interaction_sid` is None if there is no relay; `known` is False for a number that is not
    in any pool (and no channel sender) or that another account carries, `repeated` for what the carrier had brought
    before.
    """

    interaction_sid: str | None = None
    known: bool = True
    repeated: bool = False


@batched(Turn.RECEIVE)
def receive_messages(tx: Tx, items: list[NewInbound]) -> list[Received | Exception]:
    """Take each message in: relay it, or write down why not."""
    brought = tx.find_each(_BROUGHT, [(item.carrier_account, item.carrier_id) for item in items])
    numbers = _numbers_of(tx, [item.to for item in items])
    received = [_carried(tx, item, numbers[item.to]) for item in items]
    carried = [place for place, known in enumerate(received) if known.known]
    again = _note(tx, [(items[place], brought[place] is not None) for place in carried])
    places = (place for place, is_again in zip(carried, again, strict=True) if not is_again)
    waiting, matches = _ask_routes(tx, ((numbers[items[place].to][1], items[place]) for place in places))
    owned: list[_Owned] = []
    for place, is_again in zip(carried, again, strict=True):
        item, (account_sid, service_sid, _) = items[place], numbers[items[place].to]
        if is_again:
            tx.count(INBOUND, "repeated")
            received[place] = Received(repeated=True)
        elif service_sid is None:
            tx.count(INBOUND, "not-wired")
            _event(tx, item, account_sid, None, None, problems.SENDER_NOT_WIRED)
        elif item.word and _obey(tx, item, account_sid, service_sid):
            tx.count(INBOUND, "stop-word")
        elif not _is_slow_enough(tx, item, account_sid, service_sid):
            tx.count(INBOUND, "too-fast")
        else:
            owned.append(_Owned(item, account_sid, service_sid, received[place]))
    _route(tx, owned, waiting, matches)
    return [*received]


class _Owned(NamedTuple):
    """A message that a Service has to do with, and what is said of it."""

    item: NewInbound
    account_sid: str
    service_sid: str
    received: Received

    @property
    def pair(self) -> Pair:
        return self.service_sid, self.item.sender, self.item.to


def _ask_routes(
    tx: Tx, wired: Iterable[tuple[str | None, NewInbound]]
) -> tuple[set[Pair], dict[Pair, Match | None]]:
    """Of these messages, each with its Service, if it has one: the pairs of which something is still being asked about,
    and the Session of each pair. What the Services want is asked with it.
    """
    given = (None if sid is None else (sid, item.sender, item.to) for sid, item in wired)
    pairs = [pair for pair in dict.fromkeys(given) if pair is not None]
    waits, found = ask_waits(tx, pairs), ask_pairs(tx, pairs)
    ask_wants(tx, (pair[0] for pair in pairs))
    waiting = {pair for pair, (last,) in zip(pairs, waits, strict=True) if last is not None}
    return waiting, dict(zip(pairs, matches_of(tx, pairs, found), strict=True))


def _numbers_of(tx: Tx, numbers: list[str]) -> dict[str, Any]:
    """Each number's row in the directory; None if it is not in there."""
    known = dict.fromkeys(numbers)
    known.update(zip(known, tx.find_each(_NUMBER, [(number,) for number in known]), strict=True))
    return known


def _carried(tx: Tx, item: NewInbound, number: Any) -> Received:
    """Whether the account that brought it carries this number for anybody."""
    if number is None or (number[1] is None and not scheme_of(item.to)):
        tx.count(INBOUND, "unknown-number")
        return Received(known=False)
    if number[2] != item.carrier_account:
        tx.count(INBOUND, "wrong-carrier")
        detail = f"{item.carrier_account}, for {mask(item.to)} of {number[2]}"
        insert_event(tx, item.event_sid, number[0], problems.WRONG_CARRIER, detail, service_sid=number[1])
        return Received(known=False)
    return Received()


def _note(tx: Tx, items: list[tuple[NewInbound, bool]]) -> list[bool]:
    """Which of these were brought before, as is known of each, or by an earlier one of them; the others are noted as
    brought now.
    """
    again = []
    new: dict[tuple[str, str], None] = {}
    for item, was_brought in items:
        key = (item.carrier_account, item.carrier_id)
        again.append(was_brought or key in new)
        if not again[-1]:
            new[key] = None
    tx.executemany(_BRING, [(*key, tx.now) for key in new])
    return again


def _route(tx: Tx, owned: list[_Owned], waiting: set[Pair], matches: dict[Pair, Match | None]) -> None:
    """Relay what a Session takes, and write down what becomes of the others."""
    relayed: list[Bound] = []
    for one in owned:
        item, account_sid, service_sid, received = one
        if one.pair in waiting:
            # Whatever the sender has by now: what they wrote before goes first.
            tx.count(INBOUND, "out-of-session")
            _ask_about(tx, item, account_sid, service_sid)
            continue
        match incoming(matches[one.pair], tx.now, tx.idle_close_us):
            case Route() as route:
                tx.count(INBOUND, "relayed")
                relayed += [Bound(each, account_sid, route) for each in (item, *item.more)]
                received.interaction_sid = item.sid
            case OutOfSession(code):
                tx.count(INBOUND, "out-of-session")
                if wants_of(tx, service_sid).strangers:
                    _ask_about(tx, item, account_sid, service_sid)
                else:
                    _event(tx, item, account_sid, service_sid, None, code)
            case Refused(code, session):
                tx.count(INBOUND, "refused")
                _event(tx, item, account_sid, service_sid, session.sid, code)
    relay_each(tx, relayed)


def _ask_about(tx: Tx, item: NewInbound, account_sid: str, service_sid: str) -> None:
    for each in (item, *item.more):
        insert_stranger(tx, each, account_sid, service_sid)


def _obey(tx: Tx, item: NewInbound, account_sid: str, service_sid: str) -> bool:
    """Whether this is a word that is dropped, whatever it has to do with a Session; with an event, if so."""
    if wants_of(tx, service_sid).optouts.ask_of(item.word) is None:
        return False
    obeyed = obey_word(tx, item.optout_sid, account_sid, service_sid, item.sender, item.to, item.word)
    # Whoever had other numbers before their Session moved means all of them.
    others = find_bound(tx, service_sid, item.sender, item.to)
    for i, number in enumerate(others, 1):
        sid = sibling_sid(item.optout_sid, i)
        obey_word(tx, sid, account_sid, service_sid, item.sender, number, item.word)
    if obeyed.reply:
        data = json.dumps({"body": obeyed.reply}, ensure_ascii=False, separators=(",", ":"))
        reply = Reply(f"KI{item.optout_sid[2:]}", item.to, item.sender, data, confirms=True)
        if may_reply(tx, service_sid, reply):
            insert_reply(tx, account_sid, service_sid, reply, item.validity_us)
    if not obeyed.dropped:
        return False
    match = find_match(tx, service_sid, item.to, item.sender)
    session_sid = match.session.sid if match is not None else None
    _event(tx, item, account_sid, service_sid, session_sid, problems.STOP_WORD)
    return True


def _is_slow_enough(tx: Tx, item: NewInbound, account_sid: str, service_sid: str) -> bool:
    """Whether the message is taken by how many this sender has written lately; if not, an event says so once."""
    limit = wants_of(tx, service_sid).pair_limit
    admission = count_message(tx, service_sid, item.sender, item.to, limit) if limit else Admission.ADMITTED
    if admission is Admission.REFUSED_FIRST:
        _event(tx, item, account_sid, service_sid, None, problems.TOO_MANY_BETWEEN_TWO)
    return admission is Admission.ADMITTED


def _event(
    tx: Tx, item: NewInbound, account_sid: str, service_sid: str | None, session_sid: str | None, code: Code
) -> None:
    detail = f"from {mask(item.sender)} to {mask(item.to)}"
    insert_event(
        tx, item.event_sid, account_sid, code, detail, service_sid=service_sid, session_sid=session_sid
    )


def note_inbound(
    tx: Tx, carrier_account: str, to: str, sender: str, code: Code, why: str, event_sid: str
) -> bool:
    """Write an event about what came to a number, for whoever owns it; whether this account carries it for anybody."""
    number = tx.execute(_NUMBER, (to,)).fetchone()
    if number is None or number[2] != carrier_account:
        return False
    detail = f"from {mask(sender)} to {mask(to)}"
    if why:
        detail = f"{detail}: {why}"
    insert_event(tx, event_sid, number[0], code, detail, service_sid=number[1])
    return True
