"""Write the reference pages that are made from the code: errors and events, and a Service's settings.

    python tools/make_reference.py

A test compares them, so that they are never behind.
"""

from __future__ import annotations

from pathlib import Path

from maskline.domain import problems, service_settings
from maskline.domain.problems import Code

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"

ERRORS = """# Errors and events

A refused request is answered with `code`, `message`, `more_info` and `status`; match on `code`. The numbers are
Twilio's wherever it has one; the sentences are maskline's. What has no HTTP status only ever becomes an event.

| Code | HTTP | Level | What it says |
|---|---|---|---|
"""

SETTINGS = """# Settings of a Service

`GET` and `POST /v1/Services/{ServiceSid}/Settings`: form-posted, answered with JSON. An absent parameter is left alone,
an empty one restores the default. Twilio's own resources gain no fields for these.

| Setting | Parameter | Default | May be | Meaning |
|---|---|---|---|---|
"""


def errors_page() -> str:
    codes = sorted(
        (code for code in vars(problems).values() if isinstance(code, Code)), key=lambda code: code.number
    )
    rows = [f"| {c.number} | {c.status or ''} | {c.level.lower()} | {c.sentence} |" for c in codes]
    return ERRORS + "\n".join(rows) + "\n"


def settings_page() -> str:
    rows = []
    for setting in service_settings.SETTINGS:
        values = ", ".join(f"`{choice}`" for choice in setting.choices)
        if setting.numbers:
            values = f"{setting.numbers[0]} to {setting.numbers[-1]}"
        rows.append(
            f"| `{setting.name}` | `{setting.parameter}` | `{setting.default}` | {values} | {setting.sentence} |"
        )
    return SETTINGS + "\n".join(rows) + "\n"


PAGES = {"errors.md": errors_page, "service-settings.md": settings_page}


def main() -> None:
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make())


if __name__ == "__main__":
    main()
