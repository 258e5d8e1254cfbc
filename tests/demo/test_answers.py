"""The demo: answers for every method, refusals in sentences, charts that escape what they are given."""

from __future__ import annotations

import ast
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import hf_zsar
from hf_zsar import METHODS
from hf_zsar.demo import answers, charts
from hf_zsar.demo.answers import MOST_WINDOWS, Refusal, answer, parse_labels
from hf_zsar.demo.explanations import Explanation, heat_maps
from tests.tiny_models import IMAGE_SIZE, NUM_FRAMES, tiny_model, tiny_processor
from tests.videos import write_video


DEMO = Path(answers.__file__).parent
LABELS = "riding a bike\nplaying guitar\ncooking"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six seconds."""
    return str(write_video(tmp_path_factory.mktemp("demo") / "clip.mp4", 90, fps=15, height=48, width=64))


@pytest.fixture(scope="module")
def pipes() -> dict[str, Any]:
    return {m: hf_zsar.pipeline(tiny_model(m), processor=tiny_processor(m), device="cpu") for m in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_has_the_scores_of_the_pipeline_and_the_frames_that_were_seen(
    method: str, pipes: dict[str, Any], clip: str
) -> None:
    shown = answer(pipes[method], clip, LABELS, window=2.0)
    expected = pipes[method](clip, candidate_labels=LABELS.split("\n"), num_views=1)
    assert list(shown.scores) == [entry["label"] for entry in expected]
    assert list(shown.scores.values()) == pytest.approx([entry["score"] for entry in expected], abs=1e-6)
    assert [image.size for image, _ in shown.frames] == [(IMAGE_SIZE, IMAGE_SIZE)] * NUM_FRAMES
    assert [caption.split(" s")[0] for _, caption in shown.frames] == sorted(
        (caption.split(" s")[0] for _, caption in shown.frames), key=float
    )
    assert {row["seconds"] for row in shown.timeline} == {1.0, 3.0, 5.0}
    assert "6.0 s, 64 x 48" in shown.about
    assert shown.explanation is not None
    assert shown.explanation.rows
    assert next(iter(shown.scores)) in shown.explanation.title


def test_explanations_say_what_the_method_knows(pipes: dict[str, Any], clip: str) -> None:
    composed = answer(pipes["rest"], clip, LABELS).explanation
    assert {name for name, _ in composed.rows} <= set(pipes["rest"].model.config.seen_class_names)
    assert sum(weight for _, weight in composed.rows) == pytest.approx(1, abs=1e-4)
    prompts = answer(pipes["actionclip"], clip, LABELS, template="a film of {}").explanation
    assert [name.startswith("a film of") for name, _ in prompts.rows] == [True]
    described = "riding a bike: wheels, pedals\nplaying guitar: six strings, a wooden body"
    shown = answer(pipes["dasti"], clip, described)
    best = next(iter(shown.scores))
    assert {name for name, _ in shown.explanation.rows} == set(parse_labels(described)[1][best])
    clauses = answer(pipes["stdd"], clip, described)
    assert any("," in name for name, _ in clauses.explanation.rows), "prompts with clauses of the description"


def test_weights_of_frames_add_up(pipes: dict[str, Any], clip: str) -> None:
    shown = answer(pipes["dasti"], clip, LABELS)
    shares = [int(caption.split("· ")[1].rstrip("%")) for _, caption in shown.frames]
    assert abs(sum(shares) - 100) <= NUM_FRAMES
    assert "weight" in shown.about


def test_a_long_video_has_a_bounded_timeline_and_a_short_one_none(pipes: dict[str, Any], clip: str) -> None:
    rows = answer(pipes["rest"], clip, LABELS, window=0.1).timeline
    assert len({row["seconds"] for row in rows}) <= MOST_WINDOWS
    assert answer(pipes["rest"], clip, LABELS, window=4.0).timeline == []
    assert answer(pipes["rest"], clip, LABELS, window=0.0).timeline == []


@pytest.mark.parametrize(
    ("text", "labels", "descriptions"),
    [
        ("a, b , c", ["a", "b", "c"], {}),
        ("a\n\n b \na", ["a", "b"], {}),
        ("a, with comma\nb", ["a, with comma", "b"], {}),
        ("a: x, y\nb", ["a", "b"], {"a": ["x", "y"]}),
        ("a:\nb: z", ["a", "b"], {"b": ["z"]}),
    ],
)
def test_labels_as_people_type_them(text: str, labels: list[str], descriptions: dict[str, list[str]]) -> None:
    assert parse_labels(text) == (labels, descriptions)


def test_refusals_are_sentences(pipes: dict[str, Any], clip: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    cases: list[tuple[dict[str, Any], str]] = [
        (dict(video=None), "Drop a video"),
        (dict(text="one"), "at least two labels"),
        (dict(text=None), "at least two labels"),
        (dict(text=": what\nb"), "no label before the colon"),
        (dict(text="\n".join(map(str, range(500)))), "500 labels; at most 200"),
        (dict(text="a: b\nc"), "by their names only"),
        (dict(template="no place"), "{} exactly once"),
        (dict(video=str(broken)), "This video cannot be read"),
        (dict(video=str(tmp_path / "gone.mp4")), "video"),
    ]
    for changes, sentence in cases:
        with pytest.raises(Refusal) as refusal:
            answer(pipes["rest"], **{"video": clip, "text": LABELS, **changes})
        message = str(refusal.value)
        assert sentence in message
        assert str(tmp_path) not in message, "no paths of the server"
        assert message[0].isupper() and "\n" not in message


def test_a_video_that_is_too_long_is_refused(
    pipes: dict[str, Any], clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LONGEST_VIDEO", 5.0)
    with pytest.raises(Refusal, match="at most 0 are possible"):
        answer(pipes["rest"], clip, LABELS)


# ---------------------------------------------------------------------------------------------------------- drawing
class Tags(HTMLParser):
    """Collects tags and text of well-formed HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.open.append(tag)
        self.seen.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


