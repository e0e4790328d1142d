"""No statement of the daily work reads a whole table, nor all of a Service: each finds its rows by an index.

The plans are those of a database without statistics, as every one of ours is.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from maskline.domain import problems
from maskline.domain.call import News, Place
from maskline.domain.ids import outbound_leg_sid
from maskline.domain.interaction import CallStatus, MessageStatus
from maskline.domain.model import DAY, SECOND, Instant, Mode, NumberKind, Participant
from maskline.domain.part import Part
from maskline.domain.problems import Problem
from maskline.domain.sandbox import HandOver, HandsetMessage
from maskline.flows.messages import encode_data
from maskline.flows.services import remove_service
from maskline.flows.sessions import (
    change_session,
    choose,
    remove_interaction,
    remove_participant,
    remove_session,
)
from maskline.store import health, sandbox, unsendable
from maskline.store.accept import accept_messages
from maskline.store.accounts import set_events_url
from maskline.store.adoptions import (
    find_adoptions,
    keep_former,
    postpone_adoption,
    postpone_all,
    settle_adoption,
    want_adoption,
    want_all,
    want_look,
    want_looks,
)
from maskline.store.alerts import claim_alerts, give_up_alerts, settle_alerts
from maskline.store.backup import MARK, unmark
from maskline.store.bodies import blank_overdue
from maskline.store.call_course import (
    NewCall,
    accept_call,
    end_silent_calls,
    find_silent_calls,
    hang_up_call,
    hear_of_call,
)
from maskline.store.callbacks import (
    Attempt,
    bury_expired,
    claim_callbacks,
    record_attempts,
)
from maskline.store.calls import Asking, enter_call, judge_call
from maskline.store.calls import Verdict as CallVerdict
from maskline.store.carrier_accounts import find_absent
from maskline.store.carrier_ids import find_carrier_ids, has_heard
from maskline.store.dead_letters import list_attempts, list_dead, load_dead, send_again
from maskline.store.depth import measure_outbox
from maskline.store.engine import Tx
from maskline.store.erasure import ask_erasure, erase_step
from maskline.store.events import Wanted, delete_old_events, insert_event, list_events, load_event
from maskline.store.idempotency import Key, delete_expired_keys
from maskline.store.interactions import list_interactions, load_interaction
from maskline.store.intercepts import PATIENCE_US, Verdict, claim_intercepts, judge_intercepts
from maskline.store.lanes import LaneClaim, free_orphans
from maskline.store.legs import Sent, list_legs, load_leg
from maskline.store.meta import put_meta
from maskline.store.moving import (
    Move,
    Moved,
    Notice,
    find_down,
    find_former,
    find_parked,
    find_people,
    find_tried,
    move_session,
)
from maskline.store.numbers import (
    delete_number,
    find_carried_by,
    leave_pool,
    list_own_numbers,
    list_pool,
    load_pool_number,
    rename_number,
    set_reserved,
)
from maskline.store.optout_notices import NoticeOutcome, claim_notices, settle_notices
from maskline.store.optouts import delete_optout, find_optout, list_optouts, load_optout
from maskline.store.orphans import OrphanClaim, take_orphans
from maskline.store.outbox import find_expired
from maskline.store.paces import forget_paces
from maskline.store.pages import Seek
from maskline.store.part_receipts import forget_part_receipts, merge_part
from maskline.store.participants import (
    NewParticipant,
    add_participant,
    list_participants,
    load_candidates,
)
from maskline.store.parts import close_message, find_waiting_parts, forget_parts, keep_part, mark_brought
from maskline.store.people import erase_people
from maskline.store.personal_data import find_personal_data
from maskline.store.purge import purge_step
from maskline.store.receipts import Receipt, merge_receipts, retry_receipts
from maskline.store.receive import Received, note_inbound, receive_messages
from maskline.store.received import delete_old_received, find_unsettled, forget_settled, mark_answered
from maskline.store.record import Fate, MessagePlace, Outcome, find_recorded, record_outcomes
from maskline.store.relay import NewInbound, find_bound, find_match
from maskline.store.restored import give_up_texts, give_up_waiting
from maskline.store.runs import LIFE_US, find_dead, find_orphans, forget_dead, take_sweep
from maskline.store.services import find_owner, list_services, load_service_by_name
from maskline.store.session_ends import (
    as_of_now,
    close_expired_of_person,
    close_expired_on_number,
    delete_old_sessions,
    sweep_sessions,
)
from maskline.store.sessionless import Reply, delete_old_strangers, delete_strangers
from maskline.store.sessions import SessionStatus, list_sessions, load_session, load_session_by_name
from maskline.store.start import StartRequest, start_sends
from maskline.store.strangers import (
    Settlement,
    Stranger,
    claim_strangers,
    drop_expired,
    is_routed,
    settle_strangers,
)
from maskline.store.tombstones import delete_old_tombstones
from maskline.store.webhooks import find_carried, find_endpoint, find_listed
from tests.support.house import ACCOUNT, VALIDITY_S, House

pytestmark = pytest.mark.engine("sqlite")

SIZE = Seek(50)


class World:
    """One of everything, so that each function runs all of its statements."""

    def __init__(self, house: House, ann: Participant, ben: Participant, message: str) -> None:
        self.house, self.ann, self.ben, self.message = house, ann, ben, message
        self.service_sid, self.session_sid = ann.service_sid, ann.session_sid
        self.mint = house.mint

    def inbound(self, sender: str, word: str = "") -> NewInbound:
        sids = [self.mint.sid(prefix) for prefix in ("KI", "SM", "SM", "NO")]
        return NewInbound(
            "scripted",
            self.mint.sid("IN"),
            self.ann.proxy_identifier,
            sender,
            encode_data("x"),
            VALIDITY_S,
            *sids,
            brought_by="scripted",
            word=word,
            optout_sid=self.mint.sid("OO"),
        )

    def started(self, tx: Tx) -> list[Any]:
        (one,) = start_sends.fn(tx, [StartRequest("RN", {"scripted": 64}, [self.mint.sid("NO")] * 8)])
        return one.started  # type: ignore[union-attr]

    def outcome(self, row: Any, fate: Fate, carrier_id: str | None = None) -> Outcome:
        return Outcome(
            id=row.id,
            run="RN",
            account_sid=ACCOUNT,
            service_sid=row.service_sid,
            session_sid=row.session_sid,
            interaction_sid=row.interaction_sid,
            fate=fate,
            event_sid=self.mint.sid("NO"),
            carrier_id=carrier_id,
            delay_us=10**9,
            optout_sid=self.mint.sid("OO"),
        )


async def make_world(house: House) -> World:
    service = await house.service(
        2, settings='{"number_cooldown_s": 60, "store_bodies": "until-final", "pair_limit": 100}'
    )
    session, ann, ben = await house.pair(service, ttl=600, unique_name="ours")
    message = await house.say(ann)
    await house.say(ann, "held")
    await house.hear(ann)
    await house.session(await house.service(), ttl=5)
    house.clock.advance(1)
    assert session.sid == ann.session_sid
    return World(house, ann, ben, message.sid)


@pytest.fixture
async def world(house: House) -> World:
    return await make_world(house)


def accept(tx: Tx, w: World) -> None:
    key = Key(w.service_sid, "k", "POST", "h")
    accept_messages.fn(
        tx, [w.house.message(w.ann), w.house.message(w.ben, key=key), w.house.message(w.ben, key=key)]
    )


def receive(tx: Tx, w: World) -> None:
    item = w.inbound(w.ann.identifier_key)
    receive_messages.fn(tx, [item, item, w.inbound("+12125550177")])


def opt_out(tx: Tx, w: World) -> None:
    """By a word, and what is not sent by it; by what a carrier says; and back in; and the customer is told."""
    w.house.open_account(tx)
    url = '{"optout_callback_url": "https://shop.example/"}'
    tx.execute("UPDATE services SET settings = ? WHERE sid = ?", (url, w.service_sid))
    receive_messages.fn(tx, [w.inbound(w.ann.identifier_key, "stop")])
    rows = w.started(tx)
    assert len(rows) == 1
    record_outcomes.fn(tx, [w.outcome(rows[0], Fate.OPTED_OUT)])
    _, found = list_optouts(tx, w.service_sid, SIZE).rows
    (claimed,) = claim_notices.fn(tx, [LaneClaim("RN", 0, 64, 64, {})])
    for one, failure in zip(claimed.work, ("", "500"), strict=True):  # type: ignore[union-attr]
        told = NoticeOutcome(one.id, "RN", one.sid, 1, ACCOUNT, w.service_sid, failure, w.mint.sid("NO"))
        settle_notices.fn(tx, [told])
    assert load_optout(tx, w.service_sid, found.sid) == found
    assert find_optout(tx, w.service_sid, w.ann.identifier_key, found.proxy_number) == found
    delete_optout(tx, w.service_sid, found.sid)
    for settings in ("{}", '{"optout_scope": "service"}'):
        tx.execute("UPDATE services SET settings = ? WHERE sid = ?", (settings, w.service_sid))
        receive_messages.fn(tx, [w.inbound(w.ann.identifier_key, "start")])


def start_all(tx: Tx, w: World) -> None:
    assert w.started(tx)
    w.started(tx)


def start_paused(tx: Tx, w: World) -> None:
    """Everything is parked, and looked at again."""
    for free in (0, 0, 1):
        start_sends.fn(tx, [StartRequest("RN", {"scripted": free, "other": 1}, [w.mint.sid("NO")] * 8)])


def record(tx: Tx, w: World) -> None:
    rows = w.started(tx)
    assert len(rows) == 2
    record_outcomes.fn(tx, [w.outcome(rows[0], Fate.SENT, "scripted/x"), w.outcome(rows[1], Fate.RETRY)])
    places = [
        MessagePlace(row.service_sid, row.session_sid, row.interaction_sid, w.ann.sid, 1) for row in rows
    ]
    assert len(find_recorded(tx, places)) == 1
    for fate in (Fate.REJECTED, Fate.UNCERTAIN, Fate.ASK, Fate.GIVEN_BACK):
        record_outcomes.fn(tx, [w.outcome(row, fate) for row in w.started(tx)])


def receipts(tx: Tx, w: World) -> None:
    rows = w.started(tx)
    record_outcomes.fn(tx, [w.outcome(rows[0], Fate.SENT, "scripted/x")])
    delivered = int(MessageStatus.DELIVERED)
    items = [Receipt(rows[0].number, name, delivered) for name in ("scripted/x", "scripted/y")]
    items += [replace(one, optout_sid=w.mint.sid("OO"), event_sid=w.mint.sid("NO")) for one in items]
    assert merge_receipts.fn(tx, items) == [True, False, True, False]
    tx.now = Instant(tx.now + 2 * SECOND)
    retry_receipts(tx, [w.mint.sid("NO")] * 4)
    tx.now = Instant(tx.now + 86400 * SECOND)
    retry_receipts(tx, [w.mint.sid("NO")] * 4)


def reports_by_sid(tx: Tx, w: World) -> None:
    """A report that names a message by our own SID, and what else its carrier's id might be of."""
    rows = w.started(tx)
    delivered = int(MessageStatus.DELIVERED)
    named = Receipt(rows[0].number, "scripted/x", delivered, rows[0].message_sid)
    unknown = Receipt(rows[0].number, "scripted/z", delivered, "SM" + "0" * 32)
    assert merge_receipts.fn(tx, [named, unknown]) == [True, False]
    has_heard(tx, ACCOUNT, "scripted", "KI")
    place = (w.service_sid, w.session_sid, rows[0].interaction_sid)
    assert find_carrier_ids(tx, *place, ["scripted/x", "scripted/y"]) == ("scripted/x", set(), tx.now)
    tx.now = Instant(tx.now + 2 * SECOND)
    retry_receipts(tx, [w.mint.sid("NO")] * 4)


