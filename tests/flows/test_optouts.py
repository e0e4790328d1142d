"""Opt-outs: a word is obeyed whoever writes it, and whoever has opted out gets nothing more, from that moment on."""

import json
from typing import Any

import pytest

from maskline.carriers.base import Capabilities, Inbound, Report
from maskline.domain.interaction import MessageStatus
from maskline.domain.media import Medium
from maskline.domain.model import SECOND, Participant, Service
from maskline.flows import inbound, receipts
from maskline.flows.services import remove_service
from maskline.mint import Mint
from maskline.store.engine import Tx
from maskline.store.legs import list_legs, load_leg
from maskline.store.optouts import unname_optouts
from maskline.store.pages import Seek
from maskline.store.purge import purge_step
from maskline.store.sessionless import MOST_REPLIES
from tests.support.carrier import OPTED_OUT, THROTTLED, UNCERTAIN
from tests.support.clock import FakeClock
from tests.support.house import ACCOUNT, House, person
from tests.support.receiver import receiving
from tests.support.until import until

WORDS = "STOP STOPALL UNSUBSCRIBE CANCEL END QUIT REVOKE OPTOUT ARRET ARRETE ARRETT".split()
ANN = person(1)


async def optouts(house: House) -> list[tuple[str, str, str]]:
    return await house.rows("SELECT identifier, proxy_number, source FROM optouts ORDER BY sid")


async def service_with(house: House, numbers: int = 1, **settings: str) -> Service:
    return await house.service(numbers, settings=json.dumps(settings))


async def error_of(house: House, sid: str) -> int | None:
    """The error code that the message of this Interaction shows."""
    return (await house.store.read(load_leg, ACCOUNT, "message", f"SM{sid[2:]}")).error_code


async def write(house: House, ann: Participant, body: str) -> tuple[str, int | None]:
    """A message from the API to Ann: how it ends, and its error code."""
    message = await house.say(ann, body)
    await house.quiet()
    return await house.status(message), await error_of(house, message.sid)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(
    "spell", [str, str.lower, str.title, " {} ".format], ids=["as", "lower", "title", "blanks"]
)
async def test_a_word_is_dropped_and_written_down(house: House, word: str, spell: type[str]) -> None:
    _, ann, _ = await house.pair(await house.service(callback_url="http://127.0.0.1:9/"))
    await house.hear(ann, body=spell(word))
    assert await optouts(house) == [(ann.identifier, ann.proxy_identifier, "word")]
    assert await house.events() == [80901]
    assert await house.one("SELECT count(*) FROM interactions") == await house.outbox() == 0


async def test_the_event_names_the_session_and_nobody(house: House) -> None:
    session, ann, _ = await house.pair()
    await house.hear(ann, body="Stop")
    ((service_sid, session_sid, level, message),) = await house.rows(
        "SELECT service_sid, session_sid, level, message FROM events"
    )
    assert (service_sid, session_sid, level) == (session.service_sid, session.sid, "WARNING")
    assert f"from +1…{ann.identifier[-2:]} to +1…{ann.proxy_identifier[-2:]}" in message
    assert ann.identifier not in message


async def test_whoever_opted_out_gets_no_message_from_either_and_can_still_write(house: House) -> None:
    _, ann, ben = await house.pair()
    async with house.working():
        await house.hear(ann, body="STOP")
        assert await write(house, ann, "from the shop") == ("failed", 21610)
        relayed = await house.hear(ben, body="are you there?")
        await house.quiet()
        assert relayed.interaction_sid is not None
        assert await house.status(relayed.interaction_sid) == "failed"
        assert await error_of(house, relayed.interaction_sid) == 21610
        await house.hear(ann, body="leave me alone")
        assert await write(house, ben, "she left") == ("sent", None)
    assert house.carrier.bodies(ann.identifier) == []
    assert house.carrier.bodies(ben.identifier) == ["leave me alone", "she left"]
    assert await house.events() == [80901, 21610, 21610]
    assert await house.outbox() == 0


@pytest.mark.parametrize("word", ["START", "yes", "Debut"])
async def test_an_opt_in_word_is_forwarded_and_ends_the_opt_out(house: House, word: str) -> None:
    _, ann, ben = await house.pair()
    async with house.working():
        await house.hear(ann, body="STOP")
        await house.hear(ann, body=word)
        assert await write(house, ann, "welcome back") == ("sent", None)
    assert house.carrier.bodies(ben.identifier) == [word]
    assert await optouts(house) == []


