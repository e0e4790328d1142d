"""What the settings can say of an account at an SMSC (`kind = "smpp"`). Its page is made from these sentences."""

from __future__ import annotations

import ssl
from typing import Annotated, Literal

from msgspec import Meta

from maskline.carriers.base import Options

Ton = Annotated[int, Meta(ge=0, le=6)]
Npi = Annotated[int, Meta(ge=0, le=18)]
Ids = Literal["text", "hexadecimal", "decimal"]


class SmppOptions(Options, frozen=True):
    """An account at an SMSC."""

    host: Annotated[str, Meta(min_length=1, description="Host of the SMSC.")]
    system_id: Annotated[str, Meta(min_length=1, max_length=15, description="Who binds.")]
    password: Annotated[str, Meta(max_length=64, description="Its password.")] = ""
    port: Annotated[int, Meta(ge=1, le=65535, description="Port of the SMSC.")] = 2775
    system_type: Annotated[str, Meta(max_length=12, description="What some SMSCs want said at the bind.")] = (
        ""
    )
    address_range: Annotated[
        str,
        Meta(
            max_length=40, description="Which numbers to bring, where the SMSC wants that said at the bind."
        ),
    ] = ""
    service_type: Annotated[str, Meta(max_length=5, description="Said with every message.")] = ""
    tls: Annotated[bool, Meta(description="Whether the connection is encrypted.")] = False
    tls_ca: Annotated[
        str | None,
        Meta(description="File of the certificates to trust, in PEM form; default: those of the system."),
    ] = None
    mode: Annotated[
        Literal["transceiver", "pair"],
        Meta(description="Whether a bind goes both ways, or is a pair of a transmitter and a receiver."),
    ] = "transceiver"
    binds: Annotated[int, Meta(ge=1, le=32, description="Connections, or pairs of them, at a time.")] = 1
    window: Annotated[
        int, Meta(ge=1, le=1000, description="Messages without a response at a time, on each connection.")
    ] = 10
    enquire_link_s: Annotated[
        float,
        Meta(ge=1, le=3600, description="After so long a silence the SMSC is asked whether it is there."),
    ] = 30
    response_s: Annotated[
        float,
        Meta(
            ge=1,
            le=7,
            description="How long a response may take; without one, a message's outcome is unknown.",
        ),
    ] = 6
    alphabet: Annotated[
        Literal["gsm", "latin-1"],
        Meta(
            description="What the SMSC means by data_coding 0: GSM 03.38, an octet for each septet, or Latin-1."
        ),
    ] = "gsm"
    latin_1: Annotated[
        bool,
        Meta(
            description="Whether a text that only Latin-1 has goes as such (data_coding 3), and not as UCS-2."
        ),
    ] = False
    long_messages: Annotated[
        Literal["udh", "sar", "payload"],
        Meta(
            description="How a long message goes: in parts with a header each, in parts with SAR parameters, or as one"
            " message_payload that the SMSC cuts."
        ),
    ] = "udh"
    parts_s: Annotated[
        int,
        Meta(
            ge=10,
            le=86400,
            description="A long message of which a part is missing goes on so long after the first.",
        ),
    ] = 600
    plus: Annotated[bool, Meta(description="Whether numbers are sent with their plus sign.")] = False
    source_ton: Annotated[Ton | None, Meta(description="Type of our numbers; default: by their form.")] = None
    source_npi: Annotated[
        Npi | None, Meta(description="Numbering plan of our numbers; default: by their form.")
    ] = None
    destination_ton: Annotated[
        Ton | None, Meta(description="Type of recipients' numbers; default: by their form.")
    ] = None
    destination_npi: Annotated[
        Npi | None,
        Meta(description="Numbering plan of recipients' numbers; default: by their form."),
    ] = None
    country: Annotated[
        str,
        Meta(
            pattern="^([1-9][0-9]{0,2})?$",
            description="Calling code that national numbers (type 2) of senders belong to, such as 44.",
        ),
    ] = ""
    receipts: Annotated[bool, Meta(description="Whether delivery receipts are asked for.")] = True
    submit_ids: Annotated[
        Ids, Meta(description="How the SMSC writes a message's id in its response to a submit_sm.")
    ] = "text"
    receipt_ids: Annotated[Ids, Meta(description="How it writes the same id in a receipt.")] = "text"

    def __post_init__(self) -> None:
        if self.tls_ca is None:
            return
        if not self.tls:
            raise ValueError("tls_ca is of use with tls = true only")
        try:
            ssl.create_default_context(cafile=self.tls_ca)
        except OSError as error:
            raise ValueError(f"tls_ca: {error.strerror or 'no certificates in PEM form'}") from None
