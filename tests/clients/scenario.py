"""Every operation of Proxy, by whatever age of Twilio's Python client runs this. Not a test: test_ages.py starts it.

    python scenario.py GIVEN

GIVEN is a JSON object: `url`, `account_sid`, `token`, two `numbers` and the `short_code_sid` of no pool, and two
`people`. Prints one JSON object a line: first which client this is and what it can do, then how each operation went.
Ends at the first that went wrong.
"""

import importlib
import inspect
import json
import pkgutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import twilio
import twilio.rest.proxy
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

GIVEN = json.loads(sys.argv[1])
VERBS = {"List": ("create", "list"), "Context": ("fetch", "update", "delete")}
CALLBACKS = ("callback_url", "intercept_callback_url", "out_of_session_callback_url")
EXPIRY = datetime(2099, 7, 30, 20, 0, 0, tzinfo=timezone.utc)  # noqa: UP017 - older than datetime.UTC


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")


def abilities() -> list[str]:
    """What this client can do, as it is found in its classes."""
    found = set()
    for module in pkgutil.walk_packages(twilio.rest.proxy.__path__, "twilio.rest.proxy."):
        for name, value in vars(importlib.import_module(module.name)).items():
            for kind, verbs in VERBS.items():
                if inspect.isclass(value) and name.endswith(kind):
                    found |= {f"{verb.title()}{name[: -len(kind)]}" for verb in verbs if hasattr(value, verb)}
    return sorted(found)