def adoptions(tx: Tx, w: World) -> None:
    number = load_pool_number(tx, w.service_sid, w.ann.proxy_identifier_sid or "")
    want_adoption(tx, number)
    keep_former(tx, number.phone_number, "scripted", ACCOUNT, "theirs", 0)
    want_look(tx, number.phone_number)
    want_looks(tx, w.service_sid)
    for due in find_adoptions(tx, 10):
        postpone_adoption(tx, due, 0)
    for due in find_adoptions(tx, 10):
        settle_adoption(tx, due)
    assert find_adoptions(tx, 10) == []
    want_all(tx, "scripted")
    settle_adoption(tx, replace(find_adoptions(tx, 10)[0], here=False))
    postpone_all(tx, "scripted", SECOND)


def hand_over(tx: Tx, w: World) -> None:
    text = HandsetMessage(
        "SM9", "SM9", ACCOUNT, "from_handset", "+12125550100", "+14155550100", "x", "[]", "sent", 1, 0
    )
    sandbox.add_texts.fn(tx, [(text, "{}")])
    item = HandOver("SM1", "SM2", ACCOUNT, "+14155550100", "+12125550100", "x", "[]")
    sandbox.hand_over.fn(tx, [item, replace(item, sid="SM3")])
    sandbox.find_taken(tx, ACCOUNT, "SM1")
    todos, _, _ = sandbox.due_todos(tx, 10)
    tx.now = Instant(tx.now + SECOND)
    todos, _, _ = sandbox.due_todos(tx, 10)
    sandbox.done_todos.fn(tx, [todos])


