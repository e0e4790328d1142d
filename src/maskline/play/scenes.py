"""The scenes: each plays on a `Stage` of its own, and looks for everything that is to be seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from maskline.domain.twiml import Message
from maskline.play.client import await_seen
from maskline.play.customer import CALLBACK, INTERCEPT, OPTOUT, OUT_OF_SESSION, Reply
from maskline.play.stage import Stage, twiml

TALK_S = 42


def play_conversation(stage: Stage) -> None:
    """Two people talk through proxy numbers, and the CallbackUrl is told."""
    stage.begin()
    stage.talk.hold(stage.told)
    stage.talk.settle()
    stage.finish()


def play_blocked(stage: Stage) -> None:
    """The InterceptCallbackUrl blocks a message; the next one goes on."""
    alice, bob = stage.begin()
    first, second = "Call me at my own number, it is 555 0199.", "Never mind. I am at the side door."
    stage.customer.replies[INTERCEPT] = Reply(403)
    stage.talk.text(alice, first)
    stage.talk.note({"Alice": True}, first)
    blocked = stage.asked(INTERCEPT, inboundParticipantSid=alice.participant)["interactionSid"]
    await_seen("no event told of the blocked message", lambda: bool(stage.events()), stage.patience_s)
    stage.customer.replies[INTERCEPT] = Reply(200)
    stage.talk.text(alice, second)
    stage.talk.arrives(second, bob, alice)
    stage.told(second)
    stage.talk.settle()
    (one, _) = stage.interactions()
    stage.must(
        one["sid"] == blocked and one["outbound_resource_sid"] is None and len(stage.calls(INTERCEPT)) == 2,
        "The blocked message is an Interaction without an outbound leg",
    )
    told = {call.form["interactionSid"] for call in stage.calls(CALLBACK)}
    stage.must(blocked not in told, "The CallbackUrl was not told of it")
    stage.finish("80909")


def play_stranger_twiml(stage: Stage) -> None:
    """A stranger's message is answered with TwiML."""
    (carol,) = stage.cast("Carol")
    carol.proxy = next(iter(stage.pool))
    question, answer = "Hello, is my order ready?", "We know no order of yours. Please call the shop."
    stage.customer.replies[OUT_OF_SESSION] = twiml(Message(answer))
    stage.talk.text(carol, question)
    stage.talk.note({"Carol": True}, question)
    stage.asked(OUT_OF_SESSION, From=carol.number, To=carol.proxy, Body=question)
    stage.talk.arrives(answer, carol, what="The answer")
    stage.talk.settle()
    stage.must(not stage.calls(CALLBACK), "It is no Interaction, and the CallbackUrl was not told")
    stage.finish()


def play_stranger_json(stage: Stage) -> None:
    """A stranger's message makes a Session by JSON, which takes it."""
    carol, bob = stage.cast("Carol", "Bob")
    carol.proxy = next(iter(stage.pool))
    question, answer = "Hello, is my order ready?", "It is. Come by until eight."
    wanted = {
        "participantIdentifier": bob.number,
        "uniqueName": "order 17",
        "mode": "message-only",
        "ttl": 3600,
    }
    stage.customer.replies[OUT_OF_SESSION] = Reply(body=json.dumps(wanted), type="application/json")
    stage.talk.text(carol, question)
    stage.asked(OUT_OF_SESSION, From=carol.number, To=carol.proxy, Body=question)

    def find() -> list[Any]:
        return list(stage.api.get("the Sessions", f"{stage.path}/Sessions")["sessions"])

    await_seen("no Session was made", lambda: bool(find()), stage.patience_s)
    stage.talk.session_path = f"{stage.path}/Sessions/{find()[0]['sid']}"
    people = stage.api.get("the people", f"{stage.talk.session_path}/Participants")["participants"]
    proxies = {person["identifier"]: person["proxy_identifier"] for person in people}
    stage.must(
        find()[0]["unique_name"] == wanted["uniqueName"] and proxies.get(carol.number) == carol.proxy,
        "A Session was made, with Carol on the number that she wrote to",
    )
    bob.proxy = proxies.get(bob.number, "")
    for body, reader, writer in ((question, bob, carol), (answer, carol, bob)):
        if writer is bob:
            stage.talk.text(writer, body)
        stage.talk.arrives(body, reader, writer)
        stage.told(body)
    stage.talk.settle()
    stage.must(len(stage.calls(OUT_OF_SESSION)) == 1, "The OutOfSessionCallbackUrl was called once only")
    stage.finish()


