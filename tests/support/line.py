"""A carrier of calls, by hand: it asks what the webhook answers, in whatever order, and says what it likes."""

from __future__ import annotations

import json
from typing import Any

from maskline.domain.interaction import CALL_WORDS
from maskline.domain.model import Interaction, Participant, Service, Session
from maskline.domain.twiml import Dial, Verb
from maskline.store.interactions import list_interactions
from maskline.store.pages import Seek
from tests.support.house import ACCOUNT, House


class Line:
    """A carrier by hand: it asks about calls to the numbers of one Service, in whatever order."""

    def __init__(self, house: House, service: Service) -> None:
        self.house, self.service = house, service
        self.url = house.calls.webhook(ACCOUNT, service.sid)

    async def ask(self, url: str, form: dict[str, str]) -> list[Verb]:
        request = self.house.calls.read_address(url, "scripted", form)
        assert request is not None
        return await self.house.calls.answer(request)

    async def ring(self, caller: Participant, call_sid: str = "CA1", **form: str) -> list[Verb]:
        """A participant calls their own proxy number."""
        numbers = {"From": caller.identifier, "To": caller.proxy_identifier}
        return await self.ask(self.url, {"CallSid": call_sid, "CallStatus": "ringing", **numbers, **form})

    async def dial(self, caller: Participant, call_sid: str = "CA1") -> Dialled:
        (verb,) = await self.ring(caller, call_sid)
        assert isinstance(verb, Dial)
        return Dialled(self, verb)

    async def interactions(self, session: Session) -> list[Interaction]:
        page = await self.house.store.read(list_interactions, session.service_sid, session.sid, Seek(50))
        return page.rows

    async def one(self, session: Session) -> Interaction:
        (interaction,) = await self.interactions(session)
        return interaction

    async def statuses(self, session: Session) -> tuple[str | None, str | None, str]:
        """Of both legs, and the data."""
        one = await self.one(session)
        words = [None if leg is None else CALL_WORDS[leg.status] for leg in (one.inbound, one.outbound)]
        return words[0], words[1], one.data


class Dialled:
    """A call whose partner the carrier was told to dial."""

    def __init__(self, line: Line, dial: Dial) -> None:
        self.line, self.dial = line, dial
        (self.number,) = dial.numbers

    async def tell(self, status: str, **form: str) -> None:
        assert self.number.status_callback
        assert await self.line.ask(self.number.status_callback, {"CallStatus": status, **form}) == []

    async def over(self, status: str, **form: str) -> list[Verb]:
        assert self.dial.action
        return await self.line.ask(self.dial.action, {"DialCallStatus": status, **form})

    async def answered(self) -> list[Verb]:
        """What the partner hears alone."""
        assert self.number.url
        return await self.line.ask(self.number.url, {"CallStatus": "in-progress"})


async def a_line(house: House, **fields: Any) -> tuple[Line, Session, Participant, Participant]:
    settings = json.dumps(fields.pop("settings", {}))
    session_fields = {key: fields.pop(key) for key in ("mode", "ttl") if key in fields}
    service = await house.service(2, settings=settings, **fields)
    session, ann, ben = await house.pair(service, **session_fields)
    return Line(house, service), session, ann, ben
