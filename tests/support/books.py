"""What must hold in the database at every moment: the books agree with a count of what is there.

What is below a deleted Service is not there, though it may not have been purged yet.
"""

from itertools import product

from maskline.domain.model import NumberKind, SessionStatus
from maskline.domain.session import as_of
from maskline.store.engine import Tx
from maskline.store.numbers import list_pool
from maskline.store.pages import Seek
from maskline.store.session_ends import as_of_now
from maskline.store.sessions import SESSION_COLUMNS, make_session


def check_books(tx: Tx, *services: str) -> None:
    """All that must hold, for the pools of these Services."""
    check_counters(tx)
    check_active(tx)
    check_people(tx)
    pairs = active_pairs(tx)
    assert len({pair for _, pair in pairs}) == len(pairs), "two active Sessions share a pair"
    for service_sid, kind in product(services, NumberKind):
        for number in as_of_now(tx, list_pool(tx, service_sid, kind, Seek(1000)).rows):
            here = [session_sid for session_sid, (_, value) in pairs if value == number.phone_number]
            assert (number.in_use, number.participants) == (len(set(here)), len(here)), "shown counters"


def check_counters(tx: Tx) -> None:
    """The counters that are kept are what a recount gives."""
    rows = tx.execute(
        "SELECT proxy_identifier, count(DISTINCT session_sid), count(*) FROM participants"
        " WHERE active = 1 AND service_sid IN (SELECT sid FROM services) GROUP BY proxy_identifier"
    ).fetchall()
    counted = {number: (sessions, participants) for number, sessions, participants in rows}
    for number, service_sid, in_use, participants in tx.execute(
        "SELECT phone_number, service_sid, in_use, participants FROM numbers"
    ).fetchall():
        assert (in_use, participants) == counted.get(number, (0, 0)), number
        assert service_sid is not None or in_use == 0, number


def check_active(tx: Tx) -> None:
    """A participant is active while the Session is, as it is written down, and they are not deleted."""
    wrong = tx.execute(
        "SELECT p.sid FROM participants p"
        " LEFT JOIN sessions s ON s.service_sid = p.service_sid AND s.sid = p.session_sid"
        " WHERE p.active <> CASE WHEN coalesce(s.status, 'gone') NOT IN ('closed', 'gone')"
        " AND p.deleted_at IS NULL THEN 1 ELSE 0 END"
    ).fetchall()
    assert wrong == []


def check_people(tx: Tx) -> None:
    """A person is kept while they are some Session's participant, deleted or not, and is to be erased after that."""
    counted = {
        (service_sid, key): count
        for service_sid, key, count in tx.execute(
            "SELECT service_sid, identifier_key, count(*) FROM participants GROUP BY service_sid, identifier_key"
        ).fetchall()
    }
    for service_sid, key, participants, erase_at in tx.execute(
        "SELECT service_sid, identifier_key, participants, erase_at FROM people"
    ).fetchall():
        assert participants == counted.get((service_sid, key), 0), key
        assert (erase_at is None) == (participants > 0), key


def active_pairs(tx: Tx) -> list[tuple[str, tuple[str, str]]]:
    """(Session, pair) of every participant who is there now in a Session that is active now."""
    columns = ", ".join(f"s.{name.strip()}" for name in SESSION_COLUMNS.split(","))
    rows = tx.execute(
        f"SELECT p.identifier_key, p.proxy_identifier, {columns} FROM sessions s JOIN participants p"  # noqa: S608
        " ON p.service_sid = s.service_sid AND p.session_sid = s.sid WHERE p.deleted_at IS NULL"
        " AND s.service_sid IN (SELECT sid FROM services)"
    ).fetchall()
    return [
        (session.sid, (key, number))
        for key, number, *row in rows
        for session in [as_of(make_session(tuple(row)), tx.now, tx.idle_close_us)]
        if session.status is not SessionStatus.CLOSED
    ]
