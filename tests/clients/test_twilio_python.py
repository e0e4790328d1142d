"""The official Python client, pointed at a real server, does all that it can do at Twilio."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.base.page import Page
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from tests.support.checked import check_reply
from tests.support.eventually import eventually
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, Api, RealServer, Reply
from tests.support.v2010 import RESOURCES
from tests.support.world import fresh_number
from tests.wire.facts import operations


class Witness(TwilioHttpClient):
    """The client's own transport, which also holds what it gets against the facts and notes the operations."""

    def __init__(self, api: Api) -> None:
        super().__init__()
        self.api = api
        self.seen: set[str] = set()

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Response:
        response = super().request(method, url, *args, **kwargs)
        headers = {name.lower(): value for name, value in response.headers.items()}
        reply = Reply(response.status_code, headers, response.text.encode())
        if params := kwargs.get("params"):
            url = f"{url}?{urlencode(params)}"
        if name := check_reply(method, url, reply, self.api):
            self.seen.add(name)
        return response


@pytest.fixture
def witness(server: RealServer) -> Iterator[Witness]:
    transport = Witness(server.api)
    yield transport
    transport.session.close()


@pytest.fixture
def client(server: RealServer, witness: Witness) -> Client:
    client = Client(ACCOUNT_SID, AUTH_TOKEN, http_client=witness)
    client.proxy.base_url = client.api.base_url = client.monitor.base_url = server.url
    return client


@pytest.fixture
async def async_client(server: RealServer) -> AsyncIterator[Client]:
    async with AsyncTwilioHttpClient() as transport:
        client = Client(ACCOUNT_SID, AUTH_TOKEN, http_client=transport)
        client.proxy.base_url = server.url
        yield client


def new_service(client: Client, numbers: int = 1, **fields: Any) -> Any:
    service = client.proxy.v1.services.create(unique_name=f"python {fresh_number()}", **fields)
    for _ in range(numbers):
        service.phone_numbers.create(phone_number=fresh_number())
    return service


def fields_of(instance: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(instance).items() if not name.startswith("_")}


def same(one: Any, other: Any) -> bool:
    return fields_of(one) == fields_of(other)


def test_every_operation_of_the_client(client: Client, witness: Witness) -> None:
    services = client.proxy.v1.services
    service = services.create(unique_name=f"python {fresh_number()}", default_ttl=3600)
    assert service.date_created.tzinfo is UTC or service.date_created.utcoffset() == timedelta(0)
    assert same(services(service.sid).fetch(), service)
    assert service.update(geo_match_level="area-code", callback_url="https://example.com/").callback_url
    assert service.sid in [each.sid for each in services.list(limit=20)]

    number = service.phone_numbers.create(phone_number=fresh_number())
    spare = service.phone_numbers.create(phone_number=fresh_number(), is_reserved=True)
    assert (number.is_reserved, spare.is_reserved, number.in_use) == (False, True, 0)
    assert number.capabilities["sms"] is number.capabilities["voice"] is True
    assert same(service.phone_numbers(number.sid).fetch(), number)
    assert spare.update(is_reserved=False).is_reserved is False
    assert [each.sid for each in service.phone_numbers.list()] == [spare.sid, number.sid]
    assert spare.delete() is True

    session = service.sessions.create(unique_name="talk", ttl=600, mode="message-only")
    assert (session.status, session.mode, session.ttl) == ("open", "message-only", 600)
    assert session.date_started is None
    assert same(service.sessions(session.sid).fetch(), session)
    assert session.update(status="in-progress").status == "in-progress"
    assert [each.sid for each in service.sessions.list()] == [session.sid]

    participant = session.participants.create(identifier=fresh_number(), friendly_name="Ann")
    assert participant.proxy_identifier_sid == number.sid
    assert participant.date_deleted is None
    assert same(session.participants(participant.sid).fetch(), participant)
    assert [each.sid for each in session.participants.list()] == [participant.sid]

    message = participant.message_interactions.create(body="hello ☃")
    assert json.loads(message.data) == {"body": "hello ☃"}
    assert message.outbound_resource_status in ("sent", "delivered")
    fetched = participant.message_interactions(message.sid).fetch()
    assert fetched.outbound_resource_sid == message.outbound_resource_sid
    assert [each.sid for each in participant.message_interactions.list()] == [message.sid]

    (interaction,) = session.interactions.list()
    assert interaction.sid == message.sid
    assert session.interactions(message.sid).fetch().type == "message"
    assert interaction.delete() is True

    assert participant.delete() is True
    assert session.participants(participant.sid).fetch().date_deleted is not None
    assert session.delete() is True
    assert service.delete() is True
    assert witness.seen == {name for name, operation in operations().items() if "last_in" not in operation}


