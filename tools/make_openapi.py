"""Write the contract file, `src/maskline/api/openapi.json`, from the tables below.

    python tools/make_openapi.py

A test compares the file with what this writes, others hold the file against every answer and against the published
facts of Twilio's wire. To add a resource, add its fields, its parameters and its operations to the tables.

A line of fields or parameters is a name, a type and a sentence. Types: `text`, `int`, `bool`, `date`, `url`, a SID by
its prefix (`KS`, `PN|SC`, or `SID` for any), an enumeration of ENUMS, or a name of SHAPES; in brackets the bounds, of a
text's length or of a number. `?` after a type: or null; `_` after a SID's prefix: or empty. After a parameter's name,
`!`: required, `*`: may be repeated.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from maskline.api import alerts, forms, inventory, pages, participants, sandbox, services, sessions
from maskline.carriers.twilio_forms import MOST_SID
from maskline.domain import problems
from maskline.domain.call import LONGEST_S
from maskline.domain.interaction import CALL_WORDS, WORDS
from maskline.domain.media import MOST_MEDIA
from maskline.domain.model import GeoMatchLevel, Mode, NumberSelectionBehavior, SessionStatus
from maskline.domain.optout import Source
from maskline.domain.problems import Code
from maskline.domain.sandbox import CallAnswer, Outcome
from maskline.domain.service_settings import SETTINGS, Choice, Text, Texts, Url, Whole
from maskline.domain.text import MOST_BODY
from maskline.flows.people import MOST_IDENTIFIER

Json = dict[str, Any]

FILE = Path(__file__).resolve().parents[1] / "src" / "maskline" / "api" / "openapi.json"

ENUMS: dict[str, list[str]] = {
    "Mode": list(Mode),
    "SessionStatus": list(SessionStatus),
    "ListedStatus": list(sessions.STATUSES),
    "GeoMatchLevel": list(GeoMatchLevel),
    "NumberSelectionBehavior": list(NumberSelectionBehavior),
    "Status": sorted({*WORDS.values(), *CALL_WORDS.values()}),
    "Type": ["message", "voice"],
    "Kind": ["Message", "Call"],
    "MessageStatus": list(WORDS.values()),
    "MessageType": ["message"],
    "MessageKind": ["Message"],
    "ShownMessageStatus": [*WORDS.values(), "received"],
    "ShownCallStatus": ["queued", *(word for word in CALL_WORDS.values() if word != "initiated")],
    "MessageDirection": ["inbound", "outbound-api", "outbound-reply"],
    "CallDirection": ["inbound", "outbound-dial"],
    "Level": ["error", "warning"],
    "ListedLevel": list(alerts.LEVELS),
    "Source": list(Source),
    "Outcome": list(Outcome),
    "Direction": ["to_handset", "from_handset"],
    "CallAnswer": list(CallAnswer),
    "Health": ["ok", "unavailable"],
}


def listed(fields: dict[str, str]) -> Json:
    """A list of objects that always have these fields, each of its type."""
    properties = {name: {"type": kind} for name, kind in fields.items()}
    return {
        "type": "array",
        "items": {"type": "object", "properties": properties, "required": sorted(fields)},
    }


_FLAG = {"type": "boolean"}
_URLS = {"type": "string", "format": "uri", "pattern": "^https?://[^/]+/"}
SHAPES: dict[str, Json] = {
    "capabilities": {
        "type": "object",
        "properties": {
            key: _FLAG
            for kind in ("fax", "mms", "sms", "voice")
            for key in ([kind] if kind == "fax" else [kind, f"{kind}_inbound", f"{kind}_outbound"])
        },
    },
    "abilities": {"type": "object", "properties": dict.fromkeys(("fax", "mms", "sms", "voice"), _FLAG)},
    "service_links": {
        "type": "object",
        "properties": dict.fromkeys(("sessions", "phone_numbers", "short_codes"), _URLS),
    },
    "session_links": {"type": "object", "properties": dict.fromkeys(("interactions", "participants"), _URLS)},
    "participant_links": {"type": "object", "properties": {"message_interactions": _URLS}},
    "callback_links": {"type": "object", "properties": dict.fromkeys(("interaction", "attempts"), _URLS)},
    "media": {"type": "object", "properties": {"media": {"type": "string"}}},
    "nothing": {"type": "object", "properties": {}},
    "urls": {"type": "array", "items": {"type": "string"}},
    "legs": listed(
        {"sid": "string", "from": "string", "to": "string", "status": "string", "duration": "integer"}
    ),
    "verbs": listed({"at": "integer", "side": "string", "verb": "string", "twiml": "string"}),
    "json": {"type": "string", "contentMediaType": "application/json"},
}

_DATES = """
date_created               date        When it was made.
date_updated               date        When it was last changed."""
_OWNERS = """
account_sid                AC          The account.
service_sid                KS          The Service."""

# Of every message and call in the older API.
_OLDER = """
sid                        SID         Its SID.
account_sid                AC          The account.
api_version                text        2010-04-01.
date_created               mail_date   When it was made.
date_updated               mail_date   When it was last changed.
uri                        uri         Its address, without the host."""
_PRICE = """
price                      text?       Not known.
price_unit                 text        USD."""


def exchange_of(of: str = "") -> str:
    """The fields of an Interaction; `of` is what the names of its enumerations begin with."""
    legs = "".join(
        f"""
{side}_participant_sid     KP?         The Participant at this end.
{side}_resource_sid        SID?        SID of the message or call at this end.
{side}_resource_status     {of}Status? How far it is; it only rises.
{side}_resource_type       {of}Kind?   What it is.
{side}_resource_url        url?        Where it can be fetched."""
        for side in ("inbound", "outbound")
    )
    return f"""
