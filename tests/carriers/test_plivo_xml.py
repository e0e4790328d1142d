"""Plivo XML: whatever a call is to do can be read as XML, and says nothing that Plivo does not know."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.carriers.plivo_xml import render
from maskline.domain.markup import Element, parse_xml
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

ELEMENTS = "Response Speak Play DTMF Wait GetDigits GetInput Redirect Hangup Dial Number".split()

texts = st.text(max_size=8)
says = st.builds(Say, texts, voice=st.sampled_from([None, "man", "Polly.Amy", "Google.x"]), language=texts)
plays = st.builds(Play, texts, digits=st.sampled_from(["", "1w2"]))
pauses = st.builds(Pause, st.integers(0, 9))
gathers = st.builds(
    Gather,
    st.lists(says | plays | pauses, max_size=2).map(tuple),
    input=st.sampled_from([("dtmf",), ("speech",), ("dtmf", "speech")]),
    action=st.none() | texts,
    timeout_s=st.integers(0, 600),
    finish_on_key=st.sampled_from(["", "#"]),
    action_on_empty_result=st.booleans(),
)
numbers = st.builds(Number, texts, url=st.none() | texts, status_callback=st.none() | texts)
dials = st.builds(
    Dial, st.lists(numbers, min_size=1, max_size=3).map(tuple), caller_id=st.none() | texts, action=texts
)
others = st.sampled_from([Hangup(), Reject("busy"), Redirect("https://x.test/?a&b"), Message("no")])


verbs = st.lists(says | plays | pauses | gathers | dials | others, max_size=3)


def names(element: Element) -> set[str]:
    return {element.name}.union(*map(names, element.children))


@given(verbs)
def test_whatever_a_call_is_to_do_can_be_read(said: list[Verb]) -> None:
    assert names(parse_xml(render(said), "text/xml")) <= set(ELEMENTS)


@pytest.mark.parametrize(
    ("verb", "attributes"),
    [
        (Gather(action="a", timeout_s=0), {"timeout": "1", "digitTimeout": "1", "finishOnKey": "#"}),
        (Gather(action="a", input=("speech",), timeout_s=600), {"executionTimeout": "60"}),
        (Pause(0), {"length": "1"}),
        (Dial((Number("1", url="https://x.test/?Event=whisper"),)), {"confirmKey": "1"}),
        (Dial((Number("1"),), hangup_on_star=True), {"hangupOnStar": "true"}),
    ],
)
def test_what_plivo_takes_otherwise_is_said_in_its_way(verb: Verb, attributes: dict[str, str]) -> None:
    (element,) = parse_xml(render([verb]), "text/xml").children
    assert element.attributes.items() >= attributes.items()


def test_where_no_key_is_asked_for_plivo_asks_for_none() -> None:
    (dial,) = parse_xml(render([Dial((Number("1", url="https://x.test/"),))]), "text/xml").children
    assert "confirmKey" not in dial.attributes and dial.attributes["confirmSound"] == "https://x.test/"
