"""Pictures of action graphs: everything is in them, nothing covers anything else."""

from __future__ import annotations

import itertools

import pytest


nx = pytest.importorskip("networkx")
pytest.importorskip("matplotlib")

from hf_zsar.descriptions import TextGraphs, draw_graph, to_networkx  # noqa: E402
from hf_zsar.plots import graph as drawing  # noqa: E402
from hf_zsar.processing.action_graph import ActionGraph  # noqa: E402


def test_networkx_graph(graphs):
    graph = graphs.for_label("archery")
    network = to_networkx(graph)
    kinds = nx.get_node_attributes(network, "kind")
    assert kinds["archery"] == "action"
    assert [name for name, kind in kinds.items() if kind == "object"] == list(graph.objects)
    assert [name for name, kind in kinds.items() if kind == "sub_action"] == list(graph.sub_actions)
    edges = {(a, data["predicate"], b) for a, b, data in network.edges(data=True)}
    assert edges == {triple for kind in ("oo", "ao", "aa") for triple in graph.triples(kind)}
    steps = nx.subgraph_view(network, filter_edge=lambda a, b, k: network.edges[a, b, k]["kind"] == "aa")
    order = [name for name in nx.topological_sort(steps) if kinds[name] == "sub_action"]
    assert order == list(graph.sub_actions)


@pytest.fixture
def drawn(monkeypatch):
    """The boxes of every picture that a test draws."""
    seen = []
    draw_nodes = drawing._draw_nodes

    def spy(*args):
        seen.append(draw_nodes(*args))
        return seen[-1]

    monkeypatch.setattr(drawing, "_draw_nodes", spy)
    return seen


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_every_picture_is_complete_and_no_box_covers_another(graphs, drawn, tmp_path):
    for label in graphs:
        draw_graph(graphs.for_label(label), tmp_path / "g.svg")
        boxes, network = drawn[-1], to_networkx(graphs.for_label(label))
        assert set(boxes) == set(network)
        for a, b in itertools.combinations(boxes.values(), 2):
            assert not overlap(a, b), label
        # Steps stand in order, top down; things left of the action, steps right of it.
        steps = [boxes[name] for name in graphs.for_label(label).sub_actions]
        assert all(above[1] > below[3] for above, below in itertools.pairwise(steps))
        action = boxes[graphs.for_label(label).action]
        assert all(boxes[name][2] < action[0] for name in graphs.for_label(label).objects)
        assert all(box[0] > action[2] for box in steps)


def test_relations_between_things_share_no_lane_where_they_meet():
    places = {name: (0.0, float(-row)) for row, name in enumerate("abcdef")}
    edges = [(a, b, {"predicate": "on"}) for a, b in ("ab", "ac", "df", "ef", "ba")]
    lanes = {edge[:2]: lane for edge, lane in drawing._lanes(edges, places)}
    assert lanes["a", "b"] == 0 and lanes["b", "a"] == 1 and lanes["a", "c"] == 2
    assert lanes["e", "f"] == 0 and lanes["d", "f"] == 1


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_formats(graphs, tmp_path, suffix):
    path = tmp_path / f"g.{suffix}"
    draw_graph(graphs.for_label("archery"), path)
    start = path.read_bytes()[:5]
    assert start.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix])


def test_text_of_an_svg_is_the_graph(graphs, tmp_path):
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none"}):
        draw_graph(graphs.for_label("archery"), tmp_path / "g.svg")
    text = (tmp_path / "g.svg").read_text(encoding="utf-8")
    for piece in ("archery", "curved bow", "release the arrow", "raises", "is performed by", "starts with"):
        assert f">{piece}</text>" in text


@pytest.mark.parametrize(
    "graph",
    [
        ActionGraph("running"),
        TextGraphs().generate("flipping a pancake"),
        ActionGraph.from_dict("x y", {"relations": {"object_object": [["x y", "on", "a"], ["b", "on", "b"]]}}),
        ActionGraph.from_dict(
            "long " * 20, {"objects": ["thing " * 20], "sub_actions": ["step " * 30, "cost $5 _^ \\x"]}
        ),
    ],
    ids=["bare", "label", "loops", "long"],
)
def test_odd_graphs_are_drawn(graph, tmp_path):
    draw_graph(graph, tmp_path / "g.png")
    assert (tmp_path / "g.png").stat().st_size > 1000
