"""T1 of an inbound message: from a carrier's word to a durable relay, or to an event that says why there is none. Hot.

The carrier is answered only after this has been committed; what it sends again stops at `received`. What is asked about
each message is asked once for the whole batch, and what most of them lead to, a relay, is written in a few statements
for all: nothing that one message of a batch does changes where another goes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from maskline.domain import problems
from maskline.domain.channel import scheme_of
from maskline.domain.ids import sibling_sid
from maskline.domain.phone import mask
from maskline.domain.problems import Code
from maskline.domain.route import OutOfSession, Refused, Route, incoming
from maskline.metrics import INBOUND
from maskline.store.engine import Turn, Tx, batched
from maskline.store.events import insert_event
from maskline.store.loose import Reply, insert_reply, may_reply
from maskline.store.optouts import obey_word
from maskline.store.pairs import Turned, count_message
from maskline.store.relay import Bound, NewInbound, find_bound, find_match, find_matches, relay_each
from maskline.store.strangers import find_waiting, insert_stranger
from maskline.store.telling import ask_wants, wants_of

_NUMBER = "SELECT account_sid, service_sid, carrier_account FROM numbers WHERE phone_number = ?"
_BROUGHT = "SELECT 1 FROM received WHERE carrier_account = ? AND carrier_id = ?"
_BRING = "INSERT INTO received (carrier_account, carrier_id, received_at) VALUES (?, ?, ?)"


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
    numbers = _numbers_of(tx, [item.to for item in items])
    received = [_carried(tx, item, numbers[item.to]) for item in items]
    carried = [place for place, known in enumerate(received) if known.known]
    again = _note(tx, [items[place] for place in carried])
    wired = (numbers[items[place].to][1] for place in carried)
    ask_wants(tx, (service_sid for service_sid in wired if service_sid is not None))
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
    _route(tx, owned)
    return [*received]


class _Owned(NamedTuple):
    """A message that a Service has to do with, and what is said of it."""

    item: NewInbound
    account_sid: str
    service_sid: str
    received: Received

    @property
    def pair(self) -> tuple[str, str, str]:
        return self.service_sid, self.item.sender, self.item.to


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


def _note(tx: Tx, items: list[NewInbound]) -> list[bool]:
    """Which of these were brought before, be it by an earlier one of them; the others are noted as brought now."""
    keys = [(item.carrier_account, item.carrier_id) for item in items]
    seen = {key for key, row in zip(keys, tx.find_each(_BROUGHT, keys), strict=True) if row is not None}
    again = []
    for key in keys:
        again.append(key in seen)
        seen.add(key)
    tx.executemany(
        _BRING, [(*key, tx.now) for key, is_again in zip(keys, again, strict=True) if not is_again]
    )
    return again


def _route(tx: Tx, owned: list[_Owned]) -> None:
    """Relay what a Session takes, and write down what becomes of the others."""
    pairs = list(dict.fromkeys(one.pair for one in owned))
    waiting = find_waiting(tx, pairs)
    matches = dict(zip(pairs, find_matches(tx, pairs), strict=True))
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
    turned = count_message(tx, service_sid, item.sender, item.to, limit) if limit else Turned.IN
    if turned is Turned.AWAY_FIRST:
        _event(tx, item, account_sid, service_sid, None, problems.TOO_MANY_BETWEEN_TWO)
    return turned is Turned.IN


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
