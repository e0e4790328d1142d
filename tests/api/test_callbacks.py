"""/v1/Services/{KS}/Callbacks and the attempts of an Interaction: what could not be told, and sending it again."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.inside import Inside
from tests.support.receiver import Receiver, receiving
from tests.support.until import until

HOUR_S = 3600


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    async with Inside(tmp_path / "data") as inside:
        yield inside


async def say(inside: Inside, url: str) -> tuple[Any, Any]:
    """A Service that tells this URL, and a message of its."""
    service = await inside.post("/v1/Services", {"UniqueName": "told", "CallbackUrl": url})
    await inside.post(service["links"]["phone_numbers"], {"PhoneNumber": "+14155550100"})
    session = await inside.post(service["links"]["sessions"])
    ann = await inside.post(session["links"]["participants"], {"Identifier": "+12125550110"})
    return service, await inside.post(ann["links"]["message_interactions"], {"Body": "hello"})


def attempts_of(message: Any) -> str:
    session = f"/v1/Services/{message['service_sid']}/Sessions/{message['session_sid']}"
    return f"{session}/Interactions/{message['sid']}/Callbacks"


async def test_a_callback_that_was_given_up_is_listed_and_sent_again(
    inside: Inside, receiver: Receiver
) -> None:
    receiver.answers = [503] * 30
    service, message = await say(inside, receiver.url)
    for _ in range(14):
        await inside.pass_time(HOUR_S / 12)

    dead = await inside.pages(f"/v1/Services/{service['sid']}/Callbacks", "callbacks")
    assert [one["resource_status"] for one in dead] == ["delivered", "sent", "queued"]
    assert {one["interaction_sid"] for one in dead} == {message["sid"]}
    assert await inside.get(dead[0]["url"]) == dead[0]
    assert (await inside.get(dead[0]["links"]["interaction"]))["sid"] == message["sid"]
    attempts = await inside.pages(dead[0]["links"]["attempts"], "callbacks")
    assert {one["response_status"] for one in attempts} == {503}
    assert {one["callback_url"] for one in attempts} == {receiver.url.partition("?")[0]}
    queued = [one["attempt"] for one in attempts if one["callback_sid"] == dead[2]["sid"]]
    assert sorted(queued) == list(range(1, len(queued) + 1))

    receiver.answers.clear()
    receiver.posts.clear()
    assert await inside.post(dead[2]["url"]) == dead[2]
    await inside.quiet()
    await inside.pass_time(30)
    await until(lambda: len(receiver.posts) == 1)
    await inside.quiet()
    assert receiver.statuses() == ["queued"]
    left = await inside.pages(f"/v1/Services/{service['sid']}/Callbacks", "callbacks")
    assert left == dead[:2]
    assert (await inside.request("POST", dead[2]["url"], {})).json["code"] == 20404


async def test_what_was_given_up_goes_at_once_with_its_session(inside: Inside, receiver: Receiver) -> None:
    receiver.answers = [503] * 30
    service, message = await say(inside, receiver.url)
    for _ in range(14):
        await inside.pass_time(HOUR_S / 12)
    path = f"/v1/Services/{service['sid']}/Callbacks"
    dead = await inside.pages(path, "callbacks")
    session = f"/v1/Services/{service['sid']}/Sessions/{message['session_sid']}"
    assert (await inside.request("DELETE", session)).status == 204
    assert await inside.pages(path, "callbacks") == []
    for method in ("GET", "POST"):
        assert (await inside.request(method, f"{path}/{dead[0]['sid']}")).status == 404


async def test_every_attempt_is_listed_with_its_interaction(inside: Inside, receiver: Receiver) -> None:
    receiver.answers = [None]
    _, message = await say(inside, receiver.url)
    await until(lambda: len(receiver.posts) == 1)
    await inside.quiet()
    await inside.pass_time(1)
    await until(lambda: len(receiver.posts) == 4)
    await inside.quiet()
    attempts = await inside.pages(attempts_of(message), "callbacks")
    assert [(one["attempt"], one["response_status"]) for one in attempts] == [
        (1, 200),
        (1, 200),
        (2, 200),
        (1, None),
    ]
    assert attempts[-1]["error"].startswith("broken")
    assert all(one["error"] is None for one in attempts[:-1])


@pytest.mark.parametrize("sid", ["CB1", "KS" + "0" * 32, "CB" + "0" * 32])
async def test_what_was_not_given_up_is_not_found(inside: Inside, receiver: Receiver, sid: str) -> None:
    service, _ = await say(inside, receiver.url)
    for method in ("GET", "POST"):
        reply = await inside.request(method, f"/v1/Services/{service['sid']}/Callbacks/{sid}")
        assert (reply.status, reply.json["code"]) == (404, 20404)


async def test_a_private_address_is_not_called_unless_it_is_allowed(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with Inside(tmp_path / "data", allow_private_webhooks=False) as inside:
        _, message = await say(inside, receiver.url)
        await until(lambda: True)
        await inside.quiet()
        attempts = await inside.pages(attempts_of(message), "callbacks")
        assert [one["error"].partition(":")[0] for one in attempts] == ["refused address"]
        assert receiver.posts == []