def test_a_service_takes_every_argument(client: Client) -> None:
    fields = {
        "default_ttl": 60,
        "callback_url": "https://example.com/callback",
        "geo_match_level": "radius",
        "number_selection_behavior": "avoid-sticky",
        "intercept_callback_url": "https://example.com/intercept",
        "out_of_session_callback_url": "https://example.com/out",
        "chat_instance_sid": "IS" + "0" * 32,
    }
    service = new_service(client, 0, **fields)
    assert {name: getattr(service, name) for name in fields} == fields
    renamed = service.update(unique_name=service.unique_name + " again", callback_url="")
    assert renamed.callback_url is None
    assert renamed.default_ttl == 60
    assert set(service.links) == {"sessions", "phone_numbers", "short_codes"}


def test_services_and_sessions_are_fetched_by_name_too(client: Client) -> None:
    service = new_service(client, 0)
    session = service.sessions.create(unique_name="a b c")
    assert client.proxy.v1.services(service.unique_name).fetch().sid == service.sid
    assert service.sessions("a b c").fetch().sid == session.sid


def test_a_number_joins_by_its_sid(client: Client) -> None:
    one, other = new_service(client, 0), new_service(client, 0)
    number = one.phone_numbers.create(phone_number=fresh_number())
    assert number.delete() is True
    again = other.phone_numbers.create(sid=number.sid, is_reserved=True)
    assert (again.sid, again.is_reserved, again.service_sid) == (number.sid, True, other.sid)


def test_the_accounts_numbers_are_listed_fetched_and_changed(client: Client) -> None:
    numbers = client.incoming_phone_numbers
    made = [numbers.create(phone_number=fresh_number(), friendly_name="Desk") for _ in range(3)]
    sids = [each.sid for each in made[::-1]]
    assert [each.sid for each in numbers.list(limit=3)] == sids
    assert [each.sid for each in numbers.stream(limit=3, page_size=2)] == sids
    page = numbers.page(page_size=2)
    assert [each.sid for each in page] == sids[:2]
    following = page.next_page()
    assert next(each.sid for each in following) == sids[2]
    assert [each.sid for each in following.previous_page()] == sids[:2]
    (found,) = numbers.list(phone_number=made[0].phone_number)
    assert same(found, made[0])
    assert {made[1].sid, made[2].sid} <= {each.sid for each in numbers.list(friendly_name="Desk")}
    assert same(numbers(found.sid).fetch(), found)
    assert (found.capabilities["sms"], found.address_requirements, found.beta) == (True, "none", False)
    assert found.date_created.utcoffset() == timedelta(0)
    assert found.update(friendly_name="Front desk").friendly_name == "Front desk"
    member = new_service(client, 0).phone_numbers.create(sid=found.sid)
    assert (member.phone_number, member.friendly_name) == (found.phone_number, "Front desk")
    assert made[1].delete() is True
    with pytest.raises(TwilioRestException) as gone:
        numbers(made[1].sid).fetch()
    assert (gone.value.status, gone.value.code) == (404, 20404)