sid                        KI          Its SID.
{_OWNERS}
session_sid                KC          The Session.
data                       text        JSON in a text: the body of a message, the seconds of a call; empty before.
type                       {of}Type    What it was.
{legs}
{_DATES}
url                        url         Its address."""


_ALERT = """
sid                        NO          Its SID.
account_sid                AC          The account.
service_sid                KS?         The Service; null where it is about none.
resource_sid               KI|KC|KS?   The Interaction, the Session or the Service that it is about.
error_code                 text        Its code.
log_level                  Level       How grave it is.
alert_text                 text        What came to pass, in a sentence that may change.
more_info                  url         Where to read more.
date_generated             date        When it came to pass.
date_created               date        When it was written down.
date_updated               date        The same.
api_version                text?       Not kept.
request_method             text?       Not kept.
request_url                url?        Not kept.
url                        url         Its address."""


RESOURCES: dict[str, str] = {
    "Service": f"""
sid                        KS          Its SID.
unique_name                text        Its name, unique in the account.
account_sid                AC          The account.
chat_instance_sid          IS?         Kept and shown, without effect.
callback_url               given_url?  Told of every interaction.
default_ttl                int         Seconds without use after which a Session of its ends by itself; 0: none.
number_selection_behavior  NumberSelectionBehavior  Whether a person gets a number that it had before.
geo_match_level            GeoMatchLevel  How near a proxy number has to be to the person who gets it.
intercept_callback_url     given_url?  Asked before each interaction whether it may pass.
out_of_session_callback_url  given_url?  Asked what to do with traffic that belongs to no Session.
{_DATES}
url                        url         Its address.
links                      service_links  Addresses of what it holds.""",
    "PhoneNumber": f"""
sid                        PN          Its SID.
{_OWNERS}
phone_number               text        The number in E.164 form.
friendly_name              text        Its name.
iso_country                text?       Its country, two letters; null for a number of none.
capabilities               capabilities  What it can do, at all and in each direction.
is_reserved                bool        Whether it is only given to whom it is named for.
in_use                     int         How many active Sessions use it.
{_DATES}
url                        url         Its address.""",
    "ShortCode": f"""
sid                        SC          Its SID.
{_OWNERS}
short_code                 text        The short code.
iso_country                text?       The country that it is of, two letters.
capabilities               capabilities  What it can do, at all and in each direction.
is_reserved                bool        Whether it is only given to whom it is named for.
{_DATES}
url                        url         Its address.""",
    "Session": f"""
sid                        KC          Its SID.
{_OWNERS}
unique_name                text?       Its name, unique in the Service.
status                     SessionStatus  open until its first interaction, then in progress, in the end closed.
closed_reason              text?       api, ttl-expired, date-expiry or idle; null while it is active.
mode                       Mode        What traffic it takes.
ttl                        int         Seconds without use after which it ends by itself; 0: none.
date_expiry                date?       When it ends by itself; wins over ttl.
date_started               date?       When it was first in progress.
date_ended                 date?       When it was closed.
date_last_interaction      date?       When it was last used.
{_DATES}
url                        url         Its address.
links                      session_links  Addresses of what it holds.""",
    "Participant": f"""
sid                        KP          Its SID.
{_OWNERS}
session_sid                KC          The Session.
identifier                 text        The person's own number or channel address, as it was given.
friendly_name              text?       A name for it.
proxy_identifier           text        The number under which this person reaches the other one.
proxy_identifier_sid       PN|SC?      SID of that number or short code; null for a channel sender.
date_deleted               date?       When it was deleted; it stays listed.
{_DATES}
url                        url         Its address.
links                      participant_links  Addresses of what belongs to it.""",
    "Interaction": exchange_of(),
    "MessageInteraction": f"""{exchange_of("Message")}
participant_sid            KP          The Participant it was sent to.""",
    "Message": f"""{_OLDER}
from                       text        Who sent it.
to                         text        Who got it.
body                       text        Its text.
status                     ShownMessageStatus  How far it is.
direction                  MessageDirection    A relayed one is a reply.
num_segments               text        In how many parts it goes.
num_media                  text        How many media it has.
messaging_service_sid      SID?        There is none.
error_code                 int?        Why it failed: 21610; null where Twilio has no code for it.
error_message              text?       The same in a sentence.
date_sent                  mail_date?  When it left.
subresource_uris           media       Addresses of what belongs to it.{_PRICE}""",
    "Media": """
sid                        ME          Its SID.
account_sid                AC          The account.
parent_sid                 SM|MM       The message.
content_type               text        What it is, as far as that is known.
date_created               mail_date   When the message was made.
date_updated               mail_date   The same.
uri                        uri         Its address, without the host.""",
    "Call": f"""{_OLDER}
parent_call_sid            CA?         The call that this one was dialled for.
from                       text        Who called.
from_formatted             text        The same.
to                         text        Who was called.
to_formatted               text        The same.
phone_number_sid           PN?         Not told.
status                     ShownCallStatus  How far it is.
direction                  CallDirection    Whether it was dialled here.
start_time                 mail_date   When it began.
end_time                   mail_date?  When it ended.
duration                   text?       How many seconds it took, once it has ended.
answered_by                text?       Not told.
forwarded_from             text?       Not told.
group_sid                  SID?        There is none.
caller_name                text?       Not told.
queue_time                 text        Always 0.
trunk_sid                  SID?        There is none.
subresource_uris           nothing     There are none.{_PRICE}""",
    "IncomingPhoneNumber": """
sid                        PN          Its SID.
account_sid                AC          The account.
phone_number               text        The number in E.164 form.
friendly_name              text        Its name.
capabilities               abilities   What it can do.
status                     text        Always in-use.
origin                     text        Always hosted.
beta                       bool        Always false.
type                       text?       Not known.
date_created               mail_date   When it was added.
date_updated               mail_date   When it was last changed.
api_version                text        2010-04-01.
uri                        uri         Its address, without the host.
"""
    + "".join(
        f"{name} {kind} Not configured here.\n"
        for name, kind in (
            ("sms_url", "url?"),
            ("sms_method", "text"),
            ("sms_fallback_url", "url?"),
            ("sms_fallback_method", "text"),
            ("sms_application_sid", "SID?"),
            ("voice_url", "url?"),
            ("voice_method", "text"),
            ("voice_fallback_url", "url?"),
            ("voice_fallback_method", "text"),
            ("voice_application_sid", "SID?"),
            ("voice_receive_mode", "text"),
            ("voice_caller_id_lookup", "bool"),
            ("status_callback", "url?"),
            ("status_callback_method", "text"),
            ("trunk_sid", "SID?"),
            ("address_sid", "SID?"),
            ("address_requirements", "text"),
            ("identity_sid", "SID?"),
            ("bundle_sid", "SID?"),
            ("emergency_status", "text"),
            ("emergency_address_sid", "SID?"),
            ("emergency_address_status", "text"),
        )
    ),
    "HandsetMessage": """
