"""The facts are what the spec's files say, they hold together, and the checks built on them can fail."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.wire.facts import (
    HERE,
    check_page,
    check_resource,
    enums,
    error_codes,
    load,
    operations,
    page_meta,
    resources,
    samples,
)

CHECKOUT = HERE.parents[1]
BESIDE = CHECKOUT.parent / "shared" / "spec"
SPEC = Path(os.environ["SPEC_DIR"]) if "SPEC_DIR" in os.environ else BESIDE
FILES = ["enums.json", "error_codes.json", "operations.json", "resources.json", "samples.json"]

TWENTY_FIELDS = [
    "sid",
    "url",
    "data",
    "type",
    "account_sid",
    "service_sid",
    "session_sid",
    "participant_sid",
    "date_created",
    "date_updated",
    "inbound_participant_sid",
    "inbound_resource_sid",
    "inbound_resource_status",
    "inbound_resource_type",
    "inbound_resource_url",
    "outbound_participant_sid",
    "outbound_resource_sid",
    "outbound_resource_status",
    "outbound_resource_type",
    "outbound_resource_url",
]


@pytest.mark.skipif(
    "SPEC_DIR" not in os.environ and not BESIDE.is_dir(),
    reason="spec files are not beside the checkout",
)
def test_committed_files_are_what_the_tool_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, CHECKOUT / "tools" / "make_wire.py", SPEC, tmp_path], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (HERE / name).read_bytes(), name


def test_every_file_says_first_where_its_facts_come_from() -> None:
    assert sorted(path.name for path in HERE.glob("*.json")) == FILES
    for name in FILES:
        assert next(iter(load(name.removesuffix(".json")))) == "source"


def test_operations_are_the_twenty_five_and_the_five_of_short_codes() -> None:
    short_codes = [name for name, operation in operations().items() if "last_in" in operation]
    assert len(operations()) == 30
    assert len(short_codes) == 5
    assert all("/ShortCodes" in name for name in short_codes)


def test_every_operation_names_what_the_facts_know() -> None:
    schemas = {resource["schema"] for resource in resources().values()}
    for name, operation in operations().items():
        assert operation["resource"] in resources(), name
        assert set(operation["path"]) == set(re.findall(r"{(\w+)}", name)), name
        assert operation["success"], name
        if name.startswith("DELETE "):
            assert operation["response"] is None
        elif "list_key" not in operation:
            assert operation["response"] in schemas
        for parameter in operation["form"].values():
            assert parameter.get("enum", "session_enum_mode") in enums()


def test_what_the_product_decided_is_in_the_facts() -> None:
    decided = {o["operation_id"]: o["success"] for o in operations().values() if o.get("decided")}
    assert decided == {"CreateMessageInteraction": [200], "DeleteParticipant": [204]}
    wider = {
        (name, field): schema["pattern"]
        for name, resource in resources().items()
        for field, schema in resource["fields"].items()
        if schema.get("decided")
    }
    assert wider == {("participant", "proxy_identifier_sid"): "^(PN|SC)[0-9a-fA-F]{32}$"}


def test_the_conflict_parameter_of_older_clients_is_kept() -> None:
    name = "FailOnParticipantConflict"
    having = {o["operation_id"]: o["form"][name] for o in operations().values() if name in o["form"]}
    assert sorted(having) == ["CreateParticipant", "CreateSession", "UpdateSession"]
    assert {parameter["last_in"] for parameter in having.values()} == {"2022-10"}


def test_message_interaction_has_exactly_the_twenty_fields() -> None:
    assert len(TWENTY_FIELDS) == 20
    assert set(resources()["message_interaction"]["fields"]) == set(TWENTY_FIELDS)


def test_every_field_says_its_type_and_whether_it_may_be_null() -> None:
    for name, resource in resources().items():
        for field, schema in resource["fields"].items():
            assert {"type", "nullable"} <= set(schema), f"{name}.{field}"
            assert schema.get("enum", "session_enum_mode") in enums()
            assert ("keys" in schema) == (schema["type"] == "object")


def test_samples_have_the_fields_and_types_of_the_resources() -> None:
    seen = set()
    for file, types in samples()["responses"].items():
        name, verb = file.split(".")[:2]
        if name not in resources() or not verb.startswith(("create", "fetch", "update")):
            continue
        seen.add(name)
        fields = resources()[name]["fields"]
        assert set(fields) == {key for key in types if "." not in key}, file
        for field, schema in fields.items():
            assert types[field] in {schema["type"], "null" if schema["nullable"] else schema["type"]}, file
    assert seen == set(resources())


def test_page_samples_have_the_fields_of_meta() -> None:
    pages = {file: types for file, types in samples()["responses"].items() if ".read_" in file}
    assert len(pages) == len(resources())
    for file, types in pages.items():
        assert set(page_meta()) == {key.removeprefix("meta.") for key in types if key.startswith("meta.")}, (
            file
        )


def test_error_codes_that_are_answers_have_a_status() -> None:
    assert len(error_codes()) == 72
    for code, entry in error_codes().items():
        assert 80000 < code < 81000
        assert entry["level"] in {"ERROR", "WARNING"}
        assert entry["build"] in {"rest", "event", "both", "never"}
        if entry["build"] in {"rest", "both"}:
            assert 400 <= (entry["http"] or 0) < 600, code


# The checks


def sid(prefix: str) -> str:
    return prefix + "0123456789abcdef" * 2


def message_interaction(**changes: object) -> dict[str, object]:
    return dict.fromkeys(TWENTY_FIELDS) | {
        "sid": sid("KI"),
        "account_sid": sid("AC"),
        "service_sid": sid("KS"),
        "session_sid": sid("KC"),
        "participant_sid": sid("KP"),
        "data": '{"body":"some message"}',
        "type": "message",
        "outbound_participant_sid": sid("KP"),
        "outbound_resource_sid": sid("SM"),
        "outbound_resource_status": "sent",
        "outbound_resource_type": "Message",
        "date_created": "2026-02-28T23:59:59Z",
        "date_updated": "2026-02-28T23:59:59Z",
        "url": f"http://127.0.0.1:8000/v1/Services/{sid('KS')}",
        **changes,
    }


def phone_number(**changes: object) -> dict[str, object]:
    return {
        "sid": sid("PN"),
        "account_sid": sid("AC"),
        "service_sid": sid("KS"),
        "date_created": "2026-02-28T23:59:59Z",
        "date_updated": "2026-02-28T23:59:59Z",
        "phone_number": "+14155550123",
        "friendly_name": None,
        "iso_country": "US",
        "capabilities": {"fax": False, "mms": True, "sms": True, "voice": True, "sms_inbound": True},
        "url": "https://proxy.example.org/v1",
        "is_reserved": False,
        "in_use": 0,
        **changes,
    }


def participant(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = dict.fromkeys(resources()["participant"]["fields"])
    return fields | {"links": {"message_interactions": "https://proxy.example.org/v1"}} | changes


def page(*rows: object, **changes: object) -> dict[str, object]:
    url = "https://proxy.example.org/v1/Services?PageSize=2&Page=0"
    meta: dict[str, object] = {
        "page": 0,
        "page_size": 2,
        "first_page_url": url,
        "url": url,
        "key": "interactions",
    }
    meta |= {"previous_page_url": None, "next_page_url": None}
    return {"interactions": list(rows), "meta": meta | changes}


GOOD = [
    ("message_interaction", message_interaction()),
    ("phone_number", phone_number()),
    ("participant", participant()),
]

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("message_interaction", message_interaction(extra=1), ".extra: unknown"),
    ("message_interaction", message_interaction(data={"body": "x"}), ".data: expected string, got object"),
    ("message_interaction", message_interaction(type="Message"), ".type: 'Message' is not in"),
    ("message_interaction", message_interaction(sid=sid("KP")), ".sid: 'KP0"),
    ("message_interaction", message_interaction(sid=sid("KI") + "\n"), ".sid: 'KI0"),
    (
        "message_interaction",
        message_interaction(outbound_resource_status="done"),
        "_status: 'done' is not in",
    ),
    ("message_interaction", message_interaction(date_created="2026-02-28T23:59:59.1Z"), "is not YYYY-MM-DD"),
    (
        "message_interaction",
        message_interaction(date_created="2026-02-28T23:59:59+00:00"),
        "is not YYYY-MM-DD",
    ),
    ("message_interaction", message_interaction(date_created="2026-02-30T23:59:59Z"), "is not YYYY-MM-DD"),
    ("message_interaction", message_interaction(date_created=""), "is not YYYY-MM-DD"),
    (
        "message_interaction",
        message_interaction(url="/v1/Services"),
        ".url: '/v1/Services' is not an absolute URL",
    ),
    ("phone_number", phone_number(in_use=None), ".in_use: expected integer, got null"),
    ("phone_number", phone_number(in_use=False), ".in_use: expected integer, got boolean"),
    ("phone_number", phone_number(in_use=1.0), ".in_use: expected integer, got float"),
    ("phone_number", phone_number(is_reserved="false"), ".is_reserved: expected boolean, got string"),
    ("phone_number", phone_number(capabilities=[]), ".capabilities: expected object, got array"),
    (
        "phone_number",
        phone_number(capabilities=dict.fromkeys(["fax", "mms", "sms"], True)),
        ".voice: missing",
    ),
    (
        "phone_number",
        phone_number() | {"capabilities": {**dict.fromkeys(["fax", "mms", "sms"], True), "voice": 1}},
        ".voice: expected boolean, got integer",
    ),
    ("participant", participant(links={}), ".links.message_interactions: missing"),
    ("participant", participant(links={"message_interactions": "/v1"}), "'/v1' is not an absolute URL"),
]


@pytest.mark.parametrize(("name", "obj"), GOOD)
def test_check_resource_passes_good_objects(name: str, obj: dict[str, Any]) -> None:
    assert check_resource(name, obj) == []


@pytest.mark.parametrize(("name", "obj", "difference"), BAD)
def test_check_resource_names_the_difference(name: str, obj: dict[str, Any], difference: str) -> None:
    differences = check_resource(name, obj)
    assert len(differences) == 1
    assert difference in differences[0]


def test_check_resource_names_every_missing_field() -> None:
    assert check_resource("message_interaction", []) == ["message_interaction: expected object, got array"]
    assert len(check_resource("message_interaction", {})) == 20


def test_check_page_passes_a_good_page() -> None:
    assert check_page("interactions", page()) == []
    assert check_page("interactions", page(message_interaction()), "message_interaction") == []


def test_check_page_names_the_differences() -> None:
    row = message_interaction()
    assert check_page("interactions", page(row)) == ["interactions[0].participant_sid: unknown"]
    assert check_page("services", page()) == ["page: expected an object of a list 'services' and 'meta'"]
    assert check_page("interactions", page(key="services")) == ["meta.key: 'services' is not 'interactions'"]
    assert check_page("interactions", page(url=None)) == ["meta.url: expected string, got null"]
    assert check_page("interactions", page(next_page_url="")) == [
        "meta.next_page_url: '' is not an absolute URL"
    ]
    too_many = check_page("interactions", page(row, row, row), "message_interaction")
    assert too_many == ["interactions: 3 rows on a page of 2"]
