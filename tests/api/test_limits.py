"""The rate limit: what any five seconds may hold, what is counted together, and how a refusal looks."""

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from maskline.api.limits import RateLimit, SlidingWindow
from maskline.cli import main
from maskline.domain.model import SECOND
from maskline.domain.problems import Problem
from tests.support.checked import CheckedApi
from tests.support.clock import FakeClock
from tests.support.eventually import eventually
from tests.support.server import RealServer
from tests.support.world import fresh_number, make_service

WINDOW = 5 * SECOND

rates = st.integers(1, 4)
starts = st.integers(0, 10**12)
gaps = st.one_of(
    st.just(0),
    st.integers(0, 1000),
    st.integers(0, SECOND),
    st.integers(0, 6).map(lambda seconds: seconds * SECOND),
    st.sampled_from([WINDOW - 1, WINDOW, WINDOW + 1]),
    st.integers(0, 3 * WINDOW),
)
asked = st.lists(st.tuples(gaps, st.integers(0, 3)), max_size=120)


@given(rates, starts, asked)
@example(1, 0, [(SECOND, 0)] * 6 + [(0, 0)])
def test_no_five_seconds_hold_more_than_five_times_the_rate(
    rate: int, now: int, requests: list[tuple[int, int]]
) -> None:
    """And nothing is refused that could have been admitted."""
    window = SlidingWindow(rate)
    admitted: dict[int, list[int]] = {}
    for gap, key in requests:
        now += gap
        instants = admitted.setdefault(key, [])
        recent = [at for at in instants if at > now - WINDOW]
        wait = window.admit(key, now)
        assert (wait == 0) == (len(recent) < 5 * rate)
        if wait == 0:
            instants.append(now)
    for instants in admitted.values():
        for first in instants:
            assert sum(first <= at < first + WINDOW for at in instants) <= 5 * rate


