"""The page's charts as HTML and SVG: they scale with the screen, and all text from outside is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from .explanations import Explanation


# Paul Tol's bright scheme: told apart with the common colour blindnesses too.
COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377", "#66ccee")
WIDTH, HEIGHT = 420, 190
LEFT, RIGHT, TOP, BOTTOM = 42, 12, 10, 34

CSS = """
.problem {border-left: 4px solid #d97706; background: #fffbeb; color: #713f12; padding: 10px 14px; border-radius: 6px}
.bars {display: grid; grid-template-columns: minmax(0, 40%) minmax(0, 1fr) 4em; gap: 6px 10px; align-items: center}
.bars .bar {height: 14px; border-radius: 4px; background: #4477aa; min-width: 1px}
.bars .value {text-align: right; font-variant-numeric: tabular-nums}
.bars .name {overflow-wrap: anywhere}
.timeline svg {width: 100%; height: auto; display: block}
.timeline text {font-size: 11px; fill: currentColor}
.timeline .grid {stroke: currentColor; stroke-opacity: 0.15}
.timeline .legend {display: flex; flex-wrap: wrap; gap: 4px 16px}
.timeline .legend span::before {content: ""; display: inline-block; width: 18px; height: 4px; margin-right: 6px;
  vertical-align: middle; background: var(--line); border-radius: 2px}
"""


def problem(sentence: str) -> str:
    """A sentence about what went wrong."""
    return f'<div class="problem" role="alert">{html.escape(sentence)}</div>'


def bars(explanation: Explanation) -> str:
    """A bar chart; lengths are relative to the largest value."""
    largest = max((abs(value) for _, value in explanation.rows), default=0) or 1.0
    cells = []
    for name, value in explanation.rows:
        width = 100 * max(value, 0) / largest
        cells.append(
            f'<div class="name">{html.escape(name)}</div><div><div class="bar" style="width:{width:.1f}%"></div></div>'
            f'<div class="value">{value:.3f}</div>'
        )
    return f'<h4>{html.escape(explanation.title)}</h4><div class="bars">{"".join(cells)}</div>'


def timeline(rows: Sequence[dict[str, Any]]) -> str:
    """Scores over time, one line a label. Rows have `seconds`, `label` and `score`, in the order of time."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        lines.setdefault(row["label"], []).append((row["seconds"], row["score"]))
    last = max(row["seconds"] for row in rows)
    drawn, legend = [], []
    for number, (label, points) in enumerate(lines.items()):
        color, name = COLORS[number % len(COLORS)], html.escape(label)
        path = " ".join(f"{_x(seconds, last):.1f},{_y(score):.1f}" for seconds, score in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"><title>{name}</title>')
        drawn.append("</polyline>")
        drawn += [
            f'<circle cx="{_x(seconds, last):.1f}" cy="{_y(score):.1f}" r="3" fill="{color}">'
            f"<title>{name}: {score:.0%} at {seconds:.1f} s</title></circle>"
            for seconds, score in points
        ]
        legend.append(f'<span style="--line:{color}">{name}</span>')
    chart = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Scores over time">{_axes(last)}{"".join(drawn)}'
    )
    return f'<div class="timeline"><h4>Over time</h4>{chart}</svg><div class="legend">{"".join(legend)}</div></div>'


def _x(seconds: float, last: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * seconds / max(last, 1e-6)


def _y(score: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - score)


def _axes(last: float) -> str:
    parts = []
    for share in (0, 0.5, 1):
        y = _y(share)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    step = next(step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300) if last / step <= 8 or step == 300)
    for seconds in range(0, int(last) + 1, step):
        parts.append(f'<text x="{_x(seconds, last):.1f}" y="{HEIGHT - 16}" text-anchor="middle">{seconds}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 2}" text-anchor="middle">seconds</text>')
    return "".join(parts)
