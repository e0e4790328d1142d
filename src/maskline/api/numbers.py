"""/v1/Services/{KS}/PhoneNumbers and /ShortCodes: the pool, each by its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from maskline.api.context import Context, sid_in_path
from maskline.api.http import CARRIER, REPLAYED, Answer, Request
from maskline.api.pages import answer_page
from maskline.api.render import Json
from maskline.domain import problems, sandbox
from maskline.domain.ids import canonical, is_sid
from maskline.domain.model import NumberKind, ProxyNumber
from maskline.domain.problems import Problem
from maskline.flows.numbers import add_to_pool, change_number, new_number, remove_number
from maskline.store.engine import Tx
from maskline.store.idempotency import Replayed
from maskline.store.numbers import list_pool, load_pool_number
from maskline.store.pages import Page, Seek
from maskline.store.services import load_service
from maskline.store.session_ends import as_of_now


def _load(tx: Tx, account_sid: str, service_sid: str, sid: str) -> ProxyNumber:
    service = load_service(tx, account_sid, service_sid)
    return as_of_now(tx, [load_pool_number(tx, service.sid, sid)])[0]


def _list(tx: Tx, account_sid: str, service_sid: str, kind: NumberKind, seek: Seek) -> Page[ProxyNumber]:
    page = list_pool(tx, load_service(tx, account_sid, service_sid).sid, kind, seek)
    return Page(as_of_now(tx, page.rows), page.newer, page.older)


class _Pool:
    """The handlers of the pool's members of one kind, but for how one is named in a create."""

    def __init__(
        self, context: Context, kind: NumberKind, path: str, key: str, render: Callable[[ProxyNumber], Json]
    ) -> None:
        self._c = context
        self._kind = kind
        self._path = path
        self._key = key
        self._render = render

    async def _add(self, request: Request, sid: str | None, number: ProxyNumber | None) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]
        try:
            made = await add_to_pool(
                self._c.store,
                self._c.carriers,
                account_sid,
                service_sid,
                sid=canonical(sid) if sid else None,
                number=number,
                reserved=bool(request.params.boolean("IsReserved")),
                event_sid=self._c.mint.sid("NO"),
                key=request.key(service_sid),
            )
        except Replayed as replayed:
            made = await self._c.store.read(_load, account_sid, service_sid, replayed.resource_sid)
            return self._show(made, 201, REPLAYED)
        return self._show(made, 201)

    def _show(
        self, number: ProxyNumber, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return Answer(self._render(number), status, {CARRIER: number.carrier_account, **(headers or {})})

    async def list(self, request: Request) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]
        return await answer_page(
            self._c.store,
            self._c.render.url(f"/v1/Services/{service_sid}/{self._path}"),
            self._key,
            request.params,
            lambda tx, seek: _list(tx, account_sid, service_sid, self._kind, seek),
            self._render,
            key=lambda row: (row.created_at, row.sid),
        )

    async def fetch(self, request: Request) -> Answer:
        sid = sid_in_path(request.sids["sid"], self._kind)
        number = await self._c.store.read(_load, request.account_sid, request.sids["service"], sid)
        return self._show(number)

    async def update(self, request: Request) -> Answer:
        sid = sid_in_path(request.sids["sid"], self._kind)
        reserved = request.params.boolean("IsReserved")
        number = await self._c.store.write(
            change_number,
            request.account_sid,
            request.sids["service"],
            sid,
            reserved,
            self._c.mint.sid("NO"),
        )
        return self._show(number)

    async def delete(self, request: Request) -> Answer:
        sid = sid_in_path(request.sids["sid"], self._kind)
        await remove_number(self._c.store, request.account_sid, request.sids["service"], sid)
        return Answer(None, 204)


class PhoneNumbers(_Pool):
    """The handlers."""

    def __init__(self, context: Context) -> None:
        super().__init__(
            context, NumberKind.PHONE, "PhoneNumbers", "phone_numbers", context.render.phone_number
        )

    async def create(self, request: Request) -> Answer:
        sid, phone_number = request.params.text("Sid"), request.params.text("PhoneNumber")
        if not sid and not phone_number:
            raise Problem(problems.PARAMETER_INVALID, "Sid or PhoneNumber is required")
        if sid and not is_sid(sid, NumberKind.PHONE):
            raise Problem(problems.PHONE_NUMBER_SID_INVALID)
        number = None
        if phone_number:
            fresh = self._c.mint.sid(NumberKind.PHONE)
            number = new_number(fresh, phone_number, request.account_sid, sandbox.NAME, self._c.clock.now())
        return await self._add(request, sid, number)


class ShortCodes(_Pool):
    """The handlers. A short code is known only by what `maskline numbers` has put into the directory."""

    def __init__(self, context: Context) -> None:
        super().__init__(
            context, NumberKind.SHORT_CODE, "ShortCodes", "short_codes", context.render.short_code
        )

    async def create(self, request: Request) -> Answer:
        sid = request.params.required("Sid")
        if not is_sid(sid, NumberKind.SHORT_CODE):
            raise Problem(problems.PARAMETER_INVALID, "Sid (SC and 32 hexadecimal digits)")
        return await self._add(request, sid, None)
