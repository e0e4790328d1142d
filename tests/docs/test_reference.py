"""The pages that are made from the code are as the code would make them."""

import re
from pathlib import Path

import pytest

from maskline.domain import problems
from maskline.metrics import METRICS, Kind
from tests.wire.facts import error_codes
from tools import make_reference


@pytest.mark.parametrize("name", make_reference.PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    page = Path(make_reference.DOCS / name).read_text()
    assert page == make_reference.PAGES[name](), "run: python tools/make_reference.py"


def test_every_code_of_twilios_that_is_never_said_is_explained() -> None:
    assert set(make_reference.NEVER) == {
        number for number, fact in error_codes().items() if fact["build"] == "never"
    }


MONITOR = make_reference.REFERENCE.parent / "how-to" / "monitor.md"
PARTS = {Kind.COUNTER: ("",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}
SERIES = {metric.name + part: metric for metric in METRICS for part in PARTS[metric.kind]}


def test_what_is_said_of_monitoring_asks_for_what_there_is() -> None:
    page = MONITOR.read_text()
    alerts = re.findall(r"expr: (.*)", page)
    assert len(alerts) == 6
    for asked in (*alerts, *re.findall(r"`([^`]*maskline_[^`]*)`", page)):
        assert asked.count("(") == asked.count(")")
        names = re.findall(r"(maskline_\w+)(?:\{(\w+)=\"([^\"]*)\"\})?", asked)
        assert names
        for name, label, value in names:
            metric = SERIES.get(name) or next(one for one in METRICS if one.name == name)
            assert not label or label in metric.labels, asked
            if label and metric.known:
                at = metric.labels.index(label)
                assert value in {known[at] for known in metric.known}, asked
    assert f'code="{problems.DELIVERY_UNKNOWN.number}"' in page