sid                        SID         Its SID at the carrier.
from                       text        Who sent it.
to                         text        Who got it.
body                       text        Its text.
media                      urls        Addresses of its media.
direction                  Direction   Whether the handset got or wrote it.
status                     text        What the carrier's books say of it.
handovers                  int         How often it was handed to the carrier.
date_created               date        When it was first handed over.""",
    "HandsetCall": """
sid                        CA          Its SID at the carrier.
from                       text        The handset.
to                         text        The number that it called.
status                     text        How the caller's side ended.
duration                   int         How many seconds the caller's side took.
legs                       legs        Whom the carrier dialled for it, what they saw, and how it ended.
verbs                      verbs       What the carrier was told and did, in its order.
date_created               date        When it began.""",
    "Behaviour": """
to                         text?       The number that was scripted.
outcome                    Outcome?    What becomes of sends to it.
delay_ms                   int?        After how many milliseconds.
times                      int?        For how many sends; null: until changed.
carrier_keys               bool        Whether the carrier takes idempotency keys.
look_up                    bool        Whether the carrier can be asked what became of a message.""",
    "Health": """
status                     Health      Whether it is well.""",
    "Error": """
code                       int         Match on this.
message                    text        What was wrong, in a sentence that may change.
more_info                  url         Where to read more.
status                     int         The answer's status.""",
    "OptOut": f"""
sid                        OO          Its SID.
{_OWNERS}
identifier                 text?       Whose it is; null once the person has been erased.
proxy_identifier           text?       The proxy number that they get no messages from; null: none of the Service's.
source                     Source      A word of theirs, the API, an import, or a carrier that refused a message.
date_created               date        When it was written down.
url                        url         Its address.""",
    "Callback": f"""
sid                        CB          Its SID.
{_OWNERS}
session_sid                KC          The Session.
interaction_sid            KI          The Interaction that it tells of.
resource_status            Status?     The status that it tells.
attempts                   int         How often it was tried.
date_created               date        When the status moved.
url                        url         Its address.
links                      callback_links  Addresses of its Interaction and of the attempts.""",
    "CallbackAttempt": """
callback_sid               CB          The callback.
attempt                    int         Counts the attempts of one callback, from 1.
callback_url               url         Whom it was told, without query and credentials.
response_status            int?        The status of the answer; null if there was none.
error                      text?       Why there was none.
duration_ms                int         How long it took, in milliseconds.
date_created               date        When it began.""",
    "Alert": _ALERT,
    "FetchedAlert": f"""{_ALERT}
request_headers            text?       Not kept.
request_variables          text?       Not kept.
response_body              text?       Not kept.
response_headers           text?       Not kept.""",
    "Person": f"""
{_OWNERS}
identifier                 text        The number or channel address that the person is known by.
participants               int         How many Participants the person is or was.
active_sessions            int         In how many active Sessions.
interactions               int         How many messages and calls are kept of them, both ways.
texts                      int         How many of the messages still have their text.
messages_waiting           int         How many wait to be sent, to them or from them.
proxy_numbers              int         How many proxy numbers it is known that they had.
opt_outs                   int         How many opt-outs of theirs are kept; they outlive an erasure.
erasing                    bool        Whether the person is being erased.
url                        url         Its address.""",
    "Meta": """
page                       int         Counts the pages as the client walks.
page_size                  int         The most rows of a page.
first_page_url             url         The first page.
previous_page_url          url?        The page before; null on the first.
url                        url         This page.
next_page_url              url?        The page after; null on the last.
key                        text        The name of the rows.""",
    "Paging": """
page                       int         Counts the pages as the client walks.
page_size                  int         The most rows of a page.
start                      int         The place of the first row, counted by pages.
end                        int         The place of the last one.
uri                        uri         This page.
first_page_uri             uri         The first page.
previous_page_uri          uri?        The page before; null on the first.
next_page_uri              uri?        The page after; null on the last.""",
}

_TTL = f"int(0..{forms.MOST_TTL})"
_PAGE = f"""
PageSize                   int         Rows of a page; {pages.DEFAULT_SIZE}, or as given, up to {pages.MOST_SIZE}.
Page                       int         Counts pages for the client.
PageToken                  text        Where the page begins; take it from the address of the page before."""
_SERVICE = f"""
DefaultTtl                 {_TTL}      Seconds without use after which a Session ends by itself; 0: none.
CallbackUrl                callback    Told of every interaction; empty: none.
InterceptCallbackUrl       callback    Asked before each interaction; empty: none.
OutOfSessionCallbackUrl    callback    Asked about traffic of no Session; empty: none.
GeoMatchLevel              GeoMatchLevel  How near a proxy number has to be.
NumberSelectionBehavior    NumberSelectionBehavior  Whether a person gets a number that it had before.
ChatInstanceSid            IS_         Kept and shown, without effect."""
_NAME = f"text(1..{services.MOST_NAME})"
_CONFLICT = """
FailOnParticipantConflict  bool        Without effect: conflicts are always refused.
ReturnErrorOnDuplicateRequest  bool    Its older name."""
_SESSION = f"""
DateExpiry                 text        When it ends by itself, in RFC 3339 or as a date; empty, on update: never.
Ttl                        {_TTL}      Seconds without use after which it ends; 0: never, whatever the Service says.
Status                     SessionStatus  What it is or becomes.{_CONFLICT}"""
_HANDSET = f"text(1..{sandbox.MOST_NUMBER})"

