"""The demo: answers for every method, refusals in sentences, charts that escape what they are given."""

from __future__ import annotations

import ast
import itertools
import re
import sys
import threading
import warnings
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

import hf_zsar
from hf_zsar import METHODS
from hf_zsar.demo import answers, charts
from hf_zsar.demo.answers import (
    MOST_WINDOWS,
    Answer,
    Question,
    Refusal,
    Timeline,
    ask,
    empty_timeline,
    parse_labels,
    sentence,
)
from hf_zsar.demo.explanations import BarChart, heat_maps
from hf_zsar.pipeline_video_scoring import VideoScoringPipeline
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


def answer(pipe: Any, *given: Any, **options: Any) -> Answer:
    """The last answer to a question."""
    return list(answers.answers(pipe, ask(pipe, *given, **options)))[-1]


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_has_the_scores_of_the_pipeline_and_the_frames_that_were_seen(
    method: str, pipes: dict[str, Any], clip: str
) -> None:
    first, *_, shown = answers.answers(pipes[method], ask(pipes[method], clip, LABELS, window=2.0))
    expected = pipes[method](clip, candidate_labels=LABELS.split("\n"), num_views=1)
    assert list(shown.scores) == [entry["label"] for entry in expected]
    assert list(shown.scores.values()) == pytest.approx([entry["score"] for entry in expected], abs=1e-6)
    assert [image.size for image, _ in shown.frames] == [(IMAGE_SIZE, IMAGE_SIZE)] * NUM_FRAMES
    assert [caption.split(" s")[0] for _, caption in shown.frames] == sorted(
        (caption.split(" s")[0] for _, caption in shown.frames), key=float
    )
    assert first.scores == shown.scores, "the whole video comes before the timeline"
    assert (first.timeline.total, first.timeline.parts) == (3, ())
    windows = pipes[method](clip, candidate_labels=LABELS.split("\n"), window=2.0)
    assert [(start, end) for start, end, _ in shown.timeline.parts] == [(0.0, 2.0), (2.0, 4.0), (4.0, 6.0)]
    for (_, _, scores), window in zip(shown.timeline.parts, windows, strict=True):
        assert scores == {entry["label"]: pytest.approx(entry["score"], abs=1e-6) for entry in window["labels"]}
    assert "6.0 s, 64 x 48" in shown.about
    if method == "video_text":  # tells nothing but its score
        assert shown.explanation is None
    else:
        assert shown.explanation.rows
        assert next(iter(shown.scores)) in shown.explanation.title


@pytest.mark.parametrize("method", METHODS)
def test_none_of_these_is_what_the_pipeline_says(method: str, pipes: dict[str, Any], clip: str) -> None:
    shown = answer(pipes[method], clip, LABELS, unknown=True)
    asked = dict(unknown=True, background_labels=answers.BACKGROUND, num_views=1)
    expected = pipes[method](clip, candidate_labels=LABELS.split("\n"), **asked)
    assert shown.unknown == pytest.approx(expected["unknown"], abs=1e-6)
    assert sum(shown.scores.values()) == pytest.approx(1, abs=1e-5)
    assert f"{shown.unknown:.0%}" in charts.result(shown).split("none of these")[1]
    without = answer(pipes[method], clip, LABELS)
    assert without.unknown is None and "none of these" not in charts.result(without)


def test_example_clips_count(pipes: dict[str, Any], clip: str, tmp_path: Path) -> None:
    pipe, other = pipes["dasti"], str(write_video(tmp_path / "other.mp4", 30, first_number=700))
    examples = [(clip, "cooking"), (other, "playing guitar"), (clip, "a label that is not typed")]
    shown = answer(pipe, clip, LABELS, window=2.0, examples=examples)
    assert shown.question.examples == ((clip, "cooking"), (other, "playing guitar"))
    assert "2 example clips" in charts.result(shown)
    bank = pipe.label_bank(LABELS.split("\n"))
    parts = [pipe.encode_videos(pipe.processor.video_processor(path)["pixel_values_videos"]) for path in (clip, other)]
    features = type(parts[0]).cat(parts)
    bank = bank.with_examples(features, ["cooking", "playing guitar"], logits=pipe.model.score(features, bank))
    for given, scores in ((dict(num_views=1), shown.scores), (dict(window=2.0), shown.timeline.parts[0][2])):
        found = pipe(clip, label_bank=bank, **given)
        expected = {each["label"]: each["score"] for each in (found[0]["labels"] if "window" in given else found)}
        assert scores == pytest.approx(expected, abs=1e-5)
    assert shown.scores["cooking"] > answer(pipe, clip, LABELS).scores["cooking"] + 0.01
    encode, pipe.encode_videos = pipe.encode_videos, lambda pixels: pytest.fail("encoded again")
    try:
        answers._features_of(pipe, other)
    finally:
        pipe.encode_videos = encode