def expire(tx: Tx, w: World) -> None:
    tx.now = Instant(tx.now + 2 * VALIDITY_S * SECOND)
    late = find_expired(tx, 0, 100).sends
    assert late
    assert unsendable.fail_expired(tx, late, [w.mint.sid("NO") for _ in late])


def orphans(tx: Tx, w: World) -> None:
    """What nobody in `runs` had started, and the rows of some that have gone."""
    w.started(tx)
    for at in (0, 1):
        tx.execute("INSERT INTO runs (id, seen_at, round) VALUES (?, ?, 1)", (f"RN{at}", at))
    assert take_sweep(tx, "RN2") == tx.now - LIFE_US
    assert take_sweep(tx, "RN2") == tx.now - LIFE_US
    found = find_orphans(tx, "RN2", 1, 0, 100)
    assert take_orphans.fn(tx, [OrphanClaim("RN2", 1, found.sends)])
    free_orphans(tx, "RN2", 1, found.sends)
    dead = find_dead(tx, "RN2", 1)
    assert len(dead) == 2
    forget_dead(tx, dead)


def calls(tx: Tx, w: World) -> None:
    w.house.open_account(tx)
    url = "UPDATE services SET intercept_callback_url = 'https://x.example/' WHERE sid = ?"
    tx.execute(url, (w.service_sid,))

    def call(name: str) -> NewCall:
        sids = [w.mint.sid(prefix) for prefix in ("KI", "CA", "CA", "NO")]
        return NewCall(ACCOUNT, w.service_sid, name, w.ann.proxy_identifier, w.ann.identifier_key, *sids)

    for passes in (True, False):
        asking = enter_call(tx, call(f"asked {passes}"))
        assert isinstance(asking, Asking)
        assert isinstance(enter_call(tx, call(f"asked {passes}")), Asking)
        place = Place(w.service_sid, w.session_sid, asking.interaction.sid)
        judge_call(tx, call(f"asked {passes}"), place, CallVerdict(passes, ""))
        hear_of_call(tx, ACCOUNT, place, News(CallStatus.RINGING), w.mint.sid("NO"))
        accept_call(tx, ACCOUNT, place, w.mint.sid("NO"))
    hang_up_call(tx, call("asked True"))
    enter_call(tx, call("silent"))
    tx.now = Instant(tx.now + 8 * DAY)
    silent = find_silent_calls(tx, 10)
    assert len(silent) == 3
    end_silent_calls(tx, silent, [w.mint.sid("NO") for _ in silent])
    for seek in (SIZE, Seek(50, ("CA",)), Seek(50, ("CA",), True)):
        sandbox.list_handset_calls(tx, ACCOUNT, seek, {})
    find_endpoint(tx, ACCOUNT, w.service_sid, w.ann.proxy_identifier, w.ann.identifier_key)
    assert find_listed(tx, w.ann.proxy_identifier)
    assert find_carried(tx, "scripted")


