"""Many texts from handsets to handsets over one SMSC, while the link is cut and the server dies: none is lost, and none
goes twice unless somebody is told.

The SMSC, which is not ours, is the witness: it knows what it was handed, and brings again what it has no answer for.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maskline.domain.interaction import MessageStatus
from maskline.domain.problems import DELIVERY_UNKNOWN, MESSAGE_MAYBE_REPEATED
from tests.faults.lives import FULL, CrashingServer
from tests.support.eventually import eventually
from tests.support.node_smsc import ABSENT, CLIENT, NodeSmsc, account_at, make_masked_pair
from tests.support.north import carriers_file

pytestmark = pytest.mark.skipif(not CLIENT.is_installed, reason=ABSENT)

PAIRS = 10
WINDOW = 30
UNKNOWN, SENT = int(MessageStatus.DELIVERY_UNKNOWN), int(MessageStatus.SENT)
MESSAGES = "SELECT data, outbound_status FROM interactions"
COUNT = "SELECT count(*) FROM interactions"
WAITING = "SELECT count(*) FROM outbox WHERE topic = 'send'"


class Traffic:
    """A server that may die, an SMSC, and people with Sessions who write through both."""

    def __init__(self, directory: Path, smsc: NodeSmsc) -> None:
        file = carriers_file(directory, account_at(smsc.port, window=WINDOW))
        self.server = CrashingServer(
            directory / "data",
            environment={"MASKLINE_CARRIERS_FILE": str(file), "MASKLINE_SEND_WAIT_MS": "0"},
        )
        self.smsc = smsc
        self.people: list[tuple[str, str]] = []
        self.written = 0

    def start(self, crash_at: str = "") -> None:
        self.server.environment["CRASH_AT"] = crash_at
        self.server.start()
        self.smsc.wait_for("bound")

    def meet(self) -> None:
        """Everybody gets their proxy number."""
        api = self.server.api
        service = None
        for _ in range(PAIRS):
            pair = make_masked_pair(self.server, api, service)
            service = pair.service
            self.people += [(one["identifier"], one["proxy_identifier"]) for one in (pair.first, pair.second)]

    def load(self, count: int, cuts: int = 0) -> None:
        """Everybody writes, in turn, so many texts more of which no two are alike."""
        texts = []
        for i in range(self.written, self.written + count):
            handset, proxy = self.people[i % len(self.people)]
            texts.append({"from": handset[1:], "to": proxy[1:], "text": f"the text {i}"})
        self.written += count
        self.smsc.tell(load={"texts": texts, "window": WINDOW, "cuts": cuts})

    def rest(self, timeout_s: float) -> None:
        """Wait until nothing is to be sent any more."""
        eventually(lambda: self.server.rows(WAITING) == [(0,)], timeout_s)

    def finish(self, timeout_s: float) -> dict[str, int]:
        """Wait until everything is over, and judge it. Gives some figures."""
        count = self.written
        loaded = self.smsc.wait(lambda line: line.get("loaded", {}).get("answered") == count, timeout_s)[
            "loaded"
        ]
        self.rest(timeout_s)
        self.smsc.tell(tally=True)
        handed = Counter(self.smsc.wait_for("tally"))
        stored: Counter[str] = Counter()
        certain: Counter[str] = Counter()
        for data, status in self.server.rows(MESSAGES):
            body = json.loads(data)["body"]
            stored[body] += 1
            certain[body] += status >= SENT
            assert status >= UNKNOWN
        assert set(stored) == {f"the text {i}" for i in range(count)}  # nothing is lost,
        twice = stored.total() - count
        events = Counter(code for (code,) in self.server.rows("SELECT code FROM events"))
        # And what is twice is marked: an answer that the SMSC had not read when its connection broke is lost with that.
        assert twice <= events[MESSAGE_MAYBE_REPEATED.number]
        unknown = stored.total() - certain.total()
        assert unknown == events[DELIVERY_UNKNOWN.number]
        for body, copies in stored.items():
            assert certain[body] <= handed[body] <= copies, body
        return {"twice": twice, "unknown": unknown, "again": loaded["again"]}


@pytest.fixture
def traffic(tmp_path: Path) -> Iterator[Traffic]:
    with NodeSmsc() as smsc:
        traffic = Traffic(tmp_path, smsc)
        yield traffic
        traffic.server.bury()


def test_a_link_that_is_cut_ten_times(traffic: Traffic, record_property: Any) -> None:
    count = 100_000 if FULL else 1_500
    traffic.start()
    traffic.meet()
    traffic.load(count, cuts=10)
    figures = traffic.finish(60 + count / 50)
    record_property("figures", json.dumps(figures))
    assert figures["again"] > 0  # the cuts came while something was under way
    assert figures["unknown"] <= 10 * WINDOW
    assert traffic.server.stop() == 0


def test_a_server_that_is_stopped_under_load(traffic: Traffic) -> None:
    traffic.start()
    traffic.meet()
    for _ in range(20 if FULL else 3):
        taken = traffic.written
        traffic.load(300)
        assert eventually(lambda taken=taken: traffic.server.rows(COUNT) > [(taken + 50,)])
        assert traffic.server.stop() == 0
        traffic.start()
    figures = traffic.finish(120)
    assert (figures["twice"], figures["unknown"]) == (0, 0)  # it has said good-bye when all was answered
    assert traffic.server.stop() == 0


POINTS = [
    "receive_messages:after:1",
    "receive_messages:before:2",
    "mark_answered:after:1",
    "start_sends:after:2",
    "record_outcomes:before:2",
    "merge_receipts:before:1",
] * (10 if FULL else 1)


def test_a_server_that_dies_at_every_commit(traffic: Traffic, record_property: Any) -> None:
    traffic.start()
    traffic.meet()
    assert traffic.server.stop() == 0
    for point in POINTS:
        traffic.start(point)
        traffic.load(100)
        assert traffic.server.ended(60) == -9, point
    traffic.start()
    figures = traffic.finish(120)
    record_property("figures", json.dumps(figures))
    assert figures["unknown"] <= len(POINTS) * 64
    assert traffic.server.stop() == 0


BETWEEN = ["keep_part:after:2", "receive_messages:after:1"]
if FULL:
    BETWEEN += [
        "keep_part:after:1",
        "keep_part:before:2",
        "receive_messages:before:1",
        "mark_brought:before:1",
    ]


@pytest.mark.parametrize("point", BETWEEN)
def test_a_server_that_dies_between_the_parts_of_a_text(traffic: Traffic, point: str) -> None:
    traffic.start()
    traffic.meet()
    assert traffic.server.stop() == 0
    traffic.start(point)
    handset, proxy = traffic.people[0]
    parts = [bytes((5, 0, 3, 7, 2, place)) + f"part {place} ".encode() for place in (1, 2)]
    for part in parts:
        fields = {"short_message": {"hex": part.hex()}, "esm_class": 0x40}
        while (status := traffic.smsc.answer_to(traffic.smsc.deliver(handset, proxy, **fields))) is None:
            assert traffic.server.ended(60) == -9
            traffic.start()
        assert status == 0
    traffic.rest(30)
    # It is one message. What became of it on its way out of a life that ended may be unknown.
    ((data, status),) = traffic.server.rows(MESSAGES)
    assert json.loads(data)["body"] == "part 1 part 2 "
    assert status == UNKNOWN or traffic.smsc.wait_for("submit")["text"] == "part 1 part 2 "
    assert not any("submit" in line for line in traffic.smsc.said)
    assert traffic.server.stop() == 0