def test_a_number_of_the_account_has_the_fields_that_the_client_reads(client: Client) -> None:
    made = client.incoming_phone_numbers.create(phone_number=fresh_number())
    assert set(fields_of(made)) == RESOURCES["IncomingPhoneNumbers"][1]


def test_a_session_is_created_with_its_participants(client: Client) -> None:
    service = new_service(client, 2)
    number = service.phone_numbers.list()[0]
    first, second = fresh_number(), fresh_number()
    session = service.sessions.create(
        participants=[
            {"Identifier": first, "FriendlyName": "Ann"},
            {"identifier": second, "proxy_identifier": number.phone_number},
        ]
    )
    two, one = session.participants.list()
    assert (one.identifier, one.friendly_name) == (first, "Ann")
    assert (two.identifier, two.proxy_identifier_sid) == (second, number.sid)


def test_dates_go_there_and_come_back(client: Client) -> None:
    service = new_service(client, 0)
    at = datetime(2099, 7, 30, 20, 0, 0, tzinfo=UTC)
    session = service.sessions.create(date_expiry=at)
    assert session.date_expiry == at
    later = session.update(date_expiry=at + timedelta(days=1))
    assert later.date_expiry == at + timedelta(days=1)
    assert isinstance(session.date_created, datetime)


def test_a_session_lives_and_is_closed_and_reopened(client: Client) -> None:
    session = new_service(client).sessions.create(ttl=600)
    closed = session.update(status="closed")
    assert (closed.status, closed.closed_reason) == ("closed", "api")
    assert closed.date_ended is not None
    with pytest.raises(TwilioRestException) as refusal:
        session.update(status="open")
    assert (refusal.value.status, refusal.value.code) == (400, 80608)
    assert session.update(status="in-progress", ttl=900).ttl == 900


def test_an_explicit_and_a_reserved_number(client: Client) -> None:
    service = new_service(client, 0)
    number = service.phone_numbers.create(phone_number=fresh_number(), is_reserved=True)
    session = service.sessions.create()
    with pytest.raises(TwilioRestException) as refusal:
        session.participants.create(identifier=fresh_number())
    assert refusal.value.code == 80207
    by_number = session.participants.create(identifier=fresh_number(), proxy_identifier=number.phone_number)
    by_sid = session.participants.create(identifier=fresh_number(), proxy_identifier_sid=number.sid)
    assert by_number.proxy_identifier == by_sid.proxy_identifier == number.phone_number


def test_a_masked_conversation(client: Client, server: RealServer) -> None:
    api = server.api
    session = new_service(client).sessions.create()
    ann, bob = (session.participants.create(identifier=fresh_number()) for _ in range(2))
    bob.message_interactions.create(body="Ann will write to you")
    form = {"From": ann.identifier, "To": ann.proxy_identifier, "Body": "hello Bob"}
    assert api.post("/sandbox/messages", form).status == 201

    def heard() -> list[tuple[str, str]]:
        rows = api.get(f"/sandbox/messages?To=%2B{bob.identifier[1:]}").json["messages"]
        return [(row["from"], row["body"]) for row in rows] if len(rows) == 2 else []

    assert eventually(heard) == [
        (bob.proxy_identifier, "hello Bob"),
        (bob.proxy_identifier, "Ann will write to you"),
    ]
    relayed, sent = session.interactions.list()
    assert (relayed.inbound_participant_sid, relayed.outbound_participant_sid) == (ann.sid, bob.sid)
    assert sent.inbound_participant_sid is None
    assert session.fetch().status == "in-progress"


# Paging


def pages_of(page: Any) -> list[list[str]]:
    pages = []
    while page is not None:
        pages.append([each.sid for each in page])
        page = page.next_page()
    return pages