def pages(tx: Tx, w: World) -> None:
    for seek in (SIZE, Seek(50, ("KC",)), Seek(50, ("KC",), True)):
        list_sessions(tx, w.service_sid, seek)
        list_sessions(tx, w.service_sid, seek, unique_name="ours")
        for status in SessionStatus:
            list_sessions(tx, w.service_sid, seek, status=status)
        list_participants(tx, w.service_sid, w.session_sid, seek)
        list_participants(tx, w.service_sid, w.session_sid, seek, identifier_key=w.ann.identifier_key)
        list_interactions(tx, w.service_sid, w.session_sid, seek)
        list_interactions(tx, w.service_sid, w.session_sid, seek, w.ann.sid)
        for number in (None, w.ann.proxy_identifier):
            list_optouts(tx, w.service_sid, seek, number=number)
            list_optouts(tx, w.service_sid, seek, key=w.ann.identifier_key, number=number)
        list_services(tx, ACCOUNT, seek)
        list_services(tx, ACCOUNT, seek, unique_name="ours")
        sandbox.list_handset_messages(tx, ACCOUNT, seek, {})
        list_own_numbers(tx, ACCOUNT, seek, {})
    leg = outbound_leg_sid(w.message)
    for seek in (SIZE, Seek(50, (leg,)), Seek(50, (leg,), True)):
        list_legs(tx, ACCOUNT, "message", seek)
        list_legs(tx, ACCOUNT, "message", seek, Sent(Instant(0), Instant(tx.now)))
    for seek in (SIZE, Seek(50, (1, "PN")), Seek(50, (1, "PN"), True)):
        list_pool(tx, w.service_sid, NumberKind.PHONE, seek)


def events(tx: Tx, w: World) -> None:
    where = {"service_sid": w.service_sid, "session_sid": w.session_sid, "interaction_sid": w.message}
    for code in (problems.SESSION_EXPIRED, problems.NO_ACTIVE_SESSION):
        sid = w.mint.sid("NO")
        insert_event(tx, sid, ACCOUNT, code, **where)
        assert load_event(tx, ACCOUNT, sid).code == code.number
    since, until = Instant(0), Instant(tx.now + SECOND)
    for i in range(len(where) + 1):
        wanted = Wanted(ACCOUNT, since=since, until=until, **dict(list(where.items())[:i]))
        for seek in (SIZE, Seek(50, ("NP",)), Seek(50, ("NO",), True)):
            assert len(list_events(tx, wanted, seek).rows) == 2
    tx.now = Instant(tx.now + 2 * SECOND)
    assert delete_old_events(tx, 10, SECOND) == 2


def alerts(tx: Tx, w: World) -> None:
    """Events for a webhook: one is received, one given up, one dropped since the webhook is no more."""
    w.house.open_account(tx)
    set_events_url(tx, ACCOUNT, "https://shop.example/")
    for _ in range(3):
        insert_event(tx, w.mint.sid("NO"), ACCOUNT, problems.SESSION_EXPIRED)
    claim = LaneClaim("RN", 0, 64, 1, {})
    (claimed,) = claim_alerts.fn(tx, [claim])
    (alert,) = claimed.work  # type: ignore[union-attr]
    settle_alerts.fn(tx, [alert.sid])
    assert give_up_alerts(tx, ACCOUNT, Instant(tx.now + SECOND), 1) == 1
    set_events_url(tx, ACCOUNT, None)
    claim_alerts.fn(tx, [claim])
    assert tx.execute("SELECT 1 FROM events WHERE told_to > ?", ("",)).fetchone() is None


