"""The sandbox carrier's books: handsets and what reached them, scripts, and what the carrier has still to bring.

It stands for somebody else's computer, so nothing here is joined with the tables of the product.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import msgspec

from maskline.domain.channel import scheme_of
from maskline.domain.model import SECOND, ProxyNumber
from maskline.domain.phone import identifier_key, mobile_form
from maskline.domain.sandbox import (
    BEHAVIOURS,
    NAME,
    REPEATED,
    Abilities,
    Answer,
    Behaviour,
    Handed,
    HandOver,
    HandsetCall,
    HandsetMessage,
    Outcome,
    Todo,
)
from maskline.store.engine import Turn, Tx, batched
from maskline.store.numbers import find_numbers
from maskline.store.pages import Page, Seek, fetch_page, key_params
from maskline.store.waves import waves

_encode = msgspec.json.Encoder().encode

_COLUMNS = "reference, sid, account_sid, direction, from_number, to_number, body, media, status, handovers, created_at"

# A repeat that the carrier did not take leaves an earlier one as it is, for that one is at its handset.
_TAKE = """
INSERT INTO sandbox_messages (account_sid, reference, sid, direction, from_number, to_number, body, media, status,
       handovers, created_at)
VALUES (?, ?, ?, 'to_handset', ?, ?, ?, ?, ?, 1, ?)
ON CONFLICT (account_sid, reference) DO UPDATE SET handovers = sandbox_messages.handovers + 1,
       sid = CASE WHEN excluded.status IN ('failed', 'lost') THEN sandbox_messages.sid ELSE excluded.sid END,
       status = CASE WHEN excluded.status IN ('failed', 'lost')
                AND sandbox_messages.status NOT IN ('failed', 'lost') THEN sandbox_messages.status
                ELSE excluded.status END"""

_ADD_TEXT = f"INSERT INTO sandbox_messages ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FIELDS = attrgetter(*HandsetMessage.__slots__)
_KNOWN = "SELECT sid, status FROM sandbox_messages WHERE account_sid = ? AND reference = ?"
_SCRIPT = (
    "SELECT outcome, delay_ms, times_left FROM sandbox_behaviour WHERE account_sid = ? AND to_number = ?"
)
_ADD_TODO = "INSERT INTO sandbox_todo (due_at, sid, kind, payload) VALUES (?, ?, ?, ?)"
_DROP_TODO = "DELETE FROM sandbox_todo WHERE due_at = ? AND sid = ?"


@batched(Turn.RECEIVE)
def hand_over(tx: Tx, items: list[HandOver]) -> list[Handed | Exception]:
    """Write each hand-over into the books, as its handset is scripted, before the sandbox answers."""
    handed: dict[int, Handed] = {}
    for wave in waves((item.account_sid, identifier_key(item.to_number)) for item in items):
        handed.update(zip(wave, _hand_over(tx, [items[place] for place in wave]), strict=True))
    return [handed[place] for place in range(len(items))]


def _hand_over(tx: Tx, items: list[HandOver]) -> list[Handed]:
    """Hand-overs to different handsets."""
    handed: list[Handed] = []
    takes: list[tuple[Any, ...]] = []
    todos: list[Todo] = []
    known = tx.find_each(_KNOWN, [(item.account_sid, item.reference) for item in items])
    scripts = tx.find_each(_SCRIPT, [(item.account_sid, identifier_key(item.to_number)) for item in items])
    for item, row, script in zip(items, known, scripts, strict=True):
        answered = _answered(row)
        if answered is not None and find_abilities(tx, item.account_sid).carrier_keys:
            handed.append(Handed(*answered))
            continue
        behaviour, delay_ms = _follow(tx, item, script)
        if behaviour.status is not None:
            takes.append(
                (
                    item.account_sid,
                    item.reference,
                    item.sid,
                    item.from_number,
                    item.to_number,
                    item.body,
                    item.media,
                    behaviour.status,
                    tx.now,
                )
            )
        report_delay_ms = behaviour.report_delay_ms
        if delay_ms is not None and report_delay_ms and not behaviour.answer_delay_ms:
            report_delay_ms = delay_ms
        reports = []
        for i, status in enumerate(behaviour.reports):
            facts = {"number": item.from_number, "carrier_id": item.sid, "status": int(status)}
            payload = _encode(facts).decode()
            reports.append(Todo(tx.now + report_delay_ms * 1000, f"{item.sid}{i}", "receipt", payload))
        todos += reports
        early = () if report_delay_ms else tuple(reports)
        report_at = reports[-1].due_at if reports and report_delay_ms else None
        answer_delay_ms = behaviour.answer_delay_ms
        if answer_delay_ms and delay_ms is not None:
            answer_delay_ms = delay_ms
        handed.append(Handed(item.sid, behaviour.answer, answer_delay_ms, early, report_at))
    tx.executemany(_TAKE, takes)
    tx.executemany(_ADD_TODO, [(todo.due_at, todo.sid, todo.kind, todo.payload) for todo in todos])
    return handed


def find_script(tx: Tx, account_sid: str, number: str) -> Outcome | None:
    """What is scripted for a number, if anything is."""
    row = tx.execute(
        "SELECT outcome FROM sandbox_behaviour WHERE account_sid = ? AND to_number = ?", (account_sid, number)
    ).fetchone()
    return Outcome(row[0]) if row is not None else None


def _follow(tx: Tx, item: HandOver, script: Any) -> tuple[Behaviour, int | None]:
    """How the next send to this handset goes by its script, a row of `_SCRIPT`; uses up one of its `Times`."""
    if script is None:
        return BEHAVIOURS[Outcome.DELIVER], None
    outcome, delay_ms, times_left = script
    if times_left is not None:
        if times_left > 1:
            change = "UPDATE sandbox_behaviour SET times_left = times_left - 1"
        else:
            change = "DELETE FROM sandbox_behaviour"
        handset = (item.account_sid, identifier_key(item.to_number))
        tx.execute(f"{change} WHERE account_sid = ? AND to_number = ?", handset)
    return BEHAVIOURS[Outcome(outcome)], delay_ms


def find_taken(tx: Tx, account_sid: str, reference: str) -> str | None:
    """The sandbox's SID of the message that it took under this reference: neither lost on the way nor refused."""
    known = _answered(tx.execute(_KNOWN, (account_sid, reference)).fetchone())
    return known[0] if known is not None and known[1] is Answer.ACCEPTED else None