async def test_unstop_ends_the_opt_out_and_is_dropped(house: House) -> None:
    _, ann, ben = await house.pair()
    async with house.working():
        await house.hear(ann, body="STOP")
        await house.hear(ann, body="unstop")
        assert await write(house, ann, "welcome back") == ("sent", None)
    assert house.carrier.bodies(ben.identifier) == []
    assert await house.events() == [80901, 80901]


@pytest.mark.parametrize("text", ["HELP", "INFO", "STOP 12345", "STOP.", "please stop"])
async def test_any_other_text_is_forwarded(house: House, text: str) -> None:
    _, ann, ben = await house.pair()
    async with house.working():
        await house.hear(ann, body=text)
        await house.quiet()
    assert house.carrier.bodies(ben.identifier) == [text]
    assert await optouts(house) == await house.events() == []


async def test_a_word_with_media_is_a_word(house: House) -> None:
    _, ann, _ = await house.pair()
    picture = (Medium("https://carrier.example/picture"),)
    message = Inbound("scripted", "mms", ann.proxy_identifier, ann.identifier, "stop", picture)
    await inbound.receive(house.store, house.mint, house.options, message)
    assert (len(await optouts(house)), await house.events()) == (1, [80901])


async def test_a_stranger_may_opt_out_and_is_not_written_to_later(house: House) -> None:
    service = await house.service()
    (number,) = await house.rows("SELECT phone_number FROM numbers")
    await house.hear(ANN, number[0], "STOP")
    assert await house.events() == [80901]
    session = await house.session(service)
    ann = await house.add(session, ANN)
    async with house.working():
        assert await write(house, ann, "hello") == ("failed", 21610)


async def test_a_word_counts_after_the_session_has_ended(house: House) -> None:
    session, ann, _ = await house.pair()
    await house.close(session)
    await house.hear(ann, body="STOP")
    await house.reopen(session)
    async with house.working():
        assert await write(house, ann, "hello") == ("failed", 21610)


async def test_a_word_to_a_number_of_no_pool_is_nobodys(house: House) -> None:
    assert not (await house.hear(ANN, "+14155550100", "STOP")).known
    await house.sender(None, "whatsapp:+14155550100")
    await house.hear("whatsapp:" + ANN, "whatsapp:+14155550100", "STOP")
    assert await optouts(house) == []
    assert await house.events() == [80305]


async def test_where_words_are_off_they_are_forwarded_and_nothing_is_written_down(house: House) -> None:
    _, ann, ben = await house.pair(await service_with(house, stop_words="off"))
    async with house.working():
        for word in ("STOP", "UNSTOP", "START"):
            await house.hear(ann, body=word)
        assert await write(house, ann, "noted") == ("sent", None)
    assert house.carrier.bodies(ben.identifier) == ["STOP", "UNSTOP", "START"]
    assert await optouts(house) == await house.events() == []


async def test_a_list_of_ones_own_takes_the_place_of_the_table(house: House) -> None:
    _, ann, ben = await house.pair(await service_with(house, stop_word_list="BAJA", start_word_list="ALTA"))
    async with house.working():
        await house.hear(ann, body="stop")
        await house.hear(ann, body="Baja")
        assert await write(house, ann, "hello") == ("failed", 21610)
        await house.hear(ann, body="Alta")
        assert await write(house, ann, "hello") == ("sent", None)
    assert house.carrier.bodies(ben.identifier) == ["stop", "Alta"]


async def ann_on_two_numbers(house: House, service: Service) -> tuple[Participant, Participant]:
    first, second = [await house.add(await house.session(service), ANN) for _ in range(2)]
    assert first.proxy_identifier != second.proxy_identifier
    return first, second


async def test_by_itself_an_opt_out_is_from_one_number(house: House) -> None:
    here, there = await ann_on_two_numbers(house, await house.service(2))
    async with house.working():
        await house.hear(here, body="STOP")
        assert await write(house, here, "x") == ("failed", 21610)
        assert await write(house, there, "x") == ("sent", None)
        await house.hear(there, body="UNSTOP")
        assert await write(house, here, "x") == ("failed", 21610)