def look_ups(tx: Tx, w: World) -> None:
    load_session(tx, w.service_sid, w.session_sid)
    load_session_by_name(tx, w.service_sid, "ours")
    load_service_by_name(tx, ACCOUNT, w.service_sid)
    with pytest.raises(Exception, match="20404"):
        load_service_by_name(tx, ACCOUNT, "none")
    load_interaction(tx, w.service_sid, w.session_sid, w.message, w.ann.sid)
    load_leg(tx, ACCOUNT, "message", outbound_leg_sid(w.message))
    assert find_match(tx, w.service_sid, w.ann.proxy_identifier, w.ann.identifier_key)


def assign(tx: Tx, w: World) -> None:
    wanted = w.house.wanted(w.ann.identifier)
    choose(tx, load_service_by_name(tx, ACCOUNT, w.service_sid), Mode.MESSAGE_ONLY, wanted)
    close_expired_of_person(tx, w.service_sid, w.ann.identifier_key)


def add(tx: Tx, w: World) -> None:
    """One whose number is chosen, and one whose number is named."""
    session = load_session(tx, w.service_sid, w.session_sid)
    (number,) = (
        n
        for n in list_pool(tx, w.service_sid, NumberKind.PHONE, SIZE).rows
        if n.sid == w.ann.proxy_identifier_sid
    )
    for i, named in enumerate((None, number.sid)):
        remove_participant(tx, ACCOUNT, w.service_sid, w.session_sid, (w.ann.sid, w.ben.sid)[i])
        wanted = w.house.wanted()
        person = replace(
            w.ann,
            sid=wanted.sid,
            identifier=wanted.identifier,
            identifier_key=wanted.identifier,
            proxy_identifier="",
            proxy_identifier_sid=None,
        )
        new = NewParticipant(person, wanted.phone, None, named, [] if named else [number.sid])
        assert add_participant(tx, session, new, ACCOUNT).proxy_identifier == number.phone_number


def lifecycle(tx: Tx, w: World) -> None:
    as_of_now(tx, list_pool(tx, w.service_sid, NumberKind.PHONE, SIZE).rows)
    for status in (SessionStatus.CLOSED, SessionStatus.IN_PROGRESS):
        change_session(tx, ACCOUNT, w.service_sid, w.session_sid, status, {})
    remove_participant(tx, ACCOUNT, w.service_sid, w.session_sid, w.ben.sid)
    change_session(tx, ACCOUNT, w.service_sid, w.session_sid, SessionStatus.CLOSED, {})
    number = load_pool_number(tx, w.service_sid, w.ann.proxy_identifier_sid or "")
    load_candidates(tx, w.service_sid, reserved=True)
    set_reserved(tx, number, reserved=True, event_sid="NO")
    rename_number(tx, number, "ours")
    close_expired_on_number(tx, number)
    leave_pool(tx, number)
    delete_number(tx, number)


def delete(tx: Tx, w: World) -> None:
    rows = w.started(tx)
    record_outcomes.fn(tx, [w.outcome(row, Fate.SENT, f"scripted/{row.id}") for row in rows])
    remove_interaction(tx, ACCOUNT, w.service_sid, w.session_sid, rows[0].interaction_sid)
    remove_session(tx, ACCOUNT, w.service_sid, w.session_sid)
    while purge_step(tx, 10):
        pass


def delete_all(tx: Tx, w: World) -> None:
    with pytest.raises(Problem):
        remove_service(tx, ACCOUNT, w.service_sid, guarded=True)
    remove_service(tx, ACCOUNT, w.service_sid)
    while purge_step(tx, 10):
        pass


def sweep(tx: Tx, w: World) -> None:
    tx.now = Instant(tx.now + 1000 * SECOND)
    assert sweep_sessions(tx, 10) == 2
    delete_expired_keys(tx, ("", ""), 10)
    delete_old_received(tx, 10)
    assert delete_old_sessions(tx, 10, SECOND) == 2
    delete_old_tombstones(tx, 10)
    tx.now = Instant(tx.now + 2 * DAY)
    assert blank_overdue(tx, 10) == 3
    assert forget_paces(tx, 10) == 1
    erase_people(tx, 10)


def erase(tx: Tx, w: World) -> None:
    """Of what waits and what is under way, and of what was made under a key."""
    key = Key(f"{ACCOUNT}/{w.service_sid}", "k", "POST", "h")
    accept_messages.fn(tx, [w.house.message(w.ann, key=key)])
    w.started(tx)
    accept_messages.fn(tx, [w.house.message(w.ben)])
    receive_messages.fn(tx, [w.inbound(w.ann.identifier_key)])
    assert find_personal_data(tx, w.service_sid, w.ann.identifier_key)
    ask_erasure(tx, ACCOUNT, w.service_sid, w.ann.identifier_key)
    while erase_step(tx, 10) >= 10:
        pass
    assert not find_personal_data(tx, w.service_sid, w.ann.identifier_key)
    assert find_owner(tx, w.service_sid) == ACCOUNT


