"""How handsets look: on a terminal with lines and colours, elsewhere in plain ASCII."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from maskline.play.conversation import Bubble, Handset


@dataclass(frozen=True, slots=True)
class Style:
    """What to draw with."""

    corners: str
    across: str
    down: str
    done: str
    colours: bool

    @staticmethod
    def of(terminal: bool, encoding: str) -> Style:
        fine = terminal and encoding.lower().replace("-", "").startswith("utf")
        colours = terminal and not os.environ.get("NO_COLOR")
        return Style("┌┐└┘", "─", "│", "✓", colours) if fine else Style("++++", "-", "|", "ok", colours)

    def paint(self, text: str, **how: Any) -> str:
        return click.style(text, **how) if self.colours else text

    def tell(self, text: str) -> None:
        """Print a step that was seen."""
        click.echo(f"  {self.paint(self.done, fg='green')} {text}")


def draw(
    people: Sequence[Handset], rows: Sequence[tuple[Bubble | None, ...]], style: Style, width: int = 37
) -> str:
    """The handsets, side by side."""
    inner = width - 4

    def framed(text: str, paint: dict[str, Any]) -> str:
        return f"{style.down} {style.paint(text.ljust(inner), **paint)} {style.down}"

    def line(which: int) -> str:
        return style.corners[which] + style.across * (width - 2) + style.corners[which + 1]

    def cell(bubble: Bubble | None, height: int) -> list[str]:
        texts = _bubble_lines(bubble, inner) if bubble else []
        colour = {"fg": "cyan"} if bubble and bubble.mine else {"fg": "green"}
        painted = [framed(text, {"dim": True} if i == 0 else colour) for i, text in enumerate(texts)]
        return painted + [framed("", {})] * (height - len(painted))

    lines = [_beside(f"{person.name}'s handset".center(width) for person in people).rstrip()]
    lines.append(_beside(person.number.center(width) for person in people).rstrip())
    lines.append(_beside([line(0)] * len(people)))
    for row in rows:
        height = max(len(_bubble_lines(bubble, inner)) for bubble in row if bubble) + 1
        lines += [_beside(texts) for texts in zip(*(cell(bubble, height) for bubble in row), strict=True)]
    lines[-1] = _beside([line(2)] * len(people))
    return "\n".join(lines)


def _beside(texts: Iterable[str]) -> str:
    return "   ".join(texts)


def _bubble_lines(bubble: Bubble, width: int) -> list[str]:
    head = f"to {bubble.other}" if bubble.mine else f"from {bubble.other}"
    lines = [head, *textwrap.wrap(bubble.body, width - 4)]
    return [line.rjust(width) for line in lines] if bubble.mine else lines
