"""The pages that are made from the code are as the code would make them."""

from pathlib import Path

import pytest

from tests.wire.facts import error_codes
from tools import make_reference


@pytest.mark.parametrize("name", make_reference.PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    page = Path(make_reference.REFERENCE / name).read_text()
    assert page == make_reference.PAGES[name](), "run: python tools/make_reference.py"


def test_every_code_of_twilios_that_is_never_said_is_explained() -> None:
    assert set(make_reference.NEVER) == {
        number for number, fact in error_codes().items() if fact["build"] == "never"
    }