def tell(tx: Tx, w: World) -> None:
    """Callbacks: one that arrives, one that does not, one that is given up."""
    w.house.open_account(tx)
    tx.execute("UPDATE services SET callback_url = 'https://shop.example/' WHERE sid = ?", (w.service_sid,))
    accept(tx, w)
    receive(tx, w)
    record_outcomes.fn(tx, [w.outcome(row, Fate.SENT, f"scripted/{row.id}") for row in w.started(tx)])
    claim = LaneClaim("RN", 0, 64, 1, {})
    for number, status in ((1, 200), (1, 500), (99, 500)):
        (claimed,) = claim_callbacks.fn(tx, [claim])
        for one in claimed.work:  # type: ignore[union-attr]
            where = (one.interaction.service_sid, one.interaction.session_sid, one.interaction.sid)
            attempt = Attempt(
                one.id,
                "RN",
                one.sid,
                number,
                ACCOUNT,
                *where,
                "https://shop.example/",
                tx.now,
                5,
                status,
                "",
                "NO",
            )
            tx.now = Instant(tx.now + 3000 * SECOND)
            record_attempts.fn(tx, [attempt])
            list_attempts(tx, where[0], where[2], SIZE)
    tx.now = Instant(tx.now + 9000 * SECOND)
    late = find_expired(tx, 0, 100).callbacks
    bury_expired(tx, late, [w.mint.sid("NO") for _ in late])
    dead = list_dead(tx, w.service_sid, SIZE).rows
    assert len(dead) > len(late) > 1
    assert load_dead(tx, w.service_sid, dead[0].sid) == dead[0]
    assert send_again(tx, w.service_sid, [dead[0].sid]) == 1


def intercept(tx: Tx, w: World) -> None:
    """Verdicts: one that lets through, one that blocks, one that never comes."""
    w.house.open_account(tx)
    tx.execute(
        "UPDATE services SET intercept_callback_url = 'https://shop.example/' WHERE sid = ?", (w.service_sid,)
    )
    for passes in (True, False):
        receive(tx, w)
        (claimed,) = claim_intercepts.fn(tx, [LaneClaim("RN", 0, 64, 64, {})])
        for one in claimed.work:  # type: ignore[union-attr]
            judge_intercepts.fn(tx, [Verdict(one.id, "RN", one.sid, passes, "", w.mint.sid("NO"))])
    receive(tx, w)
    tx.now = Instant(tx.now + 60 * SECOND)
    claim_intercepts.fn(tx, [LaneClaim("RN", PATIENCE_US, 64, 64, {}, event_sids=[w.mint.sid("NO")])])


def strangers(tx: Tx, w: World) -> None:
    """Out of session: asked about, answered, taken by a Session, given up, deleted."""
    w.house.open_account(tx)
    tx.execute(
        "UPDATE services SET out_of_session_callback_url = 'https://shop.example/' WHERE sid = ?",
        (w.service_sid,),
    )

    def write(sender: str) -> Stranger:
        assert receive_messages.fn(tx, [w.inbound(sender)]) == [Received()]
        events = [w.mint.sid("NO") for _ in range(3)]
        (claimed,) = claim_strangers.fn(tx, [LaneClaim("RN", 0, 64, 64, {}, event_sids=events)])
        (one,) = claimed.work  # type: ignore[union-attr]
        return one

    number = w.ann.proxy_identifier
    for route in (False, True):
        one = write("+12125550199")
        events = [w.mint.sid("NO") for _ in range(3)]
        reply = Reply(w.mint.sid("KI"), number, "+12125550199", "{}")
        settlement = Settlement(one.id, "RN", one.sid, route, SECOND, events, [reply])
        settle_strangers.fn(tx, [settlement])
    assert is_routed(tx, w.service_sid, number, "+12125550199") is False
    assert receive_messages.fn(tx, [w.inbound("+12125550199")]) == [Received()]
    tx.now = Instant(tx.now + 2 * VALIDITY_S * SECOND)
    late = find_expired(tx, 0, 100).strangers
    drop_expired(tx, late, [w.mint.sid("NO") for _ in late])
    delete_old_strangers(tx, 10, SECOND)
    delete_strangers(tx, w.service_sid, 10)


def give_up(tx: Tx, w: World) -> None:
    """The first start on a restored backup, with a message of each kind in it."""
    receive(tx, w)
    for url, sender in (
        ("intercept_callback_url", w.ann.identifier),
        ("out_of_session_callback_url", "+12125550199"),
    ):
        tx.execute(f"UPDATE services SET {url} = 'https://a.example/' WHERE sid = ?", (w.service_sid,))  # noqa: S608
        tx.wants.clear()
        receive_messages.fn(tx, [w.inbound(sender)])
    put_meta(tx, MARK, str(tx.now))
    done = give_up_waiting(tx, 0, [w.mint.sid("NO") for _ in range(9)])
    assert done.sends >= 2 and done.received == 1
    give_up_texts(tx, [w.mint.sid("NO")])
    unmark(tx)


