"""Write the pages that are made from the code: errors and events, a Service's settings, metrics, kinds of carriers.

    python tools/make_reference.py

A test compares them, so that they are never behind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import inspect

from maskline.carriers.base import Capabilities, Options
from maskline.carriers.kinds import KINDS
from maskline.carriers.sandbox import SandboxCarrier
from maskline.domain import problems, service_settings
from maskline.domain.problems import Code
from maskline.metrics import METRICS

DOCS = Path(__file__).resolve().parents[1] / "docs"
REFERENCE = DOCS / "reference"

ERRORS = """# Errors and events

A refused request is answered with `code`, `message`, `more_info` and `status`; match on `code`. The numbers are
Twilio's wherever it has one; the sentences are maskline's. What has no HTTP status only ever becomes an event.

| Code | HTTP | Level | What it says |
|---|---|---|---|
"""

NEVER_SAID = """
## What maskline never says

Codes of Twilio Proxy that have no use here, and what stands in their place.

| Code | Why not |
|---|---|
"""

_CHAT = "Flex and Programmable Chat are no part of maskline."
NEVER = {
    80102: "An Interaction has its participants from the start, and keeps them.",
    80306: _CHAT,
    80307: "What was deleted meanwhile is not found: 20404.",
    80308: "No Session of that name is not found: 20404.",
    80401: "An Account SID that is not the caller's is not found, whatever it looks like: 20404.",
    80408: "What is no Service's SID may be a Service's name, and is not found: 20404.",
    80503: "What was deleted meanwhile is not found: 20404.",
    80505: _CHAT,
    80506: "maskline is not taken off sale.",
    80610: "What stands under another parent is not found, so that nobody learns of it: 20404.",
    80615: "There are no legal holds.",
    80617: _CHAT,
    80618: _CHAT,
    80619: _CHAT,
    80620: _CHAT,
    80801: "A re-open that would make a pair active twice is refused: 80604.",
    80802: "Of creates at the same time each gets a pair of its own, or is refused.",
}

SETTINGS = """# Settings of a Service

`GET` and `POST /v1/Services/{ServiceSid}/Settings`: form-posted, answered with JSON. An absent parameter is left alone,
an empty one restores the default. Twilio's own resources gain no fields for these.

| Setting | Parameter | Default | May be | Meaning |
|---|---|---|---|---|
"""

METRICS_HEAD = """# Metrics

`GET /metrics` on the ops port, in Prometheus' text format. The text is made at most once a second. No label holds a
number, a name of anybody's or a SID. [Monitor a server](../how-to/monitor.md) has a scrape configuration and alerts.

Counters begin at zero with each start of the server; what the command line does beside it is not counted. A histogram
has `_bucket`, `_sum` and `_count`, in seconds unless its name says otherwise. The process itself is told in
prometheus-client's `process_…` metrics: processor time, memory, open files, start.

| Metric | Kind | Labels | What it says |
|---|---|---|---|
"""


CARRIERS = """# Kinds of carriers

What an account of each kind can do, and what the settings can say of it in its table `[carriers.NAME]`.

| | `sms` | `mms` | `voice` | receipts | keys | look-up | parts |
|---|---|---|---|---|---|---|---|
"""

CAPABILITIES = """
* **receipts**: it tells what became of a message after it took it.
* **keys**: what is handed over again under the same key is not sent twice. A message whose hand-over had no answer is
  handed over again.
* **look-up**: it can be asked whether it took a message. It is asked for one whose hand-over had no answer, for as many
  seconds as the number says: found is the one that fits and that is no other message's.
* **parts**: of how many parts a text may be that is handed over as one.