# Paths and what they may be called with.
SERVICES = "/v1/Services"
SERVICE = SERVICES + "/{ServiceSid}"
SESSIONS = SERVICE + "/Sessions"
SESSION = SESSIONS + "/{SessionSid}"
PARTICIPANTS = SESSION + "/Participants"
MESSAGES = PARTICIPANTS + "/{ParticipantSid}/MessageInteractions"
INTERACTIONS = SESSION + "/Interactions"
NUMBERS = SERVICE + "/PhoneNumbers"
PERSON = SERVICE + "/People/{Identifier}"
SHORT_CODES = SERVICE + "/ShortCodes"
OPT_OUTS = SERVICE + "/OptOuts"
ACCOUNT = "/2010-04-01/Accounts/{AccountSid}"
HANDSETS = "/sandbox/messages"
HANDSET_CALLS = "/sandbox/calls"
OWN_NUMBERS = ACCOUNT + "/IncomingPhoneNumbers"
SENT = ACCOUNT + "/Messages"
CALLS = ACCOUNT + "/Calls"
LINK = "/media/{Token}"
WEBHOOKS = "/v1/Accounts/{AccountSid}/Proxy/{ServiceSid}/Webhooks"
HOOKS = ("/carriers/{Carrier}/{What}", "/carriers/{Carrier}/{What}/{Leg}")
ALERTS = "/v1/Alerts"

# A name stands for a SID in the last place of these.
NAMED = ("/v1/Services/{Sid}", SESSIONS + "/{Sid}")
SIDS = {
    "AccountSid": "AC",
    "ServiceSid": "KS",
    "SessionSid": "KC",
    "ParticipantSid": "KP",
    "InteractionSid": "KI",
    "MessageSid": "SM|MM",
}
KINDS = {
    "Services": "KS",
    "Sessions": "KC",
    "Participants": "KP",
    "Interactions": "KI",
    "MessageInteractions": "KI",
    "PhoneNumbers": "PN",
    "ShortCodes": "SC",
    "Messages": "SM|MM",
    "Media": "ME",
    "Calls": "CA",
    "IncomingPhoneNumbers": "PN",
    "OptOuts": "OO",
    "Callbacks": "CB",
    "Alerts": "NO",
}

