"""The contract file, as tests hold answers against it: what it does not say is as wrong as what it denies."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jsonschema_rs import Draft202012Validator

from tests.support.server import Reply

DOCUMENT: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "src" / "maskline" / "api" / "openapi.json").read_text(encoding="utf-8")
)
_PATTERNS = [(re.compile(re.sub(r"{\w+}", "[^/]+", path)), path) for path in DOCUMENT["paths"]]


def _closed(part: Any) -> Any:
    """The same schemas, but an object has no field that they do not name."""
    if isinstance(part, list):
        return [_closed(one) for one in part]
    if not isinstance(part, dict):
        return part
    closed = {name: _closed(one) for name, one in part.items()}
    if part.get("type") == "object" and "properties" in part:
        closed["additionalProperties"] = False
    return closed


_TEXT = {"schema": {"type": "string"}}
_COMPONENTS = _closed(DOCUMENT["components"])


@cache
def _validator(path: str, method: str, status: str) -> tuple[Draft202012Validator, bool] | None:
    """What the body of this answer has to be, and whether that is JSON; None if there is to be none. KeyError: no such
    answer.
    """
    response = DOCUMENT["paths"][path][method]["responses"][status]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    if "content" not in response:
        return None
    schema = _closed(response["content"].get("application/json", _TEXT)["schema"])
    validator = Draft202012Validator({**schema, "components": _COMPONENTS}, validate_formats=True)
    return validator, "application/json" in response["content"]


def find_path(path: str) -> str | None:
    """The path of the contract that this one is of, as it was sent."""
    if path.startswith("/2010-04-01/") and not path.endswith(".json"):
        path += ".json"
    return next((template for pattern, template in _PATTERNS if pattern.fullmatch(path)), None)


def check_contract(method: str, url: str, reply: Reply) -> None:
    """Fails on a path, a method, a status, a field or a value that the contract does not have."""
    path = find_path(urlsplit(url).path)
    if path is None:
        assert reply.status >= 400, (url, reply.status)
        return
    known, method = DOCUMENT["paths"][path], method.lower()
    if method not in known:
        assert reply.status in ((204,) if method == "options" else (405, 400, 413)), (
            method,
            path,
            reply.status,
        )
        return
    assert str(reply.status) in known[method]["responses"], (method, path, reply.status)
    expected = _validator(path, method, str(reply.status))
    if expected is None:
        assert reply.raw == b""
    else:
        validator, is_json = expected
        content = reply.json if is_json else reply.raw.decode("latin-1")
        errors = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(content)]
        assert errors == [], (method, path, errors)
