"""A kind of carrier more, and at the end of the run who keeps which rule of the contract."""

from collections import defaultdict

import pytest

from maskline.carriers.kinds import KINDS
from tests.support.kind import ScriptedKind


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry has one kind more."""
    monkeypatch.setitem(KINDS, "scripted", ScriptedKind)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of those tests that have recorded a `carrier`: a rule for each row, a carrier for each column."""
    kept: defaultdict[str, dict[str, bool]] = defaultdict(dict)
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        if carrier := dict(report.user_properties).get("carrier"):
            rule = report.location[2].partition("[")[0].removeprefix("test_").replace("_", " ")
            kept[rule][carrier] = kept[rule].get(carrier, True) and report.passed
    if not kept:
        return
    carriers = sorted({carrier for row in kept.values() for carrier in row})
    width = max(map(len, kept))
    terminalreporter.section("the contract, carrier by carrier")
    terminalreporter.write_line("  ".join([" " * width, *carriers]))
    for rule, row in kept.items():
        words = {carrier: "kept" if row[carrier] else "BROKEN" for carrier in row}
        cells = [words.get(carrier, "").center(len(carrier)) for carrier in carriers]
        terminalreporter.write_line("  ".join([rule.ljust(width), *cells]).rstrip())