def parts(tx: Tx, w: World) -> None:
    """Parts of long messages: one is whole and goes on, one is set aside, one waits for too long."""
    part = Part("scripted", w.ann.identifier, w.ann.proxy_identifier, "8:1", 1, 2, "m1", 0, "00", "a")
    assert keep_part(tx, part) == keep_part(tx, part) == []
    assert keep_part(tx, replace(part, digest="b", message_id="m2")) == []
    whole = keep_part(tx, replace(part, place=2, digest="c"))
    assert [one.message_id for one in whole] == ["m2", "m2"]
    mark_brought(tx, whole[0])
    tx.now = Instant(tx.now + 3 * DAY)
    (waiting,) = find_waiting_parts(tx, "scripted", SECOND, 10)
    assert [one.message_id for one in waiting] == ["m1"]
    assert close_message(tx, waiting[0]) == waiting
    assert forget_parts(tx, 10) == 3


def part_receipts(tx: Tx, w: World) -> None:
    """Of the parts of a text that was sent."""
    sid = w.mint.sid("SM")
    sent, delivered = int(MessageStatus.SENT), int(MessageStatus.DELIVERED)
    assert [merge_part(tx, sid, f"scripted/{i}", delivered, 2) for i in range(2)] == [sent, delivered]
    tx.now = Instant(tx.now + 8 * DAY)
    assert forget_part_receipts(tx, 10) == 2


def unsettled(tx: Tx, w: World) -> None:
    items = [w.inbound(w.ann.identifier_key) for _ in range(3)]
    receive_messages.fn(tx, items)
    one, two, three = (item.carrier_id for item in items)
    mark_answered.fn(tx, [("scripted", one), ("scripted", two)])
    forget_settled(tx, [("scripted", one)])
    assert {(two, True), (three, False)} <= {*find_unsettled(tx, "scripted")}
    assert note_inbound(
        tx, "scripted", w.ann.proxy_identifier, "1", problems.MESSAGE_UNREADABLE, "x", w.mint.sid("NO")
    )


def trouble(tx: Tx, w: World) -> None:
    """An account fails until it is down, is tried and works again."""
    for _ in range(3):
        health.note_failure(tx, "scripted", ACCOUNT, 0, w.mint.sid("NO"))
    assert find_down(tx) == {"scripted"}
    assert [*find_absent(tx.execute, ["north"])] == ["scripted"]
    tx.now = Instant(tx.now + 60 * SECOND)
    start_sends.fn(
        tx, [StartRequest("RN", {"scripted": 1}, [w.mint.sid("NO")] * 8, down=frozenset({"scripted"}))]
    )
    health.note_refusal(tx, "scripted", ACCOUNT, w.mint.sid("NO"))
    health.try_now(tx, ["scripted"])
    assert health.note_success(tx, "scripted", w.mint.sid("NO"))


def move(tx: Tx, w: World) -> None:
    """A Session moves, with what waits and what its carrier may have taken, and moves back; then somebody leaves."""
    settings = '{"fail_over": "move", "number_cooldown_s": 60, "store_bodies": "until-final"}'
    change = "UPDATE services SET settings = ?, callback_url = 'https://shop.example/' WHERE sid = ?"
    tx.execute(change, (settings, w.service_sid))
    other = "SELECT sid, phone_number FROM numbers WHERE service_sid = ? AND phone_number <> ?"
    sid, number = tx.execute(other, (w.service_sid, w.ann.proxy_identifier)).fetchone()
    tx.execute("UPDATE numbers SET carrier_account = 'other' WHERE sid = ?", (sid,))
    record_outcomes.fn(tx, [w.outcome(row, Fate.ASK) for row in w.started(tx)])
    receive_messages.fn(tx, [w.inbound(w.ben.identifier_key)])
    parks = StartRequest("RN", {"scripted": 0, "other": 0, "west": 1}, [w.mint.sid("NO")] * 8)
    start_sends.fn(tx, [parks])
    for down, choice in (("scripted", sid), ("other", w.ann.proxy_identifier_sid)):
        health.note_refusal(tx, down, ACCOUNT, w.mint.sid("NO"))
        place = (ACCOUNT, w.service_sid, w.session_sid)
        for after in (None, ("+1", 0, 0)):
            find_parked(tx, down, after, 50)
        find_tried(tx, down, None, 50)
        people = find_people(tx, w.service_sid, w.session_sid)
        notices = {
            one.sid: Notice(*(w.mint.sid(prefix) for prefix in ("KI", "SM", "OO", "NO")), encode_data("x"))
            for one in people
        }
        choices = {one.sid: [choice or ""] for one in people}
        accounts = frozenset({"scripted", "other"})
        assert (
            move_session(tx, Move(*place, choices, accounts, notices, SECOND, w.mint.sid("NO"))) is Moved.YES
        )
        assert sum(len(find_former(tx, one)) for one in people)
        health.note_success(tx, down, w.mint.sid("NO"))
        assert find_carried_by(tx, w.service_sid, ["other"]) == {sid}
    assert find_bound(tx, w.service_sid, w.ann.identifier_key, w.ann.proxy_identifier) == [number]
    assert find_match(tx, w.service_sid, number, w.ann.identifier_key)
    rows = StartRequest("RN", {"scripted": 9, "other": 9}, [w.mint.sid("NO")] * 8)
    start_sends.fn(tx, [rows])
    remove_participant(tx, ACCOUNT, w.service_sid, w.session_sid, w.ben.sid)
    change_session(tx, ACCOUNT, w.service_sid, w.session_sid, SessionStatus.CLOSED, {})


