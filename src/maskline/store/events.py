"""The events table: what went wrong with traffic that nobody was waiting for. A log, in the order of SIDs.

`insert_event` is on the hot path, and is one statement. What is to be sent to a webhook it marks with the account that
has it (`alerts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maskline.domain import problems
from maskline.domain.ids import instant_of
from maskline.domain.model import Instant
from maskline.domain.problems import Code, Problem
from maskline.metrics import EVENTS
from maskline.store.engine import Tx
from maskline.store.pages import Page, Seek


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it is kept. `message` holds no body and no full number."""

    sid: str
    account_sid: str
    service_sid: str | None
    session_sid: str | None
    interaction_sid: str | None
    code: int
    level: str
    message: str
    created_at: Instant

    @property
    def resource_sid(self) -> str | None:
        """The narrowest that it is about."""
        return self.interaction_sid or self.session_sid or self.service_sid

    @property
    def generated_at(self) -> Instant:
        """When it came to pass, which its SID says; it may have been written down a little later."""
        return Instant(instant_of(self.sid))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: all that is given has to hold, `since` <= instant < `until` too. One of the SIDs must be given."""

    account_sid: str | None = None
    service_sid: str | None = None
    session_sid: str | None = None
    interaction_sid: str | None = None
    level: str | None = None
    code: int | None = None
    since: Instant | None = None
    until: Instant | None = None


COLUMNS = "sid, account_sid, service_sid, session_sid, interaction_sid, code, level, message, created_at"
# From the widest to the narrowest; each has an index. What has one of them has the same of the wider ones, always.
_OWNERS = ("account_sid", "service_sid", "session_sid", "interaction_sid")
_BY_SID = f"SELECT {COLUMNS} FROM events WHERE sid = ?"

# An event of a subaccount that has no webhook goes to its parent's.
_INSERT = f"""
INSERT INTO events ({COLUMNS}, told_to)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, (
    SELECT CASE WHEN a.events_url IS NOT NULL THEN a.sid WHEN p.events_url IS NOT NULL THEN p.sid END
    FROM accounts a LEFT JOIN accounts p ON p.sid = a.parent_sid WHERE a.sid = ?2))
ON CONFLICT DO NOTHING"""


def insert_event(
    tx: Tx,
    sid: str,
    account_sid: str,
    code: Code,
    detail: str = "",
    service_sid: str | None = None,
    session_sid: str | None = None,
    interaction_sid: str | None = None,
) -> None:
    """Write an event down. The last three are what it is about, from the widest to the narrowest; an Interaction of no
    Session has an empty `session_sid`.
    """
    inserted = tx.execute(
        _INSERT,
        (
            sid,
            account_sid,
            service_sid,
            session_sid or None,
            interaction_sid,
            code.number,
            code.level,
            f"{detail}: {code.sentence}" if detail else code.sentence,
            tx.now,
        ),
    )
    if inserted.rowcount:
        tx.count(EVENTS, str(code.number), code.level.lower())


def load_event(tx: Tx, account_sid: str, sid: str) -> Event:
    """The account's event with this SID. Raises 20404."""
    row = tx.execute(_BY_SID, (sid,)).fetchone()
    if row is None or row[1] != account_sid:
        raise Problem(problems.NOT_FOUND)
    return Event(*row)


def border(instant: Instant) -> str:
    """What the SIDs of all earlier events are below, and those of later ones above."""
    return f"NO{max(instant, 0) // 1000:012x}"


def list_events(tx: Tx, wanted: Wanted, seek: Seek) -> Page[Event]:
    """A page of the events that are wanted, the newest first."""
    key = seek.key[0] if seek.key is not None else None
    if key is not None and (not isinstance(key, str) or seek.key is None or len(seek.key) > 1):
        raise Problem(problems.PARAMETER_INVALID, "PageToken is of another list")
    back = seek.back and key is not None
    low = "NO" if wanted.since is None else border(wanted.since)
    high = "NP" if wanted.until is None else border(wanted.until)
    if key is not None:
        low, high = (max(low, key), high) if back else (low, min(high, key))
    owners = {name: value for name in _OWNERS if (value := getattr(wanted, name)) is not None}
    column, owner = list(owners.items())[-1]
    sids: list[str] = []
    for level, code in _kinds(tx, column, owner):
        if wanted.level in (None, level) and wanted.code in (None, code):
            rows = tx.execute(
                f"SELECT sid FROM events WHERE {column} = ? AND level = ? AND code = ? AND sid > ? AND sid < ?"
                f" ORDER BY sid {'ASC' if back else 'DESC'} LIMIT ?",
                (owner, level, code, low, high, seek.size + 1),
            )
            sids += [sid for (sid,) in rows]
    sids.sort(reverse=not back)
    page, more = [_load(tx, sid) for sid in sids[: seek.size]], len(sids) > seek.size
    # Either all of them are of the wider ones that were given, too, or none is.
    if not all(getattr(event, name) == value for event in page for name, value in owners.items()):
        page, more = [], False
    if back:
        return Page(page[::-1], newer=more, older=True)
    return Page(page, newer=key is not None, older=more)


def _load(tx: Tx, sid: str) -> Event:
    return Event(*tx.execute(_BY_SID, (sid,)).fetchone())


def _kinds(tx: Tx, column: str, owner: str) -> Iterator[tuple[str, int]]:
    """(level, code) of each kind that there is of one owner's events: a few dozen at most, each found by one look."""
    # Both in one comparison would be simpler, but SQLite then walks over all rows of a kind to find the next one.
    next_level = f"SELECT level FROM events WHERE {column} = ? AND level > ? ORDER BY level LIMIT 1"
    next_code = f"SELECT code FROM events WHERE {column} = ? AND level = ? AND code > ? ORDER BY code LIMIT 1"
    level = ""
    while (row := tx.execute(next_level, (owner, level)).fetchone()) is not None:
        level, code = row[0], -1
        while (row := tx.execute(next_code, (owner, level, code)).fetchone()) is not None:
            code = row[0]
            yield level, code


def delete_old_events(tx: Tx, most: int, retention_us: int) -> int:
    """Remove up to `most` events that are older than `retention_us` (0: none is). Returns how many there were."""
    if not retention_us:
        return 0
    return tx.execute(
        "DELETE FROM events WHERE sid IN (SELECT sid FROM events WHERE sid < ? ORDER BY sid LIMIT ?)",
        (border(Instant(tx.now - retention_us)), most),
    ).rowcount
