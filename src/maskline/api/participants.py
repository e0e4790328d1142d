"""/v1/Services/{KS}/Sessions/{KC}/Participants, and how a participant is asked for."""

from __future__ import annotations

from maskline.api.context import Context, sid_in_path
from maskline.api.forms import Params
from maskline.api.http import REPLAYED, Answer, Request
from maskline.api.pages import answer_page, parse_filters
from maskline.domain import problems
from maskline.domain.channel import parse_channel
from maskline.domain.ids import ParticipantSid, canonical, is_sid
from maskline.domain.model import NumberKind, Participant
from maskline.domain.phone import identifier_key, mask, parse_phone
from maskline.domain.problems import Problem
from maskline.flows.sessions import Wanted, refuse_closed, remove_participant
from maskline.store.engine import Tx
from maskline.store.idempotency import Replayed
from maskline.store.pages import Page, Seek
from maskline.store.participants import list_participants, load_participant
from maskline.store.services import load_service
from maskline.store.sessions import load_session

MOST_IDENTIFIER, MOST_FRIENDLY_NAME, MOST_PROXY = 191, 255, 255

_IN_POOLS = (NumberKind.PHONE, NumberKind.SHORT_CODE)


def parse_wanted(params: Params, sid: str) -> Wanted:
    """A participant as a form asks for it. Raises 80701, 80404, 80407."""
    identifier = params.required("Identifier", MOST_IDENTIFIER)
    phone = parse_phone(identifier, possible=True)
    if phone is None and parse_channel(identifier, possible=True) is None:
        raise Problem(problems.IDENTIFIER_INVALID, f"Identifier {mask(identifier)}")
    proxy = params.text("ProxyIdentifier", MOST_PROXY) or None
    proxy_sid = params.text("ProxyIdentifierSid") or None
    if proxy_sid is not None and not any(is_sid(proxy_sid, kind) for kind in _IN_POOLS):
        raise Problem(problems.PHONE_NUMBER_SID_INVALID, "ProxyIdentifierSid")
    if phone is None and proxy is None:
        raise Problem(
            problems.PARAMETER_INVALID, "ProxyIdentifier (the sender) is required with a channel address"
        )
    return Wanted(
        sid=ParticipantSid(sid),
        identifier=identifier.replace(" ", "+"),  # a plus sign that a client did not encode
        phone=phone,
        valid=parse_phone(identifier) is not None or parse_channel(identifier) is not None,
        friendly_name=params.text("FriendlyName", MOST_FRIENDLY_NAME) or None,
        proxy_identifier=identifier_key(proxy) if proxy else None,
        proxy_identifier_sid=canonical(proxy_sid) if proxy_sid else None,
    )


def accept_conflict_flags(params: Params) -> None:
    """Take the two names of Twilio's flag for refusing conflicts, which are always refused here. Raises 80701."""
    for name in ("FailOnParticipantConflict", "ReturnErrorOnDuplicateRequest"):
        params.boolean(name)


def load(tx: Tx, account_sid: str, service_sid: str, session_sid: str, sid: str) -> Participant:
    """A Participant under its parents. Raises 20404."""
    session = load_session(tx, load_service(tx, account_sid, service_sid).sid, session_sid)
    return load_participant(tx, session.service_sid, session.sid, sid)


def _list(
    tx: Tx, account_sid: str, service_sid: str, session_sid: str, identifier: str | None, seek: Seek
) -> Page[Participant]:
    session = load_session(tx, load_service(tx, account_sid, service_sid).sid, session_sid)
    key = identifier_key(identifier) if identifier else None
    return list_participants(tx, session.service_sid, session.sid, seek, identifier_key=key)


class Participants:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def create(self, request: Request) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]
        session_sid = sid_in_path(request.sids["session"], "KC")
        try:
            accept_conflict_flags(request.params)
            wanted = parse_wanted(request.params, self._c.mint.sid("KP"))
        except Problem:
            # What is wrong with its Session is told before what is wrong with it.
            await self._c.store.read(refuse_closed, account_sid, service_sid, session_sid)
            raise
        try:
            made = await self._c.sessions.add(
                account_sid, service_sid, session_sid, wanted, request.key(service_sid)
            )
        except Replayed as replayed:
            made = await self._c.store.read(
                load, account_sid, service_sid, session_sid, replayed.resource_sid
            )
            return Answer(self._c.render.participant(made, account_sid), 201, REPLAYED)
        return Answer(self._c.render.participant(made, account_sid), 201)

    async def list(self, request: Request) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]
        session_sid = sid_in_path(request.sids["session"], "KC")
        filters = parse_filters(request.params, "Identifier")
        return await answer_page(
            self._c.store,
            self._c.render.url(f"/v1/Services/{service_sid}/Sessions/{session_sid}/Participants"),
            "participants",
            request.params,
            lambda tx, seek: _list(
                tx, account_sid, service_sid, session_sid, filters.get("Identifier"), seek
            ),
            lambda row: self._c.render.participant(row, account_sid),
            filters=filters,
        )

    async def fetch(self, request: Request) -> Answer:
        session_sid = sid_in_path(request.sids["session"], "KC")
        sid = sid_in_path(request.sids["sid"], "KP")
        found = await self._c.store.read(load, request.account_sid, request.sids["service"], session_sid, sid)
        return Answer(self._c.render.participant(found, request.account_sid))

    async def delete(self, request: Request) -> Answer:
        session_sid = sid_in_path(request.sids["session"], "KC")
        sid = sid_in_path(request.sids["sid"], "KP")
        await self._c.store.write(
            remove_participant, request.account_sid, request.sids["service"], session_sid, sid
        )
        return Answer(None, 204)