Without keys and look-up a message whose hand-over had no answer is `delivery-unknown`, unless the Service's
`on_uncertain` says otherwise. The sandbox has both where it is scripted so.
"""

OPTIONS = """
| Option | Default | May be | Meaning |
|---|---|---|---|
"""


def errors_page() -> str:
    codes = sorted(
        (code for code in vars(problems).values() if isinstance(code, Code)), key=lambda code: code.number
    )
    rows = [f"| {c.number} | {c.status or ''} | {c.level.lower()} | {c.sentence} |" for c in codes]
    never = [f"| {number} | {why} |" for number, why in NEVER.items()]
    return ERRORS + "\n".join(rows) + "\n" + NEVER_SAID + "\n".join(never) + "\n"


def settings_page() -> str:
    rows = []
    for setting in service_settings.SETTINGS:
        default = f"`{setting.default}`" if setting.default != "" else "none"
        rows.append(
            f"| `{setting.name}` | `{setting.parameter}` | {default} | {setting.kind.wanted} | {setting.sentence} |"
        )
    return SETTINGS + "\n".join(rows) + "\n"


def metrics_page() -> str:
    rows = []
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.kind.value} | {labels} | {metric.sentence} |")
    return METRICS_HEAD + "\n".join(rows) + "\n"


def carriers_page() -> str:
    kinds = {"sandbox": SandboxCarrier.can, **{kind: one.can for kind, one in KINDS.items()}}
    page = CARRIERS + "".join(_can_row(kind, can) for kind, can in kinds.items()) + CAPABILITIES
    page += (
        "\n## Every kind\n"
        + OPTIONS
        + "| `kind` | needed | one of the kinds below | What it is an account of. |\n"
    )
    page += "".join(_option_rows(Options))
    for kind, one in KINDS.items():
        page += f"\n## `{kind}`\n{OPTIONS}" + "".join(_option_rows(one.options, without=Options))
    return page


def _can_row(kind: str, can: Capabilities) -> str:
    look_up = f"{can.settle_s} s" if can.settle_s else can.look_up
    cells = [can.sms, can.mms, can.voice, can.receipts, can.carrier_keys, look_up, can.parts]
    words = ["yes" if cell is True else "" if cell is False else str(cell) for cell in cells]
    return f"| `{kind}` | {' | '.join(words)} |\n"


def _option_rows(options: type[Options], without: type[Options] | None = None) -> list[str]:
    passed = without.__struct_fields__ if without else ()
    described = inspect.type_info(options)
    assert isinstance(described, inspect.StructType)
    return [
        f"| `{one.name}` | {_default(one)} | {_wanted(one.type)} | {_sentence(one.type)} |\n"
        for one in described.fields
        if one.name not in passed
    ]


def _default(option: inspect.Field) -> str:
    if option.required:
        return "needed"
    if option.default is inspect.NODEFAULT or option.default in (None, "", ()):
        return "none"
    return f"`{str(option.default).lower() if isinstance(option.default, bool) else option.default}`"


def _sentence(kind: inspect.Type) -> str:
    while isinstance(kind, inspect.UnionType):
        (kind,) = (one for one in kind.types if not isinstance(one, inspect.NoneType))
    assert isinstance(kind, inspect.Metadata)
    assert kind.extra_json_schema is not None
    return str(kind.extra_json_schema["description"])


def _wanted(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            return _wanted(kind.type)
        case inspect.UnionType():
            return " or ".join(_wanted(one) for one in kind.types if not isinstance(one, inspect.NoneType))
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return _range("a whole number", kind)
        case inspect.FloatType():
            return _range("a number", kind)
        case inspect.LiteralType():
            return ", ".join(f"`{value}`" for value in kind.values)
        case inspect.DictType():
            return "a table of texts"
        case inspect.VarTupleType() | inspect.ListType() | inspect.StructType():
            return "tables"
        case _:
            return "a text"


def _range(what: str, kind: Any) -> str:
    least = f" from {kind.ge}" if kind.ge is not None else f" above {kind.gt}" if kind.gt is not None else ""
    return what + least + (f" to {kind.le}" if kind.le is not None else "")


PAGES = {
    "reference/errors.md": errors_page,
    "reference/service-settings.md": settings_page,
    "reference/metrics.md": metrics_page,
    "carriers/kinds.md": carriers_page,
}


def main() -> None:
    for name, make in PAGES.items():
        (DOCS / name).write_text(make())


if __name__ == "__main__":
    main()
