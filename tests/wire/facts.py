"""The published facts of Twilio Proxy's wire, and checks of what maskline serves against them.

The JSON files beside this module are written by tools/make_wire.py; do not edit them by hand.
"""

import json
import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

HERE = Path(__file__).parent
JSON_TYPES = {
    str: "string",
    int: "integer",
    bool: "boolean",
    type(None): "null",
    dict: "object",
    list: "array",
}


class Schema(TypedDict, total=False):
    """One field of a resource, or one parameter of an operation."""

    type: str
    format: str
    pattern: str
    enum: str  # a name in enums()
    nullable: bool
    keys: dict[str, str]  # of an object: key -> JSON type
    minimum: int
    maximum: int
    required: bool
    repeated: bool  # a list: the parameter is given once per item
    last_in: str  # the last revision that had it
    decided: bool  # wider than published, as the product has decided


class Operation(TypedDict):
    operation_id: str
    resource: str
    success: list[int]
    response: str | None
    path: dict[str, Schema]
    query: dict[str, Schema]
    form: dict[str, Schema]
    list_key: NotRequired[str]
    decided: NotRequired[bool]
    last_in: NotRequired[str]


class Resource(TypedDict):
    schema: str
    fields: dict[str, Schema]
    last_in: NotRequired[str]


class ErrorCode(TypedDict):
    name: str
    level: str
    http: int | None
    where: str
    build: str


class Samples(TypedDict):
    responses: dict[str, dict[str, str]]  # file -> dotted key -> JSON type
    requests: dict[str, list[str]]
    webhooks: dict[str, list[str]]


@cache
def load(name: str) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads((HERE / f"{name}.json").read_text(encoding="utf-8")))


def operations() -> dict[str, Operation]:
    """By method and path, as in "GET /v1/Services"."""
    return cast(dict[str, Operation], load("operations")["operations"])


def resources() -> dict[str, Resource]:
    return cast(dict[str, Resource], load("resources")["resources"])


def page_meta() -> dict[str, Schema]:
    return cast(dict[str, Schema], load("resources")["page_meta"])


def enums() -> dict[str, list[str]]:
    return {name: enum["values"] for name, enum in load("enums")["enums"].items()}


def error_codes() -> dict[int, ErrorCode]:
    return {int(code): entry for code, entry in load("error_codes")["codes"].items()}


def samples() -> Samples:
    return cast(Samples, load("samples"))


def check_resource(name: str, obj: object) -> list[str]:
    """The differences between a served JSON object and the facts of the resource; none is []."""
    return check_fields(name, resources()[name]["fields"], obj)


def check_page(key: str, page: object, resource: str | None = None) -> list[str]:
    """The same for a list's page; MessageInteractions share `interactions`, so name their resource."""
    if not isinstance(page, dict) or set(page) != {key, "meta"} or not isinstance(page[key], list):
        return [f"page: expected an object of a list {key!r} and 'meta'"]
    meta, rows = page["meta"], page[key]
    problems = check_fields("meta", page_meta(), meta)
    if not problems and meta["key"] != key:
        problems.append(f"meta.key: {meta['key']!r} is not {key!r}")
    if not problems and len(rows) > meta["page_size"]:
        problems.append(f"{key}: {len(rows)} rows on a page of {meta['page_size']}")
    fields = resources()[resource or key.removesuffix("s")]["fields"]
    for index, row in enumerate(rows):
        problems += check_fields(f"{key}[{index}]", fields, row)
    return problems


def check_fields(where: str, fields: dict[str, Schema], obj: object) -> list[str]:
    if not isinstance(obj, dict):
        return [f"{where}: expected object, got {kind(obj)}"]
    problems = [f"{where}.{field}: missing" for field in fields if field not in obj]
    problems += [f"{where}.{field}: unknown" for field in obj if field not in fields]
    for field, schema in fields.items():
        if field in obj:
            problems += check_value(f"{where}.{field}", schema, obj[field])
    return problems


def check_value(where: str, schema: Schema, value: object) -> list[str]:
    if value is None and schema["nullable"]:
        return []
    if kind(value) != schema["type"]:
        return [f"{where}: expected {schema['type']}, got {kind(value)}"]
    if isinstance(value, dict):
        return check_keys(where, schema, value)
    problem = check_text(schema, value) if isinstance(value, str) else None
    return [f"{where}: {value!r} {problem}"] if problem else []


def check_keys(where: str, schema: Schema, value: dict[str, object]) -> list[str]:
    """Every key of the facts must be there; more are allowed if they are of a like type."""
    keys = schema["keys"]
    problems = [f"{where}.{key}: missing" for key in keys if key not in value]
    for key, part in value.items():
        allowed = {keys[key]} if key in keys else set(keys.values())
        if kind(part) not in allowed:
            problems.append(f"{where}.{key}: expected {' or '.join(sorted(allowed))}, got {kind(part)}")
        elif schema.get("format") == "uri-map" and not is_url(part):
            problems.append(f"{where}.{key}: {part!r} is not an absolute URL")
    return problems


def check_text(schema: Schema, value: str) -> str | None:
    if "enum" in schema and value not in enums()[schema["enum"]]:
        return f"is not in {schema['enum']}"
    if "pattern" in schema and not re.fullmatch(schema["pattern"].strip("^$"), value):
        return f"does not match {schema['pattern']}"
    if schema.get("format") == "date-time" and not is_date(value):
        return "is not YYYY-MM-DDTHH:MM:SSZ"
    if schema.get("format") == "uri" and not is_url(value):
        return "is not an absolute URL"
    return None


def is_date(value: str) -> bool:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def is_url(value: object) -> bool:
    return isinstance(value, str) and re.match(r"https?://[^/\s]", value) is not None


def kind(value: object) -> str:
    """The JSON type of a decoded value; a boolean is not an integer."""
    return JSON_TYPES.get(type(value), type(value).__name__)
