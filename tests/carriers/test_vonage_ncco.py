"""What Vonage is told to do with a call, and what it says of one."""

import json
from typing import Any

import pytest

from maskline.carriers.vonage_ncco import read_asked, read_end, render
from maskline.carriers.webhooks import Unreadable
from maskline.domain.twiml import (
    Dial,
    Gather,
    Hangup,
    Message,
    Number,
    Pause,
    Play,
    Redirect,
    Reject,
    Say,
    Verb,
)

CALL = {"CallSid": "u1", "From": "+12125550177", "To": "+14155550100", "CallStatus": "ringing"}
NEXT, TOLD = "https://x.test/c/KS1?Event=follow&Address=a", "https://x.test/c/KS1?Event=status"
NOTIFY = {
    "action": "notify",
    "payload": {"CallSid": "u1", "From": "+12125550177", "To": "+14155550100"},
    "eventUrl": [NEXT],
    "eventMethod": "POST",
}


@pytest.mark.parametrize(
    ("verbs", "actions"),
    [
        ([], []),
        ([Hangup()], []),
        ([Reject("busy")], []),
        ([Message("no call does that")], []),
        ([Say("Bye"), Hangup(), Say("too late")], [{"action": "talk", "text": "Bye"}]),
        (
            [Say("Grüße", voice="alice", language="de-DE", loop=0)],
            [{"action": "talk", "text": "Grüße", "language": "de-DE", "loop": 0}],
        ),
        (
            [Say("x" * 3001)],
            [{"action": "talk", "text": text} for text in ("x" * 1500, "x" * 1500, "x")],
        ),
        (
            [Play("https://x.test/a.mp3", loop=2), Play(digits="1w2"), Pause(3)],
            [
                {"action": "stream", "streamUrl": ["https://x.test/a.mp3"], "loop": 2},
                {"action": "wait", "timeout": 3},
            ],
        ),
        (
            [Gather((Say("Press"), Pause(1)), action=NEXT, timeout_s=20, num_digits=30), Say("Well?")],
            [
                {"action": "talk", "text": "Press", "bargeIn": True},
                {"action": "wait", "timeout": 1},
                {
                    "action": "input",
                    "type": ["dtmf"],
                    "dtmf": {"timeOut": 10, "maxDigits": 20, "submitOnHash": True},
                    "eventUrl": [f"{NEXT}&GoesOn=1"],
                    "eventMethod": "POST",
                },
                {"action": "talk", "text": "Well?"},
            ],
        ),
        (
            [
                Gather(
                    input=("dtmf", "speech"),
                    action=NEXT,
                    num_digits=1,
                    finish_on_key="",
                    action_on_empty_result=True,
                    language="en-GB",
                    hints="yes, no",
                )
            ],
            [
                {
                    "action": "input",
                    "type": ["dtmf", "speech"],
                    "dtmf": {"timeOut": 5, "maxDigits": 1, "submitOnHash": False},
                    "speech": {"language": "en-GB", "context": ["yes", "no"]},
                    "eventUrl": [NEXT],
                    "eventMethod": "POST",
                }
            ],
        ),
        ([Redirect(NEXT), Say("never heard")], [NOTIFY]),
        (
            [
                Dial(
                    (
                        Number("+12125550111", send_digits="1w2W,"),
                        Number("+12125550112", status_callback=TOLD),
                    ),
                    timeout_s=30,
                    time_limit_s=14_400,
                    action=NEXT,
                )
            ],
            [
                {
                    "action": "connect",
                    "timeout": 30,
                    "limit": 7200,
                    "endpoint": [{"type": "phone", "number": "12125550111", "dtmfAnswer": "1p2ppp"}],
                },
                {
                    "action": "connect",
                    "timeout": 30,
                    "limit": 7200,
                    "eventUrl": [TOLD],
                    "eventMethod": "POST",
                    "endpoint": [{"type": "phone", "number": "12125550112"}],
                },
                NOTIFY,
            ],
        ),
        # Whoever is to hear something of a customer's first is not dialled: they could not be hung up on.
        ([Dial((Number("+12125550111", url=NEXT),))], []),
    ],
)
def test_every_verb_has_its_action(verbs: list[Verb], actions: list[Any]) -> None:
    assert json.loads(render(verbs, CALL)) == actions


