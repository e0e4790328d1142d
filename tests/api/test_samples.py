"""Checklist, item 2: every file of Twilio's samples that is an answer, beside ours: the same keys and types."""

from collections.abc import Callable
from typing import Any

from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.world import fresh_number, make_pair, make_service
from tests.wire.facts import kind, samples

# A customer's answer, and what somebody saw of one field, of which ours has the keys that clients read.
NOT_OURS = {"out_of_session.auto_create.response.json", "phone_number.capabilities.observed.json"}

# What is null in ours, since the samples show states that no real resource is in, and what is not.
NULL = {
    "session.create.json": {"date_started", "date_ended", "date_last_interaction", "closed_reason"},
    "participant.create.json": {"date_deleted"},
    "participant.create_channel.json": {"date_deleted", "proxy_identifier_sid"},
    "participant.fetch_channel.json": {"proxy_identifier_sid"},
}
NOT_NULL = {"interaction.fetch.json": {"inbound_resource_url", "outbound_resource_url"}}


def shape(value: Any, name: str = "") -> dict[str, str]:
    """The type of each part, by its dotted name; the rows of a list are told as one."""
    found = {} if name.endswith("[]") or not name else {name: kind(value)}
    if isinstance(value, dict):
        for key, part in value.items():
            found |= shape(part, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for row in value:
            found |= shape(row, f"{name}[]")
    return found


def of_services(api: CheckedApi, nobody: CheckedApi, carry_code: Callable[[str], str]) -> dict[str, Any]:
    urls = dict.fromkeys(
        ("CallbackUrl", "InterceptCallbackUrl", "OutOfSessionCallbackUrl"), "https://a.example/"
    )
    service = make_service(api, 0, ChatInstanceSid="IS" + "0" * 32, **urls)
    numbers, codes = service["links"]["phone_numbers"], service["links"]["short_codes"]
    number = api.make(numbers, {"PhoneNumber": fresh_number()})
    code = api.make(codes, {"Sid": carry_code("78888")})
    return {
        "service.create.json": service,
        "service.fetch.json": api.get(service["url"]).json,
        "service.update.json": api.make(service["url"], {"DefaultTtl": 60}),
        "service.read_empty.json": nobody.get("/v1/Services").json,
        "session.read_empty.json": api.get(service["links"]["sessions"]).json,
        "phone_number.create.json": number,
        "phone_number.fetch.json": api.get(number["url"]).json,
        "phone_number.update.json": api.make(number["url"], {"IsReserved": True}),
        "phone_number.read_full.json": api.get(numbers).json,
        "short_code.create.json": code,
        "short_code.fetch.json": api.get(code["url"]).json,
        "short_code.update.json": api.make(code["url"], {"IsReserved": True}),
        "short_code.read_full.json": api.get(codes).json,
        "error.20404.not_found.json": api.get("/v1/Services/KS71").json,
        "error.80104.phone_number_already_in_service.json": api.post(numbers, {"Sid": number["sid"]}).json,
    }


def of_people(api: CheckedApi, service: Any, wire: Callable[..., str]) -> dict[str, Any]:
    session = api.make(service["links"]["sessions"], {"Mode": "message-only"})
    people = session["links"]["participants"]
    found = {
        "participant.read_empty.json": api.get(people).json,
        "interaction.read_empty.json": api.get(session["links"]["interactions"]).json,
    }
    sender = f"whatsapp:{fresh_number()}"
    wire(sender, service["sid"])
    whatsapp = {"Identifier": f"whatsapp:{fresh_number()}", "ProxyIdentifier": sender}
    for name, form in (("", {"Identifier": fresh_number()}), ("_channel", whatsapp)):
        made = api.make(people, {"FriendlyName": "somebody", **form})
        api.delete(made["url"])
        found[f"participant.create{name}.json"] = made
        found[f"participant.fetch{name}.json"] = api.get(made["url"]).json
    return found


def of_a_talk(api: CheckedApi, service: Any) -> dict[str, Any]:
    pair = make_pair(api, service, UniqueName="samples", Ttl=600, DateExpiry="2099-01-01")
    message = pair.send(pair.first, "some message")
    found = {
        "session.create.json": pair.session,
        "message_interaction.create.json": message,
        "message_interaction.fetch.json": api.get(message["url"]).json,
        "message_interaction.read_empty.json": api.get(pair.messages_path(pair.second)).json,
    }
    text = {"From": pair.first["identifier"], "To": pair.first["proxy_identifier"], "Body": "a reply"}
    api.make("/sandbox/messages", text)
    newest = pair.session["links"]["interactions"] + "?PageSize=1"
    eventually(lambda: api.get(newest).json["interactions"][0]["inbound_resource_sid"])
    interaction = api.get(newest).json["interactions"][0]
    return found | {
        "interaction.fetch.json": api.get(interaction["url"]).json,
        "session.update.json": api.make(pair.session["url"], {"Status": "closed"}),
        "session.fetch.json": api.get(pair.session["url"]).json,
    }


def test_every_sample_has_the_keys_and_types_of_our_answer(
    api: CheckedApi,
    another: Callable[[], CheckedApi],
    carry_code: Callable[[str], str],
    wire: Callable[..., str],
) -> None:
    service = make_service(api)
    answers = (
        of_services(api, another(), carry_code) | of_people(api, service, wire) | of_a_talk(api, service)
    )
    files = {file: types for file, types in samples()["responses"].items() if file not in NOT_OURS}
    assert {file.replace(".python-6.63.2", "") for file in files} == set(answers)
    for file, types in files.items():
        ours = shape(answers[file.replace(".python-6.63.2", "")])
        more = {name for name in ours.keys() - types.keys() if "capabilities." not in name}
        assert more <= {"links.short_codes"}, file
        other = {name: (ours.get(name), types[name]) for name in types if ours.get(name) != types[name]}
        told = dict.fromkeys(NULL.get(file, ()), ("null", "string"))
        told |= dict.fromkeys(NOT_NULL.get(file, ()), ("string", "null"))
        assert other == told, file
