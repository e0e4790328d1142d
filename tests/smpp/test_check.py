"""What `maskline doctor` says of an account at an SMSC."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from maskline.carriers.base import Checked, Means
from maskline.carriers.smpp.carrier import SmppCarrier
from maskline.carriers.smpp.options import SmppOptions
from maskline.clock import SystemClock
from maskline.flows.inbox import NoInbox
from maskline.net import HttpClient
from tests.support.smsc import ALREADY_BOUND, INVALID_PASSWORD, Smsc
from tests.support.until import until


async def check(smsc: Smsc, **said: Any) -> Sequence[Checked]:
    async def bring(_: object) -> bool:
        raise AssertionError("a look brings nothing")

    options = {"host": "127.0.0.1", "port": smsc.port, "system_id": "me", "password": "secret", **said}
    means = Means(HttpClient(may_reach=lambda _: True), SystemClock(), bring, NoInbox(), "")
    return await SmppCarrier("north", msgspec.convert(options, SmppOptions), means).check(["+14155550100"])


async def test_an_smsc_that_lets_us_in(smsc: Smsc) -> None:
    (found,) = await check(smsc)
    assert found == Checked(f"the SMSC at 127.0.0.1, port {smsc.port} lets me in")
    assert [heard.command for heard in smsc.heard] == ["bind_transmitter", "unbind"]
    await until(lambda: not smsc.connections)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(INVALID_PASSWORD, "correct password"), (ALREADY_BOUND, "none is needed"), (0x400, "ask")],
)
async def test_one_that_does_not(smsc: Smsc, status: int, remedy: str) -> None:
    smsc.refusal = status
    (found,) = await check(smsc)
    assert f"0x{status:08x}" in found.says
    assert found.remedy is not None
    assert found.remedy.startswith(remedy)
    assert "secret" not in found.says + found.remedy


async def test_one_that_is_not_there() -> None:
    async with Smsc() as gone:
        pass
    (found,) = await check(gone)
    assert "cannot be reached" in found.says
    assert found.remedy is not None


async def test_one_without_the_tls_that_is_asked_for(smsc: Smsc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskline.carriers.smpp.link.CONNECT_S", 0.5)
    (found,) = await check(smsc, tls=True)
    assert "cannot be reached" in found.says