@pytest.mark.parametrize(
    ("said", "form"),
    [
        ({}, {"CallStatus": "ringing"}),
        ({"status": "started"}, {"CallStatus": "initiated"}),
        ({"status": "ringing"}, {"CallStatus": "ringing"}),
        ({"status": "answered"}, {"CallStatus": "in-progress"}),
        ({"status": "machine"}, {"CallStatus": ""}),
        ({"status": "busy"}, {"CallStatus": "busy"}),
        ({"status": "cancelled"}, {"CallStatus": "canceled"}),
        ({"status": "unanswered"}, {"CallStatus": "no-answer"}),
        ({"status": "timeout"}, {"CallStatus": "no-answer"}),
        ({"status": "rejected"}, {"CallStatus": "failed"}),
        ({"status": "failed"}, {"CallStatus": "failed"}),
        (
            {"status": "completed", "duration": "7", "start_time": "2027-01-15T08:00:00.000Z"},
            {"CallStatus": "completed", "CallDuration": "7"},
        ),
        (
            {"status": "completed", "duration": 7, "start_time": "2027-01-15T08:00:00.000Z"},
            {"CallStatus": "completed", "CallDuration": "7"},
        ),
        # Nobody took it: another word has said how it ended.
        (
            {"status": "completed", "duration": "0", "start_time": None},
            {"CallStatus": "", "CallDuration": "0"},
        ),
        ({"status": 5}, {"CallStatus": ""}),
        ({"dtmf": {"digits": "12", "timed_out": False}}, {"CallStatus": "in-progress", "Digits": "12"}),
        ({"dtmf": {"digits": None, "timed_out": True}}, {"CallStatus": "in-progress", "Digits": ""}),
        (
            {"speech": {"results": [{"text": "yes", "confidence": "0.9"}]}},
            {"CallStatus": "in-progress", "SpeechResult": "yes", "Confidence": "0.9"},
        ),
    ],
)
def test_what_it_says_has_twilios_words(said: dict[str, Any], form: dict[str, str]) -> None:
    whole = {"uuid": "u1", "from": "12125550177", "to": "14155550100", **said}
    asked = read_asked(whole, {})
    assert asked is not None and asked.event == ""
    assert asked.form == {"CallSid": "u1", "From": "+12125550177", "To": "+14155550100", **form}


def test_a_human_accepts_the_call() -> None:
    asked = read_asked({"uuid": "u1", "from": "14155550100", "to": "12125550177", "status": "human"}, {})
    assert asked is not None
    assert (asked.event, asked.form["Digits"], asked.form["CallStatus"]) == ("accept", "1", "in-progress")


def test_without_a_key_a_call_may_go_on_with_what_comes_next() -> None:
    said = {"uuid": "u1", "from": "12125550177", "to": "14155550100", "dtmf": {"digits": ""}}
    assert read_asked(said, {"GoesOn": "1"}) is None
    assert read_asked({**said, "dtmf": {"digits": "1"}}, {"GoesOn": "1"}) is not None


def test_a_notify_says_what_it_was_told_to_say() -> None:
    asked = read_asked({"payload": NOTIFY["payload"], "conversation_uuid": "CON-1"}, {})
    assert asked is not None
    assert asked.form == {**CALL, "CallStatus": "in-progress"}


def test_a_hidden_caller_is_no_number() -> None:
    asked = read_asked({"uuid": "u1", "from": "anonymous", "to": "14155550100"}, {})
    assert asked is not None and asked.form["From"] == "anonymous"


@pytest.mark.parametrize(
    "said", [{"to": "14155550100"}, {"uuid": "u1"}, {"payload": {}}, {"uuid": "u" * 192, "to": "1"}]
)
def test_what_names_no_call_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read_asked(said, {})
    with pytest.raises(Unreadable):
        read_end(said)