@given(st.integers(1, 2000), starts, st.integers(0, 50))
def test_a_steady_rate_is_never_refused(rate: int, start: int, slower: int) -> None:
    window = SlidingWindow(rate)
    assert all(
        window.admit("key", start + i * (SECOND + slower) // rate) == 0 for i in range(min(12 * rate, 6000))
    )


@given(rates, starts, asked)
def test_who_waits_as_told_is_admitted_and_no_sooner(
    rate: int, now: int, requests: list[tuple[int, int]]
) -> None:
    window = SlidingWindow(rate)
    for gap, _ in requests:
        now += gap
        window.admit("key", now)
    while (wait := window.admit("key", now)) == 0:
        now += 1
    assert 0 < wait <= WINDOW
    assert window.admit("key", now + wait - 1) == 1
    assert window.admit("key", now + wait) == 0


@given(rates, starts, asked)
@example(1, 0, [(0, 0), (1, 1), (4 * SECOND, 0), (SECOND + 1, 2)])
def test_it_holds_what_is_recent_and_nothing_else(
    rate: int, now: int, requests: list[tuple[int, int]]
) -> None:
    window = SlidingWindow(rate)
    admitted: list[tuple[int, int]] = []
    for gap, key in requests:
        now += gap
        if window.admit(key, now) == 0:
            admitted.append((now, key))
        live = {key for at, key in admitted if at > now - WINDOW}
        assert set(window._admitted) == live
        held = sum(map(len, window._admitted.values()))
        assert held <= sum(at > now - 2 * WINDOW for at, _ in admitted)
        assert all(len(instants) <= 5 * rate for instants in window._admitted.values())


# What is counted together

A, B = "AC" + "a" * 32, "AC" + "b" * 32
KS, OTHER = "KS" + "a" * 32, "KS" + "b" * 32
SESSION = f"/v1/Services/{KS}/Sessions/KC1"
SAME = [
    [(A, "GET", "/v1/Services", {}), (A, "HEAD", "/v1/Services", {})],
    [(A, "POST", "/v1/Services", {})],
    [(B, "GET", "/v1/Services", {})],
    [
        (A, "GET", f"/v1/Services/{KS}", {"sid": KS}),
        (A, "GET", "/v1/Services/KS" + "A" * 32, {"sid": "KS" + "A" * 32}),
    ],
    [(A, "GET", f"/v1/Services/{OTHER}", {"sid": OTHER})],
    [(A, "GET", "/v1/Services/Name", {"sid": "Name"})],
    [(A, "GET", "/v1/Services/NaME", {"sid": "NaME"})],
    [(A, "DELETE", f"/v1/Services/{KS}", {"sid": KS})],
    [
        (A, "GET", f"/v1/Services/{KS}/Sessions", {"service": KS}),
        (A, "GET", SESSION, {"service": KS, "sid": "KC1"}),
        (A, "GET", SESSION[:-1] + "2", {"service": KS, "sid": "KC2"}),
        (A, "HEAD", SESSION, {"service": KS, "sid": "KC1"}),
    ],
    [(A, "GET", f"/v1/Services/{OTHER}/Sessions", {"service": OTHER})],
    [(B, "GET", f"/v1/Services/{KS}/Sessions", {"service": KS})],
    [
        (A, "POST", f"/v1/Services/{KS}/Sessions", {"service": KS}),
        (A, "POST", SESSION, {"service": KS, "sid": "KC1"}),
    ],
    [(A, "DELETE", SESSION, {"service": KS, "sid": "KC1"})],
    [(A, "GET", SESSION + "/Participants", {"service": KS, "session": "KC1"})],
    [
        (A, "POST", SESSION + "/Participants/KP1/MessageInteractions", {"service": KS, "session": "KC1"}),
        (A, "POST", SESSION + "/Participants/KP2/MessageInteractions", {"service": KS, "session": "KC1"}),
    ],
    [(A, "GET", f"/v1/Services/{KS}/Settings", {"service": KS})],
]


def test_a_service_a_collection_and_a_method_are_counted_together(clock: FakeClock) -> None:
    limit = RateLimit(1, clock)
    for together in SAME:
        for i in range(5):
            limit.check(*together[i % len(together)])
        clock.advance(0.25)  # each kind begins a little later than the one before
    for number, together in enumerate(SAME):
        for request in together:
            with pytest.raises(Problem) as caught:
                limit.check(*request)
            assert (caught.value.code.number, caught.value.status) == (20429, 429)
            begun_s = (len(SAME) - number) * 0.25
            assert caught.value.headers == {"Retry-After": str(int(-(-(5 - begun_s) // 1)))}
    for sandbox in ("/sandbox/messages", "/sandbox/behaviour"):
        for _ in range(50):
            limit.check(A, "POST", sandbox, {})


# On a real server


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server that takes five requests of a kind in five seconds."""
    data = tmp_path_factory.mktemp("limited") / "data"
    server = RealServer(data, environment={"MASKLINE_RATE_LIMIT": "1"}).start()
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture
def account(limited: RealServer) -> CheckedApi:
    """A fresh account, which has asked nothing yet."""
    arguments = ["accounts", "create", "--data", str(limited.data), "--json"]
    made = json.loads(CliRunner().invoke(main, arguments, catch_exceptions=False).stdout)
    return CheckedApi(limited.url, made["sid"], made["auth_token"])


def use_up(api: CheckedApi, method: str, path: str) -> int:
    """Ask until it is refused; how often it was not. On a slow machine five seconds may go by meanwhile."""
    for taken in range(100):
        reply = api.request(method, path, {"Ttl": "60"} if method == "POST" else None)
        if reply.status == 429:
            assert reply.json["code"] == 20429
            assert reply.headers["retry-after"] in set("12345")
            return taken
        assert reply.status < 300
    raise AssertionError("it is never refused")


def test_over_the_limit_is_429_and_nothing_is_stored(limited: RealServer, account: CheckedApi) -> None:
    service = account.make("/v1/Services", {"UniqueName": "limited"})
    sessions = service["links"]["sessions"]
    taken = use_up(account, "POST", sessions)
    assert taken >= 5
    assert limited.rows("SELECT count(*) FROM sessions WHERE service_sid = ?", service["sid"]) == [(taken,)]
    # Other methods, other collections and other Services go on.
    assert len(account.get(sessions).json["sessions"]) == taken
    account.make(service["links"]["phone_numbers"], {"PhoneNumber": fresh_number()})
    other = account.make("/v1/Services", {"UniqueName": "not limited"})
    account.make(other["links"]["sessions"])
    # And what was refused did not count: after the wait it is open again.
    eventually(lambda: account.post(sessions).status == 201, 6)


def test_the_list_of_services_counts_for_the_account(limited: RealServer, account: CheckedApi) -> None:
    first, second = [account.make("/v1/Services", {"UniqueName": name}) for name in "ab"]
    assert use_up(account, "GET", "/v1/Services") >= 5
    assert account.get(first["url"]).json == first
    assert account.get(second["url"]).json == second


def test_wrong_credentials_and_other_addresses_are_not_counted(
    limited: RealServer, account: CheckedApi
) -> None:
    wrong = CheckedApi(limited.url, account.account_sid, "wrong")
    for _ in range(20):
        assert wrong.get("/v1/Services").status == 401
        assert account.get("/healthz").status == 200
        assert account.get("/sandbox/messages").status == 200
    assert use_up(account, "GET", "/v1/Services") >= 5


def test_without_the_setting_nothing_is_limited(api: CheckedApi) -> None:
    service = make_service(api, 0)
    assert {api.get(service["url"]).status for _ in range(300)} == {200}
