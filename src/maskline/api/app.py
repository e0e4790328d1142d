"""The route table: one list, and what answers at each port."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maskline.api import v2010
from maskline.api.access_log import AccessLog
from maskline.api.alerts import Alerts
from maskline.api.callbacks import Callbacks
from maskline.api.carriers import CarrierHooks
from maskline.api.context import Context
from maskline.api.cors import cors_lines
from maskline.api.edge import Edge
from maskline.api.http import RawResource, Resource, fixed
from maskline.api.interactions import Interactions, MessageInteractions
from maskline.api.inventory import Inventory
from maskline.api.legs import Calls, Messages
from maskline.api.limits import RateLimit
from maskline.api.media import Links, MessageMedia
from maskline.api.metrics import Metrics, Owner
from maskline.api.numbers import PhoneNumbers, ShortCodes
from maskline.api.ops import Ops, load_contract
from maskline.api.optouts import OptOuts
from maskline.api.participants import Participants
from maskline.api.people import People
from maskline.api.sandbox import Sandbox
from maskline.api.services import Services
from maskline.api.sessions import Sessions
from maskline.api.webhooks import Webhooks

Checks = dict[str, Callable[[], bool]]


def build_app(
    context: Context,
    checks: Checks,
    docs_url: str,
    limit: RateLimit | None = None,
    cors_origin: str = "",
    *,
    access_log: AccessLog | None = None,
) -> Edge:
    """Everything that the main port serves. `docs_url` is what `more_info` of an error begins with."""
    auth = context.auth
    messages, interactions = MessageInteractions(context), Interactions(context)
    participants, sessions = Participants(context), Sessions(context)
    numbers, short_codes = PhoneNumbers(context), ShortCodes(context)
    services, optouts = Services(context), OptOuts(context)
    inventory, message_legs, calls = Inventory(context), Messages(context), Calls(context)
    callbacks, webhooks, alerts = Callbacks(context), Webhooks(context), Alerts(context, docs_url)
    people = People(context)
    ops = Ops(context.store, checks, details=False)
    service = "/v1/Services/{service}"
    session = service + "/Sessions/{session}"
    participant = session + "/Participants/{participant}"
    table = {
        participant + "/MessageInteractions": Resource(auth, post=messages.create, get=messages.list),
        participant + "/MessageInteractions/{sid}": Resource(auth, get=messages.fetch),
        session + "/Participants": Resource(auth, post=participants.create, get=participants.list),
        session + "/Participants/{sid}": Resource(auth, get=participants.fetch, delete=participants.delete),
        session + "/Interactions/{interaction}/Callbacks": Resource(auth, get=callbacks.attempts),
        service + "/People/{person}": Resource(auth, get=people.fetch, delete=people.delete),
        service + "/Callbacks": Resource(auth, get=callbacks.list),
        service + "/Callbacks/{sid}": Resource(auth, get=callbacks.fetch, post=callbacks.again),
        session + "/Interactions": Resource(auth, get=interactions.list),
        session + "/Interactions/{sid}": Resource(auth, get=interactions.fetch, delete=interactions.delete),
        service + "/Sessions": Resource(auth, post=sessions.create, get=sessions.list),
        service + "/Sessions/{sid}": Resource(
            auth, get=sessions.fetch, post=sessions.update, delete=sessions.delete
        ),
        service + "/PhoneNumbers": Resource(auth, post=numbers.create, get=numbers.list),
        service + "/PhoneNumbers/{sid}": Resource(
            auth, get=numbers.fetch, post=numbers.update, delete=numbers.delete
        ),
        service + "/ShortCodes": Resource(auth, post=short_codes.create, get=short_codes.list),
        service + "/ShortCodes/{sid}": Resource(
            auth, get=short_codes.fetch, post=short_codes.update, delete=short_codes.delete
        ),
        service + "/OptOuts": Resource(auth, post=optouts.create, get=optouts.list),
        service + "/OptOuts/{sid}": Resource(auth, get=optouts.fetch, delete=optouts.delete),
        service + "/Settings": Resource(auth, get=services.fetch_settings, post=services.update_settings),
        "/v1/Services": Resource(auth, post=services.create, get=services.list),
        "/v1/Services/{sid}": Resource(
            auth, get=services.fetch, post=services.update, delete=services.delete
        ),
        "/v1/Accounts/{account}/Proxy/{service}/Webhooks/Message": RawResource(None, post=webhooks.message),
        "/v1/Accounts/{account}/Proxy/{service}/Webhooks/Call": RawResource(None, post=webhooks.call),
        "/v1/Alerts": Resource(auth, get=alerts.list),
        "/v1/Alerts/{sid}": Resource(auth, get=alerts.fetch),
        "/media/{token}": Resource(None, get=Links(context.media).fetch),
        "/healthz": Resource(None, get=ops.health),
        "/readyz": Resource(None, get=ops.ready),
        "/openapi.json": Resource(None, get=fixed(load_contract())),
    }
    hooks = CarrierHooks(context)
    table["/carriers/{carrier}/{what}"] = RawResource(None, get=hooks.show, post=hooks.take)
    table["/carriers/{carrier}/{what}/{sid}"] = RawResource(None, post=hooks.take)
    table |= v2010.routes(
        auth,
        "IncomingPhoneNumbers",
        {"get": inventory.list, "post": inventory.create},
        {"get": inventory.fetch, "post": inventory.update, "delete": inventory.delete},
    )
    table |= v2010.routes(auth, "Messages", {"get": message_legs.list}, {"get": message_legs.fetch})
    media = MessageMedia(context)
    table |= v2010.routes(auth, "Messages/{message}/Media", {"get": media.list}, {"get": media.fetch})
    table |= v2010.routes(auth, "Calls", {"get": calls.list}, {"get": calls.fetch})
    if context.sandbox is not None:
        sandbox = Sandbox(context, context.sandbox)
        table["/sandbox/messages"] = Resource(auth, post=sandbox.text, get=sandbox.list)
        table["/sandbox/calls"] = Resource(auth, post=sandbox.call, get=sandbox.list_calls)
        table["/sandbox/behaviour"] = Resource(auth, post=sandbox.script)
    return Edge(table, docs_url, limit, cors_lines(cors_origin), access_log=access_log)


def build_ops_app(context: Context, checks: Checks, docs_url: str, owners: Sequence[Owner]) -> Edge:
    """What the ops port serves: health, with details, and metrics of what the `owners` measure."""
    ops = Ops(context.store, checks, details=True)
    metrics = Metrics(context.store, context.clock, ops.look, owners)
    table = {
        "/healthz": Resource(None, get=ops.health),
        "/readyz": Resource(None, get=ops.ready),
        "/metrics": Resource(None, get=metrics.show),
    }
    return Edge(table, docs_url)
