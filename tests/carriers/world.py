"""The whole server with a carrier account at a vendor: what every vendor's tests begin with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from maskline.domain.directory import read_address
from maskline.flows.numbers import new_entry
from maskline.mint import Mint
from maskline.store.numbers import insert_number
from tests.support.inside import Inside
from tests.support.private import note
from tests.support.server import ACCOUNT_SID
from tests.support.until import until
from tests.support.vendor import Taken

NUMBERS = ("+14155550100", "+14155550101")


@dataclass
class World:
    """A server with accounts at vendors; a Service whose pool has the numbers of the one, and two people on them."""

    inside: Inside
    north: Any
    south: Any = None
    service: Any = None
    people: list[Any] = field(default_factory=list)

    @property
    def ann(self) -> Any:
        return self.people[0]

    @property
    def ben(self) -> Any:
        return self.people[1]

    async def put_down(self, number: str, carrier: str = "north") -> str:
        """Have the directory say who carries a number."""
        mint, clock = Mint(self.inside.clock), self.inside.clock
        address = read_address(number, None if number.startswith("+") else "US")
        entry = new_entry(mint.sid(address.kind), address, ACCOUNT_SID, carrier, clock.now())
        await self.inside.store.write(insert_number, entry)
        return entry.sid

    async def join(self, number: str) -> Any:
        return await self.inside.request(
            "POST", f"/v1/Services/{self.service['sid']}/PhoneNumbers", {"PhoneNumber": number}
        )

    async def meet(self) -> None:
        self.service = await self.inside.post("/v1/Services", {"UniqueName": "shop"})
        for number in NUMBERS:
            await self.put_down(number)
            assert (await self.join(number)).status == 201
        session = await self.inside.post(self.service["links"]["sessions"])
        for i, number in enumerate(NUMBERS):
            form = {"Identifier": f"+1212555017{i}", "ProxyIdentifier": number}
            self.people.append(await self.inside.post(session["links"]["participants"], form))

    async def bring(self, hook: tuple[str, dict[str, str] | bytes, dict[str, str]]) -> Any:
        return await self.inside.bring(*hook)

    def text(self, who: Any, body: str, *media: str, sid: str = "") -> Any:
        note("", body)
        return self.north.text(who["identifier"], who["proxy_identifier"], body, *media, sid=sid)

    async def sent(self, count: int) -> list[Taken]:
        """So many messages at the stand-in, recorded here."""
        await until(lambda: len(self.north.taken) >= count)
        await self.recorded()
        return self.north.taken

    async def recorded(self) -> None:
        """Until no message is under way."""
        while (await self.inside.rows("SELECT count(*) FROM outbox WHERE state IN (0, 4)"))[0][0]:
            pass

    async def legs(self) -> list[tuple[str, str]]:
        sql = "SELECT inbound_status, outbound_status FROM interactions ORDER BY sid"
        return await self.inside.rows(sql)

    async def events(self) -> list[tuple[int, str]]:
        return await self.inside.rows("SELECT code, message FROM events ORDER BY sid")