def test_lists_page_by_size_limit_and_link(client: Client) -> None:
    service = new_service(client, 0)
    made = [service.sessions.create().sid for _ in range(7)][::-1]
    assert [each.sid for each in service.sessions.list()] == made
    assert [each.sid for each in service.sessions.list(page_size=2)] == made
    assert [each.sid for each in service.sessions.list(limit=5)] == made[:5]
    assert [each.sid for each in service.sessions.list(limit=5, page_size=3)] == made[:5]
    assert [each.sid for each in service.sessions.stream(page_size=3)] == made
    assert pages_of(service.sessions.page(page_size=3)) == [made[:3], made[3:6], made[6:]]

    first = service.sessions.page(page_size=3)
    assert first.previous_page() is None
    second = first.next_page()
    third = service.sessions.get_page(second.next_page_url)
    assert [each.sid for each in third] == made[6:]
    assert [each.sid for each in third.previous_page()] == made[3:6]
    assert third.next_page() is None


def test_every_list_of_the_client_pages(client: Client) -> None:
    service = new_service(client, 3)
    session = service.sessions.create()
    participant = session.participants.create(identifier=fresh_number())
    session.participants.create(identifier=fresh_number())
    service.sessions.create()
    for body in ("one", "two"):
        participant.message_interactions.create(body=body)
    for listing in (
        client.proxy.v1.services,
        service.phone_numbers,
        service.sessions,
        session.participants,
        session.interactions,
        participant.message_interactions,
    ):
        first: Page = listing.page(page_size=1)
        second = first.next_page()
        sids = [each.sid for each in listing.list(limit=2, page_size=1)]
        assert [each.sid for page in (first, second) for each in page] == sids
        assert len(set(sids)) == 2


def test_a_thousand_rows_are_asked_for_and_served_in_one_page(client: Client, witness: Witness) -> None:
    service = new_service(client, 0)
    made = [service.sessions.create().sid for _ in range(60)][::-1]
    assert [each.sid for each in service.sessions.list(limit=1000)] == made
    page = service.sessions.page(page_size=1000)
    assert [each.sid for each in page] == made
    assert page.next_page_url is None


# Errors


def test_errors_carry_code_status_and_a_message(client: Client) -> None:
    service = new_service(client)
    session = service.sessions.create(unique_name="taken")
    participant = session.participants.create(identifier=fresh_number())
    number = service.phone_numbers.list()[0]
    cases: list[tuple[Any, int, int]] = [
        (lambda: client.proxy.v1.services("KS" + "0" * 32).fetch(), 404, 20404),
        (lambda: client.proxy.v1.services("nobody").delete(), 404, 20404),
        (lambda: service.sessions("KC" + "0" * 32).update(ttl=5), 404, 20404),
        (lambda: session.participants("KP1").fetch(), 400, 80405),
        (lambda: session.interactions("KI1").fetch(), 400, 80403),
        (lambda: service.phone_numbers("PN1").fetch(), 400, 80407),
        (lambda: client.proxy.v1.services.create(unique_name=service.unique_name), 400, 80602),
        (lambda: service.sessions.create(unique_name="taken"), 400, 80603),
        (lambda: service.phone_numbers.create(phone_number=number.phone_number), 400, 80104),
        (service.phone_numbers.create, 400, 80701),
        (number.delete, 400, 80611),
        (lambda: session.participants.create(identifier="+15551234567"), 400, 80404),
        (lambda: session.participants.create(identifier=participant.identifier), 400, 80103),
        (lambda: participant.message_interactions.create(body=""), 400, 80701),
        (lambda: participant.message_interactions.create(body="x" * 1601), 400, 21617),
        (lambda: participant.message_interactions.create(media_url=["ftp://example.com/"]), 400, 80701),
        (lambda: service.sessions.create(participants=[{"Identifier": fresh_number()}] * 3), 400, 80609),
    ]
    for call, status, code in cases:
        with pytest.raises(TwilioRestException) as refusal:
            call()
        assert (refusal.value.status, refusal.value.code) == (status, code)
        assert refusal.value.msg
    session.update(status="closed")
    with pytest.raises(TwilioRestException) as refusal:
        participant.message_interactions.create(body="too late")
    assert (refusal.value.status, refusal.value.code) == (400, 80607)