# Method, path, name, sentence, and what success answers: `status resource`, or `status key:resource` of a list; several
# with `; ` between them.
# fmt: off
OPERATIONS: list[tuple[str, str, str, str, str]] = [
    ("GET", SERVICES, "ListService", "List the account's Services.", "200 services:Service"),
    ("POST", SERVICES, "CreateService", "Make a Service.", "201 Service"),
    ("GET", SERVICES + "/{Sid}", "FetchService", "Fetch a Service, by SID or by name.", "200 Service"),
    ("POST", SERVICES + "/{Sid}", "UpdateService", "Change a Service; what is absent stays.", "200 Service"),
    ("DELETE", SERVICES + "/{Sid}", "DeleteService", "Delete a Service with all that it holds.", "204"),
    ("GET", SERVICE + "/Settings", "FetchSettings", "Fetch a Service's settings.", "200 Settings"),
    ("POST", SERVICE + "/Settings", "UpdateSettings", "Change settings; empty: the default.", "200 Settings"),
    ("GET", NUMBERS, "ListPhoneNumber", "List the pool, the last added first.", "200 phone_numbers:PhoneNumber"),
    ("POST", NUMBERS, "CreatePhoneNumber", "Put a number into the pool, by SID or by value.", "201 PhoneNumber"),
    ("GET", NUMBERS + "/{Sid}", "FetchPhoneNumber", "Fetch a number of the pool.", "200 PhoneNumber"),
    ("POST", NUMBERS + "/{Sid}", "UpdatePhoneNumber", "Reserve a number, or not.", "200 PhoneNumber"),
    ("DELETE", NUMBERS + "/{Sid}", "DeletePhoneNumber", "Take a number out of the pool.", "204"),
    ("GET", SHORT_CODES, "ListShortCode", "List the pool's short codes.", "200 short_codes:ShortCode"),
    ("POST", SHORT_CODES, "CreateShortCode", "Put a short code of the account into the pool.", "201 ShortCode"),
    ("GET", SHORT_CODES + "/{Sid}", "FetchShortCode", "Fetch a short code of the pool.", "200 ShortCode"),
    ("POST", SHORT_CODES + "/{Sid}", "UpdateShortCode", "Reserve a short code, or not.", "200 ShortCode"),
    ("DELETE", SHORT_CODES + "/{Sid}", "DeleteShortCode", "Take a short code out of the pool.", "204"),
    ("GET", SESSIONS, "ListSession", "List a Service's Sessions.", "200 sessions:Session"),
    ("POST", SESSIONS, "CreateSession", "Make a Session, with its Participants or without.", "201 Session"),
    ("GET", SESSIONS + "/{Sid}", "FetchSession", "Fetch a Session, by SID or by name.", "200 Session"),
    ("POST", SESSIONS + "/{Sid}", "UpdateSession", "Change, close or re-open a Session.", "200 Session"),
    ("DELETE", SESSIONS + "/{Sid}", "DeleteSession", "Delete a Session with all that it holds.", "204"),
    ("GET", PARTICIPANTS, "ListParticipant", "List Participants, deleted ones too.", "200 participants:Participant"),
    ("POST", PARTICIPANTS, "CreateParticipant", "Add a person and give it a proxy number.", "201 Participant"),
    ("GET", PARTICIPANTS + "/{Sid}", "FetchParticipant", "Fetch a Participant, deleted or not.", "200 Participant"),
    ("DELETE", PARTICIPANTS + "/{Sid}", "DeleteParticipant", "Delete a Participant; it stays listed.", "204"),
    ("GET", INTERACTIONS, "ListInteraction", "List a Session's Interactions.", "200 interactions:Interaction"),
    ("GET", INTERACTIONS + "/{Sid}", "FetchInteraction", "Fetch an Interaction.", "200 Interaction"),
    ("DELETE", INTERACTIONS + "/{Sid}", "DeleteInteraction", "Delete an Interaction for good.", "204"),
    ("GET", MESSAGES, "ListMessageInteraction", "List what the API sent to a Participant.",
     "200 interactions:MessageInteraction"),
    ("POST", MESSAGES, "CreateMessageInteraction", "Send a message to a Participant, from its proxy number.",
     "200 MessageInteraction"),
    ("GET", MESSAGES + "/{Sid}", "FetchMessageInteraction", "Fetch a message that the API sent.",
     "200 MessageInteraction"),
    ("GET", OPT_OUTS, "ListOptOut", "List who gets no messages of the Service.", "200 opt_outs:OptOut"),
    ("POST", OPT_OUTS, "CreateOptOut", "Write down that somebody gets no messages; once is enough.", "200 OptOut"),
    ("GET", OPT_OUTS + "/{Sid}", "FetchOptOut", "Fetch an opt-out.", "200 OptOut"),
    ("DELETE", OPT_OUTS + "/{Sid}", "DeleteOptOut", "End an opt-out.", "204"),
    ("GET", PERSON, "FetchPerson", "Say in numbers what is held of a person.", "200 Person"),
    ("DELETE", PERSON, "DeletePerson", "Erase a person; 202: it is going on.", "204; 202 Person"),
    ("GET", SERVICE + "/Callbacks", "ListCallback", "List the callbacks that were given up.",
     "200 callbacks:Callback"),
    ("GET", SERVICE + "/Callbacks/{Sid}", "FetchCallback", "Fetch a callback that was given up.", "200 Callback"),
    ("POST", SERVICE + "/Callbacks/{Sid}", "UpdateCallback", "Send one again, for another hour.", "200 Callback"),
    ("GET", INTERACTIONS + "/{InteractionSid}/Callbacks", "ListCallbackAttempt",
     "List the attempts to tell of an Interaction.", "200 callbacks:CallbackAttempt"),
    ("GET", OWN_NUMBERS + ".json", "ListIncomingPhoneNumber", "List the account's numbers, in pools or not.",
     "200 incoming_phone_numbers:IncomingPhoneNumber"),
    ("POST", OWN_NUMBERS + ".json", "CreateIncomingPhoneNumber", "Add a number to the account.",
     "201 IncomingPhoneNumber"),
    ("POST", OWN_NUMBERS + "/{Sid}.json", "UpdateIncomingPhoneNumber", "Give one of them another name.",
     "200 IncomingPhoneNumber"),
    ("DELETE", OWN_NUMBERS + "/{Sid}.json", "DeleteIncomingPhoneNumber", "Take one from the account.", "204"),
    ("GET", OWN_NUMBERS + "/{Sid}.json", "FetchIncomingPhoneNumber", "Fetch one of the account's numbers.",
     "200 IncomingPhoneNumber"),
    ("GET", SENT + ".json", "ListMessage", "List the account's messages, leg by leg.", "200 messages:Message"),
    ("GET", SENT + "/{Sid}.json", "FetchMessage", "Fetch a message.", "200 Message"),
    ("GET", SENT + "/{MessageSid}/Media.json", "ListMedia", "List the media of a message.", "200 media_list:Media"),
    ("GET", SENT + "/{MessageSid}/Media/{Sid}.json", "FetchMedia",
     "Fetch what a medium is; without .json, the medium itself.", "200 Media"),
    ("GET", CALLS + ".json", "ListCall", "List the account's calls, leg by leg.", "200 calls:Call"),
    ("GET", CALLS + "/{Sid}.json", "FetchCall", "Fetch a call.", "200 Call"),
    ("GET", ALERTS, "ListAlert", "List the account's events.", "200 alerts:Alert"),
    ("GET", ALERTS + "/{Sid}", "FetchAlert", "Fetch an event.", "200 FetchedAlert"),
    ("GET", HANDSETS, "ListHandsetMessage", "List what went to and from handsets.", "200 messages:HandsetMessage"),
    ("POST", HANDSETS, "CreateHandsetMessage", "Have a handset text a proxy number.", "201 HandsetMessage"),
    ("GET", HANDSET_CALLS, "ListHandsetCall", "List the calls that handsets made.", "200 calls:HandsetCall"),
    ("POST", HANDSET_CALLS, "CreateHandsetCall", "Have a handset call a proxy number, to the end of the call.",
     "201 HandsetCall"),
    ("POST", "/sandbox/behaviour", "UpdateBehaviour", "Script what becomes of sends to a number.", "200 Behaviour"),
    ("POST", WEBHOOKS + "/Message", "ReceiveMessage", "Where a carrier brings a message, in Twilio's manner.",
     "200 Twiml"),
    ("POST", WEBHOOKS + "/Call", "ReceiveCall", "Where a carrier asks about a call, in Twilio's manner.",
     "200 Twiml"),
    ("GET", HOOKS[0], "FetchCarrierHook", "That the server is here, for vendors that look first.",
     "200 Bytes"),
    ("POST", HOOKS[0], "ReceiveFromCarrier", "Where a carrier account brings what comes to its numbers.", "200 Bytes"),
    ("POST", HOOKS[1], "ReceiveReport", "Where a carrier account tells what became of a message.", "200 Bytes"),
    ("GET", LINK, "FetchLink", "Fetch a medium by a link that was made to it.", "200 Bytes"),
    ("GET", "/healthz", "FetchHealth", "Whether the process lives.", "200 Health"),
    ("GET", "/readyz", "FetchReadiness", "Whether it can do its work; 503 where it cannot.", "200 Health"),
    ("GET", "/openapi.json", "FetchContract", "This file.", "200 Contract"),
]
# fmt: on

