"""What is held of a person in a Service, in numbers: for whoever has to say so, and never what it is."""

from __future__ import annotations

from dataclasses import dataclass

from maskline.domain.interaction import NO_BODY, MessageStatus
from maskline.domain.model import SessionStatus
from maskline.store.engine import Tx
from maskline.store.erasure import is_being_erased
from maskline.store.optouts import count_optouts
from maskline.store.people import find_past, list_parts
from maskline.store.sessionless import message_of
from maskline.store.sessions import find_session

_TRAFFIC = f"""
SELECT count(*), count(*) FILTER (WHERE type = 'message' AND data <> ?),
       count(*) FILTER (WHERE type = 'message' AND outbound_status < {int(MessageStatus.DELIVERY_UNKNOWN)})
FROM interactions
WHERE service_sid = ? AND session_sid = ? AND sid BETWEEN ? AND ?
AND ? IN (inbound_participant_sid, outbound_participant_sid)"""
_KNOWN = "SELECT 1 FROM people WHERE service_sid = ? AND identifier_key = ?"


@dataclass(slots=True)
class PersonalData:
    """Numbers: `participants` the person is or was, in how many `active_sessions`; messages and calls (`interactions`),
    how many of them still have their text, and how many wait to be sent; `proxy_numbers` the person had; `opt_outs`,
    which outlive an erasure.
    """

    identifier: str
    participants: int = 0
    active_sessions: int = 0
    interactions: int = 0
    texts: int = 0
    messages_waiting: int = 0
    proxy_numbers: int = 0
    opt_outs: int = 0
    erasing: bool = False


def find_personal_data(tx: Tx, service_sid: str, identifier_key: str) -> PersonalData | None:
    """What is held of the person; None if that is nothing."""
    held = PersonalData(identifier_key)
    person = (service_sid, identifier_key)
    for sid, session_sid, _, active, _ in list_parts(tx, *person, tx.now):
        held.participants += session_sid != ""
        if active:
            session = find_session(tx, service_sid, session_sid)
            held.active_sessions += session is not None and session.status is not SessionStatus.CLOSED
        sids = ("KI", "KJ") if session_sid else (message_of(sid), message_of(sid))
        count, texts, waiting = tx.execute(
            _TRAFFIC, (NO_BODY, service_sid, session_sid, *sids, sid)
        ).fetchone()
        held.interactions += count
        held.texts += texts
        held.messages_waiting += waiting
    held.proxy_numbers = len(find_past(tx, *person)[0])
    held.opt_outs = count_optouts(tx, *person)
    held.erasing = is_being_erased(tx, *person)
    if held == PersonalData(identifier_key) and tx.execute(_KNOWN, person).fetchone() is None:
        return None
    return held
