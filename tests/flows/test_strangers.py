"""OutOfSessionCallbackUrl for messages: every row of what may be answered, order, races, and nothing lost."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest
from structlog.testing import capture_logs
from twilio.request_validator import RequestValidator

from maskline.domain import problems
from maskline.domain.media import Medium
from maskline.domain.model import DAY, SECOND, Mode, SessionStatus
from maskline.domain.phone import parse_phone
from maskline.flows.retention import Sweeper
from maskline.flows.services import remove_service
from maskline.flows.strangers import MOST_ANSWERS
from maskline.store.engine import Tx
from maskline.store.lanes import LaneClaim
from maskline.store.legs import list_legs
from maskline.store.pages import Seek
from maskline.store.sessionless import MOST_REPLIES
from maskline.store.strangers import Settlement, claim_strangers, settle_strangers
from tests.support.carrier import UNREACHABLE
from tests.support.house import ACCOUNT, AUTH_TOKEN, VALIDITY_S, House, locked_out, person
from tests.support.receiver import Receiver, receiving
from tests.support.until import turns, until

STRANGER, PARTNER = person(1), person(2)


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


async def asked(receiver: Receiver, count: int) -> None:
    await until(lambda: len(receiver.posts) >= count)


def twiml(*verbs: str) -> tuple[str, str]:
    return "text/xml; charset=utf-8", f"<Response>{''.join(verbs)}</Response>"


def create(kind: str = "application/json", **fields: object) -> tuple[str, str]:
    return kind, json.dumps({"participantIdentifier": PARTNER, **fields})


class Shop:
    """A Service whose customer is asked about strangers, and one of its numbers."""

    def __init__(self, house: House, service, number: str) -> None:
        self.house, self.service, self.number = house, service, number

    async def write(self, body: str = "hi", sender: str = STRANGER) -> None:
        await self.house.hear(sender, self.number, body)

    async def sessions(self) -> int:
        return await self.house.one("SELECT count(*) FROM sessions")


@pytest.fixture
async def shop(house: House, receiver: Receiver) -> Shop:
    service = await house.service(0, out_of_session_callback_url=receiver.url)
    number = await house.number(service)
    await house.number(service)
    return Shop(house, service, number.phone_number)


async def test_the_customer_is_asked_with_twilios_names(house: House, receiver: Receiver, shop: Shop) -> None:
    async with house.working():
        await shop.write("who are you? €")
        await asked(receiver, 1)
        await house.quiet()
    (post,) = receiver.posts
    sid = post.form["MessageSid"]
    assert post.form == {
        "AccountSid": ACCOUNT,
        "ApiVersion": "2010-04-01",
        "AddOns": '{"status":"successful","message":null,"code":null,"results":{}}',
        "From": STRANGER,
        "FromCity": "",
        "FromState": "NY",
        "FromZip": "",
        "FromCountry": "US",
        "To": shop.number,
        "ToCity": "",
        "ToState": "CA",
        "ToZip": "",
        "ToCountry": "US",
        "MessageSid": sid,
        "SmsSid": sid,
        "SmsMessageSid": sid,
        "SmsStatus": "received",
        "Body": "who are you? €",
        "NumMedia": "0",
        "NumSegments": "1",
    }
    assert RequestValidator(AUTH_TOKEN).validate(receiver.url, post.form, post.headers["x-twilio-signature"])
    page = await house.store.read(list_legs, ACCOUNT, "message", Seek(50))
    assert [(leg.sid, leg.inbound, leg.identifier, leg.proxy_identifier) for leg in page.rows] == [
        (sid, True, STRANGER, shop.number)
    ]
    assert await house.outbox() == 0
    assert await house.events() == []  # 200 with nothing in it: nothing more


async def test_they_are_asked_about_each_part_of_a_long_text_in_order(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    text = "who are you? " * 200
    async with house.working():
        await shop.write(text)
        await asked(receiver, 2)
        await house.quiet()
    assert "".join(post.form["Body"] for post in receiver.posts) == text
    assert len(receiver.posts) == 2


async def test_the_last_session_of_the_pair_comes_with_both_real_numbers(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    older = await house.session(shop.service, unique_name="older")
    mine = await house.add(older, STRANGER, shop.number)
    await house.close(older)
    house.clock.advance(60)
    last = await house.session(shop.service, unique_name="trip 7", mode=Mode.MESSAGE_ONLY, ttl=3600)
    mine = await house.add(last, STRANGER, shop.number)
    theirs = await house.add(last, PARTNER)
    house.clock.advance(3601)
    async with house.working():
        await shop.write()
        await asked(receiver, 1)
        await house.quiet()
    form = receiver.posts[0].form
    told = {
        name: value
        for name, value in form.items()
        if name.startswith(("session", "inbound", "outbound", "ttl"))
    }
    assert told == {
        "sessionSid": last.sid,
        "sessionUniqueName": "trip 7",
        "sessionAccountSid": ACCOUNT,
        "sessionServiceSid": shop.service.sid,
        "sessionStatus": "closed",
        "sessionMode": "message-only",
        "sessionClosedReason": "ttl-expired",
        "sessionDateCreated": "2027-01-15T08:01:00Z",
        "sessionDateUpdated": "2027-01-15T09:01:00Z",
        "sessionDateEnded": "2027-01-15T09:01:00Z",
        "ttl": "3600",
        **{
            f"{side}Participant{name}": value
            for side, one in (("inbound", mine), ("outbound", theirs))
            for name, value in {
                "Sid": one.sid,
                "Identifier": one.identifier,
                "ProxyIdentifier": one.proxy_identifier,
                "ProxyIdentifierSid": one.proxy_identifier_sid,
                "AccountSid": ACCOUNT,
                "ServiceSid": shop.service.sid,
                "SessionSid": last.sid,
                "DateCreated": "2027-01-15T08:01:00Z",
                "DateUpdated": "2027-01-15T08:01:00Z",
            }.items()
        },
    }


async def test_of_several_sessions_the_one_that_ended_last_is_told(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    first = await house.session(shop.service)
    await house.add(first, STRANGER, shop.number)
    await house.close(first)
    second = await house.session(shop.service)
    await house.add(second, STRANGER, shop.number)
    await house.close(second)
    house.clock.advance(60)
    await house.reopen(first)
    await house.close(first)
    async with house.working():
        await shop.write()
        await asked(receiver, 1)
        await house.quiet()
    assert receiver.posts[0].form["sessionSid"] == first.sid


# What may be answered


async def test_twiml_messages_are_sent_in_their_order_from_the_number_that_was_dialled(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.answers = [twiml("<Message>We are closed.</Message>", "<Message><Body>Try</Body> </Message>")]
    async with house.working():
        await shop.write()
        await until(lambda: len(house.carrier.sent) == 2)
        await house.quiet()
        sent = [(one.from_, one.to, one.body) for one in house.carrier.sent]
        assert sent == [(shop.number, STRANGER, "We are closed."), (shop.number, STRANGER, "Try")]
        page = await house.store.read(list_legs, ACCOUNT, "message", Seek(50))
        assert [(leg.inbound, leg.leg.status) for leg in page.rows] == [(False, 40), (False, 40), (True, 70)]
        assert page.rows[0].sid == house.carrier.sent[1].sid
    assert await house.outbox() == 0
    assert await shop.sessions() == 0
    assert await house.events() == []


async def test_media_are_told_of_and_answered_with(house: House, receiver: Receiver, shop: Shop) -> None:
    receiver.answers = [twiml("<Message><Body>see</Body><Media>https://m.example/map.png</Media></Message>")]
    async with house.working():
        await house.hear(STRANGER, shop.number, media=(Medium("https://m.example/0", "image/webp"),))
        await until(lambda: house.carrier.sent)
        await house.quiet()
    (post,), (sent,) = receiver.posts, house.carrier.sent
    told = {name: post.form[name] for name in ("NumMedia", "MediaUrl0", "MediaContentType0")}
    assert told == {"NumMedia": "1", "MediaUrl0": "https://m.example/0", "MediaContentType0": "image/webp"}
    assert post.form["MessageSid"][:2] == sent.sid[:2] == "MM"
    assert (sent.body, sent.media) == ("see", ("https://m.example/map.png",))


async def test_an_answer_takes_reports_as_any_message(house: House, receiver: Receiver, shop: Shop) -> None:
    receiver.answers = [twiml("<Message>hello</Message>")]
    async with house.working(), receiving() as told:
        await house.store.write(
            lambda tx: tx.execute("UPDATE services SET callback_url = ?", (told.url,)) and None
        )
        await shop.write()
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
        sid = house.carrier.sent[0].sid
        carrier_id = house.carrier.id_of(sid)
        assert await house.report_of(carrier_id, "delivered", shop.number)
        await house.quiet()
        page = await house.store.read(list_legs, ACCOUNT, "message", Seek(50))
        assert page.rows[0].leg.status == 70
        assert told.posts == []  # there is no Interaction to tell of


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=x"]
)
async def test_json_makes_a_session_that_takes_the_message(
    house: House, receiver: Receiver, shop: Shop, kind: str
) -> None:
    receiver.answers = [create(kind, uniqueName="for you", ttl=3360, mode="message-only")]
    async with house.working():
        await shop.write("let me in")
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    ((name, ttl, mode, status),) = await house.rows("SELECT unique_name, ttl, mode, status FROM sessions")
    assert (name, ttl, mode, status) == ("for you", 3360, "message-only", "in-progress")
    people = await house.rows("SELECT identifier, proxy_identifier FROM participants ORDER BY sid")
    assert people[0] == (STRANGER, shop.number)
    assert people[1][0] == PARTNER
    (sent,) = house.carrier.sent
    assert (sent.from_, sent.to, sent.body) == (people[1][1], PARTNER, "let me in")
    # One message, and it is the one that the customer was asked about.
    assert await house.rows("SELECT inbound_resource_sid, session_sid <> '' FROM interactions") == [
        (receiver.posts[0].form["MessageSid"], 1)
    ]
    assert await house.events() == []
    assert await house.outbox() == 0


async def test_the_number_dialled_is_kept_though_it_is_reserved(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    reserved = await house.number(shop.service, reserved=True)
    receiver.answers = [create(participantProxyIdentifier=shop.number)]
    async with house.working():
        await house.hear(STRANGER, reserved.phone_number)
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert await house.rows("SELECT proxy_identifier FROM participants ORDER BY sid") == [
        (reserved.phone_number,),
        (shop.number,),
    ]


async def test_without_a_mode_it_is_what_both_numbers_can_do(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    await house.store.write(
        lambda tx: tx.execute("UPDATE numbers SET voice = 0 WHERE phone_number = ?", (shop.number,)) and None
    )
    receiver.answers = [create()]
    async with house.working():
        await shop.write()
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert await house.one("SELECT mode FROM sessions") == Mode.MESSAGE_ONLY


async def test_a_session_made_so_asks_its_intercept_too(house: House, receiver: Receiver, shop: Shop) -> None:
    async with receiving() as intercept:
        intercept.answers = [403]
        await house.store.write(
            lambda tx: tx.execute("UPDATE services SET intercept_callback_url = ?", (intercept.url,)) and None
        )
        receiver.answers = [create()]
        async with house.working():
            await shop.write()
            await asked(intercept, 1)
            await house.quiet()
    assert house.carrier.sent == []
    assert await house.events() == [80909]


@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        (500, [80913]),
        (404, [80913]),
        (None, [80913]),
        (("text/html", "<html>"), []),
        (("application/json", json.dumps(json.dumps({"participantIdentifier": PARTNER}))), [12100]),
        (("application/json", "{"), [80701, 80905]),
        (("application/json", "[]"), [80701, 80905]),
        (("application/json", "{}"), [80701, 80905]),
        (create(participantIdentifier="Ben"), [80404, 80905]),
        (create(participantIdentifier="+1212555\ud800"), [80701, 80905]),
        (create(uniqueName="trip \ud800"), [80701, 80905]),
        (create(ttl="soon"), [80701, 80905]),
        (create(dateExpiry="2001-01-01T00:00:00Z"), [80701, 80905]),
        (create(participantProxyIdentifier="+14155550199"), [80606, 80905]),
        (create(participantIdentifier=STRANGER), [80103, 80905]),
        (("text/xml", "<Response>"), [12100]),
        (("text/xml", "<Response><Nonsense/></Response>"), [12200]),
        (("text/xml", "<Response><Say>hello</Say></Response>"), [12200]),
        (("application/xml", '<!DOCTYPE x [<!ENTITY e "e">]><Response>&e;</Response>'), [12100]),
    ],
)
async def test_what_cannot_be_done_is_told_and_nothing_is_sent(
    house: House, receiver: Receiver, shop: Shop, answer, codes: list[int]
) -> None:
    receiver.answers = [answer, answer]
    async with house.working():
        await shop.write()
        await asked(receiver, 1)
        await house.quiet()
    assert sorted(await house.events()) == sorted(codes)
    assert house.carrier.sent == []
    assert await shop.sessions() == 0
    assert await house.outbox() == 0


async def test_a_name_that_is_taken_is_told(house: House, receiver: Receiver, shop: Shop) -> None:
    await house.session(shop.service, unique_name="taken")
    receiver.answers = [create(uniqueName="taken")]
    async with house.working():
        await shop.write()
        await asked(receiver, 1)
        await house.quiet()
    assert sorted(await house.events()) == [80603, 80905]


# Redirects


async def test_a_redirect_is_followed_with_the_same_question(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.answers = [
        twiml("<Message>one</Message>", "<Redirect>/next?a=1&amp;b=2</Redirect>", "<Message>never</Message>"),
        twiml("<Message>two</Message>"),
    ]
    async with house.working():
        await shop.write()
        await until(lambda: len(house.carrier.sent) == 2)
        await house.quiet()
    assert [one.body for one in house.carrier.sent] == ["one", "two"]
    first, second = receiver.posts
    assert second.path == "/next?a=1&b=2"
    assert second.form == first.form
    assert second.headers["i-twilio-idempotency-token"] != first.headers["i-twilio-idempotency-token"]


async def test_a_redirect_by_get_has_the_question_in_its_query(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.answers = [twiml('<Redirect method="GET">/next?a=1</Redirect>'), twiml("<Message>two</Message>")]
    async with house.working():
        await shop.write("a b&c")
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    first, second = receiver.posts
    path, _, query = second.path.partition("?")
    assert path == "/next"
    assert dict(parse_qsl(query, keep_blank_values=True)) == {"a": "1", **first.form}
    url = receiver.url.removesuffix("/calls?customer=7") + second.path
    assert RequestValidator(AUTH_TOKEN).validate(url, {}, second.headers["x-twilio-signature"])


async def test_redirects_in_a_circle_end(house: House, receiver: Receiver, shop: Shop) -> None:
    receiver.answers = [twiml("<Redirect/>")] * 100
    async with house.working():
        await shop.write()
        await asked(receiver, 10)
        await house.quiet()
    assert len(receiver.posts) == 10
    assert await house.events() == [12200]


async def test_an_answer_writes_to_so_many_people_and_no_more(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    """All of it is one transaction, and everybody else waits behind it."""
    people = [f"+1212{exchange}0123" for exchange in range(200, 700) if parse_phone(f"+1212{exchange}0123")]
    said = [f'<Message to="{person}">hi</Message>' for person in people]
    receiver.answers = [twiml(*said[:40], "<Redirect/>"), twiml(*said[40:], "<Redirect/>"), twiml()]
    async with house.working():
        await shop.write()
        await until(lambda: len(house.carrier.sent) == MOST_ANSWERS)
        await house.quiet()
    assert {message.to for message in house.carrier.sent} == {*people[:MOST_ANSWERS]}
    assert len(receiver.posts) == 2
    assert await house.events() == [12200]


async def test_a_message_that_is_handed_back_enters_afresh(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    own = f"https://masked.example/v1/Accounts/{ACCOUNT}/Proxy/{shop.service.sid}/Webhooks/Message"
    receiver.answers = [twiml("<Redirect>/ask</Redirect>"), twiml(f"<Redirect>{own}</Redirect>"), create()]
    async with house.working():
        await shop.write("let me in")
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert [post.path for post in receiver.posts] == ["/calls?customer=7", "/ask", "/calls?customer=7"]
    assert (house.carrier.sent[0].to, house.carrier.sent[0].body) == (PARTNER, "let me in")


async def test_a_message_is_handed_back_ten_times_at_most(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    own = f"https://masked.example/v1/Accounts/{ACCOUNT}/Proxy/{shop.service.sid}/Webhooks/Message"
    receiver.answers = [twiml(f"<Redirect>{own}</Redirect>")] * 100
    async with house.working():
        await shop.write()
        await asked(receiver, 10)
        await house.quiet()
    assert len(receiver.posts) == 10
    assert await house.events() == [12200]


# Order and races


async def test_two_texts_of_one_stranger_make_one_session_and_none_is_lost(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.stalled.clear()
    receiver.answers = [create(), create()]
    async with house.working():
        await shop.write("one")
        await shop.write("two")
        await asked(receiver, 1)
        await shop.write("three")
        await house.quiet()
        assert len(receiver.posts) == 1
        receiver.stalled.set()
        await until(lambda: len(house.carrier.sent) == 3)
        await house.quiet()
    assert [one.body for one in house.carrier.sent] == ["one", "two", "three"]
    assert len(receiver.posts) == 1
    assert await shop.sessions() == 1


async def test_what_is_written_while_one_is_asked_about_waits_though_it_would_route(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.stalled.clear()
    async with house.working():
        await shop.write("one")
        await asked(receiver, 1)
        session = await house.session(shop.service)
        await house.add(session, STRANGER, shop.number)
        await house.add(session, PARTNER)
        await shop.write("two")
        await house.quiet()
        assert house.carrier.sent == []
        receiver.answers = [twiml("<Message>answer</Message>")]
        receiver.stalled.set()
        await until(lambda: len(house.carrier.sent) == 2)
        await house.quiet()
    # The first was asked about, and is answered; the second goes to the Session that is there by its turn.
    assert sorted((one.to, one.body) for one in house.carrier.sent) == sorted(
        [(STRANGER, "answer"), (PARTNER, "two")]
    )
    assert len(receiver.posts) == 1


async def test_a_conflict_routes_once_more(house: House, receiver: Receiver, shop: Shop) -> None:
    """The customer makes the Session by the API while it is asked, and then answers that it be made."""
    receiver.stalled.clear()
    receiver.answers = [create()]
    async with house.working():
        await shop.write("one")
        await asked(receiver, 1)
        session = await house.session(shop.service)
        await house.add(session, STRANGER, shop.number)
        await house.add(session, PARTNER)
        receiver.stalled.set()
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert house.carrier.sent[0].to == PARTNER
    assert await shop.sessions() == 1
    assert await house.events() == []


async def test_after_a_restart_it_is_asked_again_under_the_same_token(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.answers = [twiml("<Message>hello</Message>")]
    await shop.write()
    await house.store.write(
        lambda tx: tx.execute("UPDATE outbox SET state = 4, owner = 'RN0', started_at = due_at") and None
    )
    async with house.working():
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert len(receiver.posts) == 1
    assert await house.outbox() == 0


async def test_a_database_that_is_away_while_the_session_is_made_costs_no_message(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    """The customer is asked again, under the same token."""
    receiver.stalled.clear()
    receiver.answers = [create()] * 2
    async with house.working():
        await shop.write("one")
        await asked(receiver, 1)
        with capture_logs() as logs:
            async with locked_out(house.store):
                receiver.stalled.set()
                await until(lambda: any(log["event"].startswith("stranger.") for log in logs))
        house.clock.advance(1)
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert house.carrier.sent[0].to == PARTNER
    assert await shop.sessions() == 1
    assert await house.events() == []
    first, second = receiver.posts
    assert first.form == second.form
    assert len({post.headers["i-twilio-idempotency-token"] for post in receiver.posts}) == 1


async def claimed(house: House, shop: Shop, **wanted: object) -> Settlement:
    """A message that somebody is being asked about, and what is to come of it."""
    await house.store.write(house.open_account)
    await shop.write()
    events = [house.mint.sid("NO") for _ in range(9)]
    claim = LaneClaim("RN1", 0, 1, 1, {}, event_sids=events[:4])
    (stranger,) = (await house.store.batch(claim_strangers, claim)).work
    values = {"route": False, "validity_us": SECOND, **wanted}
    return Settlement(stranger.id, "RN1", stranger.sid, event_sids=events[4:], **values)


async def test_what_is_settled_in_a_round_that_is_undone_is_settled_in_the_next(
    house: House, shop: Shop
) -> None:
    """However often: while the disk is full, each round is."""
    settlement = await claimed(house, shop, events=[(problems.BODY_TOO_LONG, "<Message>")] * 3)

    def undone(tx: Tx) -> None:
        settle_strangers.fn(tx, [settlement])
        raise KeyError("undone")

    for _ in range(3):
        with pytest.raises(KeyError, match="undone"):
            await house.store.write(undone)
    await house.store.batch(settle_strangers, settlement)
    assert await house.events() == [21617] * 3
    assert await house.outbox() == 0


async def test_a_message_whose_session_goes_before_it_takes_it_is_told_of(house: House, shop: Shop) -> None:
    """The Session was there when the customer answered."""
    await house.store.batch(settle_strangers, await claimed(house, shop, route=True))
    assert await house.events() == [80905]
    assert await house.outbox() == 0


async def test_a_stranger_of_a_service_without_its_url_ends_in_an_event(house: House, shop: Shop) -> None:
    await shop.write()
    await house.store.write(
        lambda tx: tx.execute("UPDATE services SET out_of_session_callback_url = NULL") and None
    )
    async with house.working():
        await house.quiet()
        await shop.write()
        await house.quiet()
    assert await house.events() == [80905, 80905]
    assert await house.outbox() == 0


async def test_two_machines_that_answer_each_other_are_stopped(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.answers = [twiml("<Message>I am a machine.</Message>")] * 100
    async with house.working():
        for count in range(1, MOST_REPLIES + 4):
            await shop.write("So am I.")
            await asked(receiver, count)
            await house.quiet()
        assert len(house.carrier.sent) == MOST_REPLIES
        assert await house.events() == [14107] * 3
        await house.pass_time(31)
        await shop.write("Still here.")
        await until(lambda: len(house.carrier.sent) == MOST_REPLIES + 1)
        await house.quiet()


async def test_what_waits_past_its_validity_is_given_up(house: House, shop: Shop) -> None:
    await shop.write()
    house.clock.advance(VALIDITY_S + 1)
    await house.sweeper.sweep()
    assert await house.events() == [49002]
    assert await house.outbox() == 0


async def test_they_go_by_retention_and_with_their_service(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.answers = [twiml("<Message>hello</Message>")]
    async with house.working():
        await shop.write()
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    rows = "SELECT (SELECT count(*) FROM interactions), (SELECT count(*) FROM participants)"
    assert await house.rows(rows) == [(2, 2)]
    house.clock.advance(91 * DAY / SECOND)
    await Sweeper(house.store, house.clock, house.mint, 90 * DAY).sweep()
    assert await house.rows(rows) == [(0, 0)]

    await shop.write()
    await house.store.write(remove_service, ACCOUNT, shop.service.sid)
    page = await house.store.read(list_legs, ACCOUNT, "message", Seek(50))
    assert page.rows == []
    await house.sweeper.sweep()
    async with house.working():
        await house.quiet()
    assert await house.rows(rows) == [(0, 0)]
    assert await house.outbox() == 0


async def test_an_answer_for_a_service_that_is_gone_leaves_nothing(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.stalled.clear()
    receiver.answers = [twiml("<Message>hello</Message>")]
    async with house.working():
        await shop.write()
        await asked(receiver, 1)
        await house.store.write(remove_service, ACCOUNT, shop.service.sid)
        await house.sweeper.sweep()
        receiver.stalled.set()
        await until_settled(house)
        await house.quiet()
    assert await house.rows("SELECT sid FROM interactions UNION SELECT sid FROM participants") == []
    assert await house.events() == []


async def until_settled(house: House) -> None:
    while await house.one("SELECT count(*) FROM outbox WHERE topic = 'out_of_session'"):
        await turns()


async def test_a_report_on_an_answer_that_went_with_its_service_is_dropped(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    """It waits for nothing, and nobody is told that it was not known."""
    receiver.answers = [twiml("<Message>hello</Message>")]
    async with house.working():
        await shop.write()
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
        await house.store.write(remove_service, ACCOUNT, shop.service.sid)
        await house.sweeper.sweep()
        carrier_id = house.carrier.id_of(house.carrier.sent[0].sid)
        await house.report_of(carrier_id, "delivered", shop.number)
        assert await house.outbox() == 0
    assert await house.events() == []


async def test_an_answer_that_waits_goes_with_its_service(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    receiver.answers = [twiml("<Message>hello</Message>", "<Message>and more</Message>")]
    house.carrier.always(UNREACHABLE)
    async with house.working():
        await shop.write()
        await asked(receiver, 1)
        await house.quiet()
        assert await house.outbox() == 2
        await house.store.write(remove_service, ACCOUNT, shop.service.sid)
        await house.sweeper.sweep()
        assert await house.outbox() == 0
        await house.pass_time(VALIDITY_S + 10)
    assert await house.events() == []


async def test_a_session_that_refuses_is_told_as_before(house: House, receiver: Receiver, shop: Shop) -> None:
    session = await house.session(shop.service, mode=Mode.VOICE_ONLY)
    await house.add(session, STRANGER, shop.number)
    async with house.working():
        await shop.write()
        await house.quiet()
    assert await house.events() == [80910]
    assert receiver.posts == []


async def test_the_stranger_of_a_reopened_session_is_none(
    house: House, receiver: Receiver, shop: Shop
) -> None:
    session = await house.session(shop.service)
    await house.add(session, STRANGER, shop.number)
    await house.add(session, PARTNER)
    await house.close(session)
    await shop.write("one")
    await house.reopen(session)
    async with house.working():
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
    assert receiver.posts == []
    assert (await house.fetch(session)).status is SessionStatus.IN_PROGRESS


async def test_a_stalling_customer_costs_no_other(house: House, receiver: Receiver, shop: Shop) -> None:
    receiver.stalled.clear()
    async with receiving() as quick:
        other = await house.service(out_of_session_callback_url=quick.url)
        number = await house.one("SELECT phone_number FROM numbers WHERE service_sid = ?", other.sid)
        quick.answers = [twiml("<Message>here</Message>")]
        async with house.working():
            for i in range(40):
                await shop.write(sender=person(100 + i))
            await asked(receiver, 32)
            await house.hear(STRANGER, number)
            await until(lambda: len(house.carrier.sent) == 1)
            await house.quiet()
            receiver.stalled.set()
            await asked(receiver, 40)
            await house.quiet()


@pytest.mark.parametrize("bodies", ["until-final", "never"])
async def test_bodies_are_kept_as_the_service_says(
    house: House, receiver: Receiver, shop: Shop, bodies: str
) -> None:
    await house.store.write(
        lambda tx: (
            tx.execute("UPDATE services SET settings = ?", (json.dumps({"store_bodies": bodies}),)) and None
        )
    )
    receiver.answers = [twiml("<Message>between us</Message>")]
    async with house.working():
        await shop.write("a secret")
        await until(lambda: len(house.carrier.sent) == 1)
        await house.quiet()
        assert receiver.posts[0].form["Body"] == "a secret"
        assert house.carrier.sent[0].body == "between us"
        await house.report_of(house.carrier.id_of(house.carrier.sent[0].sid), "delivered", shop.number)
        await house.quiet()
    assert await house.rows("SELECT DISTINCT data FROM interactions") == [('{"body":""}',)]
