"""Write the facts of Twilio Proxy's published interface as small JSON files.

    python tools/make_wire.py SPEC_DIR OUT_DIR

Reads the OpenAPI files, the error list and the samples in SPEC_DIR and writes operations, resources, enums,
error_codes and samples to OUT_DIR (`tests/wire`). Only facts are kept: names, types, nullability, enums,
patterns, statuses. Descriptions, message texts and sample values are left behind.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

Json = dict[str, Any]

# Newest first. A newer file wins where it speaks; what only an older one has is kept and marked `last_in`:
# ShortCodes (2025-06) and FailOnParticipantConflict (2022-10), which older clients still use.
REVISIONS = {
    "2026-04": "twilio_proxy_v1.json",
    "2025-06": "twilio_proxy_v1.2025-06-with-short-codes.json",
    "2022-10": "twilio_proxy_v1.2022-10-with-conflict-param.json",
}

# The revisions contradict each other on these statuses; the product has decided (marked `decided`).
DECIDED = {"CreateMessageInteraction": [200], "DeleteParticipant": [204]}

# What the product shows beyond the pattern that is published (marked `decided`): a participant on a short code. The
# clients do not check it.
WIDER = {("participant", "proxy_identifier_sid"): "^(PN|SC)[0-9a-fA-F]{32}$"}

METHODS = ("get", "post", "put", "patch", "delete")
WHERE = {"REST error body": "rest", "debugger event": "event", "both": "both"}
JSON_TYPES = {
    str: "string",
    int: "integer",
    bool: "boolean",
    type(None): "null",
    dict: "object",
    list: "array",
}
WIDTH = 140


def main(spec: Path, out: Path) -> None:
    documents = {revision: load(spec / name) for revision, name in REVISIONS.items()}
    source = {
        "repository": "github.com/twilio/twilio-oai",
        "file": "spec/json/twilio_proxy_v1.json",
        "revisions": list(documents),
        "licence": " and ".join(sorted({d["info"]["license"]["name"] for d in documents.values()})),
        "licence_stated_in": "info.license of the file",
    }
    operations: Json = {}
    resources: Json = {}
    enums: Json = {}
    for revision, document in documents.items():
        merge(operations, operations_of(document), revision)
        merge(resources, resources_of(document), revision)
        merge(enums, enums_of(document), revision)
    for operation in operations.values():
        if operation["operation_id"] in DECIDED:
            operation |= {"success": DECIDED[operation["operation_id"]], "decided": True}
    for (resource, field), pattern in WIDER.items():
        resources[resource]["fields"][field] |= {"pattern": pattern, "decided": True}
    for name, resource in resources.items():
        links = load(spec / "samples" / f"{name}.fetch.json").get("links")
        if links:
            resource["fields"]["links"]["keys"] = dict.fromkeys(links, "string")

    files: dict[str, Json] = {
        "operations": {"source": source, "operations": operations},
        "resources": {
            "source": source,
            "page_meta": page_meta_of(documents["2026-04"]),
            "resources": resources,
        },
        "enums": {"source": source, "enums": enums},
        "error_codes": error_codes(load(spec / "error-codes.json")),
        "samples": samples(spec / "samples", source),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, facts in files.items():
        (out / f"{name}.json").write_text(dump(facts) + "\n", encoding="utf-8")


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# OpenAPI


def operations_of(document: Json) -> Json:
    return {
        f"{method.upper()} {path}": operation_facts(item[method], item)
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    }


def operation_facts(operation: Json, item: Json) -> Json:
    verb_and_noun = re.findall(r"[A-Z][a-z]+", operation["operationId"])
    facts: Json = {
        "operation_id": operation["operationId"],
        "resource": "_".join(verb_and_noun[1:]).lower(),
        "success": sorted(int(status) for status in operation["responses"] if status.startswith("2")),
        "response": None,
        "path": {},
        "query": {},
        "form": form_of(operation),
    }
    for parameter in [*item.get("parameters", []), *operation.get("parameters", [])]:
        facts[parameter["in"]][parameter["name"]] = parameter_facts(
            parameter["schema"], parameter.get("required")
        )
    for response in operation["responses"].values():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        if "$ref" in schema:
            facts["response"] = last(schema["$ref"])
        elif schema:
            facts["response"] = schema["title"]
            facts["list_key"] = next(key for key in schema["properties"] if key != "meta")
    return facts


def form_of(operation: Json) -> Json:
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/x-www-form-urlencoded", {}).get("schema", {})
    required = schema.get("required", [])
    return {name: parameter_facts(p, name in required) for name, p in schema.get("properties", {}).items()}


def parameter_facts(schema: Json, required: bool | None) -> Json:
    facts = schema_facts(schema)
    facts.pop("nullable", None)
    return facts | {"required": bool(required)}


def resources_of(document: Json) -> Json:
    return {
        resource_name(name): {
            "schema": name,
            "fields": {field: schema_facts(facts) for field, facts in schema["properties"].items()},
        }
        for name, schema in document["components"]["schemas"].items()
        if "properties" in schema
    }


def enums_of(document: Json) -> Json:
    schemas = document["components"]["schemas"]
    return {name: {"values": sorted(schema["enum"])} for name, schema in schemas.items() if "enum" in schema}


def page_meta_of(document: Json) -> Json:
    response = document["paths"]["/v1/Services"]["get"]["responses"]["200"]
    meta = response["content"]["application/json"]["schema"]["properties"]["meta"]
    return {name: schema_facts(facts) for name, facts in meta["properties"].items()}


def schema_facts(schema: Json) -> Json:
    """The facts of one schema. A bare `$ref` says nothing of null: there an older file may speak."""
    if schema.get("type") == "array":
        return schema_facts(schema["items"]) | {"repeated": True}
    kept = ("type", "format", "pattern", "minimum", "maximum", "nullable")
    facts = {key: schema[key] for key in kept if key in schema}
    if "$ref" in schema:
        return {"type": "string", "enum": last(schema["$ref"])} | facts
    if "properties" in schema:
        facts["keys"] = {name: part["type"] for name, part in schema["properties"].items()}
    return {"nullable": False} | facts if facts else {}


def merge(newer: Json, older: Json, revision: str) -> None:
    """Add to `newer` what only `older` has, and mark it; the newest revision, merged first, is not marked."""
    newest = revision == next(iter(REVISIONS))
    for name, value in older.items():
        if name not in newer:
            newer[name] = value if newest else value | {"last_in": revision}
            continue
        for part in ("fields", "form"):
            if part in value:
                merge(newer[name][part], value[part], revision)
        newer[name] = value | newer[name]


def resource_name(schema: str) -> str:
    """proxy.v1.service.session -> session"""
    return schema.rpartition(".")[2]


def last(reference: str) -> str:
    return reference.rpartition("/")[2]


# Error codes and samples


def error_codes(document: Json) -> Json:
    codes = {
        str(entry["code"]): {
            "name": entry["name"],
            "level": entry["level"],
            "http": entry["http"],
            "where": WHERE[entry["where"]],
            "build": entry["build"],
        }
        for entry in document["codes"]
    }
    source = {
        "names_and_levels": "Twilio's error dictionary, www.twilio.com/docs/api/errors, May 2023 and later",
        "http_where_build": "decided for maskline, with what third parties saw of the real service",
    }
    return {"source": source, "codes": codes}


def samples(folder: Path, source: Json) -> Json:
    origins: defaultdict[str, list[str]] = defaultdict(list)
    facts: Json = {"responses": {}, "requests": {}, "webhooks": {}}
    for entry in load(folder / "INDEX.json")["samples"]:
        name = entry["file"]
        if name is None:
            continue
        origins[re.split(r"; | \(", entry["source"])[0]].append(name)
        value = load(folder / name)
        if name.startswith("webhook."):
            facts["webhooks"][name] = sorted(names_in(value))
        elif name.endswith(".request.json"):
            facts["requests"][name] = sorted(value)
        else:
            facts["responses"][name] = key_types(value)
    return {
        "source": source | {"samples": {origin: sorted(names) for origin, names in origins.items()}},
        **facts,
    }


def names_in(value: Any) -> list[str]:
    """Parameter names: of an example request, of a list of names, or of several lists under headings."""
    if isinstance(value, list):
        return list(value)
    if all(isinstance(part, list) for part in value.values()):
        return [name for part in value.values() for name in part]
    return list(value)


def key_types(value: Json, prefix: str = "") -> dict[str, str]:
    types: dict[str, str] = {}
    for key, part in value.items():
        types[prefix + key] = JSON_TYPES[type(part)]
        if isinstance(part, dict):
            types |= key_types(part, f"{prefix}{key}.")
        elif isinstance(part, list):
            for item in part:
                types |= key_types(item, f"{prefix}{key}[].")
    return types


# Output


def dump(value: Any, indent: int = 0, room: int = WIDTH) -> str:
    """JSON with sorted keys (`source` first); whatever fits on one line is on one: readable diffs."""
    line = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if not value or not isinstance(value, dict | list) or (indent and indent + len(line) <= room):
        return line
    pad = " " * (indent + 1)
    if isinstance(value, list):
        parts = [dump(part, indent + 1) for part in value]
        opening, closing = "[]"
    else:
        parts = []
        for key in sorted(value, key=lambda name: (indent > 0 or name != "source", name)):
            label = f"{json.dumps(key, ensure_ascii=False)}: "
            parts.append(label + dump(value[key], indent + 1, WIDTH - len(label) - 1))
        opening, closing = "{}"
    return opening + "\n" + ",\n".join(pad + part for part in parts) + "\n" + " " * indent + closing


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python tools/make_wire.py SPEC_DIR OUT_DIR")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
