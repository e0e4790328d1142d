"""What a part hands back, and how it is printed and kept."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Cell = str | float | int | None


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that the project has promised itself."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    spread: tuple[float, float] | None = None
    hope: float | None = None

    @property
    def met(self) -> bool:
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )

    def line(self) -> str:
        wanted = (
            f"at least {_text(self.at_least)}"
            if self.at_least is not None
            else f"at most {_text(self.at_most)}"
        )
        wanted += f", hoped for {_text(self.hope)}" if self.hope is not None else ""
        spread = f" ({_text(self.spread[0])} - {_text(self.spread[1])})" if self.spread else ""
        return f"  {'met   ' if self.met else 'MISSED'}  {self.name}: {_text(self.value)}{spread}; {wanted}"


@dataclass(slots=True)
class Part:
    """One part's outcome: a table or more, goals, and what was found wrong."""

    name: str
    text: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Void runs and counts that do not agree: with one of these the figures are worth nothing."""
    figures: dict[str, Any] = field(default_factory=dict)
    plots: dict[str, str] = field(default_factory=dict)
    """SVG by file name."""

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        texts = [list(head), *([_text(cell) for cell in row] for row in rows)]
        widths = [max(len(row[i]) for row in texts) for i in range(len(head))]
        self.text.append(f"\n{title}")
        for row in texts:
            cells = [
                cell.ljust(w) if i == 0 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ]
            self.text.append("  " + "  ".join(cells))

    def show(self) -> str:
        lines = [
            *self.text,
            *(goal.line() for goal in self.goals),
            *(f"  WRONG   {line}" for line in self.wrong),
        ]
        return "\n".join(lines)


def save(folder: Path, about: dict[str, Any], parts: Sequence[Part]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / time.strftime("%Y-%m-%d-%H%M%S.json", time.gmtime())
    kept = {
        **about,
        "parts": {
            part.name: {
                **part.figures,
                "goals": [{"name": g.name, "value": g.value, "met": g.met} for g in part.goals],
                "wrong": part.wrong,
            }
            for part in parts
        },
    }
    path.write_text(json.dumps(kept, indent=1) + "\n")
    for part in parts:
        for name, drawn in part.plots.items():
            path.with_name(f"{path.stem}-{name}").write_text(drawn)
    return path


def _text(value: Cell) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}"
