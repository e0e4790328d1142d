"""/v1/Services and a Service's settings."""

from __future__ import annotations

from typing import Any

from maskline.api.context import Context
from maskline.api.forms import MOST_TTL, Params
from maskline.api.http import REPLAYED, Answer, Request
from maskline.api.pages import answer_page, parse_filters
from maskline.domain import problems
from maskline.domain.ids import AccountSid, ServiceSid, instant_of, is_sid
from maskline.domain.model import GeoMatchLevel, Instant, NumberSelectionBehavior, Service
from maskline.domain.problems import Problem
from maskline.domain.service_settings import change_settings, read_settings
from maskline.domain.webhook_url import leads_to
from maskline.flows.services import change_service, create_service, remove_service
from maskline.store.engine import Tx
from maskline.store.idempotency import Replayed
from maskline.store.services import list_services, load_service, load_service_by_name

MOST_NAME = 191
_URLS = {
    "CallbackUrl": "callback_url",
    "InterceptCallbackUrl": "intercept_callback_url",
    "OutOfSessionCallbackUrl": "out_of_session_callback_url",
}


def _given(params: Params, home: str) -> dict[str, Any]:
    """The fields of a Service that a form sets. A URL that leads to `home`, this server, could call itself for ever."""
    given: dict[str, Any] = {}
    if params.has("UniqueName"):
        given["unique_name"] = params.required("UniqueName", MOST_NAME)
    if (ttl := params.integer("DefaultTtl", 0, MOST_TTL)) is not None:
        given["default_ttl"] = ttl
    for parameter, name in _URLS.items():
        if (url := params.url(parameter)) is not None:
            if url and leads_to(url, home):
                raise Problem(problems.PARAMETER_INVALID, f"{parameter} (it leads to this server itself)")
            given[name] = url or None
    level = params.choice("GeoMatchLevel", GeoMatchLevel, extended_area_code=GeoMatchLevel.OVERLAY)
    if level is not None:
        given["geo_match_level"] = level
    if (behavior := params.choice("NumberSelectionBehavior", NumberSelectionBehavior)) is not None:
        given["number_selection_behavior"] = behavior
    if (chat := params.text("ChatInstanceSid")) is not None:
        if chat and not is_sid(chat, "IS"):
            raise Problem(problems.PARAMETER_INVALID, "ChatInstanceSid (IS and 32 hexadecimal digits)")
        given["chat_instance_sid"] = chat or None
    return given


class Services:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def create(self, request: Request) -> Answer:
        request.params.required("UniqueName", MOST_NAME)
        sid = self._c.mint.sid("KS")
        now = Instant(instant_of(sid))
        fields: dict[str, Any] = {
            "default_ttl": 0,
            "callback_url": None,
            "intercept_callback_url": None,
            "out_of_session_callback_url": None,
            "chat_instance_sid": None,
            "geo_match_level": GeoMatchLevel.COUNTRY,
            "number_selection_behavior": NumberSelectionBehavior.PREFER_STICKY,
            **_given(request.params, self._c.render.url("")),
        }
        service = Service(
            sid=ServiceSid(sid),
            account_sid=AccountSid(request.account_sid),
            settings="{}",
            created_at=now,
            updated_at=now,
            **fields,
        )
        try:
            made = await self._c.store.write(create_service, service, request.key(request.account_sid))
        except Replayed as replayed:
            made = await self._c.store.read(load_service, request.account_sid, replayed.resource_sid)
            return Answer(self._c.render.service(made), 201, REPLAYED)
        return Answer(self._c.render.service(made), 201)

    async def list(self, request: Request) -> Answer:
        filters = parse_filters(request.params, "UniqueName")
        return await answer_page(
            self._c.store,
            self._c.render.url("/v1/Services"),
            "services",
            request.params,
            lambda tx, seek: list_services(
                tx, request.account_sid, seek, unique_name=filters.get("UniqueName")
            ),
            self._c.render.service,
            filters=filters,
        )

    async def fetch(self, request: Request) -> Answer:
        service = await self._c.store.read(load_service_by_name, request.account_sid, request.sids["sid"])
        return Answer(self._c.render.service(service))

    async def update(self, request: Request) -> Answer:
        changes = _given(request.params, self._c.render.url(""))

        def change(tx: Tx) -> Service:
            service = load_service_by_name(tx, request.account_sid, request.sids["sid"])
            return change_service(tx, request.account_sid, service.sid, changes)

        return Answer(self._c.render.service(await self._c.store.write(change)))

    async def delete(self, request: Request) -> Answer:
        def remove(tx: Tx) -> None:
            service = load_service_by_name(tx, request.account_sid, request.sids["sid"])
            remove_service(tx, request.account_sid, service.sid, guarded=self._c.guard_services)

        await self._c.store.write(remove)
        return Answer(None, 204)

    async def fetch_settings(self, request: Request) -> Answer:
        service = await self._c.store.read(load_service, request.account_sid, request.sids["service"])
        return Answer(self._c.render.settings(service, read_settings(service.settings)))

    async def update_settings(self, request: Request) -> Answer:
        def change(tx: Tx) -> Service:
            service = load_service(tx, request.account_sid, request.sids["service"])
            settings = change_settings(service.settings, request.params.all(), self._c.render.url(""))
            return change_service(tx, request.account_sid, service.sid, {"settings": settings})

        service = await self._c.store.write(change)
        return Answer(self._c.render.settings(service, read_settings(service.settings)))
