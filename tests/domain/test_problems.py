"""The catalogue of problems."""

import copy
import json
import pickle
import re
from collections import Counter
from pathlib import Path

import pytest

from maskline.domain import problems
from maskline.domain.problems import Code, Problem

CODES = {name: value for name, value in vars(problems).items() if isinstance(value, Code)}
TWILIO = json.loads((Path(__file__).parents[1] / "wire" / "error_codes.json").read_text())["codes"]


def test_no_number_is_used_twice() -> None:
    counted = Counter(code.number for code in CODES.values())
    assert [number for number, count in counted.items() if count > 1] == []


@pytest.mark.parametrize("name", CODES)
def test_a_line_is_complete(name: str) -> None:
    code = CODES[name]
    assert code.status is None or 400 <= code.status <= 599
    assert code.level in ("ERROR", "WARNING")
    assert re.fullmatch(r"\d{5}", str(code.number))
    # Twilio's own sentence for 20404 has no full stop; clients have been seen to match on it.
    assert code.sentence.endswith(".") or code is problems.NOT_FOUND
    assert not re.search(r"\+\d{11,}", code.sentence.replace("+14155550100", ""))


@pytest.mark.parametrize("name", [name for name, code in CODES.items() if str(code.number) in TWILIO])
def test_a_number_of_twilios_means_what_it_means_there(name: str) -> None:
    code = CODES[name]
    fact = TWILIO[str(code.number)]
    assert code.level == fact["level"]
    assert None in (code.status, fact["http"]) or code.status == fact["http"]


def test_our_own_numbers_keep_clear_of_twilios() -> None:
    ours = {code.number for code in CODES.values() if 40000 <= code.number < 50000}
    assert len(ours) >= 4
    assert not {str(number) for number in ours} & set(TWILIO)


def test_a_problem_says_what_was_wrong_before_the_sentence() -> None:
    problem = Problem(problems.PARAMETER_INVALID, "Body is required")
    assert problem.message == f"Body is required: {problems.PARAMETER_INVALID.sentence}"
    assert problem.status == 400
    assert Problem(problems.PARAMETER_INVALID).message == problems.PARAMETER_INVALID.sentence


def test_what_is_only_an_event_is_our_fault_where_it_is_answered() -> None:
    assert Problem(problems.DELIVERY_UNKNOWN).status == 500


def test_a_problem_can_be_copied_and_sent() -> None:
    problem = Problem(problems.NOT_FOUND, "x")
    for twin in (copy.copy(problem), pickle.loads(pickle.dumps(problem))):  # noqa: S301
        assert (twin.code, twin.detail) == (problem.code, problem.detail)
