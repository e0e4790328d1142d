"""Fail if pytest skipped a test for a reason that is not on the committed list.

    check_skips.py JUNIT_XML ALLOWED_REASONS

Says nothing when all is well, so that pytest's summary stays the last line of a run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET


def read_allowed(path: Path) -> set[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {line for line in lines if line and not line.startswith("#")}


def find_skips(junit: Path) -> list[tuple[str, str]]:
    """(test, reason) of all that was skipped or expected to fail."""
    return [
        (f"{case.get('classname')}::{case.get('name')}", (skipped.get("message") or "").strip())
        for case in ET.parse(junit).iter("testcase")  # noqa: S314 - our own pytest wrote it a moment ago
        for skipped in case.findall("skipped")
    ]


def main(junit: str, allowed_reasons: str) -> int:
    allowed = read_allowed(Path(allowed_reasons))
    refused = [(test, reason) for test, reason in find_skips(Path(junit)) if reason not in allowed]
    for test, reason in refused:
        print(f"Skipped, and {allowed_reasons} does not allow it: {test}: {reason}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