def test_what_the_code_beside_an_export_lacks_is_not_offered(pipes: dict[str, Any]) -> None:
    assert all(answers.has_whole_code(pipe) for pipe in pipes.values())
    base = type("ZSARPreTrainedModel", (), {"__module__": "json.decoder"})  # a package without such a file
    assert not answers.has_whole_code(SimpleNamespace(model=type("Exported", (base,), {})()))


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


@pytest.mark.parametrize(
    ("window", "duration", "expected"),
    [(2.0, 6.0, (2.0, 3)), (2.0, 5.0, (2.0, 3)), (0.1, 6.0, (0.2, 30)), (2.0, 600.0, (20.0, 30))],
)
def test_the_windows_of_a_timeline_cover_the_video(
    window: float, duration: float, expected: tuple[float, int]
) -> None:
    line = empty_timeline(window, duration, ())
    assert (line.seconds, line.total) == pytest.approx(expected)


def test_a_short_video_has_no_timeline_and_a_fine_one_all_its_windows(pipes: dict[str, Any], clip: str) -> None:
    fine = answer(pipes["rest"], clip, LABELS, window=0.1).timeline
    assert len(fine.parts) == fine.total == MOST_WINDOWS
    assert fine.parts[0][0] == 0 and fine.parts[-1][1] == pytest.approx(6, abs=0.1)
    assert all(end == pytest.approx(start) for (_, end, _), (start, _, _) in itertools.pairwise(fine.parts))
    assert answer(pipes["rest"], clip, LABELS, window=4.0).timeline is None
    assert answer(pipes["rest"], clip, LABELS, window=0.0).timeline is None


def test_a_space_whose_model_brings_its_own_code_has_no_timeline(clip: str) -> None:
    pipe = VideoScoringPipeline(model=tiny_model("rest"), processor=tiny_processor("rest"))
    given = list(answers.answers(pipe, ask(pipe, clip, LABELS, "", 2)))
    assert len(given) == 1 and given[0].timeline is None and given[0].scores


def test_every_label_that_wins_somewhere_is_in_the_timeline() -> None:
    """Ten labels: the five best of the whole video, one that wins a quarter, one that wins only the last window."""
    line = empty_timeline(1.0, 12.0, tuple("abcde"))
    for second in range(12):
        winner = "f" if 4 <= second < 7 else "g" if second == 11 else "a"
        line = line.and_then(second, second + 1, {label: 0.9 if label == winner else 0.01 for label in "abcdefghij"})
    assert line.shown == ("a", "b", "c", "d", "e", "f", "g")
    page = charts.timeline(line)
    assert "f (best at 4–7 s)" in page and "g (best at 11–12 s)" in page and "a (best at 0–4 s, 7–11 s)" in page
    assert page.count("<polyline") == 7
    assert page.count('<rect class="best"') == 4


def test_lines_of_many_labels_can_be_told_apart() -> None:
    line = empty_timeline(1.0, 30.0, ())
    for second in range(30):
        line = line.and_then(second, second + 1, {f"label {n}": float(n == second) for n in range(30)})
    pens = re.findall(r'<polyline[^>]*(stroke="[^>]*)>', charts.timeline(line))
    assert len(pens) == len(set(pens)) == 30


def test_nothing_more_is_scored_when_nobody_waits(pipes: dict[str, Any], clip: str) -> None:
    asked = ask(pipes["rest"], clip, LABELS, window=1.0)
    replies = iter([True, True, False])
    given = list(answers.answers(pipes["rest"], asked, lambda: next(replies)))
    assert [len(each.timeline.parts) for each in given] == [0, 1]


