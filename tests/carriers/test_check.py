"""What an account's carrier says when `maskline doctor` asks, with a remedy for what is wrong."""

from typing import Any

import pytest

from maskline.carriers.base import Checked, Means
from maskline.carriers.kinds import read_accounts
from maskline.flows.inbox import NoInbox
from maskline.net import HttpClient, anywhere
from tests.carriers.benches import OURS, URL, Bench, twilio
from tests.support.clock import FakeClock
from tests.support.twilio_api import KEY, KEY_SECRET, TOKEN, TwilioApi
from tests.support.vendor import Trouble

GOOD = [("Twilio takes its credentials", None)]


async def said(bench: Bench, *numbers: str) -> list[tuple[str, str | None]]:
    before = len(bench.vendor.requests)
    found = [(one.says, one.remedy) for one in await bench.carrier.check(numbers)]
    assert {request.method for request in bench.vendor.requests[before:]} <= {"GET"}  # it changes nothing
    return found


async def keep(_: str) -> None:
    pass


async def test_all_is_well(clock: FakeClock) -> None:
    async with twilio(clock) as bench:
        await bench.carrier.adopt("AC1", OURS, keep)
        assert await said(bench, OURS, "whatsapp:+14155550100") == GOOD


async def test_what_goes_elsewhere_is_told(clock: FakeClock) -> None:
    async with twilio(clock) as bench:
        (_, (problem, remedy)) = await said(bench, OURS)
        assert problem.startswith(f"+1…00 does not bring its traffic to {URL} (sms_url, sms_method, ")
        assert remedy == "`maskline numbers adopt --carrier north` has the server set that"
        (_, (problem, remedy)) = await said(bench, "+14155550199")
        assert problem == "+1…99: the account at Twilio has no such number"
        assert remedy is not None


@pytest.mark.parametrize(
    ("trouble", "problem", "remedy"),
    [
        (
            Trouble.REFUSES_CREDENTIALS,
            "cannot be asked: misconfigured (status 401, code 20003)",
            "auth_token",
        ),
        (Trouble.FAILS, "cannot be asked: uncertain (status 500, code 20500)", "later"),
    ],
)
async def test_an_account_that_cannot_be_asked(
    clock: FakeClock, trouble: Trouble, problem: str, remedy: str
) -> None:
    async with twilio(clock) as bench:
        bench.vendor.then(trouble)
        ((says, mends),) = await said(bench, OURS)
        assert says == problem
        assert mends is not None and remedy in mends


async def test_an_account_that_is_suspended(clock: FakeClock) -> None:
    async with twilio(clock) as bench:
        assert isinstance(bench.vendor, TwilioApi)
        bench.vendor.status = "suspended"
        ((says, mends),) = await said(bench)
        assert says == "Twilio says that the account is not active" and mends is not None


@pytest.mark.parametrize(
    ("token", "secret", "says", "remedy"),
    [
        (TOKEN, KEY_SECRET, "Twilio takes its credentials", None),
        (
            "another",
            KEY_SECRET,
            "Twilio refuses the auth token, which signs its webhooks (status 401, code 20003)",
            "correct auth_token in the settings",
        ),
        (TOKEN, "another", "cannot be asked: misconfigured (status 401, code 20003)", "correct the account"),
    ],
    ids=("well", "wrong token", "wrong key"),
)
async def test_with_an_api_key_both_it_and_the_auth_token_are_looked_at(
    clock: FakeClock, token: str, secret: str, says: str, remedy: str | None
) -> None:
    """A standard one, to which the account itself is not shown."""
    async with TwilioApi(clock, OURS) as vendor:
        table = {**vendor.table, "auth_token": token, "api_key": KEY, "api_secret": secret}
        found = await check(table, clock, URL)
    assert found.says == says
    assert (found.remedy or "").startswith(remedy or "") and (found.remedy is None) is (remedy is None)


async def check(table: dict[str, Any], clock: FakeClock, url: str) -> Checked:
    """The one thing that an account has to say that has no numbers."""

    async def bring(_: object) -> bool:
        return True

    http = await HttpClient(may_reach=anywhere).open()
    account = read_accounts({"north": table})["north"]
    (found,) = await account.open(Means(http, clock, bring, NoInbox(), url)).check([])
    await http.close()
    return found


@pytest.mark.parametrize(
    ("url", "well"),
    [
        ("https://masked.example.com", True),
        ("https://203.0.113.5", False),
        ("https://8.8.8.8:8443", True),
        ("http://127.0.0.1:8080", False),
        ("http://localhost:8080", False),
        ("https://maskline", False),
        ("https://[::1]", False),
        ("https://[2606:4700::1111]", True),
    ],
)
async def test_webhooks_that_twilio_cannot_reach_are_told(clock: FakeClock, url: str, well: bool) -> None:
    async with TwilioApi(clock) as vendor:
        found = await check(vendor.table, clock, f"{url}/carriers/north")
    assert (found.remedy is None) is well
    if not well:
        assert found.says == f"Twilio cannot reach its webhooks at {url}/carriers/north"