@contextmanager
def operation(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        say(op=name, ok=False, detail=f"line {error.__traceback__.tb_next.tb_lineno}: {error!r}")
        sys.exit(1)
    say(op=name, ok=True, detail="")


def check_list(listing: Any, newest: Any, *older: Any) -> None:
    """The list begins with these, asked for at once, one by one, and page by page."""
    sids = [row.sid for row in (newest, *older)]
    assert [row.sid for row in listing.list(limit=len(sids))] == sids
    assert [row.sid for row in listing.stream(limit=len(sids), page_size=1)] == sids
    page = listing.page(page_size=1)
    assert [row.sid for row in page] == sids[:1]
    for sid in sids[1:]:
        page = page.next_page()
        assert [row.sid for row in page] == [sid]


def facts(instance: Any) -> dict[str, Any]:
    """All that was read from the server."""
    fields = getattr(instance, "_properties", vars(instance))
    return {field: value for field, value in fields.items() if not field.startswith("_")}


def check_same(one: Any, other: Any) -> None:
    assert facts(one) == facts(other), (facts(one), facts(other))


def check_gone(fetch: Callable[[], Any]) -> None:
    answer = None
    try:
        fetch()
    except TwilioRestException as error:
        answer = (error.status, error.code)
    assert answer == (404, 20404), answer


def known(create: Callable[..., Any], **fields: Any) -> dict[str, Any]:
    """Those of the fields that this age of the client can send."""
    return {name: value for name, value in fields.items() if name in inspect.signature(create).parameters}


def sent(message: Any) -> Any:
    """The message as it is once it has left the outbox."""
    deadline = time.monotonic() + 30
    while message.outbound_resource_status not in ("sent", "delivered"):
        assert time.monotonic() < deadline, message.outbound_resource_status
        time.sleep(0.02)
        message = message.fetch()
    return message


say(client="python", version=twilio.__version__, can=abilities())
client = Client(GIVEN["account_sid"], GIVEN["token"])
client.proxy.base_url = GIVEN["url"]
services = client.proxy.v1.services
name = f"python {twilio.__version__} {GIVEN['numbers'][0]} ☃"
conflict = {"fail_on_participant_conflict": True}

with operation("CreateService"):
    fields = {
        "default_ttl": 3600,
        "geo_match_level": "radius",
        "number_selection_behavior": "avoid-sticky",
        "chat_instance_sid": "IS" + "0" * 32,
        **{url: f"https://example.com/{url}?a=1&b=2" for url in CALLBACKS},
    }
    service = services.create(unique_name=name, **fields)
    assert {field: getattr(service, field) for field in fields} == fields
    assert service.unique_name == name
    assert service.date_created.utcoffset() == timedelta(0)
    later_service = services.create(unique_name=f"{name} later")
with operation("FetchService"):
    check_same(services(service.sid).fetch(), service)
    check_same(services.get(service.sid).fetch(), service)
with operation("ListService"):
    check_list(services, later_service, service)
with operation("UpdateService"):
    changed = service.update(geo_match_level="country", **dict.fromkeys(CALLBACKS, ""))
    assert changed.geo_match_level == "country"
    assert [getattr(changed, url) for url in CALLBACKS] == [None] * 3
    assert changed.default_ttl == 3600

with operation("CreatePhoneNumber"):
    number, spare = (service.phone_numbers.create(phone_number=each) for each in GIVEN["numbers"])
    assert number.phone_number == GIVEN["numbers"][0]
    assert (number.iso_country, number.in_use, number.is_reserved) == ("US", 0, False)
    assert number.capabilities["sms"] is True
with operation("FetchPhoneNumber"):
    check_same(service.phone_numbers(number.sid).fetch(), number)
with operation("ListPhoneNumber"):
    check_list(service.phone_numbers, *sorted((number, spare), key=lambda each: each.sid, reverse=True))
with operation("UpdatePhoneNumber"):
    assert spare.update(is_reserved=True).is_reserved is True
with operation("DeletePhoneNumber"):
    assert spare.delete() is True
    check_gone(spare.fetch)
    again = service.phone_numbers.create(sid=spare.sid, is_reserved=True)
    assert (again.phone_number, again.is_reserved) == (spare.phone_number, True)

if hasattr(service, "short_codes"):
    with operation("CreateShortCode"):
        short_code = service.short_codes.create(sid=GIVEN["short_code_sid"])
        assert short_code.sid == GIVEN["short_code_sid"]
        assert short_code.is_reserved is False
    with operation("FetchShortCode"):
        check_same(service.short_codes(short_code.sid).fetch(), short_code)
    with operation("ListShortCode"):
        check_list(service.short_codes, short_code)
    with operation("UpdateShortCode"):
        assert short_code.update(is_reserved=True).is_reserved is True
    with operation("DeleteShortCode"):
        assert short_code.delete() is True
        check_gone(short_code.fetch)

with operation("CreateSession"):
    sessions = service.sessions
    fields = {
        "unique_name": "one / two",
        "ttl": 600,
        "mode": "message-only",
        "status": "open",
        "date_expiry": EXPIRY,
    }
    session = sessions.create(**fields, **known(sessions.create, **conflict))
    assert {field: getattr(session, field) for field in fields} == fields
    assert session.date_started is None
    pair = [
        {"Identifier": GIVEN["people"][0], "FriendlyName": "Ann & Co"},
        {"Identifier": GIVEN["people"][1], "ProxyIdentifier": spare.phone_number},
    ]
    later_session = sessions.create(participants=pair)
    made = later_session.participants.list()
    assert {each.identifier: each.friendly_name for each in made} == {
        GIVEN["people"][0]: "Ann & Co",
        GIVEN["people"][1]: None,
    }
    assert later_session.delete() is True
    later_session = sessions.create()
with operation("FetchSession"):
    check_same(sessions(session.sid).fetch(), session)
    check_same(sessions.get(session.sid).fetch(), session)
with operation("ListSession"):
    check_list(sessions, later_session, session)
with operation("UpdateSession"):
    changed = session.update(ttl=900, date_expiry=EXPIRY + timedelta(days=1), status="in-progress")
    assert (changed.ttl, changed.status) == (900, "in-progress")
    assert changed.date_expiry == EXPIRY + timedelta(days=1)
    closed = later_session.update(status="closed")
    assert (closed.status, closed.closed_reason) == ("closed", "api")
    assert closed.date_ended.utcoffset() == timedelta(0)

with operation("CreateParticipant"):
    people = session.participants
    ann = people.create(
        identifier=GIVEN["people"][0], friendly_name="Ann", **known(people.create, **conflict)
    )
    assert (ann.identifier, ann.friendly_name, ann.date_deleted) == (GIVEN["people"][0], "Ann", None)
    assert (ann.proxy_identifier, ann.proxy_identifier_sid) == (number.phone_number, number.sid)
    bob = people.create(identifier=GIVEN["people"][1], proxy_identifier_sid=spare.sid)
    assert bob.proxy_identifier == spare.phone_number
with operation("FetchParticipant"):
    check_same(people(ann.sid).fetch(), ann)
with operation("ListParticipant"):
    check_list(people, bob, ann)

with operation("CreateMessageInteraction"):
    messages = ann.message_interactions
    first, second = (sent(messages.create(body=f"{each} & ☃")) for each in ("first", "second"))
    assert json.loads(first.data) == {"body": "first & ☃"}
    assert first.outbound_participant_sid == first.participant_sid == ann.sid
    assert (first.type, first.inbound_participant_sid) == ("message", None)
with operation("FetchMessageInteraction"):
    fetched = messages(first.sid).fetch()
    assert (fetched.sid, fetched.data) == (first.sid, first.data)
    assert fetched.outbound_resource_sid == first.outbound_resource_sid
with operation("ListMessageInteraction"):
    check_list(messages, second, first)
with operation("FetchInteraction"):
    interaction = session.interactions(first.sid).fetch()
    assert (interaction.sid, interaction.data, interaction.type) == (first.sid, first.data, "message")
with operation("ListInteraction"):
    check_list(session.interactions, second, first)
with operation("DeleteInteraction"):
    assert interaction.delete() is True
    check_gone(interaction.fetch)

with operation("DeleteParticipant"):
    assert bob.delete() is True
    assert bob.fetch().date_deleted.utcoffset() == timedelta(0)
with operation("DeleteSession"):
    assert session.delete() is True
    check_gone(session.fetch)
with operation("DeleteService"):
    assert service.delete() is True
    assert later_service.delete() is True
    check_gone(service.fetch)
