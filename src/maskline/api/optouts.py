"""/v1/Services/{KS}/OptOuts: who gets no messages of the Service, from which of its numbers."""

from __future__ import annotations

from maskline.api.context import Context
from maskline.api.http import REPLAYED, Answer, Request
from maskline.api.pages import answer_page, parse_filters
from maskline.api.participants import MOST_IDENTIFIER, MOST_PROXY
from maskline.api.render import Json, render_date
from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.optout import OPTOUT_PREFIX
from maskline.domain.phone import identifier_key
from maskline.domain.problems import Problem
from maskline.flows.optouts import create_optout
from maskline.store.engine import Tx
from maskline.store.idempotency import Replayed
from maskline.store.optouts import OptOut, delete_optout, list_optouts, load_optout
from maskline.store.pages import Page, Seek
from maskline.store.services import load_service


def _sid(text: str) -> str:
    if not is_sid(text, OPTOUT_PREFIX):
        raise Problem(problems.NOT_FOUND)
    return canonical(text)


def _load(tx: Tx, account_sid: str, service_sid: str, sid: str) -> OptOut:
    return load_optout(tx, load_service(tx, account_sid, service_sid).sid, sid)


def _delete(tx: Tx, account_sid: str, service_sid: str, sid: str) -> None:
    delete_optout(tx, load_service(tx, account_sid, service_sid).sid, sid)


class OptOuts:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._c = context

    def _render(self, optout: OptOut) -> Json:
        return {
            "sid": optout.sid,
            "account_sid": optout.account_sid,
            "service_sid": optout.service_sid,
            "identifier": optout.identifier,
            "proxy_identifier": optout.proxy_number or None,
            "source": optout.source,
            "date_created": render_date(optout.created_at),
            "url": self._c.render.url(f"/v1/Services/{optout.service_sid}/OptOuts/{optout.sid}"),
        }

    async def create(self, request: Request) -> Answer:
        """Answered alike whether it was written down now or before."""
        account_sid, service_sid = request.account_sid, request.sids["service"]
        person = request.params.required("Identifier", MOST_IDENTIFIER)
        proxy = request.params.text("ProxyIdentifier", MOST_PROXY) or ""
        sid = self._c.mint.sid(OPTOUT_PREFIX)
        try:
            made = await self._c.store.write(
                create_optout, account_sid, service_sid, sid, person, proxy, request.key(service_sid)
            )
        except Replayed as replayed:
            made = await self._c.store.read(_load, account_sid, service_sid, replayed.resource_sid)
            return Answer(self._render(made), 200, REPLAYED)
        return Answer(self._render(made))

    async def list(self, request: Request) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]
        filters = parse_filters(request.params, "Identifier", "ProxyIdentifier")
        wanted = {name: identifier_key(value) for name, value in filters.items()}

        def fetch(tx: Tx, seek: Seek) -> Page[OptOut]:
            service = load_service(tx, account_sid, service_sid)
            person, number = wanted.get("Identifier"), wanted.get("ProxyIdentifier")
            return list_optouts(tx, service.sid, seek, key=person, number=number)

        return await answer_page(
            self._c.store,
            self._c.render.url(f"/v1/Services/{service_sid}/OptOuts"),
            "opt_outs",
            request.params,
            fetch,
            self._render,
            filters=filters,
        )

    async def fetch(self, request: Request) -> Answer:
        sid = _sid(request.sids["sid"])
        found = await self._c.store.read(_load, request.account_sid, request.sids["service"], sid)
        return Answer(self._render(found))

    async def delete(self, request: Request) -> Answer:
        sid = _sid(request.sids["sid"])
        await self._c.store.write(_delete, request.account_sid, request.sids["service"], sid)
        return Answer(None, 204)
