"""A picture of an action graph: things on the left, the action in the middle, its steps in order on the right."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING, Any

from hf_zsar.processing.action_graph import RELATIONS, ActionGraph

from .style import BLUE, GRAY, INK, ORANGE, PALE_BLUE, PALE_ORANGE, SMALL, new_figure, save


if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.axes import Axes

# Inches: the right edge of the things, the middle of action and steps; rows; lanes of relations between things.
COLUMNS = {"object": 1.9, "action": 4.9, "sub_action": 8.7}
RIGHT_OF_STEPS, ROW, LANE = 1.7, 0.74, 0.34
WRAP = {"object": 20, "action": 16, "sub_action": 34}
# Where a box ended up, by node: (x0, y0, x1, y1) in inches.
Boxes = dict[str, tuple[float, float, float, float]]


def to_networkx(graph: ActionGraph) -> nx.MultiDiGraph:
    """The graph for networkx: nodes with `kind` (action, object, sub_action), edges with `kind` and `predicate`.

    Raises:
        ImportError: networkx is not installed.
    """
    try:
        import networkx as nx
    except ImportError as error:
        raise ImportError("action graphs as networkx graphs need: pip install 'hf-zsar[graphs]'") from error
    result = nx.MultiDiGraph(name=graph.action)
    result.add_node(graph.action, kind="action")
    for kind, names in (("object", graph.objects), ("sub_action", graph.sub_actions)):
        for position, name in enumerate(names):
            if name not in result:
                result.add_node(name, kind=kind, position=position)
    for kind in RELATIONS:
        for subject, predicate, item in graph.triples(kind):
            for name in (subject, item):
                if name not in result:
                    result.add_node(name, kind="sub_action" if kind == "aa" else "object")
            result.add_edge(subject, item, kind=kind, predicate=predicate)
    return result


def draw_graph(graph: ActionGraph, path: str | os.PathLike) -> None:
    """Write the picture; the ending of `path` says the format (PNG, SVG, PDF).

    Raises:
        ImportError: matplotlib or networkx is not installed.
        ValueError: an ending that matplotlib does not know.
    """
    network = to_networkx(graph)
    places = _places(network)
    arcs = _lanes([edge for edge in network.edges(data=True) if _kind(network, edge) == "arc"], places)
    left = -0.3 - LANE * (1 + max((lane for _, lane in arcs), default=-1))
    top, bottom = max(y for _, y in places.values()) + 0.8, min(y for _, y in places.values()) - 0.5
    right = COLUMNS["sub_action"] + RIGHT_OF_STEPS
    figure = new_figure(right - left, top - bottom, layout=None)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(left, right), ylim=(bottom, top))
    axes.axis("off")
    _draw_headings(axes, top - 0.32, network)
    boxes = _draw_nodes(axes, network, places)
    for edge in network.edges(data=True):
        if _kind(network, edge) == "step":
            _draw_step(axes, boxes, *edge)
        elif _kind(network, edge) == "spoke":
            _draw_spoke(axes, boxes, *edge)
    for edge, lane in arcs:
        _draw_arc(axes, boxes, -LANE * lane - 0.2, *edge)
    save(figure, path)


def _places(network: nx.MultiDiGraph) -> dict[str, tuple[float, float]]:
    """Where each node stands, in inches; columns are centered around the action at height 0."""
    places: dict[str, tuple[float, float]] = {}
    for kind, x in COLUMNS.items():
        names = [name for name, data in network.nodes(data=True) if data["kind"] == kind]
        for row, name in enumerate(names):
            places[name] = (x, ((len(names) - 1) / 2 - row) * ROW)
    return places


def _kind(network: nx.MultiDiGraph, edge: tuple[str, str, dict[str, str]]) -> str:
    """How an edge is drawn: an arc between things, a step down the right column, a spoke between columns."""
    kinds = {network.nodes[name]["kind"] for name in edge[:2]}
    return {"object": "arc", "sub_action": "step", "action": "loop"}[kinds.pop()] if len(kinds) == 1 else "spoke"


def _lanes(edges: list, places: dict[str, tuple[float, float]]) -> list[tuple[tuple, int]]:
    """Give each relation between things a lane on the left, the first one that is free over its length."""
    taken: list[list[tuple[float, float]]] = []
    result = []
    for edge in sorted(edges, key=lambda edge: abs(places[edge[0]][1] - places[edge[1]][1])):
        ends = sorted((places[edge[0]][1], places[edge[1]][1]))
        middle, half = sum(ends) / 2, max((ends[1] - ends[0]) / 2, 0.04 * len(edge[2]["predicate"]) + 0.05)
        span = (middle - half, middle + half)
        free = (i for i, lane in enumerate(taken) if all(span[1] <= a or b <= span[0] for a, b in lane))
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append(span)
        result.append((edge, lane))
    return result


def _draw_headings(axes: Axes, y: float, network: nx.MultiDiGraph) -> None:
    kinds = {data["kind"] for _, data in network.nodes(data=True)}
    for kind, text in (("object", "what is there"), ("sub_action", "what is done, in order")):
        if kind in kinds:
            align = "right" if kind == "object" else "center"
            axes.text(COLUMNS[kind], y, text, ha=align, va="center", fontsize=10, color=GRAY, style="italic")


def _draw_nodes(axes: Axes, network: nx.MultiDiGraph, places: dict[str, tuple[float, float]]) -> Boxes:
    faces = {"action": BLUE, "object": PALE_BLUE, "sub_action": PALE_ORANGE}
    drawn = {}
    for name, data in network.nodes(data=True):
        bold = data["kind"] == "action"
        drawn[name] = axes.text(
            *places[name],
            "\n".join(textwrap.wrap(name, WRAP[data["kind"]])[:3]),
            ha="right" if data["kind"] == "object" else "center",
            multialignment="center",
            va="center",
            fontsize=12 if bold else 10,
            color="white" if bold else INK,
            weight="bold" if bold else "normal",
            zorder=3,
            bbox={"boxstyle": "round,pad=0.4", "facecolor": faces[data["kind"]], "edgecolor": "none"},
        )
    axes.figure.draw_without_rendering()  # only then has a text a size
    extents = {name: text.get_bbox_patch().get_window_extent() for name, text in drawn.items()}
    return {name: tuple(axes.transData.inverted().transform(box).ravel()) for name, box in extents.items()}


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    arrow = {"arrowstyle": "-|>", "color": color, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=arrow, zorder=1)


def _label(axes: Axes, x: float, y: float, text: str, color: str, **more: Any) -> None:
    box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    options = {"ha": "center", "va": "center", "fontsize": SMALL, "color": color, "bbox": box, "zorder": 2}
    axes.text(x, y, text, **{**options, **more})


def _draw_spoke(axes: Axes, boxes: Boxes, subject: str, item: str, data: dict[str, str]) -> None:
    color = ORANGE if data["kind"] == "aa" else BLUE
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = boxes[subject], boxes[item]
    rightward = bx0 > ax0
    start = (ax1 if rightward else ax0, (ay0 + ay1) / 2)
    end = (bx0 - 0.04 if rightward else bx1 + 0.04, (by0 + by1) / 2)
    _arrow(axes, start, end, color)
    _label(axes, 0.42 * start[0] + 0.58 * end[0], 0.42 * start[1] + 0.58 * end[1], data["predicate"], color)


def _draw_step(axes: Axes, boxes: Boxes, subject: str, item: str, data: dict[str, str]) -> None:
    start, end = boxes[subject], boxes[item]
    x = COLUMNS["sub_action"]
    downward = end[1] < start[1]
    a, b = (start[1], end[3] + 0.03) if downward else (start[3], end[1] - 0.03)
    _arrow(axes, (x, a), (x, b), ORANGE)
    if data["predicate"] != "precedes":
        _label(axes, x + 0.1, (a + b) / 2, data["predicate"], ORANGE, ha="left")


def _draw_arc(axes: Axes, boxes: Boxes, x: float, subject: str, item: str, data: dict[str, str]) -> None:
    """Out of the left of one box, along a lane, into the left of the other."""
    start, end = boxes[subject], boxes[item]
    sign = 1 if start[1] > end[1] else -1
    a, b = (start[1] + start[3]) / 2 - 0.07 * sign, (end[1] + end[3]) / 2 + 0.07 * sign
    axes.plot([start[0], x, x], [a, a, b], color=INK, linewidth=1, zorder=1)
    _arrow(axes, (x, b), (end[0] - 0.03, b), INK)
    _label(axes, x - 0.1, (a + b) / 2, data["predicate"], INK, rotation=90)
