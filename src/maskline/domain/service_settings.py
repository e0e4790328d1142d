"""A Service's own settings: one list of names, defaults and sentences. Twilio's resources gain no fields for them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from maskline.domain import problems
from maskline.domain.model import SECOND, OnUncertain
from maskline.domain.problems import Problem


@dataclass(frozen=True, slots=True)
class Setting:
    """`parameter` is its name in a form; `choices` the words that it may be, or `numbers` the whole numbers."""

    name: str
    parameter: str
    default: str | int
    choices: tuple[str, ...]
    sentence: str
    numbers: range = range(0)

    def read(self, text: str) -> str | int:
        """The value that `text` is. Raises 80701."""
        text = text.lower()
        if text in self.choices:
            return text
        if re.fullmatch("[0-9]{1,9}", text) and int(text) in self.numbers:
            return int(text)
        wanted = f"one of {', '.join(self.choices)}" if self.choices else _describe(self.numbers)
        raise Problem(problems.PARAMETER_INVALID, f"{self.parameter} ({wanted})")


def _describe(numbers: range) -> str:
    return f"a whole number from {numbers[0]} to {numbers[-1]}"


_OFF_ON = ("off", "on")

SETTINGS = (
    Setting(
        "on_uncertain",
        "OnUncertain",
        OnUncertain.DELIVERY_UNKNOWN.value,
        tuple(choice.value for choice in OnUncertain),
        "What becomes of a message whose hand-over has no known outcome: marked delivery-unknown, or sent again"
        " (it may then arrive twice).",
    ),
    Setting(
        "geo_fallback",
        "GeoFallback",
        "off",
        _OFF_ON,
        "Whether a participant for whom no number meets the GeoMatchLevel gets another one of the country, or none.",
    ),
    Setting(
        "geo_radius_km",
        "GeoRadiusKm",
        80,
        (),
        "How far apart the centres of two area codes may be for the GeoMatchLevel radius.",
        range(1, 20_001),
    ),
    Setting(
        "prefer_unused",
        "PreferUnused",
        "off",
        _OFF_ON,
        "Whether numbers on which nobody is active are given before all others, also before one the participant had.",
    ),
    Setting(
        "number_cooldown_s",
        "NumberCooldownS",
        0,
        (),
        "How long, in seconds, a number that a person has left is not given to the same person again by itself, so"
        " that a late reply cannot reach somebody else.",
        range(28 * 86_400 + 1),
    ),
    Setting(
        "identifier_check",
        "IdentifierCheck",
        "valid",
        ("valid", "possible"),
        "What the number in an Identifier must be: valid in its country's numbering plan, or just possible, for test"
        " systems with made-up numbers such as +15551234567.",
    ),
)


def read_settings(stored: str) -> dict[str, Any]:
    """Every setting with its value, from what a Service keeps."""
    kept = json.loads(stored)
    return {setting.name: kept.get(setting.name, setting.default) for setting in SETTINGS}


def cooldown_us(stored: str) -> int:
    """How long a number that somebody has left cools down for them, in microseconds; 0: it does not."""
    return int(read_settings(stored)["number_cooldown_s"]) * SECOND


def change_settings(stored: str, form: dict[str, list[str]]) -> str:
    """What the Service keeps after a form has been posted; an empty value restores the default. Raises 80701."""
    kept = json.loads(stored)
    by_parameter = {setting.parameter: setting for setting in SETTINGS}
    for parameter, values in form.items():
        setting = by_parameter.get(parameter)
        if setting is None:
            known = ", ".join(by_parameter)
            raise Problem(problems.PARAMETER_INVALID, f"There is no such setting (there are: {known})")
        if value := values[-1]:
            kept[setting.name] = setting.read(value)
        else:
            kept.pop(setting.name, None)
    return json.dumps(kept, sort_keys=True)