# What they take: a GET in its query, a POST in its form. Lists take what pages are asked for with as well.
PARAMETERS: dict[str, str] = {
    "ListService": "UniqueName text Only the one of this name.",
    "CreateService": f"""
UniqueName!                {_NAME}     Its name, unique in the account.{_SERVICE}""",
    "UpdateService": f"""
UniqueName                 {_NAME}     Its name, unique in the account.{_SERVICE}""",
    "CreatePhoneNumber": """
Sid                        PN          SID of the number.
PhoneNumber                text        The number in E.164 form.
IsReserved                 bool        Whether it is only given to whom it is named for.""",
    "UpdatePhoneNumber": "IsReserved bool Whether it is only given to whom it is named for.",
    "CreateShortCode": """
Sid!                       SC          SID of the short code.
IsReserved                 bool        Whether it is only given to whom it is named for.""",
    "UpdateShortCode": "IsReserved bool Whether it is only given to whom it is named for.",
    "ListSession": """
UniqueName                 text        Only the one of this name.
Status                     ListedStatus  Only those that have this status now.""",
    "CreateSession": f"""
UniqueName                 {_NAME}     Its name, unique in the Service.
Mode                       Mode        What traffic it takes.
Participants*              json        At most two, each the JSON of a Participant's parameters.{_SESSION}""",
    "UpdateSession": _SESSION,
    "ListParticipant": "Identifier text Only those of this person.",
    "CreateParticipant": f"""
Identifier!                text(1..{participants.MOST_IDENTIFIER})    The person's number (E.164) or channel address.
FriendlyName               text(0..{participants.MOST_FRIENDLY_NAME}) A name for it.
ProxyIdentifier            text(0..{participants.MOST_PROXY})         The number or channel sender that it is to get.
ProxyIdentifierSid         PN|SC_      SID of that number or short code.{_CONFLICT}""",
    "ListOptOut": """
Identifier                 text        Only those of this person.
ProxyIdentifier            text        Only those from this proxy number.""",
    "CreateOptOut": f"""
Identifier!                text(1..{participants.MOST_IDENTIFIER})    The person's number (E.164) or channel address.
ProxyIdentifier            text(0..{participants.MOST_PROXY})         Only from this number; absent: from all.""",
    "CreateMessageInteraction": f"""
Body                       text(0..{MOST_BODY}) The text.
MediaUrl*                  callback    Addresses of at most {MOST_MEDIA} media. One of the two is required.""",
    "ListIncomingPhoneNumber": """
PhoneNumber                text        Only this one.
FriendlyName               text        Only those of this name.""",
    "CreateIncomingPhoneNumber": f"""
PhoneNumber!               text        The number in E.164 form.
FriendlyName               text(0..{inventory.MOST_FRIENDLY_NAME}) A name for it.""",
    "UpdateIncomingPhoneNumber": f"""
FriendlyName               text(0..{inventory.MOST_FRIENDLY_NAME}) A name for it; empty: the number.""",
    "ListMessage": """
DateSent                   text        Only those of this day, or of this second.
DateSent<                  text        Only those until then.
DateSent>                  text        Only those since then.""",
    "ListAlert": f"""
LogLevel                   ListedLevel Only those of this level.
StartDate                  text        Only those of this day, or of this second, or later.
EndDate                    text        Only those until then.
ServiceSid                 KS          Only those of this Service.
SessionSid                 KC          Only those of this Session.
InteractionSid             KI          Only those of this Interaction.
ErrorCode                  int(0..{alerts.MOST_CODE})  Only those of this code.""",
    "ListHandsetMessage": """
To                         text        Only those to this number.
From                       text        Only those from this number.
Handset                    text        Only those of this handset, whichever way they went.
Direction                  Direction   Only those that went this way.""",
    "CreateHandsetMessage": f"""
From!                      {_HANDSET}  The handset.
To!                        {_HANDSET}  The proxy number.
Body                       text(0..{MOST_BODY}) The text.
MediaUrl*                  callback    Addresses of at most {MOST_MEDIA} media.
MediaContentType*          text        What each of them is, such as image/png; for all or for none.""",
    "ListHandsetCall": """
To                         text        Only those to this number.
From                       text        Only those from this handset.""",
    "CreateHandsetCall": f"""
From!                      {_HANDSET}  The handset.
To!                        {_HANDSET}  The proxy number.
Answer                     CallAnswer  What the side that is dialled does.
Duration                   int(0..{LONGEST_S})  How many seconds they talk.
Digits*                    text(0..100)  What is keyed in at the first Gather, then at the next.""",
    "UpdateBehaviour": f"""
To                         {_HANDSET}  The number; goes with Outcome.
Outcome                    Outcome     What becomes of sends to it.
DelayMs                    int(0..{sandbox.MOST_DELAY_MS}) After how many milliseconds.
Times                      int(1..{sandbox.MOST_TIMES})    For how many sends; absent: until changed.
CarrierKeys                bool        Whether the carrier takes idempotency keys.
LookUp                     bool        Whether the carrier can be asked what became of a message.""",
}

# Of every webhook: the rest of Twilio's parameters is taken, too, and signed with the others.
_BROUGHT = f"""
From!                      {_HANDSET}  Who wrote or called.
To!                        {_HANDSET}  A number of the Service's pool."""
PARAMETERS["ReceiveMessage"] = f"""
MessageSid!                text(1..{MOST_SID})  The carrier's name for it; a repeat is told by it.{_BROUGHT}
Body                       text        The text.
MediaUrl0                  text        Address of a medium; then MediaUrl1, and so on.
MediaContentType0          text        What it is."""

PARAMETERS["ReceiveCall"] = f"""
CallSid                    text(1..{MOST_SID})  The carrier's name for it; it may come in again.
CallStatus                 text        How far it is.
From                       {_HANDSET}  Who called.
To                         {_HANDSET}  A number of the Service's pool."""

OPEN = ("/healthz", "/readyz", "/openapi.json", LINK)

# Creates that take an Idempotency-Key.
KEYED = {name for _, _, name, *_ in OPERATIONS if name.startswith("Create")} - {
    "CreateHandsetMessage",
    "CreateHandsetCall",
}

# Who calls these is known by a signature.
SIGNED = (WEBHOOKS + "/Message", WEBHOOKS + "/Call", *HOOKS)
_SIGNATURE: Json = {
    "name": "X-Twilio-Signature",
    "in": "header",
    "description": "HMAC-SHA1 of the address and the form under the account's auth token, as Twilio makes it.",
    "schema": {"type": "string"},
}

