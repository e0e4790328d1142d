"""/v1/Services/{KS}/PhoneNumbers: the pool."""

from __future__ import annotations

from maskline.api.context import Context, sid_in_path
from maskline.api.http import REPLAYED, Answer, Request
from maskline.api.pages import answer_page
from maskline.carriers import sandbox
from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.model import ProxyNumber
from maskline.domain.problems import Problem
from maskline.flows.services import add_number, change_number, new_number, remove_number
from maskline.store.engine import Tx
from maskline.store.idempotency import Replayed
from maskline.store.numbers import list_pool, load_pool_number
from maskline.store.pages import Page, Seek
from maskline.store.services import load_service
from maskline.store.sessions import as_of_now


def _load(tx: Tx, account_sid: str, service_sid: str, sid: str) -> ProxyNumber:
    service = load_service(tx, account_sid, service_sid)
    return as_of_now(tx, [load_pool_number(tx, service.sid, sid)])[0]


def _list(tx: Tx, account_sid: str, service_sid: str, seek: Seek) -> Page[ProxyNumber]:
    page = list_pool(tx, load_service(tx, account_sid, service_sid).sid, seek)
    return Page(as_of_now(tx, page.rows), page.newer, page.older)


class Numbers:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def create(self, request: Request) -> Answer:
        sid, phone_number = request.params.text("Sid"), request.params.text("PhoneNumber")
        if not sid and not phone_number:
            raise Problem(problems.PARAMETER_INVALID, "Sid or PhoneNumber is required")
        if sid and not is_sid(sid, "PN"):
            raise Problem(problems.PHONE_NUMBER_SID_INVALID)
        account_sid, service_sid = request.account_sid, request.sids["service"]
        number = None
        if phone_number:
            now = self._c.clock.now()
            number = new_number(self._c.mint.sid("PN"), phone_number, account_sid, sandbox.NAME, now)
        try:
            made = await self._c.store.write(
                add_number,
                account_sid,
                service_sid,
                sid=canonical(sid) if sid else None,
                number=number,
                reserved=bool(request.params.boolean("IsReserved")),
                sandbox=self._c.sandbox is not None,
                key=request.key(service_sid),
            )
        except Replayed as replayed:
            made = await self._c.store.read(_load, account_sid, service_sid, replayed.resource_sid)
            return Answer(self._c.render.phone_number(made), 201, REPLAYED)
        return Answer(self._c.render.phone_number(made), 201)

    async def list(self, request: Request) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]
        return await answer_page(
            self._c.store,
            self._c.render.url(f"/v1/Services/{service_sid}/PhoneNumbers"),
            "phone_numbers",
            request.params,
            lambda tx, seek: _list(tx, account_sid, service_sid, seek),
            self._c.render.phone_number,
            key=lambda row: (row.created_at, row.sid),
        )

    async def fetch(self, request: Request) -> Answer:
        sid = sid_in_path(request.sids["sid"], "PN")
        number = await self._c.store.read(_load, request.account_sid, request.sids["service"], sid)
        return Answer(self._c.render.phone_number(number))

    async def update(self, request: Request) -> Answer:
        sid = sid_in_path(request.sids["sid"], "PN")
        reserved = request.params.boolean("IsReserved")
        number = await self._c.store.write(
            change_number, request.account_sid, request.sids["service"], sid, reserved
        )
        return Answer(self._c.render.phone_number(number))

    async def delete(self, request: Request) -> Answer:
        sid = sid_in_path(request.sids["sid"], "PN")
        await self._c.store.write(remove_number, request.account_sid, request.sids["service"], sid)
        return Answer(None, 204)
