"""Write the reference pages that are made from the code: errors and events, a Service's settings, metrics.

    python tools/make_reference.py

A test compares them, so that they are never behind.
"""

from __future__ import annotations

from pathlib import Path

from maskline.domain import problems, service_settings
from maskline.domain.problems import Code
from maskline.metrics import METRICS

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"

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


PAGES = {"errors.md": errors_page, "service-settings.md": settings_page, "metrics.md": metrics_page}


def main() -> None:
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make())


if __name__ == "__main__":
    main()
