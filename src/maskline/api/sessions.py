"""/v1/Services/{KS}/Sessions, with `Participants` in the create."""

from __future__ import annotations

from typing import Any

import msgspec

from maskline.api.context import Context
from maskline.api.forms import MOST_TTL, Params
from maskline.api.http import REPLAYED, Answer, Request
from maskline.api.pages import answer_page, parse_filters
from maskline.api.participants import accept_conflict_flags, parse_wanted
from maskline.domain import problems
from maskline.domain.ids import ServiceSid, SessionSid, instant_of
from maskline.domain.model import Instant, Mode, Session, SessionStatus
from maskline.domain.problems import Problem
from maskline.flows.sessions import Wanted, change_session, remove_session
from maskline.store.engine import Tx
from maskline.store.idempotency import Replayed
from maskline.store.pages import Page, Seek
from maskline.store.services import load_service
from maskline.store.sessions import list_sessions, load_session_by_name

MOST_NAME = 191

# Twilio's words. The last two a list may be asked for, but no Session of ours ever has them.
STATUSES = (*SessionStatus, "failed", "unknown")

NAMES = ("Identifier", "FriendlyName", "ProxyIdentifier", "ProxyIdentifierSid")

# How a key of a `Participants` object may be spelled; Twilio has never said.
_SPELLINGS = {
    spelling: name
    for name in NAMES
    for snake in ["".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")]
    for spelling in (name, name[0].lower() + name[1:], snake)
}


def _parse_status(params: Params) -> SessionStatus | None:
    text = params.text("Status")
    if text is None:
        return None
    if text.lower() in ("failed", "unknown"):
        raise Problem(problems.SESSION_STATUS_INVALID, "Status")
    return params.choice("Status", SessionStatus)


def _parse_participants(params: Params, context: Context) -> list[Wanted]:
    wanted: list[Wanted] = []
    for text in params.texts("Participants"):
        try:
            decoded = msgspec.json.decode(text.encode())
        except (msgspec.DecodeError, RecursionError):
            raise Problem(problems.PARAMETER_INVALID, "Participants (each a JSON object)") from None
        for one in decoded if isinstance(decoded, list) else [decoded]:
            if not isinstance(one, dict):
                raise Problem(problems.PARAMETER_INVALID, "Participants (each a JSON object)")
            form: dict[str, list[str]] = {}
            for key, value in one.items():
                name = _SPELLINGS.get(key)
                if name is None or not isinstance(value, str | None) or "\0" in (value or ""):
                    raise Problem(
                        problems.PARAMETER_INVALID, f"Participants (keys: {', '.join(NAMES)}; values: texts)"
                    )
                if value is not None:
                    form[name] = [value]
            wanted.append(parse_wanted(Params({}, form), context.mint.sid("KP")))
    return wanted


def _load(tx: Tx, account_sid: str, service_sid: str, sid_or_name: str) -> Session:
    return load_session_by_name(tx, load_service(tx, account_sid, service_sid).sid, sid_or_name)


def _list(
    tx: Tx, account_sid: str, service_sid: str, unique_name: str | None, status: str | None, seek: Seek
) -> Page[Session]:
    service = load_service(tx, account_sid, service_sid)
    return list_sessions(tx, service.sid, seek, unique_name=unique_name, status=status)


class Sessions:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def create(self, request: Request) -> Answer:
        params, account_sid, service_sid = request.params, request.account_sid, request.sids["service"]
        sid = self._c.mint.sid("KC")
        now = Instant(instant_of(sid))
        ttl = params.integer("Ttl", 0, MOST_TTL)
        name = params.text("UniqueName", MOST_NAME)
        if name == "":
            raise Problem(problems.PARAMETER_INVALID, "UniqueName must not be empty")
        accept_conflict_flags(params)
        session = Session(
            service_sid=ServiceSid(service_sid),
            sid=SessionSid(sid),
            unique_name=name,
            status=_parse_status(params) or SessionStatus.OPEN,
            closed_reason=None,
            mode=params.choice("Mode", Mode) or Mode.VOICE_AND_MESSAGE,
            ttl=ttl or 0,
            expiry_at=params.instant("DateExpiry"),
            started_at=None,
            ended_at=None,
            last_interaction_at=None,
            active_from_at=now,
            created_at=now,
            updated_at=now,
        )
        wanted = _parse_participants(params, self._c)
        try:
            made = await self._c.sessions.create(
                account_sid, session, wanted, request.key(service_sid), own_ttl=ttl is not None
            )
        except Replayed as replayed:
            made = await self._c.store.read(_load, account_sid, service_sid, replayed.resource_sid)
            return Answer(self._c.render.session(made, account_sid), 201, REPLAYED)
        return Answer(self._c.render.session(made, account_sid), 201)

    async def list(self, request: Request) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]
        filters = parse_filters(request.params, "UniqueName", "Status")
        name, status = filters.get("UniqueName"), filters.get("Status")
        if status is not None and (status := status.lower()) not in STATUSES:
            raise Problem(problems.PARAMETER_INVALID, f"Status (one of {', '.join(STATUSES)})")
        return await answer_page(
            self._c.store,
            self._c.render.url(f"/v1/Services/{service_sid}/Sessions"),
            "sessions",
            request.params,
            lambda tx, seek: _list(tx, account_sid, service_sid, name, status, seek),
            lambda row: self._c.render.session(row, account_sid),
            filters=filters,
        )

    async def fetch(self, request: Request) -> Answer:
        account_sid = request.account_sid
        session = await self._c.store.read(_load, account_sid, request.sids["service"], request.sids["sid"])
        return Answer(self._c.render.session(session, account_sid))

    async def update(self, request: Request) -> Answer:
        params, account_sid, service_sid = request.params, request.account_sid, request.sids["service"]
        changes: dict[str, Any] = {}
        if (ttl := params.integer("Ttl", 0, MOST_TTL)) is not None:
            changes["ttl"] = ttl
        if params.has("DateExpiry"):
            changes["expiry_at"] = params.instant("DateExpiry")
        accept_conflict_flags(params)
        status = _parse_status(params)

        def change(tx: Tx) -> Session:
            sid = _load(tx, account_sid, service_sid, request.sids["sid"]).sid
            return change_session(tx, account_sid, service_sid, sid, status, changes)

        return Answer(self._c.render.session(await self._c.store.write(change), account_sid))

    async def delete(self, request: Request) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]

        def remove(tx: Tx) -> None:
            remove_session(
                tx, account_sid, service_sid, _load(tx, account_sid, service_sid, request.sids["sid"]).sid
            )

        await self._c.store.write(remove)
        return Answer(None, 204)
