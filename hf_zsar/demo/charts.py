"""What the page shows, as HTML and SVG: it scales with the screen, and all text from outside is escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

from .answers import Answer, Question, Timeline
from .explanations import BarChart


# Paul Tol's bright scheme: told apart with the common color blindnesses too. Further lines are dashed.
COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377", "#66ccee")
DASHES = ("none", "7 3", "2 3", "9 3 2 3", "1 2", "12 4")
WIDTH, HEIGHT = 420, 214
LEFT, RIGHT, TOP, BOTTOM = 42, 12, 10, 58
STRIP = 10
SHOWN_SCORES = 8

CSS = """
.answer {display: none}
.subject {overflow-wrap: anywhere; margin: 0 0 10px}
.problem {border-left: 4px solid #d97706; background: #fffbeb; color: #713f12; padding: 10px 14px; border-radius: 6px}
.bars {display: grid; grid-template-columns: minmax(0, 40%) minmax(0, 1fr) 4em; gap: 6px 10px; align-items: center}
.bars .bar {height: 14px; border-radius: 4px; background: #4477aa; min-width: 1px}
.bars .value {text-align: right; font-variant-numeric: tabular-nums}
.unknown {margin-top: 8px; padding-top: 8px; border-top: 1px dashed #9ca3af}
.unknown .bars .bar {background: #9ca3af}
.about {margin: 12px 0}
.note {border-left: 4px solid #d97706; padding-left: 10px; margin: 8px 0; overflow-wrap: anywhere}
.bars .name {overflow-wrap: anywhere}
.scores .best {font-size: 1.5em; font-weight: 600; margin: 0 0 8px; overflow-wrap: anywhere}
.scores details {margin-top: 8px; max-height: 320px; overflow-y: auto}
.frames {display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 8px; margin-top: 12px}
.frames figure {margin: 0}
.frames img {width: 100%; border-radius: 6px; display: block}
.frames figcaption {text-align: center; font-size: 12px}
.timeline svg {width: 100%; height: auto; display: block}
.timeline text {font-size: 11px; fill: currentColor}
.timeline .grid {stroke: currentColor; stroke-opacity: 0.15}
.timeline .legend {display: flex; flex-wrap: wrap; gap: 4px 16px}
.timeline .legend svg {display: inline-block; width: 24px; height: 6px; margin-right: 6px; vertical-align: middle}
@media (max-width: 640px) {.frames {grid-template-columns: repeat(3, minmax(0, 1fr))}}
"""


def for_ticket(ticket: float, content: str) -> str:
    """Content that is visible only while the page waits for this ticket's answer."""
    return f'<div class="answer" data-ticket="{ticket:.0f}">{content}</div>' if content else ""


def problem(sentence: str) -> str:
    """A sentence about what went wrong."""
    return f'<div class="problem" role="alert">{html.escape(sentence)}</div>'


def note(sentence: str) -> str:
    """A sentence about what the answer leaves out."""
    return f'<p class="note">{html.escape(sentence)}</p>'


def working(question: Question) -> str:
    """That the answer is on its way."""
    return f'{subject(question)}<p class="working">Reading the video…</p>'


def subject(question: Question) -> str:
    """Which video and labels the rest is about."""
    labels = html.escape(", ".join(question.labels))
    prompt = f" · prompt “{html.escape(question.template)}”" if question.template else ""
    taught = (
        f" · {len(question.examples)} example clip{'s' * (len(question.examples) > 1)}" if question.examples else ""
    )
    return f'<p class="subject"><b>{html.escape(question.name)}</b> · labels: {labels}{prompt}{taught}</p>'


def result(answer: Answer) -> str:
    """Everything but the timeline."""
    explanation = bars(answer.explanation) if answer.explanation else ""
    return (
        f"{subject(answer.question)}{scores(answer.scores, answer.unknown)}"
        f'<p class="about">{html.escape(answer.about)}</p>{"".join(map(note, answer.notes))}'
        f'<div class="explanation">{explanation}</div>'
        f"{frames(answer.frames)}"
    )


def scores(values: dict[str, float], unknown: float | None = None) -> str:
    """The best label, and a bar for each; those beyond the first few are folded away. A bar of its own stands for the
    score that the video shows none of them."""
    rows = list(values.items())
    first, more = _cells(rows[:SHOWN_SCORES], 1.0, "{:.0%}"), rows[SHOWN_SCORES:]
    rest = f"<details><summary>{len(more)} more</summary>{_cells(more, 1.0, '{:.1%}')}</details>" if more else ""
    none = (
        f'<div class="unknown">{_cells([("none of these", unknown)], 1.0, "{:.0%}")}</div>'
        if unknown is not None
        else ""
    )
    return f'<div class="scores"><p class="best">{html.escape(rows[0][0])}</p>{first}{rest}{none}</div>'


def bars(explanation: BarChart) -> str:
    """A bar chart; lengths are relative to the largest value."""
    largest = max((abs(value) for _, value in explanation.rows), default=0) or 1.0
    return f"<h4>{html.escape(explanation.title)}</h4>{_cells(explanation.rows, largest, '{:.3f}')}"


def _cells(rows: Sequence[tuple[str, float]], largest: float, style: str) -> str:
    cells = []
    for name, value in rows:
        width = 100 * max(value, 0) / largest
        cells.append(
            f'<div class="name">{html.escape(name)}</div><div><div class="bar" style="width:{width:.1f}%"></div></div>'
            f'<div class="value">{style.format(value)}</div>'
        )
    return f'<div class="bars">{"".join(cells)}</div>'


def frames(pictures: Sequence[tuple[Image.Image, str]]) -> str:
    """Pictures with captions; they travel inside the page, so that no file of theirs lies on the server."""
    cells = []
    for picture, caption in pictures:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=85)
        source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
        text = html.escape(caption)
        cells.append(f'<figure><img src="{source}" alt="Frame at {text}"/><figcaption>{text}</figcaption></figure>')
    return f'<div class="frames">{"".join(cells)}</div>'


def timeline(line: Timeline) -> str:
    """Scores over time, one line a label, and below them a strip in the color of each window's best label."""
    about = f"{line.total} windows of {line.seconds:.3g} s. {line.note}"
    if len(line.parts) < line.total and not line.note:
        about = f"Window {len(line.parts) + 1} of {line.total}…"
    heading = f"<h4>Over time</h4><p>{html.escape(about)}</p>"
    if not line.parts:
        return f'<div class="timeline">{heading}</div>'
    length = line.parts[-1][1]
    spans = _best_spans(line)
    drawn = [_line(line, number, length) for number in range(len(line.shown))]
    drawn += [_strip(line.shown.index(label), label, span, length) for label in spans for span in spans[label]]
    legend = []
    for number, label in enumerate(line.shown):
        times = ", ".join(f"{start:.0f}–{end:.0f} s" for start, end in spans.get(label, ()))
        best = f" (best at {times})" if times else ""
        key = f'<svg viewBox="0 0 24 6"><line x1="0" x2="24" y1="3" y2="3" {_pen(number, 3)}/></svg>'
        legend.append(f'<span data-label="{html.escape(label)}">{key}{html.escape(label)}{best}</span>')
    return (
        f'<div class="timeline">{heading}<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Scores over time">{_axes(length)}{"".join(drawn)}</svg>'
        f'<div class="legend">{"".join(legend)}</div></div>'
    )


def _best_spans(line: Timeline) -> dict[str, list[tuple[float, float]]]:
    """Where each label was the best; neighbors are joined."""
    spans: dict[str, list[tuple[float, float]]] = {}
    before = None
    for start, end, values in line.parts:
        best = max(values, key=lambda label: values[label])
        if best == before:
            start = spans[best].pop()[0]
        spans.setdefault(best, []).append((start, end))
        before = best
    return spans


def _line(line: Timeline, number: int, length: float) -> str:
    label = line.shown[number]
    name = html.escape(label)
    points = [((start + end) / 2, values[label]) for start, end, values in line.parts]
    path = " ".join(f"{_x(seconds, length):.1f},{_y(score):.1f}" for seconds, score in points)
    drawn = [f'<polyline points="{path}" fill="none" {_pen(number, 2)}><title>{name}</title></polyline>']
    drawn += [
        f'<circle cx="{_x(seconds, length):.1f}" cy="{_y(score):.1f}" r="3" fill="{COLORS[number % len(COLORS)]}">'
        f"<title>{name}: {score:.0%} at {seconds:.1f} s</title></circle>"
        for seconds, score in points
    ]
    return "".join(drawn)


def _pen(number: int, width: int) -> str:
    dash = DASHES[number // len(COLORS) % len(DASHES)]
    return f'stroke="{COLORS[number % len(COLORS)]}" stroke-width="{width}" stroke-dasharray="{dash}"'


def _strip(number: int, label: str, span: tuple[float, float], length: float) -> str:
    left, right = _x(span[0], length), _x(span[1], length)
    return (
        f'<rect class="best" x="{left:.1f}" width="{right - left:.1f}" y="{HEIGHT - BOTTOM + 8}" height="{STRIP}" '
        f'fill="{COLORS[number % len(COLORS)]}" stroke="#ffffff"><title>best: {html.escape(label)}</title></rect>'
    )


def _x(seconds: float, length: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * seconds / max(length, 1e-6)


def _y(score: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(max(score, 0), 1))


def _axes(length: float) -> str:
    parts = []
    for share in (0, 0.5, 1):
        y = _y(share)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    step = next(step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300) if length / step <= 8 or step == 300)
    for seconds in range(0, int(length) + 1, step):
        parts.append(f'<text x="{_x(seconds, length):.1f}" y="{HEIGHT - 22}" text-anchor="middle">{seconds}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">seconds</text>')
    return "".join(parts)
