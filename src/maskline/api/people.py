"""/v1/Services/{KS}/People/{number}: what is held of a person, in numbers, and erasing it."""

from __future__ import annotations

from dataclasses import asdict
from urllib.parse import quote

from maskline.api.context import Context
from maskline.api.http import Answer, Request
from maskline.api.render import Json
from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.flows.people import erase, load_personal_data, read_person
from maskline.store.personal_data import PersonalData


class People:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._c = context

    def _render(self, held: PersonalData, account_sid: str, service_sid: str) -> Json:
        path = f"/v1/Services/{service_sid}/People/{quote(held.identifier, safe='')}"
        return {
            "account_sid": account_sid,
            "service_sid": service_sid,
            **asdict(held),
            "url": self._c.render.url(path),
        }

    async def fetch(self, request: Request) -> Answer:
        account_sid, service_sid = request.account_sid, request.sids["service"]
        key = read_person(request.sids["person"])
        held = await self._c.store.read(load_personal_data, account_sid, service_sid, key)
        return Answer(self._render(held, account_sid, service_sid))

    async def delete(self, request: Request) -> Answer:
        """204 once all is erased, 202 with what is left where it takes longer than a request waits."""
        account_sid, service_sid = request.account_sid, request.sids["service"]
        key = read_person(request.sids["person"])
        if await erase(self._c.store, self._c.clock, account_sid, service_sid, key):
            return Answer(None, 204)
        try:
            held = await self._c.store.read(load_personal_data, account_sid, service_sid, key)
        except Problem as problem:
            if problem.code is not problems.NOT_FOUND:
                raise
            return Answer(None, 204)  # the sweep has been faster
        return Answer(self._render(held, account_sid, service_sid), 202)
