"""The kinds of carriers there are, and the accounts that the settings have at them. A new kind is one line here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from maskline.carriers.bandwidth import BandwidthCarrier
from maskline.carriers.base import Capabilities, Carrier, CarrierKind, Means, Options
from maskline.carriers.plivo import PlivoCarrier
from maskline.carriers.signalwire import SignalWireCarrier
from maskline.carriers.smpp.carrier import SmppCarrier
from maskline.carriers.telnyx import TelnyxCarrier
from maskline.carriers.twilio import TwilioCarrier
from maskline.carriers.vonage import VonageCarrier
from maskline.domain import sandbox
from maskline.settings import SettingsError

KINDS: dict[str, CarrierKind] = {
    "twilio": TwilioCarrier,
    "signalwire": SignalWireCarrier,
    "telnyx": TelnyxCarrier,
    "vonage": VonageCarrier,
    "plivo": PlivoCarrier,
    "bandwidth": BandwidthCarrier,
    "smpp": SmppCarrier,
}

# It stands in addresses, in labels of metrics and before a slash in what is stored.
_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class CarrierAccount:
    """An account as the settings have it."""

    name: str
    kind: str
    options: Options

    @property
    def can(self) -> Capabilities:
        """What it can do at most."""
        return self.options.limit(KINDS[self.kind].can)

    def open(self, means: Means) -> Carrier:
        """The account at work."""
        return KINDS[self.kind](self.name, self.options, means)


def read_accounts(tables: Mapping[str, Any]) -> dict[str, CarrierAccount]:
    """The accounts by name, from the `[carriers.NAME]` tables of the settings. Raises SettingsError, without values."""
    return {name: _read(name, table) for name, table in tables.items()}


def _read(name: str, table: Any) -> CarrierAccount:
    where = f"carriers.{name}"
    if not _NAME.fullmatch(name) or name == sandbox.NAME:
        raise SettingsError(
            f"{where}: a carrier account is named in a-z, 0-9, - and _, at most 32 of them, and not {sandbox.NAME}"
        )
    if not isinstance(table, dict):
        raise SettingsError(f"{where}: must be a table, with its kind and its options")
    said = dict(table)
    kind = said.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise SettingsError(f"{where}: kind must be one of {', '.join(KINDS)}")
    try:
        options = msgspec.convert(said, KINDS[kind].options)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {_words(error)}") from None
    return CarrierAccount(name, kind, options)


def _words(error: msgspec.ValidationError) -> str:
    """Which option is wrong and how, in the settings' own terms."""
    said, _, place = str(error).partition(" - at `$")
    option = place.rstrip("`").lstrip(".")
    said = said.replace("Object contains unknown field", "there is no option")
    said = said.replace("Object missing required field", "it needs the option")
    return f"{option}: {said}" if option else said
