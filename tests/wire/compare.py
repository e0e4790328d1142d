"""In what the contract file differs from the published facts of Twilio's wire, a sentence each."""

from collections.abc import Iterator
from typing import Any

from tests.wire.facts import Operation, Schema, enums, operations, page_meta, resources

Json = dict[str, Any]


def differences(document: Json) -> set[str]:
    """What is in the one and not, or not so, in the other. What only names less (never null, never that word) counts
    as well, but for null: nearly every field of Twilio's may be, and hardly one of ours is.
    """
    return {*_operations(document), *_resources(document)}


def _operations(document: Json) -> Iterator[str]:
    ours = {
        f"{method.upper()} {path}": operation
        for path, known in document["paths"].items()
        for method, operation in known.items()
        if path.startswith("/v1/")
    }
    for name in operations().keys() - ours.keys():
        yield f"{operations()[name]['operation_id']} is missing"
    for name in ours.keys() - operations().keys():
        yield f"{ours[name]['operationId']} is new"
    for name in operations().keys() & ours.keys():
        yield from _operation(operations()[name], ours[name])


def _operation(theirs: Operation, ours: Json) -> Iterator[str]:
    name = theirs["operation_id"]
    if ours["operationId"] != name:
        yield f"{name} is called {ours['operationId']}"
    success = [int(status) for status in ours["responses"] if status < "300"]
    if success != theirs["success"]:
        yield f"{name} answers {success[0]}"
    form = (
        ours.get("requestBody", {})
        .get("content", {})
        .get("application/x-www-form-urlencoded", {})
        .get("schema", {})
    )
    parameters = [one for one in ours["parameters"] if "$ref" not in one]
    for place in ("path", "query"):
        yield from _parameters(
            name,
            theirs[place],  # type: ignore[literal-required]
            {one["name"]: one["schema"] for one in parameters if one["in"] == place},
            [one["name"] for one in parameters if one.get("required")],
        )
    yield from _parameters(name, theirs["form"], form.get("properties", {}), form.get("required", []))


def _parameters(operation: str, theirs: dict[str, Schema], ours: Json, required: list[str]) -> Iterator[str]:
    for name in theirs.keys() - ours.keys():
        yield f"{operation}: {name} is missing"
    for name in ours.keys() - theirs.keys():
        yield f"{operation}: {name} is new"
    for name in theirs.keys() & ours.keys():
        yield from _schema(f"{operation}: {name}", theirs[name], ours[name])
        if theirs[name]["required"] != (name in required):
            yield f"{operation}: {name} is {'required' if name in required else 'optional'}"


def _resources(document: Json) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    for name, resource in resources().items():
        title = name.title().replace("_", "")
        if title not in schemas:
            yield f"{title} is missing"
            continue
        yield from _fields(title, resource["fields"], schemas[title]["properties"])
    yield from _fields("meta", page_meta(), schemas["Meta"]["properties"])


def _fields(resource: str, theirs: dict[str, Schema], ours: Json) -> Iterator[str]:
    for name in theirs.keys() - ours.keys():
        yield f"{resource}.{name} is missing"
    for name in ours.keys() - theirs.keys():
        yield f"{resource}.{name} is new"
    for name in theirs.keys() & ours.keys():
        yield from _schema(f"{resource}.{name}", theirs[name], ours[name])
        if "null" in ours[name]["type"] and not theirs[name]["nullable"]:
            yield f"{resource}.{name} may be null"
        for key in theirs[name].get("keys", {}).keys() - ours[name].get("properties", {}).keys():
            yield f"{resource}.{name} has no {key}"
        if "keys" in theirs[name]:
            for key in ours[name]["properties"].keys() - theirs[name]["keys"].keys():
                yield f"{resource}.{name} has {key}"


def _schema(where: str, theirs: Schema, ours: Json) -> Iterator[str]:
    if theirs.get("repeated"):
        ours = ours.get("items", {"type": "no list"})
    kind = ours["type"] if isinstance(ours["type"], str) else ours["type"][0]
    if theirs.get("type", kind) != kind:
        yield f"{where} is {kind}, not {theirs['type']}"
    yield from _form(where, theirs, ours)
    yield from _words(where, theirs, {word for word in ours.get("enum", []) if word})
    for bound in ("minimum", "maximum"):
        if theirs.get(bound) != ours.get(bound):
            yield f"{where}: {bound} {ours.get(bound)}"
    for bound in ("minLength", "maxLength"):
        if bound in ours:
            yield f"{where}: {bound} {ours[bound]}"


def _form(where: str, theirs: Schema, ours: Json) -> Iterator[str]:
    form = theirs.get("format")
    if form in ("uri", "date-time"):
        if ours.get("format") != form:
            yield f"{where} is no {form}"
    elif theirs.get("pattern") != ours.get("pattern"):
        yield f"{where} is not held to its pattern" if theirs.get("pattern") else f"{where} has a pattern"


def _words(where: str, theirs: Schema, ours: set[str]) -> Iterator[str]:
    if "enum" not in theirs:
        if ours:
            yield f"{where} is one of {', '.join(sorted(ours))}"
        return
    known = set(enums()[theirs["enum"]])
    if known - ours:
        yield f"{where}: never {', '.join(sorted(known - ours))}"
    if ours - known:
        yield f"{where}: also {', '.join(sorted(ours - known))}"
