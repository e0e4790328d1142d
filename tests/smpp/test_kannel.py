"""Against Kannel, bound to the same SMSC: it reads what we write, and we read what it writes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from smpplib import smpp

from maskline.carriers.base import Accepted
from maskline.store.sqlite import SqliteStore
from tests.smpp.cases import ENCODINGS, LATIN_1, LONG
from tests.smpp.conftest import Desk, at_work
from tests.support.clock import FakeClock
from tests.support.kannel import ABSENT, IS_INSTALLED, Kannel
from tests.support.peer import Peer, polite
from tests.support.smsc import OK, Connection, Smsc, pdu
from tests.support.until import until

pytestmark = pytest.mark.skipif(not IS_INSTALLED, reason=ABSENT)

BOUND_S = 30.0
TEXTS = [*ENCODINGS, *zip((0, 8), LONG, strict=True)]


class Relay(Smsc):
    """An SMSC that brings to each of its two clients what the other has submitted, octet for octet."""

    def answer(self, count: int | None = None) -> None:
        while self.due:
            connection, heard = self.due.popleft()
            connection.say(pdu("submit_sm_resp", heard.sequence, OK, message_id=f"{len(self.submitted)}"))
            (other,) = (one for one in self.connections if one is not connection)
            self.bring(other, heard)

    def bring(self, to: Connection, heard: Any) -> None:
        names = (
            "source_addr_ton",
            "source_addr_npi",
            "dest_addr_ton",
            "dest_addr_npi",
            "esm_class",
            "data_coding",
        )
        fields = {name: getattr(heard, name) for name in names}
        fields |= {name: getattr(heard, name).decode() for name in ("source_addr", "destination_addr")}
        sar = ("sar_msg_ref_num", "sar_total_segments", "sar_segment_seqnum")
        fields |= {name: value for name in sar if (value := getattr(heard, name)) is not None}
        content = "message_payload" if heard.message_payload else "short_message"
        made = smpp.make_pdu("deliver_sm", client=to.counter, **fields, **{content: getattr(heard, content)})
        to.waiting[made.sequence] = asyncio.get_running_loop().create_future()
        to.say(made)


class Between:
    """Our account and Kannel, both bound, and what Kannel was brought."""

    def __init__(self, desk: Desk, kannel: Kannel, peer: Peer) -> None:
        self.desk, self.kannel, self.peer = desk, kannel, peer

    async def got(self, count: int) -> list[str]:
        """The first so many texts that Kannel was brought."""
        await until(lambda: len(self.peer.requests) >= count, "Kannel got nothing", BOUND_S)
        texts = []
        for request in self.peer.requests[:count]:
            query = parse_qs(request.target.partition("?")[2], encoding="latin-1")
            octets = query["text"][0].encode("latin-1")
            texts.append(octets.decode("utf-16-be" if query["coding"] == ["2"] else "utf-8"))
        return texts


@pytest.fixture
async def between(
    tmp_path: Path, store: SqliteStore, clock: FakeClock, request: pytest.FixtureRequest
) -> AsyncIterator[Between]:
    options = getattr(request, "param", {})
    async with Relay() as relay, Peer(polite) as peer, at_work(store, clock, relay, **options) as desk:
        await desk.bound()
        latin = "alt-charset = ISO-8859-1\n" if options.get("alphabet") == "latin-1" else ""
        kannel = Kannel(tmp_path, relay.port, f"{peer.url}/got", latin)
        try:
            await asyncio.to_thread(kannel.start)
            await until(lambda: len(relay.bound) == 2, "Kannel is not bound", BOUND_S)
            yield Between(desk, kannel, peer)
        finally:
            await asyncio.to_thread(kannel.stop)


@pytest.mark.parametrize(
    "between",
    [{"long_messages": "udh"}, {"long_messages": "sar"}, {"long_messages": "payload"}, {"latin_1": True}],
    indirect=True,
    ids=str,
)
async def test_kannel_reads_what_we_write(between: Between) -> None:
    await reads(between, [*(text for _, text in TEXTS), LATIN_1])


async def reads(between: Between, texts: list[str]) -> None:
    for i, text in enumerate(texts, 1):
        accepted = await between.desk.send(text)
        assert isinstance(accepted, Accepted)
        assert (await between.got(i))[-1] == text


@pytest.mark.parametrize("between", [{"alphabet": "latin-1"}], indirect=True, ids=str)
async def test_an_alphabet_that_both_are_told_of(between: Between) -> None:
    texts = ["é à ü Ñ £ @ _", "é à ü Ñ " * 40]
    await reads(between, [*texts, LATIN_1])
    await is_read(between, [(0, text) for text in texts])  # of Latin-1 Kannel writes what GSM 03.38 has, too


async def test_we_read_what_kannel_writes(between: Between) -> None:
    await is_read(between, TEXTS)


async def is_read(between: Between, texts: list[tuple[int, str]]) -> None:
    _, ann, _ = await between.desk.house.pair()
    bodies: list[str] = []
    for i, (coding, text) in enumerate(texts, 1):
        kannels = 2 if coding == 8 else 0
        await asyncio.to_thread(between.kannel.send, ann.identifier, ann.proxy_identifier, text, kannels)
        async with asyncio.timeout(BOUND_S):
            while len(bodies) < i:
                bodies = await between.desk.bodies()
        assert bodies[-1] == text
