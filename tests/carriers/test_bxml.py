"""BXML: whatever a call is to do can be read as XML, and says nothing that Bandwidth does not know."""

from __future__ import annotations

import pytest
from hypothesis import given

from maskline.carriers.bxml import MOST_REPEATS, Bxml
from maskline.domain.markup import Element, parse_xml
from maskline.domain.twiml import Dial, Gather, Number, Pause, Play, Redirect, Say, Verb
from tests.carriers.test_plivo_xml import names, verbs

ELEMENTS = (
    "Response SpeakSentence PlayAudio SendDtmf Pause Gather Redirect Hangup Transfer PhoneNumber".split()
)


def read(*said: Verb) -> list[Element]:
    return parse_xml(Bxml("user", 'p"<ss').render(said), "text/xml").children


@given(verbs)
def test_whatever_a_call_is_to_do_can_be_read(said: list[Verb]) -> None:
    for element in read(*said):
        assert names(element) <= set(ELEMENTS)


@pytest.mark.parametrize(
    ("verb", "attributes"),
    [
        (Gather(action="a", timeout_s=0), {"firstDigitTimeout": "1", "terminatingDigits": "#"}),
        (Gather(action="a", timeout_s=600), {"firstDigitTimeout": "60", "interDigitTimeout": "60"}),
        (Gather(action="a", input=("speech",)), {"input": "speech"}),
        (Dial((Number("1"),), timeout_s=600), {"callTimeout": "300"}),
        (Redirect("https://x.test/"), {"username": "user", "password": 'p"<ss'}),
    ],
)
def test_what_bandwidth_takes_otherwise_is_said_in_its_way(verb: Verb, attributes: dict[str, str]) -> None:
    (element,) = read(verb)
    assert element.attributes.items() >= attributes.items()


def test_what_is_repeated_is_written_again() -> None:
    assert len(read(Say("a", loop=3), Play("https://x.test/", loop=2))) == 5
    for loop in (0, 1000):  # it would be written a thousand times, however long it is
        assert len(read(Say("a", loop=loop), Play("https://x.test/", loop=loop))) == 2 * MOST_REPEATS


def test_between_prompts_there_is_no_silence() -> None:
    (gather,) = read(Gather((Say("a"), Pause(1), Say("b")), action="c"))
    assert [one.text for one in gather.children] == ["a", "b"]


def test_whoever_is_to_hear_nothing_is_only_told_of() -> None:
    (transfer,) = read(Dial((Number("1", status_callback="s"), Number("2", url="u", status_callback="s"))))
    asked = [number.attributes["transferAnswerUrl"] for number in transfer.children]
    assert asked == ["s", "u"]
