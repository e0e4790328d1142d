"""Interactions of a Session, and MessageInteractions: messages that the API sends to one Participant."""

from __future__ import annotations

from maskline.api.context import Context, sid_in_path
from maskline.api.http import REPLAYED, Answer, Request
from maskline.api.pages import answer_page
from maskline.api.participants import load as load_participant
from maskline.domain import problems
from maskline.domain.media import MOST_MEDIA
from maskline.domain.model import Interaction
from maskline.domain.problems import Problem
from maskline.domain.text import MOST_BODY
from maskline.flows.sessions import remove_interaction
from maskline.store.engine import Tx
from maskline.store.interactions import list_interactions, load_interaction
from maskline.store.pages import Page, Seek
from maskline.store.services import load_service
from maskline.store.sessions import load_session


def _load(tx: Tx, account_sid: str, service_sid: str, session_sid: str, sid: str) -> Interaction:
    session = load_session(tx, load_service(tx, account_sid, service_sid).sid, session_sid)
    return load_interaction(tx, session.service_sid, session.sid, sid)


def _list(tx: Tx, account_sid: str, service_sid: str, session_sid: str, seek: Seek) -> Page[Interaction]:
    session = load_session(tx, load_service(tx, account_sid, service_sid).sid, session_sid)
    return list_interactions(tx, session.service_sid, session.sid, seek)


def _load_message(
    tx: Tx, account_sid: str, service_sid: str, session_sid: str, participant_sid: str, sid: str
) -> Interaction:
    who = load_participant(tx, account_sid, service_sid, session_sid, participant_sid)
    return load_interaction(tx, who.service_sid, who.session_sid, sid, who.sid)


def _list_messages(
    tx: Tx, account_sid: str, service_sid: str, session_sid: str, participant_sid: str, seek: Seek
) -> Page[Interaction]:
    who = load_participant(tx, account_sid, service_sid, session_sid, participant_sid)
    return list_interactions(tx, who.service_sid, who.session_sid, seek, who.sid)


class Interactions:
    """The handlers of a Session's Interactions."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def list(self, request: Request) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]
        session_sid = sid_in_path(request.sids["session"], "KC")
        return await answer_page(
            self._c.store,
            self._c.render.url(f"/v1/Services/{service_sid}/Sessions/{session_sid}/Interactions"),
            "interactions",
            request.params,
            lambda tx, seek: _list(tx, account_sid, service_sid, session_sid, seek),
            lambda row: self._c.render.interaction(row, account_sid),
        )

    async def fetch(self, request: Request) -> Answer:
        session_sid = sid_in_path(request.sids["session"], "KC")
        sid = sid_in_path(request.sids["sid"], "KI")
        found = await self._c.store.read(
            _load, request.account_sid, request.sids["service"], session_sid, sid
        )
        return Answer(self._c.render.interaction(found, request.account_sid))

    async def delete(self, request: Request) -> Answer:
        session_sid = sid_in_path(request.sids["session"], "KC")
        sid = sid_in_path(request.sids["sid"], "KI")
        await self._c.store.write(
            remove_interaction, request.account_sid, request.sids["service"], session_sid, sid
        )
        return Answer(None, 204)


class MessageInteractions:
    """The handlers of a Participant's MessageInteractions. `create` is the hot path."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def create(self, request: Request) -> Answer:
        if self._c.store.overloaded():  # before any work on it
            raise Problem(problems.UNAVAILABLE, headers={"Retry-After": "1"})
        sids = request.sids
        # A parent Service of no SID's form is unknown, and the store finds none of that name.
        session_sid = sid_in_path(sids["session"], "KC")
        participant_sid = sid_in_path(sids["participant"], "KP")
        service_sid = sid_in_path(sids["service"], "KS")
        body = request.params.text("Body") or ""
        media = tuple(request.params.urls("MediaUrl", MOST_MEDIA))
        if not body and not media:
            raise Problem(problems.PARAMETER_INVALID, "Body or MediaUrl is required")
        if len(body) > MOST_BODY:
            raise Problem(problems.BODY_TOO_LONG)
        made = await self._c.messages.create(
            request.account_sid,
            service_sid,
            session_sid,
            participant_sid,
            body,
            request.key(service_sid),
            media,
        )
        content = self._c.render.message_interaction(made.interaction, request.account_sid)
        return Answer(content, 200, REPLAYED if made.replayed else {})

    async def list(self, request: Request) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]
        session_sid = sid_in_path(request.sids["session"], "KC")
        participant_sid = sid_in_path(request.sids["participant"], "KP")
        return await answer_page(
            self._c.store,
            self._c.render.url(
                f"/v1/Services/{service_sid}/Sessions/{session_sid}/Participants/{participant_sid}"
                "/MessageInteractions"
            ),
            "interactions",
            request.params,
            lambda tx, seek: _list_messages(tx, account_sid, service_sid, session_sid, participant_sid, seek),
            lambda row: self._c.render.message_interaction(row, account_sid),
        )

    async def fetch(self, request: Request) -> Answer:
        session_sid = sid_in_path(request.sids["session"], "KC")
        participant_sid = sid_in_path(request.sids["participant"], "KP")
        sid = sid_in_path(request.sids["sid"], "KI")
        found = await self._c.store.read(
            _load_message, request.account_sid, request.sids["service"], session_sid, participant_sid, sid
        )
        return Answer(self._c.render.message_interaction(found, request.account_sid))
