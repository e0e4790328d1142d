"""A real server and the SMSC of an npm package, which has a codec of its own: every way a text may go, both ways."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.smpp.cases import ENCODINGS, LATIN_1, LONG
from tests.support.certified import LOOPBACK, certified
from tests.support.eventually import eventually
from tests.support.node_smsc import ABSENT, CLIENT, NodeSmsc, account_at, make_masked_pair
from tests.support.north import carriers_file
from tests.support.server import RealServer
from tests.support.world import Pair

pytestmark = pytest.mark.skipif(not CLIENT.is_installed, reason=ABSENT)


class Line:
    """A server that is bound to an SMSC, and two people with a Session."""

    def __init__(self, directory: Path, smsc: NodeSmsc, **options: Any) -> None:
        self.smsc = smsc
        file = carriers_file(directory, account_at(smsc.port, **options))
        self.server = RealServer(directory / "data", environment={"MASKLINE_CARRIERS_FILE": str(file)})
        self.server.start()
        try:
            smsc.wait_for("bound")
            self.pair: Pair = make_masked_pair(self.server, self.server.api)
        except BaseException:
            self.server.kill()
            raise

    def write(self, body: str) -> Any:
        """An API message to the first; gives what the SMSC was handed."""
        sent = self.pair.send(self.pair.first, body)
        assert sent["outbound_resource_status"] in ("sent", "delivered"), self.server.log()
        return sent

    def status(self, sent: Any) -> str:
        reply = self.server.api.get(sent["url"])
        return str(reply.json["outbound_resource_status"])

    def texted(self, **fields: Any) -> int | None:
        """The first writes to their proxy number."""
        first = self.pair.first
        return self.smsc.answer_to(
            self.smsc.deliver(first["identifier"], first["proxy_identifier"], **fields)
        )

    def submitted(self) -> Any:
        return self.smsc.wait_for("submit")

    def stop(self) -> None:
        assert self.server.stop() == 0, self.server.log()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """One for all tests that need no options."""
    with NodeSmsc() as smsc:
        line = Line(tmp_path_factory.mktemp("line"), smsc)
        yield line
        line.stop()


@pytest.fixture
def own_line(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Line]:
    """One with the options that the test's parameter names."""
    with NodeSmsc() as smsc:
        line = Line(tmp_path, smsc, **request.param)
        yield line
        line.stop()