async def test_by_the_scope_service_it_is_from_all_numbers_of_the_service_and_of_no_other(
    house: House,
) -> None:
    here, there = await ann_on_two_numbers(house, await service_with(house, 2, optout_scope="service"))
    elsewhere = await house.add(await house.session(await house.service()), ANN)
    async with house.working():
        await house.hear(here, body="STOP")
        assert await optouts(house) == [(ANN, "", "word")]
        for ann in (here, there):
            assert await write(house, ann, "x") == ("failed", 21610)
        assert await write(house, elsewhere, "x") == ("sent", None)
        await house.hear(there, body="START")
        for ann in (here, there):
            assert await write(house, ann, "x") == ("sent", None)


@pytest.mark.parametrize(("before", "after"), [("number", "service"), ("service", "number")])
async def test_an_opt_out_outlives_a_change_of_the_scope_and_is_never_narrowed(
    house: House, before: str, after: str
) -> None:
    service = await service_with(house, 2, optout_scope=before)
    here, there = await ann_on_two_numbers(house, service)
    await house.hear(here, body="STOP")
    settings = json.dumps({"optout_scope": after})
    await house.store.write(lambda tx: tx.execute("UPDATE services SET settings = ?", (settings,)) and None)
    async with house.working():
        for ann in (here, there):
            assert await write(house, ann, "x") == ("failed", 21610)
        await house.hear(there, body="START")
        assert await write(house, there, "x") == ("sent", None)
    assert await optouts(house) == []