def _answered(row: Any) -> tuple[str, Answer] | None:
    """What the sandbox knows under a reference, by a row of `_KNOWN`: its SID, and whether it was taken or refused."""
    return (row[0], REPEATED[row[1]]) if row is not None and row[1] in REPEATED else None


def set_script(
    tx: Tx, account_sid: str, to_number: str, outcome: Outcome, delay_ms: int | None, times: int | None
) -> None:
    """Script the next `times` sends to a handset (None: all until changed)."""
    tx.execute(
        "INSERT INTO sandbox_behaviour (account_sid, to_number, outcome, delay_ms, times_left)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (account_sid, to_number) DO UPDATE SET outcome = excluded.outcome,"
        " delay_ms = excluded.delay_ms, times_left = excluded.times_left",
        (account_sid, to_number, outcome.value, delay_ms, times),
    )


def find_abilities(tx: Tx, account_sid: str) -> Abilities:
    """What this account's sandbox can do; by default nothing beyond sending and reporting."""
    row = tx.execute(
        "SELECT carrier_keys, look_up FROM sandbox_abilities WHERE account_sid = ?", (account_sid,)
    ).fetchone()
    return Abilities(bool(row[0]), bool(row[1])) if row else Abilities()


def set_abilities(tx: Tx, account_sid: str, abilities: Abilities) -> None:
    """Switch what this account's sandbox can do."""
    tx.execute(
        "INSERT INTO sandbox_abilities (account_sid, carrier_keys, look_up) VALUES (?, ?, ?)"
        " ON CONFLICT (account_sid) DO UPDATE SET carrier_keys = excluded.carrier_keys, look_up = excluded.look_up",
        (account_sid, int(abilities.carrier_keys), int(abilities.look_up)),
    )


NewText = tuple[HandsetMessage, str]
"""What a handset has written, and what is brought of it: at once, by whoever has it written down; so it is due a little
later only.
"""