def play_opt_out(stage: Stage) -> None:
    """Somebody texts STOP, gets nothing more, and opts in again."""
    alice, bob = stage.begin()
    stop, start = "STOP", "START"
    unwanted, welcome = "Your driver is one minute away.", "Good to have you back."
    stage.talk.text(bob, stop)
    stage.talk.note({"Bob": True}, stop)
    sid = stage.asked(OPTOUT, optOutType="opt-out")["optOutSid"]
    optout = stage.api.get("the opt-out", f"{stage.path}/OptOuts/{sid}")
    stage.must(optout["identifier"] == bob.number, "Bob is on the list of those who have opted out")
    leg = stage.talk.send(bob, unwanted)["outbound_resource_sid"]
    stage.told(unwanted, "failed")
    path = f"/2010-04-01/Accounts/{stage.api.account_sid}/Messages/{leg}.json"
    code = stage.api.get("the message", path)["error_code"]
    stage.must(code == 21610, "A message to Bob has failed, with 21610")
    stage.talk.text(bob, start)
    stage.talk.arrives(start, alice, bob)
    stage.told(start)
    stage.asked(OPTOUT, optOutType="opt-in", optOutSid=sid)
    stage.talk.send(bob, welcome)
    stage.talk.arrives(welcome, bob)
    stage.told(welcome)
    stage.talk.settle()
    stage.finish("80901", "21610")


def play_erasure(stage: Stage) -> None:
    """Somebody who has talked is erased, and nothing finds them any more."""
    alice, bob = stage.begin()
    question, answer, again = "Bob, where do I find you?", "12 Elm Street, ring twice.", "Bob, are you there?"
    for body, reader, writer in ((question, bob, alice), (answer, alice, bob)):
        stage.talk.text(writer, body)
        stage.talk.arrives(body, reader, writer)
        stage.told(body)
    stage.talk.settle()
    person = f"{stage.path}/People/{quote(bob.number, safe='')}"
    held = stage.api.get("what is held of Bob", person)
    stage.must(held["participants"] == 1, "Bob is held: one Participant, with his number")
    status, _ = stage.api.request("DELETE", person)
    stage.must(status in (202, 204), "Bob is to be erased")
    await_seen(
        "Bob was not wholly erased", lambda: stage.api.request("GET", person)[0] == 404, stage.patience_s
    )
    stage.tell("Nothing is held of Bob any more")
    session = stage.api.get("the Session", stage.talk.session_path)
    stage.must(session["status"] == "closed", "His Session is closed")
    participant = f"{stage.talk.session_path}/Participants/{bob.participant}"
    erased = stage.api.get("Bob's Participant", participant)
    stage.must(
        erased["identifier"] == "erased" and not erased["friendly_name"],
        "His Participant has no number and no name",
    )
    bodies = {one["data"] for one in stage.interactions()}
    stage.must(
        bodies == {'{"body":""}'}, "What he wrote and was written is blanked; the Interactions are there"
    )
    stage.must(not stage.talk.shown_by(bob), "His handset shows nothing")
    stage.talk.text(alice, again)
    stage.talk.note({"Alice": True}, again)
    form = stage.asked(OUT_OF_SESSION, From=alice.number, Body=again)
    stage.must(
        bob.number not in str(form), "Alice is a stranger now, and the OutOfSessionCallbackUrl is told no Bob"
    )
    stage.finish()


def play_call(stage: Stage) -> None:
    """One calls the other, and the CallbackUrl is told from the first ring to the end."""
    alice, bob = stage.begin("voice-and-message")
    form = {"From": alice.number, "To": alice.proxy, "Duration": str(TALK_S)}
    call = stage.api.make("Alice calls her proxy number", "/sandbox/calls", form)
    stage.asked(INTERCEPT, interactionType="Voice", inboundParticipantSid=alice.participant)
    legs = [(leg["from"], leg["to"], leg["status"], leg["duration"]) for leg in call["legs"]]
    stage.must(
        legs == [(bob.proxy, bob.number, "completed", TALK_S)], f"Bob's phone rang and showed {bob.proxy}"
    )
    stage.talk.note({"Alice": True, "Bob": False}, f"(a call of {TALK_S} seconds)")
    stage.told(None, "completed")
    data = [one["data"] for one in stage.interactions()]
    stage.must(
        data == [f'{{"duration":"{TALK_S}"}}'], f"The Interaction says that they talked for {TALK_S} seconds"
    )
    stage.finish()


SCENES: dict[str, Callable[[Stage], None]] = {
    "conversation": play_conversation,
    "blocked": play_blocked,
    "stranger-twiml": play_stranger_twiml,
    "stranger-json": play_stranger_json,
    "opt-out": play_opt_out,
    "erasure": play_erasure,
    "call": play_call,
}