def test_wrong_credentials_are_refused(server: RealServer, witness: Witness) -> None:
    client = Client(ACCOUNT_SID, "wrong", http_client=witness)
    client.proxy.base_url = server.url
    with pytest.raises(TwilioRestException) as refusal:
        client.proxy.v1.services("x").fetch()
    assert (refusal.value.status, refusal.value.code) == (401, 20003)
    with pytest.raises(TwilioException):
        client.proxy.v1.services.list()


# What the client tells beside the resource


def test_status_and_headers_come_with_the_answer(client: Client) -> None:
    created = client.proxy.v1.services.create_with_http_info(unique_name=f"info {fresh_number()}")
    assert created.status_code == 201
    headers = {name.lower(): value for name, value in created.headers.items()}
    assert headers["twilio-request-id"].startswith("RQ")
    service = client.proxy.v1.services(created.data.sid)
    number = service.phone_numbers.create(phone_number=fresh_number())
    session = service.sessions.create_with_http_info()
    participant = session.data.participants.create_with_http_info(identifier=fresh_number())
    message = participant.data.message_interactions.create_with_http_info(body="x")
    statuses = [answer.status_code for answer in (session, participant, message)]
    assert statuses == [201, 201, 200]
    assert service.fetch_with_http_info().status_code == 200
    assert service.phone_numbers(number.sid).update_with_http_info(is_reserved=True).status_code == 200
    assert participant.data.delete_with_http_info().status_code == 204


# The same client, asynchronous


# Of aiohttp, to the client's authors.
@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated:DeprecationWarning")
async def test_the_asynchronous_client(async_client: Client) -> None:
    service = await async_client.proxy.v1.services.create_async(unique_name=f"async {fresh_number()}")
    number = await service.phone_numbers.create_async(phone_number=fresh_number(), is_reserved=False)
    assert (await number.update_async(is_reserved=True)).is_reserved is True
    await number.update_async(is_reserved=False)
    session = await service.sessions.create_async(participants=[{"Identifier": fresh_number()}])
    (participant,) = await session.participants.list_async()
    other = await session.participants.create_async(identifier=fresh_number())
    messages = [await participant.message_interactions.create_async(body=f"{i}") for i in range(3)]
    await other.message_interactions.create_async(body="for you")
    listed = await participant.message_interactions.list_async(page_size=2)
    assert [each.sid for each in listed] == [each.sid for each in messages][::-1]
    page = await session.interactions.page_async(page_size=3)
    assert len(list(page)) == 3
    following = await page.next_page_async()
    assert [each.sid for each in following] == [messages[0].sid]
    assert (await following.previous_page_async()) is not None
    assert (await messages[0].fetch_async()).sid == messages[0].sid
    assert (await service.fetch_async()).unique_name == service.unique_name
    assert (await session.update_async(status="closed")).status == "closed"
    with pytest.raises(TwilioRestException) as refusal:
        await participant.message_interactions.create_async(body="too late")
    assert (refusal.value.status, refusal.value.code) == (400, 80607)
    assert await participant.delete_async() is True
    assert await session.delete_async() is True
    assert await number.delete_async() is True
    assert await service.delete_async() is True
    with pytest.raises(TwilioRestException) as refusal:
        await service.fetch_async()
    assert refusal.value.code == 20404