EVIL = "<script>alert(\"x\")</script> & 'quoted'"


def test_charts_escape_what_they_are_given() -> None:
    rows = [{"seconds": s, "label": label, "score": 0.5} for s in (1.0, 700.0) for label in (EVIL, "b")]
    pages = [charts.problem(EVIL), charts.bars(Explanation(EVIL, [(EVIL, 0.5), ("b", -1.0)])), charts.timeline(rows)]
    for page in pages:
        tags = Tags(page)
        assert "script" not in tags.seen
        assert EVIL in tags.text


def test_the_timeline_draws_every_point_inside_the_picture() -> None:
    scores = [0.0, 0.25, 1.0]
    page = charts.timeline([{"seconds": i, "label": "a", "score": score} for i, score in enumerate(scores)])
    points = [tuple(map(float, pair.split(","))) for pair in page.split('points="')[1].split('"')[0].split()]
    assert points[0][1] > points[1][1] > points[2][1], "higher scores are drawn higher"
    assert all(0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT for x, y in points)


def test_heat_is_where_the_values_are() -> None:
    grey = Image.new("RGB", (32, 32), (100, 100, 100))
    values = torch.zeros(1, 16)
    values[0, 15] = 1.0  # the last patch: bottom right
    warm = heat_maps(values).over(grey, 0)
    assert warm.getpixel((1, 1)) == (100, 100, 100)
    red, _, blue = warm.getpixel((30, 30))
    assert red > 150 and blue < 60
    assert heat_maps(torch.zeros(1, 15)) is None
    assert heat_maps(torch.ones(1, 16)).over(grey, 0).getpixel((9, 9)) == (100, 100, 100)


def test_the_demo_can_be_copied_into_a_space() -> None:
    allowed = {"gradio", "torch", "numpy", "PIL", *sys.stdlib_module_names}
    for file in DEMO.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, file.name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert node.module.split(".")[0] in allowed, file.name
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1, file.name
