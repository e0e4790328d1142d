"""A Service's own settings."""

import json

import pytest

from maskline.domain import problems
from maskline.domain.problems import Problem
from maskline.domain.service_settings import SETTINGS, change_settings, read_settings

DEFAULTS = {setting.name: setting.default for setting in SETTINGS}


def test_what_is_not_set_has_its_default() -> None:
    assert read_settings("{}") == DEFAULTS
    assert DEFAULTS["on_uncertain"] == "delivery-unknown"
    assert read_settings('{"on_uncertain": "resend"}') == {**DEFAULTS, "on_uncertain": "resend"}


def test_a_setting_of_another_release_is_kept_and_not_shown() -> None:
    stored = '{"of_tomorrow": 1}'
    assert read_settings(stored) == read_settings("{}")
    assert json.loads(change_settings(stored, {"OnUncertain": ["resend"]}))["of_tomorrow"] == 1


@pytest.mark.parametrize("word", ["resend", "Resend", "RESEND"])
def test_a_word_is_read_in_any_case(word: str) -> None:
    assert read_settings(change_settings("{}", {"OnUncertain": [word]})) == {
        **DEFAULTS,
        "on_uncertain": "resend",
    }


def test_the_last_of_repeated_values_counts_and_an_empty_one_restores_the_default() -> None:
    stored = change_settings("{}", {"OnUncertain": ["delivery-unknown", "resend"]})
    assert read_settings(stored) == {**DEFAULTS, "on_uncertain": "resend"}
    assert json.loads(change_settings(stored, {"OnUncertain": [""]})) == {}
    assert change_settings(stored, {}) == stored


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({"OnUncertain": ["perhaps"]}, "OnUncertain"),
        ({"Nonsense": ["x"]}, "no such setting"),
        ({"on_uncertain": ["resend"]}, ""),
    ],
)
def test_what_is_no_setting_and_no_choice_is_refused_by_name(form: dict[str, list[str]], named: str) -> None:
    with pytest.raises(Problem) as caught:
        change_settings("{}", form)
    assert caught.value.code is problems.PARAMETER_INVALID
    assert named in caught.value.message


def test_a_url_is_one_that_can_be_sent_to_and_not_this_server() -> None:
    good = "https://shop.example/opted?x=1#rc=2"
    kept = change_settings("{}", {"OptoutCallbackUrl": [good]}, "https://masked.example")
    assert read_settings(kept)["optout_callback_url"] == good
    assert read_settings(change_settings(kept, {"OptoutCallbackUrl": [""]}))["optout_callback_url"] == ""
    for text, why in (
        ("shop.example", "absolute http or https URL"),
        ("ftp://shop.example/", "absolute http or https URL"),
        ("https://shop.example/" + "x" * 4000, "at most 4000 characters"),
        ("https://masked.example/x", "leads to this server itself"),
    ):
        with pytest.raises(Problem) as caught:
            change_settings("{}", {"OptoutCallbackUrl": [text]}, "https://masked.example")
        assert caught.value.code is problems.PARAMETER_INVALID
        assert why in caught.value.message


def test_every_setting_has_a_sentence_and_a_default_that_it_may_be() -> None:
    for setting in SETTINGS:
        # An empty one is none: it is never read, but restored.
        assert setting.default == "" or setting.read(str(setting.default)) == setting.default
        assert setting.sentence.endswith(".")