REASONS = {
    400: "What was asked is malformed or breaks a rule.",
    401: "No credentials, or wrong ones.",
    403: "The account is suspended or closed, or the request is not signed.",
    404: "There is no such resource, or it is another account's.",
    408: "The request did not arrive in time.",
    409: "It conflicts with another request.",
    413: "The request is too large.",
    415: "The body is no form.",
    429: "Too many requests; wait as Retry-After says.",
    431: "The headers are too large.",
    500: "A fault of the server's own.",
    502: "The server that has it cannot be asked, or has it not.",
    503: "The server cannot do it now; nothing of it is stored.",
}
_ALWAYS = (400, 408, 413, 429, 431, 500, 503)
_WITH_ACCOUNT = (401, 403, 404)
_WITH_BODY = (409, 415)

_HTTP = "https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-~]*)?"
_SID = "^{}[0-9a-fA-F]{{32}}$"


def schema_of(kind: str) -> Json:
    """The schema that a type of the tables stands for."""
    if kind.endswith("?"):
        schema = schema_of(kind[:-1])
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
        return {**schema, "type": [schema["type"], "null"]}
    found = re.fullmatch(r"([\w|]+?)(?:\((\d+)\.\.(\d+)\))?", kind)
    assert found, kind
    name, least, most = found[1], found[2], found[3]
    if name in ENUMS:
        return {"type": "string", "enum": ENUMS[name]}
    if name in SHAPES:
        return closed(SHAPES[name])
    schema = {
        "text": {"type": "string"},
        "int": {"type": "integer"},
        "bool": {"type": "boolean"},
        "date": {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
        "mail_date": {"type": "string", "pattern": r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000$"},
        "url": {"type": "string", "format": "uri"},
        "uri": {"type": "string", "format": "uri-reference", "pattern": "^/"},
        "given_url": {"type": "string", "pattern": "^[hH][tT][tT][pP][sS]?://"},
        "callback": {"type": "string", "maxLength": 4000, "pattern": f"^({_HTTP})?$"},
        "SID": {"type": "string", "pattern": _SID.format("[a-zA-Z]{2}")},
    }.get(name) or sid_of(name)
    if least is not None:
        low, high = ("minimum", "maximum") if name == "int" else ("minLength", "maxLength")
        schema |= {low: int(least), high: int(most)}
        if schema.get("minLength") == 0:
            del schema["minLength"]
    return schema


def sid_of(prefix: str) -> Json:
    """A SID of this kind; with `_` behind its prefix it may be empty."""
    kinds = prefix.rstrip("_")
    pattern = _SID.format(f"({kinds})" if "|" in kinds else kinds)
    return {"type": "string", "pattern": f"^({pattern[1:-1]})?$" if prefix.endswith("_") else pattern}


def closed(schema: Json) -> Json:
    """An object whose fields are always all there."""
    return {**schema, "required": sorted(schema["properties"])} if "properties" in schema else schema


def lines_of(table: str) -> list[tuple[str, str, str]]:
    """(name, type, sentence) of each line."""
    lines = [line.split(maxsplit=2) for line in table.splitlines() if line.strip()]
    return [(name, kind, " ".join(sentence)) for name, kind, *sentence in lines]


def resource_of(table: str) -> Json:
    fields = {name: {**schema_of(kind), "description": said} for name, kind, said in lines_of(table)}
    return closed({"type": "object", "properties": fields})


def settings_of() -> tuple[Json, Json]:
    """A Service's settings as they are shown, and as they are posted."""
    shown = resource_of(f"{_OWNERS}\nurl url Its address.")
    posted: Json = {}
    for setting in SETTINGS:
        match setting.kind:
            case Choice(words):
                schema: Json = {"type": "string", "enum": list(words)}
                form = {"type": "string", "enum": [*words, ""]}
            case Whole(least, most):
                schema = {"type": "integer", "minimum": least, "maximum": most}
                form = {"type": "string", "pattern": "^[0-9]{0,9}$"}
            case Texts(_, most) | Text(most):
                schema = form = {"type": "string", "maxLength": most}
            case Url():
                schema, form = {"type": "string"}, schema_of("callback")
            case other:
                raise AssertionError(other)
        shown["properties"][setting.name] = {**schema, "description": setting.sentence}
        posted[setting.parameter] = {**form, "description": f"{setting.sentence} Default: {setting.default}."}
    return closed(shown), {"type": "object", "properties": posted}


def page_of(path: str, key: str, resource: str) -> Json:
    rows = {"type": "array", "items": {"$ref": f"#/components/schemas/{resource}"}}
    if path.startswith(ACCOUNT):
        fields = resource_of(RESOURCES["Paging"])["properties"]
        return closed({"type": "object", "properties": {key: rows, **fields}})
    meta = {"$ref": "#/components/schemas/Meta"}
    return closed({"type": "object", "properties": {key: rows, "meta": meta}})


def form_of(table: str) -> Json:
    properties, required = {}, []
    for name, kind, said in lines_of(table):
        bare, schema = name.rstrip("!*"), schema_of(kind)
        if name.endswith("*"):
            schema = {"type": "array", "items": schema}
        properties[bare] = {**schema, "description": said}
        if name.endswith("!"):
            required.append(bare)
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


_WORDS = {
    "Token": "What a link ends in.",
    "Carrier": "The carrier account's name in the settings.",
    "What": "What the carrier brings, as its page says.",
    "Leg": "SID of the message that it is about.",
}


def path_parameters(path: str) -> list[Json]:
    found = []
    for name in re.findall(r"{(\w+)}", path):
        if name in _WORDS:
            said, schema = _WORDS[name], {"type": "string", "minLength": 1}
            found.append(
                {"name": name, "in": "path", "required": True, "schema": schema, "description": said}
            )
            continue
        if name == "Identifier":
            said = "The person's number (E.164) or channel address, percent-encoded."
            schema = {"type": "string", "minLength": 1, "maxLength": MOST_IDENTIFIER}
            found.append(
                {"name": name, "in": "path", "required": True, "schema": schema, "description": said}
            )
            continue
        prefix = SIDS.get(name) or KINDS[path.split("/")[-2]]
        by_name = path in NAMED and name == "Sid"
        schema = {"type": "string", "minLength": 1} if by_name else schema_of(prefix)
        said = f"SID ({prefix}…)" + (", or the name." if by_name else ".")
        found.append({"name": name, "in": "path", "required": True, "schema": schema, "description": said})
    return found


def operation_of(method: str, path: str, name: str, said: str, success: str) -> Json:
    answers: Json = {}
    for one in success.split("; "):
        status, _, shown = one.partition(" ")
        key, _, resource = shown.rpartition(":")
        answer: Json = {"description": "Done." if status == "204" else said, "headers": dict(HEADERS)}
        if name in KEYED:
            answer["headers"]["Idempotent-Replayed"] = {"$ref": "#/components/headers/Idempotent-Replayed"}
        if shown:
            schema = page_of(path, key, resource) if key else {"$ref": f"#/components/schemas/{resource}"}
            kind = {"Twiml": "text/xml", "Bytes": "*/*"}.get(resource, "application/json")
            answer["content"] = {kind: {"schema": schema}}
        answers[status] = answer
    refusals = [
        *_ALWAYS,
        *(
            (404, 502)
            if path == LINK
            else ()
            if path in OPEN
            else (403, 404)
            if path in SIGNED
            else _WITH_ACCOUNT
        ),
        *(_WITH_BODY if method == "POST" else ()),
    ]
    operation: Json = {
        "operationId": name,
        "summary": said,
        "tags": [tag_of(path)],
        "parameters": path_parameters(path),
        "responses": {
            **answers,
            **{str(code): {"$ref": f"#/components/responses/{code}"} for code in sorted(refusals)},
        },
    }
    if path in (*OPEN, *SIGNED):
        operation["security"] = []
    if path in SIGNED and path not in HOOKS:
        operation["parameters"].append(_SIGNATURE)
    if name == "FetchMedia":
        where = header("Where the medium is.", format="uri-reference")
        operation["responses"]["307"] = {
            "description": "To an address without .json.",
            "headers": {**HEADERS, "Location": where},
        }
    if path == "/readyz":
        operation["responses"]["503"] = {**answer, "description": "It cannot."}
    table = PARAMETERS.get(name, "")
    if method == "GET":
        operation["parameters"] += [
            {"name": parameter, "in": "query", "schema": schema_of(kind), "description": sentence}
            for parameter, kind, sentence in lines_of(table + (_PAGE if key else ""))
        ]
    elif path in HOOKS:
        operation["requestBody"] = {"required": True, "content": {"*/*": {"schema": {}}}}
    elif method == "POST":
        form = settings_of()[1] if name == "UpdateSettings" else form_of(table)
        operation["requestBody"] = {
            "required": "required" in form,
            "content": {"application/x-www-form-urlencoded": {"schema": form}},
        }
        if name in KEYED:
            operation["parameters"].append({"$ref": "#/components/parameters/Idempotency-Key"})
    return operation


def tag_of(path: str) -> str:
    if path in OPEN:
        return "operation"
    if path in SIGNED:
        return "webhooks"
    return path.strip("/").partition("/")[0]


HEADERS = {
    name: {"$ref": f"#/components/headers/{name}"}
    for name in ("Twilio-Request-Id", "Twilio-Request-Duration", "Twilio-Concurrent-Requests")
}


def refusal_of(status: int) -> Json:
    """The answer of this status, with the codes that it may have."""
    codes = [code for code in vars(problems).values() if isinstance(code, Code) and code.status == status]
    numbers = {"type": "integer", "enum": sorted(code.number for code in codes)}
    only = {"properties": {"code": numbers, "status": {"const": status}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Error"}, only]}
    headers = dict(HEADERS)
    for name, statuses in (("WWW-Authenticate", (401,)), ("Retry-After", (429, 503))):
        if status in statuses:
            headers[name] = {"$ref": f"#/components/headers/{name}"}
    return {
        "description": REASONS[status],
        "headers": headers,
        "content": {"application/json": {"schema": schema}},
    }


def header(said: str, **schema: Any) -> Json:
    return {"description": said, "schema": {"type": "string", **schema}}


def document() -> Json:
    paths: Json = {}
    for line in OPERATIONS:
        paths.setdefault(line[1], {})[line[0].lower()] = operation_of(*line)
    schemas = {name: resource_of(table) for name, table in RESOURCES.items() if name != "Paging"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "maskline",
            "version": "1",
            "description": "Masked messages in Twilio Proxy's wire format, self-hosted. Parameters are form-encoded;"
            " those of a POST may stand in the query too. A GET can be asked as HEAD; a method that a path does not"
            " know is answered 405, with Allow. Unless that is switched off, OPTIONS is answered 204 and pages in"
            " browsers may read every answer. Addresses under /2010-04-01 may leave out .json. The paths under"
            " /sandbox are there while the sandbox carrier is on.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"basic": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "An Account SID and its auth token, or an API key's SID and its secret.",
                }
            },
            "schemas": {
                **schemas,
                "Settings": settings_of()[0],
                "Contract": {"type": "object"},
                "Twiml": {"type": "string"},
                "Bytes": {},
            },
            "responses": {str(status): refusal_of(status) for status in REASONS},
            "headers": {
                "Twilio-Request-Id": header(
                    "Names the request in the server's log.", pattern="^RQ[0-9a-f]{32}$"
                ),
                "Twilio-Request-Duration": header("Seconds that it took.", pattern=r"^\d+\.\d{3}$"),
                "Twilio-Concurrent-Requests": header(
                    "Requests at work, this one among them.", pattern=r"^\d+$"
                ),
                "Idempotent-Replayed": header("true: made by an earlier request.", enum=["true"]),
                "Retry-After": header("Whole seconds to wait.", pattern=r"^\d+$"),
                "WWW-Authenticate": header("How to authenticate."),
            },
            "parameters": {
                "Idempotency-Key": {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "description": "For 24 hours, the same key gives what the first request with it made.",
                    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
                }
            },
        },
    }


def text() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