def with_options(*options: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("own_line", options, indirect=True, ids=str)


def test_every_alphabet_goes_out(line: Line) -> None:
    for coding, body in ENCODINGS:
        line.write(body)
        handed = line.submitted()
        assert (handed["text"], handed["data_coding"]) == (body, coding)
        first = line.pair.first
        assert (handed["from"], handed["to"]) == (first["proxy_identifier"][1:], first["identifier"][1:])


def test_every_alphabet_comes_in(line: Line) -> None:
    # npm's encoder writes it: it takes the coding, and a text. By itself it says ASCII, and writes GSM 03.38.
    for said, body in [*(({"data_coding": coding}, body) for coding, body in ENCODINGS), ({}, "é@_€")]:
        assert line.texted(short_message=body, **said) == 0
        handed = line.submitted()
        assert handed["text"] == body
        assert handed["to"] == line.pair.second["identifier"][1:]


@with_options({"latin_1": True}, {"alphabet": "latin-1", "latin_1": True}, {"alphabet": "latin-1"})
def test_latin_1_goes_both_ways(own_line: Line, request: pytest.FixtureRequest) -> None:
    options = request.node.callspec.params["own_line"]
    is_default = "alphabet" in options
    own_line.smsc.tell(alphabet="LATIN1" if is_default else "ASCII")
    both = "é à ü Ñ £ @ _"  # which is in both alphabets, each time with other octets
    own_line.write(both)
    handed = own_line.submitted()
    assert (handed["text"], handed["data_coding"]) == (both, 0)
    own_line.write(LATIN_1)
    handed = own_line.submitted()
    assert (handed["text"], handed["data_coding"]) == (LATIN_1, 3 if "latin_1" in options else 8)
    for coding, body in [(3, LATIN_1), (0, LATIN_1 if is_default else both)]:
        assert own_line.texted(short_message=body, data_coding=coding) == 0
        assert own_line.submitted()["text"] == body


@with_options(*({"long_messages": way} for way in ("udh", "sar", "payload")))
def test_a_long_text_goes_out_each_way(own_line: Line) -> None:
    for body in LONG:
        goes_out(own_line, body)


def goes_out(line: Line, body: str) -> None:
    line.write(body)
    handed = [line.submitted()]
    if handed[0]["payload"]:
        assert handed[0]["text"] == body
        return
    total = int(handed[0]["headers"][0][6:8], 16) if handed[0]["headers"] else handed[0]["sar"][1]
    handed += [line.submitted() for _ in range(total - 1)]
    assert "".join(part["text"] for part in handed) == body
    assert [part["registered_delivery"] for part in handed] == [0] * (total - 1) + [1]
    for place, part in enumerate(handed, 1):
        if part["headers"]:
            assert part["headers"][0].startswith("0003")
            assert part["headers"][0][6:] == f"{total:02x}{place:02x}"
        else:
            assert part["sar"][1:] == [total, place]
    assert len({(*part["headers"][0][4:6],) if part["headers"] else part["sar"][0] for part in handed}) == 1


def test_a_long_text_comes_in_each_way(line: Line) -> None:
    for place in (2, 1):
        header = bytes((5, 0, 3, 9, 2, place)).hex()
        said = header + f"by header {place} ".encode().hex()
        assert line.texted(short_message={"hex": said}, esm_class=0x40) == 0
    assert line.submitted()["text"] == "by header 1 by header 2 "
    for place in (1, 2):
        sar = {"sar_msg_ref_num": 9, "sar_total_segments": 2, "sar_segment_seqnum": place}
        assert line.texted(short_message=f"by SAR {place} ", **sar) == 0
    assert line.submitted()["text"] == "by SAR 1 by SAR 2 "
    assert line.texted(message_payload="by payload " * 10, short_message="") == 0
    assert line.submitted()["text"] == "by payload " * 10
    assert line.texted(command="data_sm", message_payload="by data_sm " * 30, data_coding=0) == 0
    handed = [line.submitted() for _ in range(3)]
    assert "".join(part["text"] for part in handed) == "by data_sm " * 30


@with_options({"submit_ids": "hexadecimal", "receipt_ids": "decimal"})
def test_receipts_early_and_late_with_ids_of_either_kind(own_line: Line) -> None:
    line = own_line
    line.smsc.tell(ids="hexadecimal")
    for when in ("early", "late"):
        line.smsc.tell(receipts=when)
        sent = [line.write(f"{when} {i}") for i in range(15)]
        for one in sent:
            assert eventually(lambda one=one: line.status(one) == "delivered")


def test_receipts_that_are_told_by_parameters_alone(line: Line) -> None:
    line.smsc.tell(told="parameters")
    for when in ("early", "late"):
        line.smsc.tell(receipts=when)
        sent = line.write(f"{when}, by parameters")
        assert line.submitted()["text"] == f"{when}, by parameters"
        assert eventually(lambda sent=sent: line.status(sent) == "delivered")
    line.smsc.tell(told="text")


def test_over_tls_it_talks_to_an_smsc_that_it_trusts(tmp_path: Path) -> None:
    certified(tmp_path, LOOPBACK)
    pem = tmp_path / "peer.pem"
    with NodeSmsc(pem=pem) as smsc:
        line = Line(tmp_path, smsc, tls=True, tls_ca=str(pem))
        assert line.texted(short_message="in") == 0
        assert line.submitted()["text"] == "in"
        line.write("out")
        assert line.submitted()["text"] == "out"
        line.stop()


def test_refusals_of_all_kinds(line: Line) -> None:
    line.smsc.tell(script=[0x0B])
    refused = line.pair.send(line.pair.first, "no such number")
    assert refused["outbound_resource_status"] == "failed"
    line.smsc.tell(script=[0x58])
    throttled = line.pair.send(line.pair.first, "too fast")
    assert eventually(lambda: line.status(throttled) in ("sent", "delivered"))
    assert [line.submitted()["status"] for _ in range(3)] == [0x0B, 0x58, 0]


def test_it_binds_again_and_goes_on(line: Line) -> None:
    line.smsc.tell(cut=True)
    line.smsc.wait_for("gone")
    line.smsc.wait_for("bound")
    assert line.texted(short_message="still there") == 0
    assert line.submitted()["text"] == "still there"


@with_options({"mode": "pair", "binds": 2})
def test_pairs_of_binds_are_one_account(own_line: Line) -> None:
    line = own_line
    bound = [line.smsc.wait_for("bound") for _ in range(3)]
    assert sorted({*bound}) == ["bind_receiver", "bind_transmitter"]
    assert line.texted(short_message="in and out") == 0
    assert line.submitted()["text"] == "in and out"
    line.write("out")
    assert line.submitted()["text"] == "out"
