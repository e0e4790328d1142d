"""Opt-out words: which texts are some, in whatever spelling, and what a Service makes of them."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain import problems
from maskline.domain.optout import Ask, Rules, Scope, rules_of, word_of
from maskline.domain.problems import Problem
from maskline.domain.service_settings import change_settings, read_settings

STOP = "STOP STOPALL UNSUBSCRIBE CANCEL END QUIT REVOKE OPTOUT ARRET ARRETE ARRETT".split()
START = "START YES UNSTOP DEBUT".split()
DEFAULT = rules_of("{}")

blanks = st.text(" \t\r\n\u00a0\u2003", max_size=5)


def rules(**form: str) -> Rules:
    return rules_of(change_settings("{}", {name: [value] for name, value in form.items()}))


def asked(text: str, rules: Rules = DEFAULT) -> Ask | None:
    return rules.ask_of(word_of(text))


@given(st.sampled_from(STOP), st.data(), blanks, blanks)
def test_an_opt_out_word_counts_in_any_case_and_with_blanks_around(
    word: str, data: st.DataObject, before: str, after: str
) -> None:
    spelled = "".join(data.draw(st.sampled_from([letter, letter.lower()])) for letter in word)
    assert asked(before + spelled + after) is Ask.OPT_OUT


@pytest.mark.parametrize("word", START)
@pytest.mark.parametrize("spell", [str, str.lower, str.title])
def test_an_opt_in_word_counts_in_any_case(word: str, spell: type[str]) -> None:
    assert asked(f" {spell(word)}\n") is Ask.OPT_IN


@given(st.sampled_from([*STOP, *START]), st.text(min_size=1).filter(lambda text: text.strip()))
def test_a_word_with_more_beside_it_is_none(word: str, more: str) -> None:
    for text in (word + more, more + word, f"{word} {more}", f"{more} {word}"):
        assert asked(text) is None or word_of(text) in map(str.lower, [*STOP, *START])


@pytest.mark.parametrize(
    "text",
    ["", " ", "STOP.", "STOP!", '"STOP"', "STOP 12345", "STOP PLEASE", "HELP", "INFO", "S T O P", "ARRÊT"],
)
def test_what_no_source_calls_a_word_is_none(text: str) -> None:
    assert asked(text) is None


@given(st.text())
def test_however_a_text_is_composed_it_is_the_same_word(text: str) -> None:
    text = text.strip()[:30]
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    assert word_of(forms[0]) == word_of(forms[1])


def test_a_list_of_ones_own_takes_the_place_of_the_table() -> None:
    own = rules(StopWordList="arrêt, Opt  out,straße", StartWordList="alta")
    for text in ("ARRÊT", unicodedata.normalize("NFD", "Arrêt"), "opt out", " OPT  OUT ", "STRASSE"):
        assert asked(text, own) is Ask.OPT_OUT
    assert asked("STOP", own) is None
    assert (asked("ALTA", own), asked("START", own), asked("UNSTOP", own)) == (Ask.OPT_IN, None, Ask.OPT_IN)


def test_a_word_of_both_lists_is_an_opt_out() -> None:
    both = rules(StopWordList="YES,UNSTOP")
    assert (asked("yes", both), asked("unstop", both)) == (Ask.OPT_OUT, Ask.OPT_OUT)


def test_where_words_are_off_none_is_one() -> None:
    off = rules(StopWords="off", StopWordList="baja")
    assert {asked(text, off) for text in ("STOP", "baja", "START", "UNSTOP", "")} == {None}


@pytest.mark.parametrize("text", [",", "stop,,end", "stop, ", "x" * 41, ",".join(["y" * 39] * 41)])
def test_a_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        change_settings("{}", {"StopWordList": [text]})
    assert caught.value.code is problems.PARAMETER_INVALID
    assert "StopWordList (words with commas between them" in caught.value.message


def test_a_list_is_kept_as_it_was_written_without_the_blanks() -> None:
    assert (
        read_settings(change_settings("{}", {"StopWordList": [" Stop , Fin  "]}))["stop_word_list"]
        == "Stop,Fin"
    )


def test_each_ask_has_its_own_answer_and_by_itself_none() -> None:
    own = rules(OptoutReply="Goodbye. ", OptinReply="Hello.")
    assert [own.reply_to(ask) for ask in Ask] == ["Goodbye. ", "Hello."]
    assert [DEFAULT.reply_to(ask) for ask in Ask] == ["", ""]
    with pytest.raises(Problem, match="80701"):
        rules(OptoutReply="x" * 1601)


@pytest.mark.parametrize(
    ("numbers", "scope", "blocked"),
    [
        ([], Scope.NUMBER, False),
        (["+1"], Scope.NUMBER, True),
        (["+2"], Scope.NUMBER, False),
        (["+2", ""], Scope.NUMBER, True),
        ([], Scope.SERVICE, False),
        (["+2"], Scope.SERVICE, True),
        ([""], Scope.SERVICE, True),
    ],
)
def test_an_opt_out_counts_for_its_number_for_all_or_by_the_scope_for_the_service(
    numbers: list[str], scope: Scope, blocked: bool
) -> None:
    settings = json.dumps({"optout_scope": scope.value})
    assert rules_of(settings).blocks(numbers, "+1") is blocked
