"""/v1/Alerts: the account's events in the shape of Twilio's Monitor, for its clients to read."""

from __future__ import annotations

from typing import Any

from maskline.api.context import Context
from maskline.api.forms import Params
from maskline.api.http import Answer, Request
from maskline.api.pages import answer_page, parse_filters
from maskline.api.render import Json, render_date
from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.problems import Problem
from maskline.store.events import Event, Wanted, list_events, load_event

# Twilio's words. The last two a list may be asked for, but no event of ours ever has them.
LEVELS = ("error", "warning", "notice", "debug")
MOST_CODE = 999_999

_DATES = {"StartDate": "since", "EndDate": "until"}
_SIDS = {
    "ServiceSid": ("service_sid", "KS"),
    "SessionSid": ("session_sid", "KC"),
    "InteractionSid": ("interaction_sid", "KI"),
}
FILTERS = ("LogLevel", *_DATES, *_SIDS, "ErrorCode")

# Of the request that an event is about nothing is kept.
_NEVER = dict.fromkeys(("api_version", "request_method", "request_url"))
_NEVER_FETCHED = dict.fromkeys(("request_headers", "request_variables", "response_body", "response_headers"))


def _parse(params: Params, account_sid: str) -> tuple[Wanted, dict[str, str]]:
    """Which events are asked for, and the filters as they were given. Raises 80701."""
    given = parse_filters(params, *FILTERS)
    fields: dict[str, Any] = {}
    if (level := given.get("LogLevel")) is not None:
        if level.lower() not in LEVELS:
            raise Problem(problems.PARAMETER_INVALID, f"LogLevel (one of {', '.join(LEVELS)})")
        fields["level"] = level.upper()
    for name, field in _DATES.items():
        if (span := params.span(name)) is not None:
            fields[field] = span[field == "until"]
    for name, (field, prefix) in _SIDS.items():
        if (sid := given.get(name)) is not None:
            if not is_sid(sid, prefix):
                raise Problem(problems.PARAMETER_INVALID, f"{name} ({prefix} and 32 hexadecimal digits)")
            fields[field] = canonical(sid)
    if "ErrorCode" in given:
        fields["code"] = params.integer("ErrorCode", 0, MOST_CODE)
    return Wanted(account_sid, **fields), given


class Alerts:
    """The handlers. `docs_url` is what the address of a code's page begins with."""

    def __init__(self, context: Context, docs_url: str) -> None:
        self._c = context
        self._docs_url = docs_url

    def _render(self, event: Event) -> Json:
        return {
            "sid": event.sid,
            "account_sid": event.account_sid,
            "service_sid": event.service_sid,
            "resource_sid": event.resource_sid,
            "error_code": str(event.code),
            "log_level": event.level.lower(),
            "alert_text": event.message,
            "more_info": f"{self._docs_url}{event.code}",
            "date_generated": render_date(event.generated_at),
            "date_created": render_date(event.created_at),
            "date_updated": render_date(event.created_at),
            **_NEVER,
            "url": self._c.render.url(f"/v1/Alerts/{event.sid}"),
        }

    async def list(self, request: Request) -> Answer:
        wanted, given = _parse(request.params, request.account_sid)
        return await answer_page(
            self._c.store,
            self._c.render.url("/v1/Alerts"),
            "alerts",
            request.params,
            lambda tx, seek: list_events(tx, wanted, seek),
            self._render,
            filters=given,
        )

    async def fetch(self, request: Request) -> Answer:
        sid = request.sids["sid"]
        if not is_sid(sid, "NO"):
            raise Problem(problems.NOT_FOUND)
        event = await self._c.store.read(load_event, request.account_sid, canonical(sid))
        return Answer({**self._render(event), **_NEVER_FETCHED})