async def test_what_waits_when_the_opt_out_comes_is_not_sent(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.script(ann.identifier, THROTTLED)
    async with house.working():
        tried, held = await house.say(ann, "tried"), await house.say(ann, "held")
        await house.quiet()
        await house.hear(ann, body="STOP")
        fresh = await house.say(ann, "fresh")
        await house.pass_time(60)
        for message in (tried, held, fresh):
            assert (await house.status(message), await error_of(house, message.sid)) == ("failed", 21610)
    assert house.carrier.bodies(ann.identifier) == ["tried"]  # refused before the word came
    assert await house.events() == [80901, 21610, 21610, 21610]
    assert await house.outbox() == 0


async def test_what_a_carrier_may_have_taken_is_not_sent_again_and_not_said_to_have_failed(
    house: House,
) -> None:
    _, ann, _ = await house.pair()
    house.carrier.can = Capabilities(carrier_keys=True)
    house.carrier.script(ann.identifier, UNCERTAIN)
    async with house.working():
        message = await house.say(ann, "perhaps")
        await house.quiet()
        await house.hear(ann, body="STOP")
        await house.pass_time(60)
        assert (await house.status(message), await error_of(house, message.sid)) == ("delivery-unknown", None)
    assert house.carrier.bodies(ann.identifier) == ["perhaps"]
    assert await house.events() == [80901, 49001]


async def test_an_opt_out_that_the_carrier_knows_of_is_written_down(house: House) -> None:
    _, ann, ben = await house.pair()
    house.carrier.script(ann.identifier, OPTED_OUT)
    async with house.working():
        waiting = [await house.say(ann, f"{i}") for i in range(3)]
        await house.quiet()  # no time passes
        for message in waiting:
            assert (await house.status(message), await error_of(house, message.sid)) == ("failed", 21610)
        assert await optouts(house) == [(ann.identifier, ann.proxy_identifier, "carrier")]
        assert house.carrier.bodies(ann.identifier) == ["0"]
        await house.hear(ann, body="START")
        assert await write(house, ann, "again") == ("sent", None)
    assert await house.events() == [21610] * 3
    assert house.carrier.bodies(ben.identifier) == ["START"]


@pytest.mark.parametrize("known", [True, False], ids=["after the answer", "before it"])
@pytest.mark.parametrize("named", [True, False], ids=["by our SID", "by their id"])
async def test_an_opt_out_that_a_report_tells_of_is_written_down_once(
    house: House, known: bool, named: bool
) -> None:
    _, ann, _ = await house.pair()
    async with house.working():
        gate = None if known else house.carrier.gate(ann.identifier)
        message = await house.say(ann, "refused")
        await house.quiet()
        assert message.outbound is not None
        carrier_id = house.carrier.id_of(message.outbound.resource_sid)
        sid = message.outbound.resource_sid if named else ""
        told = Report(
            house.carrier.name, ann.proxy_identifier, carrier_id, MessageStatus.FAILED, sid, opted_out=True
        )
        for _ in range(2):
            assert await receipts.report(house.store, house.mint, told) is (known or named)
        if gate is not None:
            gate.release()
        await house.quiet()  # or the report may be looked at before the answer is there
        await house.pass_time(1)
        assert (await house.status(message), await error_of(house, message.sid)) == ("failed", 21610)
        assert await optouts(house) == [(ann.identifier, ann.proxy_identifier, "carrier")]
        # What is told once more, after they have opted in again, is old news.
        await house.hear(ann, body="START")
        await receipts.report(house.store, house.mint, told)
        assert await optouts(house) == []
        assert await write(house, ann, "again") == ("sent", None)
    assert await house.events() == [21610]


async def test_where_words_are_off_a_carriers_refusal_stands_alone(house: House) -> None:
    """No word would ever end an opt-out."""
    _, ann, _ = await house.pair(await service_with(house, stop_words="off"))
    house.carrier.script(ann.identifier, OPTED_OUT)
    async with house.working():
        assert await write(house, ann, "refused") == ("failed", 21610)
        assert await write(house, ann, "taken") == ("sent", None)
    assert await optouts(house) == []


async def test_a_refusal_after_an_uncertain_hand_over_leaves_the_message_unknown(house: House) -> None:
    _, ann, _ = await house.pair()
    house.carrier.can = Capabilities(carrier_keys=True)
    house.carrier.script(ann.identifier, UNCERTAIN, OPTED_OUT)
    async with house.working():
        message = await house.say(ann, "perhaps")
        await house.quiet()
        await house.pass_time(60)
        assert (await house.status(message), await error_of(house, message.sid)) == ("delivery-unknown", None)
    assert [row[2] for row in await optouts(house)] == ["carrier"]


async def test_a_message_that_was_delivered_after_all_shows_no_error(house: House) -> None:
    _, ann, _ = await house.pair()
    async with house.working():
        await house.hear(ann, body="STOP")
        message = await house.say(ann, "x")
        await house.quiet()
        assert await error_of(house, message.sid) == 21610
    delivered = int(MessageStatus.DELIVERED)
    await house.store.write(
        lambda tx: tx.execute("UPDATE interactions SET outbound_status = ?", (delivered,)) and None
    )
    assert await error_of(house, message.sid) is None


async def test_the_same_word_again_is_dropped_again_and_written_down_once(house: House) -> None:
    _, ann, _ = await house.pair()
    for carrier_id in ("one", "one", "two"):
        await house.hear(ann, body="STOP", carrier_id=carrier_id)
    assert len(await optouts(house)) == 1
    assert await house.events() == [80901, 80901]


async def test_an_opt_out_is_not_kept_under_the_number_nor_under_a_hash_that_anybody_could_make(
    house: House,
) -> None:
    _, ann, _ = await house.pair()
    await house.hear(ann, body="STOP")
    await house.store.write(lambda tx: tx.execute("UPDATE optouts SET identifier = NULL") and None)
    row = str(await house.rows("SELECT * FROM optouts"))
    assert ann.identifier not in row
    async with house.working():
        assert await write(house, ann, "x") == ("failed", 21610)


async def test_somebody_who_was_erased_and_says_so_again_is_shown_again(house: House) -> None:
    _, ann, _ = await house.pair()
    await house.hear(ann, body="STOP")
    before = await house.one("SELECT sid FROM optouts")
    await house.store.write(unname_optouts, ann.service_sid, ann.identifier_key)
    assert await optouts(house) == [(None, ann.proxy_identifier, "word")]
    await house.hear(ann, body="STOP")
    assert await optouts(house) == [(ann.identifier, ann.proxy_identifier, "word")]
    assert await house.one("SELECT sid FROM optouts") == before


REPLIES = {"optout_reply": "You get no more texts. Äöü €", "optin_reply": "Welcome back."}


async def test_words_are_answered_where_the_service_says_so_and_whoever_opted_out_hears_it(
    house: House,
) -> None:
    _, ann, ben = await house.pair(await service_with(house, **REPLIES))
    async with house.working():
        await house.hear(ann, body="STOP")
        assert await write(house, ann, "x") == ("failed", 21610)
        await house.hear(ann, body="START")
        await house.quiet()
    assert house.carrier.bodies(ann.identifier) == [*REPLIES.values()]
    assert {message.from_ for message in house.carrier.sent if message.to == ann.identifier} == {
        ann.proxy_identifier
    }
    assert house.carrier.bodies(ben.identifier) == ["START"]
    assert await house.events() == [80901, 21610]
    assert await house.outbox() == 0


async def test_an_answer_waits_its_turn_and_is_one_of_the_accounts_messages(house: House) -> None:
    service = await service_with(house, **REPLIES)
    ((number,),) = await house.rows("SELECT phone_number FROM numbers")
    house.carrier.script(ANN, THROTTLED)
    async with house.working():
        await house.hear(ANN, number, "STOP")
        await house.quiet()
        await house.pass_time(60)
        (found,) = (await house.store.read(list_legs, ACCOUNT, "message", Seek(10))).rows
    assert (found.identifier, found.proxy_identifier, found.inbound) == (ANN, number, False)
    assert found.interaction.service_sid == service.sid
    assert house.carrier.bodies(ANN) == [REPLIES["optout_reply"]] * 2  # the first was throttled


@pytest.mark.parametrize("word", ["START", "UNSTOP", "STOP"])
async def test_a_word_that_changes_nothing_is_not_answered(house: House, word: str) -> None:
    _, ann, _ = await house.pair(await service_with(house, **REPLIES))
    if word == "STOP":
        await house.hear(ann, body="STOP")
    async with house.working():
        heard = len(house.carrier.bodies(ann.identifier))
        await house.hear(ann, body=word)
        await house.quiet()
        assert len(house.carrier.bodies(ann.identifier)) == heard


@pytest.mark.parametrize("hours", [0, -2, 2])
async def test_two_machines_that_answer_each_other_are_stopped(house: House, hours: int) -> None:
    """However far the clock of a server, which makes its SIDs, is from the database's."""
    _, ann, _ = await house.pair(await service_with(house, **REPLIES))
    house.mint = Mint(FakeClock(house.clock.now() + hours * 3600 * SECOND))
    async with house.working():
        for _ in range(20):
            await house.hear(ann, body="STOP")
            await house.hear(ann, body="UNSTOP")
        await house.quiet()
        assert len(house.carrier.bodies(ann.identifier)) == MOST_REPLIES
        await house.pass_time(31)
        await house.hear(ann, body="STOP")
        await house.quiet()
        assert len(house.carrier.bodies(ann.identifier)) == MOST_REPLIES + 1


async def test_no_other_automatic_answer_goes_to_whoever_opted_out(house: House) -> None:
    async with receiving() as receiver:
        twiml = "<Response><Message>Call us!</Message></Response>"
        receiver.answers = [("text/xml", twiml)] * 2
        await house.service(out_of_session_callback_url=receiver.url)
        ((number,),) = await house.rows("SELECT phone_number FROM numbers")
        async with house.working():
            await house.hear(ANN, number, "STOP")
            await house.hear(ANN, number, "hello?")
            await until(lambda: len(receiver.posts) == 1)
            await house.quiet()
            assert house.carrier.bodies(ANN) == []
            assert await house.events() == [80901, 21610]
            await house.hear(ANN, number, "UNSTOP")
            await house.hear(ANN, number, "hello?")
            await until(lambda: len(receiver.posts) == 2)
            await house.quiet()
            assert house.carrier.bodies(ANN) == ["Call us!"]


async def test_opt_outs_go_with_their_service_and_with_nothing_less(house: House) -> None:
    service = await house.service()
    session, ann, _ = await house.pair(service)
    await house.hear(ann, body="STOP")
    await house.delete(session)
    while await house.store.write(purge_step, 10):
        pass
    assert len(await optouts(house)) == 1
    await house.store.write(remove_service, ACCOUNT, service.sid)
    while await house.store.write(purge_step, 10):
        pass
    assert await optouts(house) == []


async def test_a_short_text_that_is_no_word_costs_no_more_than_a_long_one(house: House) -> None:
    """On the hot path: nearly all texts could be a word, and hardly any is one."""
    _, ann, _ = await house.pair()
    await house.hear(ann)  # the first one starts the Session
    batch, costs = house.store.batch, []

    async def counting(batched: Any, item: Any) -> Any:
        def run(tx: Tx) -> Any:
            asked, count = tx.execute, 0

            def execute(*args: Any) -> Any:
                nonlocal count
                count += 1
                return asked(*args)

            tx.execute = execute
            (result,) = batched.fn(tx, [item])
            costs.append(count)
            return result

        return await house.store.write(run)

    house.store.batch = counting  # type: ignore[method-assign]
    for body in ("ok", "o" * 200):
        await house.hear(ann, body=body)
    house.store.batch = batch  # type: ignore[method-assign]
    assert costs[0] == costs[1]
