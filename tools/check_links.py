"""Check that every relative link in the Markdown files leads to a file, and to a heading where it names one."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]+`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def markdown_files() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*.md")):
        if not any(part.startswith(".") or part == "node_modules" for part in path.relative_to(ROOT).parts):
            yield path


def anchors(path: Path) -> set[str]:
    """The names that GitHub gives to the headings of a file."""
    text = re.sub(r"^(```|~~~).*?^\1", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    names: set[str] = set()
    for heading in HEADING.findall(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = 0
        while (numbered := f"{name}-{count}" if count else name) in names:
            count += 1
        names.add(numbered)
    return names


def problems(path: Path) -> Iterator[str]:
    for match in LINK.finditer(CODE.sub("", path.read_text(encoding="utf-8"))):
        link = match[1] or match[2]
        if OUTSIDE.match(link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.is_relative_to(ROOT) or not target.exists():
            yield f"{path.relative_to(ROOT)}: no such file: {link}"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield f"{path.relative_to(ROOT)}: no such heading: {link}"


def main() -> int:
    files = list(markdown_files())
    found = [problem for path in files for problem in problems(path)]
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print(
            f"The documentation is the {len(files)} Markdown files; there is nothing to build, and their links hold."
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