def test_what_does_not_reach_the_model_is_said_to_everybody(pipes: dict[str, Any], clip: str, tmp_path: Path) -> None:
    """Though the package warns of a label set only once; and of another visitor's labels nothing is said."""
    long = " ".join(["riding"] * 60)
    for _ in range(2):
        shown = answer(pipes["rest"], clip, f"{long} a\n{long} b")
        assert any("same scores" in note for note in shown.notes)
        assert "same scores" in charts.result(shown)
    assert answer(pipes["rest"], clip, LABELS).notes == ()
    damaged = tmp_path / "damaged.mp4"
    content = Path(clip).read_bytes()
    damaged.write_bytes(content[: len(content) // 2] + bytes(2000) + content[len(content) // 2 + 2000 :])
    [note] = answer(pipes["rest"], str(damaged), LABELS).notes
    assert "The readable frames are used" in note and "damaged.mp4" not in note and str(tmp_path) not in note


def test_warnings_of_other_threads_are_not_heard(recwarn: pytest.WarningsRecorder) -> None:
    def warn() -> None:
        warnings.warn("theirs", hf_zsar.LabelWarning, stacklevel=1)

    with answers.own_warnings() as heard:
        other = threading.Thread(target=warn)
        other.start()
        other.join()
        warnings.warn("ours", hf_zsar.LabelWarning, stacklevel=1)
        warnings.warn("no matter of the package", UserWarning, stacklevel=1)
    assert heard == ["ours"]


def test_a_question_ends_when_its_time_is_up(
    pipes: dict[str, Any], clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_SECONDS", 0.0)
    shown = answer(pipes["rest"], clip, LABELS, window=1.0)
    assert (len(shown.timeline.parts), shown.timeline.total) == (1, 6)
    assert "Ends at 1 s: there was no time for the rest." in charts.timeline(shown.timeline)


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
        (dict(text=None), "at least two labels"),
        (dict(text="one"), "is the only label, so its share of the scores would be 1.0 for every video"),
        (dict(text="x" * 30_000), "30000 characters; at most 20000"),
        (dict(text=": what\nb"), "no label before the colon"),
        (dict(text="\n".join(map(str, range(500)))), "500 labels; at most 200"),
        (dict(text="a: b\nc"), "by their names only"),
        (dict(template="no place"), "{} exactly once"),
        (dict(template="{}" + "x" * 400), "at most 300 characters"),
        (dict(video=str(broken)), "This video cannot be read"),
        (dict(video=str(tmp_path / "gone.mp4")), "video"),
        (dict(examples=[(str(broken), "cooking")]), "The example broken.mp4: This video cannot be read"),
        (dict(examples=[(clip, "cooking")] * 21), "21 example clips; at most 20"),
    ]
    for changes, expected in cases:
        with pytest.raises(Refusal) as refusal:
            answer(pipes["rest"], **{"video": clip, "text": LABELS, **changes})
        message = str(refusal.value)
        assert expected in message
        assert str(tmp_path) not in message, "no paths of the server"
        assert (message[0].isupper() or message[0] in "'\"") and "\n" not in message


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
    asked = Question(f"/uploads/{EVIL.replace('/', '')}", [EVIL, "b"], {}, EVIL)
    line = Timeline(1.0, 1).and_then(0.0, 1.0, {EVIL: 0.9, "b": 0.1})
    evil = BarChart(EVIL, [(EVIL, 0.5), ("b", -1.0)])
    shown = Answer(asked, {EVIL: 0.9, "b": 0.1}, [(Image.new("RGB", (4, 4)), EVIL)], evil, EVIL, (EVIL,), line)
    for page in (charts.problem(EVIL), charts.working(asked), charts.result(shown), charts.timeline(line)):
        tags = Tags(page)
        assert "script" not in tags.seen
        assert EVIL in tags.text


def test_the_timeline_draws_every_point_inside_the_picture() -> None:
    line = Timeline(1.0, 3)
    for second, score in enumerate((0.0, 0.25, 1.0)):
        line = line.and_then(second, second + 1, {"a": score})
    page = charts.timeline(line)
    points = [tuple(map(float, pair.split(","))) for pair in page.split('points="')[1].split('"')[0].split()]
    assert points[0][1] > points[1][1] > points[2][1], "higher scores are drawn higher"
    assert all(0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT for x, y in points)


def test_more_scores_than_fit_are_folded_away() -> None:
    page = charts.scores({f"label {n}": 1 / (n + 2) for n in range(12)})
    assert page.index("label 7") < page.index("4 more") < page.index("label 8")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("/srv/secret/clip.mp4: no video stream.", "This video cannot be read: no video stream."),
        ("clip.mp4: bad, see /home/somebody/models/x/config.json.", "This video cannot be read: bad, see a file"),
        (r"cannot open C:\Users\somebody\model.safetensors", "Cannot open a file"),
        (
            "a.gif: 9, more than windows allows (3); a.b.limits.set_limits raises it.",
            "A.gif: 9, more than windows allows",
        ),
        ("running/walking and 3 / 4 are fine", "Running/walking and 3 / 4 are fine"),
        ("", "It could not be used."),
    ],
)
def test_messages_name_no_path_of_the_server(error: str, expected: str) -> None:
    told = sentence(ValueError(error), "/srv/secret/clip.mp4")
    assert told.startswith(expected)
    for secret in ("secret", "somebody", "set_limits"):
        assert secret not in told


def test_heat_is_where_the_values_are() -> None:
    gray = Image.new("RGB", (32, 32), (100, 100, 100))
    values = torch.zeros(1, 16)
    values[0, 15] = 1.0  # the last patch: bottom right
    warm = heat_maps(values).over(gray, 0)
    assert warm.getpixel((1, 1)) == (100, 100, 100)
    red, _, blue = warm.getpixel((30, 30))
    assert red > 150 and blue < 60
    assert heat_maps(torch.zeros(1, 15)) is None
    assert heat_maps(torch.ones(1, 16)).over(gray, 0).getpixel((9, 9)) == (100, 100, 100)


def test_the_demo_can_be_copied_into_a_space() -> None:
    allowed = {"gradio", "starlette", "torch", "numpy", "PIL", *sys.stdlib_module_names}
    for file in DEMO.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, file.name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert node.module.split(".")[0] in allowed, file.name
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1, file.name