def measure(tx: Tx, _: World) -> None:
    measure_outbox(tx)


WORK: list[Callable[[Tx, World], None]] = [
    accept,
    receive,
    opt_out,
    start_all,
    start_paused,
    record,
    receipts,
    reports_by_sid,
    adoptions,
    hand_over,
    expire,
    orphans,
    calls,
    pages,
    look_ups,
    assign,
    add,
    lifecycle,
    delete,
    delete_all,
    sweep,
    erase,
    tell,
    intercept,
    events,
    alerts,
    strangers,
    give_up,
    parts,
    part_receipts,
    unsettled,
    trouble,
    move,
    measure,
]

# Small by their nature: what is being deleted or erased, what the sandbox has yet to bring, what has ended and is not
# yet swept, the processes, and carrier accounts in trouble.
SMALL = {
    *("purges", "erasures", "sandbox_todo", "ended", "few", "wanted", "runs", "carrier_health", "CONSTANT")
}
# These indexes hold nothing but what is asked for, so that reading one from its beginning is no search.
PARTIAL = ("outbox_fresh", "outbox_parked", "outbox_lanes", "outbox_dead")
# A statement that names one of these in its condition has to find its rows by it: stopping at the Service before it
# would read 100,000 rows for two. This is so for those of a Session and of a person, for names, ends and carriers' IDs.
# Once its Session is found, though, a person is found among those of that Session.
NAMED = re.compile(r"\b(session_sid|identifier_key|unique_name|check_at|carrier_id) (?:=|<=) [?:]")
# A Service's rows in the order of their key, only so many: lists, and what is removed with the Service.
A_FEW = re.compile(
    r"WHERE service_sid = (?:\?1?|:service) (?:AND state = 6 AND EXISTS \([^)]*\) )?"
    r"(?:AND 1 = 1 ORDER BY (?:message_)?sid DESC )?LIMIT"
)


def reads_all(step: str) -> bool:
    """Whether this step of a plan reads a table from its beginning."""
    scanned = re.match(r"SCAN (?:TABLE |\d+ )?(\w+)", step)
    return scanned is not None and scanned[1] not in SMALL and not step.endswith(PARTIAL)


def reads_service(sql: str, step: str) -> bool:
    """Whether this step reads all that a Service has of something; its pool, which is small, may be read."""
    return step.endswith("(service_sid=?)") and "numbers_pool" not in step and not A_FEW.search(sql)


def passed_over(sql: str, plan: list[str]) -> list[str]:
    """What the statement's condition names and no step of its plan looks for."""
    names = set(NAMED.findall(sql.partition(" WHERE ")[2]))
    if "session_sid" in names:
        names.discard("identifier_key")
    return [name for name in names if not any(re.search(rf"\b{name}[=<]\?", step) for step in plan)]


def plans_of(tx: Tx, work: Callable[[Tx, World], None], world: World) -> dict[str, list[str]]:
    """The query plan of every statement that this work runs, as SQLite tells it."""
    plans: dict[str, list[str]] = {}

    def note(sql: str, params: Any) -> None:
        rows = tx.execute(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()
        plans[" ".join(sql.split())] = [row[3] for row in rows]

    def execute(sql: str, params: Any = ()) -> Any:
        note(sql, params)
        return tx.execute(sql, params)

    def executemany(sql: str, many: list[Any]) -> Any:
        for params in many[:1]:
            note(sql, params)
        return tx.executemany(sql, many)

    work(Tx(execute, executemany, tx.now, tx.idle_close_us, tx.pseudonym), world)
    return plans


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
async def test_no_statement_reads_a_whole_table(world: World, work: Callable[[Tx, World], None]) -> None:
    plans = await world.house.store.write(plans_of, work, world)
    assert plans
    for sql, plan in plans.items():
        assert not any(map(reads_all, plan)), (sql, plan)
        # Nor is one sorted that could be read in its order, as groups cannot in that of what is in them.
        is_sorted = any("USE TEMP B-TREE FOR ORDER BY" in step for step in plan)
        assert not is_sorted or "ORDER BY min(" in sql, (sql, plan)


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
async def test_every_statement_uses_the_whole_of_its_key(
    world: World, work: Callable[[Tx, World], None]
) -> None:
    assert not await world.house.rows("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'")
    plans = await world.house.store.write(plans_of, work, world)
    for sql, plan in plans.items():
        assert not [step for step in plan if reads_service(sql, step)], (sql, plan)
        assert not passed_over(sql, plan), (sql, plan)
