"""A Service's own settings: one list of names, defaults and sentences. Twilio's resources gain no fields for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from maskline.domain import problems
from maskline.domain.model import OnUncertain
from maskline.domain.problems import Problem


@dataclass(frozen=True, slots=True)
class Setting:
    """`parameter` is its name in a form; `choices` the words that it may be."""

    name: str
    parameter: str
    default: str
    choices: tuple[str, ...]
    sentence: str


SETTINGS = (
    Setting(
        "on_uncertain",
        "OnUncertain",
        OnUncertain.DELIVERY_UNKNOWN.value,
        tuple(choice.value for choice in OnUncertain),
        "What becomes of a message whose hand-over has no known outcome: marked delivery-unknown, or sent again"
        " (it may then arrive twice).",
    ),
)


def read_settings(stored: str) -> dict[str, Any]:
    """Every setting with its value, from what a Service keeps."""
    kept = json.loads(stored)
    return {setting.name: kept.get(setting.name, setting.default) for setting in SETTINGS}


def change_settings(stored: str, form: dict[str, list[str]]) -> str:
    """What the Service keeps after a form has been posted; an empty value restores the default. Raises 80701."""
    kept = json.loads(stored)
    by_parameter = {setting.parameter: setting for setting in SETTINGS}
    for parameter, values in form.items():
        setting = by_parameter.get(parameter)
        if setting is None:
            known = ", ".join(by_parameter)
            raise Problem(problems.PARAMETER_INVALID, f"{parameter[:40]} is no setting (there are: {known})")
        value = values[-1].lower()
        if value and value not in setting.choices:
            raise Problem(problems.PARAMETER_INVALID, f"{parameter} (one of {', '.join(setting.choices)})")
        if value:
            kept[setting.name] = value
        else:
            kept.pop(setting.name, None)
    return json.dumps(kept, sort_keys=True)
