"""/v1/Services/{KS}/Callbacks: what could not be told to a customer; …/Interactions/{KI}/Callbacks: every attempt."""

from __future__ import annotations

from typing import Any

from maskline.api.context import Context, sid_in_path
from maskline.api.http import Answer, Request
from maskline.api.pages import answer_page
from maskline.api.render import render_date
from maskline.domain import problems
from maskline.domain.callback import CALLBACK_PREFIX
from maskline.domain.ids import canonical, is_sid
from maskline.domain.problems import Problem
from maskline.store.dead_letters import (
    DeadCallback,
    KeptAttempt,
    list_attempts,
    list_dead,
    load_dead,
    send_again,
)
from maskline.store.engine import Tx
from maskline.store.interactions import load_interaction
from maskline.store.pages import Page, Seek
from maskline.store.services import load_service
from maskline.store.sessions import load_session


def _sid(text: str) -> str:
    if not is_sid(text, CALLBACK_PREFIX):
        raise Problem(problems.NOT_FOUND)
    return canonical(text)


def _render_attempt(attempt: KeptAttempt) -> dict[str, Any]:
    return {
        "callback_sid": attempt.callback_sid,
        "attempt": attempt.number,
        "callback_url": attempt.url,
        "response_status": attempt.status,
        "error": attempt.error or None,
        "duration_ms": attempt.duration_ms,
        "date_created": render_date(attempt.began_at),
    }


class Callbacks:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._c = context

    def _render(self, callback: DeadCallback) -> dict[str, Any]:
        service = f"/v1/Services/{callback.service_sid}"
        interaction = f"{service}/Sessions/{callback.session_sid}/Interactions/{callback.interaction_sid}"
        return {
            "sid": callback.sid,
            "account_sid": callback.account_sid,
            "service_sid": callback.service_sid,
            "session_sid": callback.session_sid,
            "interaction_sid": callback.interaction_sid,
            "resource_status": callback.word,
            "attempts": callback.attempts,
            "date_created": render_date(callback.statuses.at),
            "url": self._c.render.url(f"{service}/Callbacks/{callback.sid}"),
            "links": {
                "interaction": self._c.render.url(interaction),
                "attempts": self._c.render.url(f"{interaction}/Callbacks"),
            },
        }

    async def list(self, request: Request) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]

        def fetch(tx: Tx, seek: Seek) -> Page[DeadCallback]:
            return list_dead(tx, load_service(tx, account_sid, service_sid).sid, seek)

        return await answer_page(
            self._c.store,
            self._c.render.url(f"/v1/Services/{service_sid}/Callbacks"),
            "callbacks",
            request.params,
            fetch,
            self._render,
        )

    async def fetch(self, request: Request) -> Answer:
        sid = _sid(request.sids["sid"])

        def read(tx: Tx) -> DeadCallback:
            return load_dead(tx, load_service(tx, request.account_sid, request.sids["service"]).sid, sid)

        return Answer(self._render(await self._c.store.read(read)))

    async def again(self, request: Request) -> Answer:
        """Send one again, for another hour."""
        sid = _sid(request.sids["sid"])

        def write(tx: Tx) -> DeadCallback:
            service_sid = load_service(tx, request.account_sid, request.sids["service"]).sid
            callback = load_dead(tx, service_sid, sid)
            send_again(tx, service_sid, [sid])
            return callback

        return Answer(self._render(await self._c.store.write(write)))

    async def attempts(self, request: Request) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]
        session_sid = sid_in_path(request.sids["session"], "KC")
        sid = sid_in_path(request.sids["interaction"], "KI")

        def fetch(tx: Tx, seek: Seek) -> Page[KeptAttempt]:
            session = load_session(tx, load_service(tx, account_sid, service_sid).sid, session_sid)
            interaction = load_interaction(tx, session.service_sid, session.sid, sid)
            return list_attempts(tx, session.service_sid, interaction.sid, seek)

        path = f"/v1/Services/{service_sid}/Sessions/{session_sid}/Interactions/{sid}/Callbacks"
        return await answer_page(
            self._c.store,
            self._c.render.url(path),
            "callbacks",
            request.params,
            fetch,
            _render_attempt,
            key=lambda row: (row.began_at, row.callback_sid),
        )