def test_the_legs_of_an_interaction_are_read_as_at_twilio(client: Client) -> None:
    """Messages and Calls are of another API, with dates, paging and links of its own."""
    service = new_service(client)
    session = service.sessions.create()
    people = [session.participants.create(identifier=fresh_number("212")) for _ in range(2)]
    for i in range(3):
        people[0].message_interactions.create(body=f"hello {i}")
    interaction = session.interactions.list()[0]
    sid = interaction.outbound_resource_sid
    assert interaction.outbound_resource_url.endswith(f"/Accounts/{ACCOUNT_SID}/Messages/{sid}.json")

    message = client.messages(sid).fetch()
    assert (message.sid, message.body, message.direction) == (sid, "hello 2", "outbound-api")
    assert (message.from_, message.to) == (people[0].proxy_identifier, people[0].identifier)
    assert isinstance(message.date_created, datetime)
    assert message.date_created == interaction.date_created

    listed = client.messages.list(page_size=2, limit=3, date_sent_after=datetime.now(UTC) - timedelta(days=1))
    assert [row.body for row in listed] == ["hello 2", "hello 1", "hello 0"]
    assert client.messages.list(date_sent_before=datetime.now(UTC) - timedelta(days=1)) == []
    with pytest.raises(TwilioRestException) as caught:
        client.messages(sid).delete()
    assert (caught.value.status, caught.value.code) == (405, 20004)


def test_a_masked_call_is_read_as_at_twilio(client: Client, server: RealServer) -> None:
    service = new_service(client, 2)
    proxies = [number.phone_number for number in service.phone_numbers.list()]
    session = service.sessions.create()
    caller, partner = [
        session.participants.create(identifier=fresh_number("212"), proxy_identifier=proxy)
        for proxy in proxies
    ]
    form = {"From": caller.identifier, "To": caller.proxy_identifier, "Duration": "12"}
    server.api.make("/sandbox/calls", form)

    (interaction,) = session.interactions.list()
    assert (interaction.type, interaction.data) == ("voice", '{"duration":"12"}')
    assert (interaction.inbound_resource_status, interaction.outbound_resource_status) == (
        "completed",
        "completed",
    )
    outbound, inbound = client.calls.list(page_size=2, limit=2)
    assert (inbound.sid, outbound.sid) == (
        interaction.inbound_resource_sid,
        interaction.outbound_resource_sid,
    )
    assert (outbound._from, outbound.to) == (partner.proxy_identifier, partner.identifier)
    call = client.calls(inbound.sid).fetch()
    assert (call._from, call.to) == (caller.identifier, caller.proxy_identifier)
    assert (call.status, call.direction, call.duration) == ("completed", "inbound", "12")
    assert outbound.parent_call_sid == call.sid
    assert isinstance(call.start_time, datetime)


def test_events_are_read_as_alerts_of_the_monitor(client: Client, server: RealServer) -> None:
    service = new_service(client)
    number = service.phone_numbers.list()[0].phone_number
    for i in range(3):
        form = {"From": fresh_number("212"), "To": number, "Body": f"to nobody {i}"}
        server.api.make("/sandbox/messages", form)
    alerts = client.monitor.v1.alerts
    since = datetime.now(UTC) - timedelta(minutes=5)

    def mine() -> list[Any]:
        found = alerts.list(log_level="warning", start_date=since, end_date=datetime.now(UTC), page_size=2)
        return [one for one in found if one.service_sid == service.sid]

    found = eventually(lambda: len(mine()) == 3 and mine())
    assert {(one.error_code, one.log_level, one.resource_sid) for one in found} == {
        ("80905", "warning", service.sid)
    }
    assert [one.sid for one in found] == sorted((one.sid for one in found), reverse=True)
    one = alerts(found[0].sid).fetch()
    assert (one.alert_text, one.account_sid) == (found[0].alert_text, ACCOUNT_SID)
    assert isinstance(one.date_generated, datetime)
    assert one.response_body is None
    assert alerts.list(log_level="error", start_date=datetime.now(UTC) + timedelta(days=1)) == []
    with pytest.raises(TwilioRestException) as caught:
        alerts("NO" + "0" * 32).fetch()
    assert (caught.value.status, caught.value.code) == (404, 20404)