@batched(Turn.RECEIVE)
def add_texts(tx: Tx, items: list[NewText]) -> list[Todo | Exception | None]:
    """Handsets have written. What brings each text to the server, soon or after a restart; None: it is to nobody."""
    numbers = find_numbers(tx, [text.to_number for text, _ in items])
    reached = [
        is_reachable(number, text.account_sid) for number, (text, _) in zip(numbers, items, strict=True)
    ]
    taken = [item for item, good in zip(items, reached, strict=True) if good]
    tx.executemany(_ADD_TEXT, [_FIELDS(text) for text, _ in taken])
    todos = {text.sid: Todo(tx.now + SECOND, text.sid, "text", payload) for text, payload in taken}
    tx.executemany(_ADD_TODO, [(todo.due_at, todo.sid, todo.kind, todo.payload) for todo in todos.values()])
    return [todos.get(text.sid) for text, _ in items]


def is_reachable(number: ProxyNumber | None, account_sid: str) -> bool:
    """Whether handsets reach this one: a sandbox number in a pool of this account, or a channel sender of its own."""
    return (
        number is not None
        and number.account_sid == account_sid
        and (number.service_sid is not None or scheme_of(number.phone_number) != "")
        and number.carrier_account == NAME
    )


def due_todos(tx: Tx, most: int) -> tuple[list[Todo], int | None, int]:
    """What is due to be brought, when the next after these is, and what time it is."""
    rows = tx.execute(
        "SELECT due_at, sid, kind, payload FROM sandbox_todo ORDER BY due_at, sid LIMIT ?", (most + 1,)
    ).fetchall()
    due = [Todo(*row) for row in rows[:most] if row[0] <= tx.now]
    return due, rows[len(due)][0] if len(rows) > len(due) else None, tx.now


@batched(Turn.OUTCOME)
def done_todos(tx: Tx, items: list[list[Todo]]) -> list[Exception | None]:
    """These have been brought and acknowledged."""
    tx.executemany(_DROP_TODO, list({(todo.due_at, todo.sid) for todos in items for todo in todos}))
    return [None] * len(items)


def postpone_todos(tx: Tx, todos: list[Todo], by_us: int) -> None:
    """These could not be brought and are due again after a while, except those that somebody has brought meanwhile."""
    tx.executemany(
        "UPDATE sandbox_todo SET due_at = ? WHERE due_at = ? AND sid = ?",
        [(tx.now + by_us, todo.due_at, todo.sid) for todo in todos],
    )


def drop_texts(tx: Tx, most: int) -> list[tuple[str, str]]:
    """Bring up to `most` of the texts no more that handsets have written. Returns (from, to) of each."""
    rows = tx.execute(
        "SELECT due_at, sid, payload FROM sandbox_todo WHERE kind = 'text' ORDER BY due_at, sid LIMIT ?",
        (most,),
    ).fetchall()
    tx.executemany(_DROP_TODO, [row[:2] for row in rows])
    return [(facts["from"], facts["to"]) for facts in (json.loads(row[2]) for row in rows)]


def list_handset_messages(
    tx: Tx, account_sid: str, seek: Seek, filters: dict[str, str]
) -> Page[HandsetMessage]:
    """A page of what went to and from handsets. Filters: `to`, `from_`, `handset` (either), `direction`.

    A number is the same with and without its country's mobile digit.
    """
    conditions = {
        "to": "to_number IN (:to, :to_mobile)",
        "from_": "from_number = :from_",
        "handset": "CASE direction WHEN 'to_handset' THEN to_number ELSE from_number END"
        " IN (:handset, :handset_mobile)",
        "direction": "direction = :direction",
    }
    only = "".join(f" AND {conditions[name]}" for name in filters)
    mobile = {f"{name}_mobile": mobile_form(filters[name]) for name in ("to", "handset") if name in filters}

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        return tx.execute(
            f"SELECT {_COLUMNS} FROM sandbox_messages WHERE account_sid = :account{only} AND {condition}"
            f" ORDER BY {order} LIMIT :limit",
            {"account": account_sid, "limit": limit, **filters, **mobile, **key_params(seek)},
        ).fetchall()

    return fetch_page(fetch, ["sid"], seek, lambda row: HandsetMessage(*row))


_CALL_COLUMNS = "sid, account_sid, from_number, to_number, status, duration_s, legs, verbs, created_at"


