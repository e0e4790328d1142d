"""kill -9 while Sessions move from a carrier account that is down to the sandbox, which is the witness: each moves
once, both people of each are told at most once, and what waits arrives in its order, none of it twice.
"""

import json
import socket
from collections.abc import Callable

import pytest

from maskline.domain.interaction import MessageStatus
from maskline.domain.problems import SESSION_MOVED
from tests.faults.lives import Lives
from tests.support.eventually import eventually
from tests.support.node_smsc import account_at
from tests.support.north import add_number, carriers_file
from tests.support.server import Api
from tests.support.world import Pair, fresh_number, make_pair

# Of all Sessions that move at a time there is one commit. What was told after it may be under way at the last.
POINTS = ["move_session:before:1", "move_session:after:1", "record_outcomes:before:2"]
PAIRS = 12
TEXTS = 3
WORDS = "This conversation goes on from this number."
UNKNOWN = int(MessageStatus.DELIVERY_UNKNOWN)


def texts_of(api: Api, handset: str) -> list[tuple[str, str, int]]:
    """What a handset of the sandbox got, in its order: from which number, the text, and how often."""
    page = api.get(f"/sandbox/messages?To=%2B{handset[1:]}&PageSize=50").json["messages"]
    return [(one["from"], one["body"], one["handovers"]) for one in reversed(page)]


@pytest.mark.parametrize("lives", ["sqlite", "postgres"], indirect=True)
def test_at_the_move(lives: Lives, report: Callable[[str], None]) -> None:
    with socket.socket() as taken:  # nobody listens there, as long as it is ours
        taken.bind(("127.0.0.1", 0))
        file = carriers_file(lives.server.data.parent, account_at(taken.getsockname()[1], outage_after_s=1))
        lives.server.environment |= {
            "MASKLINE_CARRIERS_FILE": str(file),
            "MASKLINE_SANDBOX": "on",
            "MASKLINE_SEND_WAIT_MS": "0",
        }
        lives.start(POINTS[0])
        api = lives.api
        north, south = fresh_number(), fresh_number()
        add_number(lives.server, north)
        service = api.make("/v1/Services", {"UniqueName": f"moves {north}"})
        api.make(f"/v1/Services/{service['sid']}/Settings", {"FailOver": "move"})
        api.make(f"/v1/Services/{service['sid']}/PhoneNumbers", {"PhoneNumber": north})
        pairs: list[Pair] = [make_pair(api, service, Mode="message-only") for _ in range(PAIRS)]
        api.make(f"/v1/Services/{service['sid']}/PhoneNumbers", {"PhoneNumber": south})
        for i in range(TEXTS):
            for pair in pairs:
                pair.send(pair.first, f"text {i}")
        lives.end()
        for point in POINTS[1:]:
            lives.crash(point)
        lives.start()
        waiting = "SELECT count(*) FROM outbox WHERE topic = 'send'"
        eventually(lambda: lives.server.rows(waiting) == [(0,)], 120)

        api = lives.api
        unknown: dict[str, set[str]] = {pair.session["sid"]: set() for pair in pairs}
        ended = "SELECT session_sid, data FROM interactions WHERE outbound_status = ?"
        for session_sid, data in lives.server.rows(ended, UNKNOWN):
            unknown[session_sid].add(json.loads(data)["body"])
        texts = [f"text {i}" for i in range(TEXTS)]
        # Where each kill came while its next text was trying the account, nothing waited any more.
        moved = [pair for pair in pairs if not unknown[pair.session["sid"]].issuperset(texts)]
        for pair in moved:
            for person, rest in ((pair.first, texts), (pair.second, [])):
                got = texts_of(api, person["identifier"])
                assert {from_ for from_, *_ in got} <= {south}
                assert all(handovers == 1 for *_, handovers in got)
                wanted = [WORDS, *rest]
                bodies = [body for _, body, _ in got]
                assert bodies == [body for body in wanted if body in bodies]
                assert set(wanted) - set(bodies) <= unknown[pair.session["sid"]]
        stay, go = PAIRS - len(moved), len(moved)
        assert go >= PAIRS - len(POINTS)
        numbers = dict(lives.server.rows("SELECT proxy_identifier, count(*) FROM participants GROUP BY 1"))
        assert (numbers.get(north, 0), numbers[south]) == (2 * stay, 2 * go)
        former = lives.server.rows(
            "SELECT proxy_identifier, active, count(*) FROM former_numbers GROUP BY 1, 2"
        )
        assert former == [(north, 1, 2 * go)]
        counters = "SELECT in_use, participants, former FROM numbers WHERE phone_number = ?"
        assert lives.server.rows(counters, north) == [(PAIRS, 2 * stay, 2 * go)]
        assert lives.server.rows(counters, south) == [(go, 2 * go, 0)]
        events = "SELECT count(*) FROM events WHERE code = ?"
        assert lives.server.rows(events, SESSION_MOVED.number) == [(go,)]
        report(f"{lives.kills} kills, {sum(map(len, unknown.values()))} unknown, {stay} stay")
        assert lives.server.stop() == 0
