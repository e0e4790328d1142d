"""A plot as SVG, written by hand: lines over a logarithmic axis, each with its name at its end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 50, 190, 40, 40
APART = 15
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#9c6b4e")


def lines(title: str, xs: Sequence[int], series: Mapping[str, Sequence[float]]) -> str:
    """Every series over `xs`, from zero upwards."""
    most = max(max(ys) for ys in series.values())
    unit = 10.0 ** math.floor(math.log10(most))
    tick = next(unit * part for part in (0.2, 0.5, 1, 2) if most / (unit * part) <= 8)
    top = math.ceil(most / tick) * tick
    span = math.log10(xs[-1] / xs[0])

    def across(x: float) -> float:
        return LEFT + math.log10(x / xs[0]) / span * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    def body() -> Iterator[str]:
        yield f'<text x="{LEFT}" y="22" font-weight="bold">{title}</text>'
        for n in range(round(top / tick) + 1):
            y = up(n * tick)
            yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{n * tick:.3g}</text>'
        for x in xs:
            yield f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{x:,}</text>'
        below = float(HEIGHT)
        ordered = sorted(series.items(), key=lambda item: item[1][-1])
        for (name, ys), colour in zip(ordered, COLOURS, strict=False):
            points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in zip(xs, ys, strict=True))
            yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            below = min(up(ys[-1]), below - APART)
            yield f'<text x="{WIDTH - RIGHT + 8}" y="{below + 4:.1f}" fill="{colour}">{name}</text>'

    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12" '
    head += 'font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *body(), "</svg>"]) + "\n"