def note_call(tx: Tx, call: HandsetCall) -> None:
    """Write down how far a handset's call is."""
    tx.execute(
        f"INSERT INTO sandbox_calls ({_CALL_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (account_sid, sid) DO UPDATE SET status = excluded.status, duration_s = excluded.duration_s,"
        " legs = excluded.legs, verbs = excluded.verbs",
        (
            call.sid,
            call.account_sid,
            call.from_number,
            call.to_number,
            call.status,
            call.duration_s,
            json.dumps(call.legs),
            json.dumps(call.verbs),
            call.created_at,
        ),
    )


def list_handset_calls(tx: Tx, account_sid: str, seek: Seek, filters: dict[str, str]) -> Page[HandsetCall]:
    """A page of the calls that handsets made. Filters: `to`, `from_`."""
    only = "".join(f" AND {name.rstrip('_')}_number = :{name}" for name in filters)

    def fetch(condition: str, order: str, limit: int) -> list[Any]:
        return tx.execute(
            f"SELECT {_CALL_COLUMNS} FROM sandbox_calls WHERE account_sid = :account{only} AND {condition}"
            f" ORDER BY {order} LIMIT :limit",
            {"account": account_sid, "limit": limit, **filters, **key_params(seek)},
        ).fetchall()

    def read(row: tuple[Any, ...]) -> HandsetCall:
        values = list(row)
        values[6:8] = map(json.loads, row[6:8])
        return HandsetCall(*values)

    return fetch_page(fetch, ["sid"], seek, read)


_LAST = "SELECT sid FROM {table} WHERE account_sid = ? AND sid > ? ORDER BY sid LIMIT 1 OFFSET ?"
_WITHIN = "account_sid = :account AND sid > :after AND sid <= :last"
# Another Service of the account may know the same person, by numbers of its own.
_NOT_THEIRS = (
    "NOT EXISTS (SELECT 1 FROM numbers n WHERE n.phone_number = {number} AND n.service_sid <> :service)"
)
_OURS = "CASE direction WHEN 'to_handset' THEN from_number ELSE to_number END"
_FORGET = f"""
DELETE FROM sandbox_messages WHERE {_WITHIN}
AND :handset = CASE direction WHEN 'to_handset' THEN to_number ELSE from_number END
AND {_NOT_THEIRS.format(number=_OURS)}"""
_FORGET_CALLS = f"""
DELETE FROM sandbox_calls WHERE {_WITHIN}
AND (from_number = :handset OR instr(legs, :handset) > 0 OR instr(verbs, :handset) > 0)
AND {_NOT_THEIRS.format(number="to_number")}"""


def forget_handset(
    tx: Tx, account_sid: str, service_sid: str, handset: str, after: str, most: int
) -> str | None:
    """Walk `most` messages onward from `after` and take those of this handset out of the books, and its script; except
    what went over numbers of another Service. Returns where the walk stopped; None: at the end.
    """
    tx.execute(
        "DELETE FROM sandbox_behaviour WHERE account_sid = ? AND to_number = ?", (account_sid, handset)
    )
    return _walk(tx, "sandbox_messages", _FORGET, account_sid, service_sid, handset, after, most)


def forget_handset_calls(
    tx: Tx, account_sid: str, service_sid: str, handset: str, after: str, most: int
) -> str | None:
    """The same of the calls that this handset made or got."""
    return _walk(tx, "sandbox_calls", _FORGET_CALLS, account_sid, service_sid, handset, after, most)


def _walk(
    tx: Tx, table: str, forget: str, account_sid: str, service_sid: str, handset: str, after: str, most: int
) -> str | None:
    last = tx.execute(_LAST.format(table=table), (account_sid, after, most - 1)).fetchone()
    within = {"account": account_sid, "service": service_sid, "handset": handset, "after": after}
    tx.execute(forget, {**within, "last": last[0] if last else "~"})
    return last[0] if last else None


def forget_texts(tx: Tx, account_sid: str, references: Iterable[str]) -> None:
    """Blank what these messages said, whoever has them."""
    tx.executemany(
        "UPDATE sandbox_messages SET body = '', media = '[]' WHERE account_sid = ? AND reference = ?",
        [(account_sid, reference) for reference in references],
    )
