"""From a video and typed labels to everything that the page shows. No web framework here."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import re
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from .explanations import BarChart, chart_of, heat_maps


MOST_LABELS = 200
MOST_CHARACTERS = 20_000  # of all labels together
LONGEST_PROMPT = 300  # characters
LONGEST_VIDEO = 600.0  # seconds
MOST_WINDOWS = 30
MOST_EXAMPLES = 20
MOST_SECONDS = 120.0  # that one question may keep the model busy
TIMELINE_LABELS = 5
# A path of this machine, and advice that is of no use on a page, in a message that came from below.
PATH = re.compile(r"(?<![\w:/.])(?:[A-Za-z]:)?[\\/](?:[^\s\\/:'\"]+[\\/])+[^\s\\/:'\",]*")
FOR_PROGRAMMERS = re.compile(r"; \S+\.set_limits raises it| The pipeline scores .*")
NOTED = ("LabelWarning", "VideoReadWarning")  # by name, since a Space has them from the model's own code
MOST_NOTES = 1000
_NOTES: OrderedDict[tuple[Any, ...], list[str]] = OrderedDict()
MOST_FEATURES = 200
_FEATURES: OrderedDict[tuple[Any, ...], Any] = OrderedDict()  # of example clips
# What a video may show that is none of the labels; few, as they are encoded with every label set.
BACKGROUND = (
    "walking,running,sitting,sleeping,talking,laughing,eating a meal,drinking,cooking,washing dishes,cleaning a room,"
    "brushing teeth,getting dressed,reading,writing,typing on a keyboard,using a phone,watching television,drawing,"
    "singing,playing the piano,playing drums,dancing,clapping,hugging,shaking hands,waving,playing cards,"
    "driving a car,riding a bike,riding a horse,rowing a boat,sailing,swimming,diving,surfing,skiing,playing chess,"
    "climbing,jumping,lifting weights,doing yoga,boxing,playing football,playing basketball,playing tennis,bowling,"
    "throwing a ball,fishing,gardening,mowing a lawn,chopping wood,painting a wall,repairing a machine,sewing,"
    "petting an animal,feeding birds,a crowd in a street,an empty landscape"
).split(",")
_LISTENING = threading.Lock()  # who hears warnings is a fact of the whole process


class Refusal(ValueError):
    """Something that the person at the page can put right; the message is for them."""


@dataclass(frozen=True)
class Question:
    """What was asked, checked.

    Args:
        video: path of the file.
        labels, descriptions: see `parse_labels`.
        template: prompt with `{}` for the label; None for the model's own.
        window: seconds of a window of the timeline; 0 for none.
        examples: paths of clips, each with its label.
        unknown: whether to score "none of these".
    """

    video: str
    labels: list[str]
    descriptions: dict[str, list[str]]
    template: str | None = None
    window: float = 0.0
    examples: tuple[tuple[str, str], ...] = ()
    unknown: bool = False

    @property
    def name(self) -> str:
        """What the person calls the video."""
        return os.path.basename(self.video)


@dataclass(frozen=True)
class Timeline:
    """Scores of windows that follow each other over the whole video.

    Args:
        seconds: length of a window.
        total: windows that the video has.
        parts: start, end and label -> score of each that is scored.
        shown: the labels to draw: the best of the whole video and each that is best in some window.
        note: why it ends early; empty otherwise.
    """

    seconds: float
    total: int
    parts: tuple[tuple[float, float, dict[str, float]], ...] = ()
    shown: tuple[str, ...] = ()
    note: str = ""

    def and_then(self, start: float, end: float, scores: dict[str, float]) -> Timeline:
        """With one more window."""
        best = max(scores, key=lambda label: scores[label])
        shown = self.shown if best in self.shown else (*self.shown, best)
        return replace(self, parts=(*self.parts, (start, end, scores)), shown=shown)


@dataclass(frozen=True)
class Answer:
    """What the page shows.

    Args:
        question: what it answers.
        scores: label -> score, best first.
        frames: the pictures that the model saw, each with its caption.
        explanation: what the best label's score was made of, where the method tells.
        about: one line about the video and what was looked at.
        notes: what of the video or the labels did not reach the model.
        timeline: None for short videos.
        unknown: the score "none of these", if it was asked for.
    """

    question: Question
    scores: dict[str, float]
    frames: list[tuple[Image.Image, str]]
    explanation: BarChart | None
    about: str
    notes: tuple[str, ...] = ()
    timeline: Timeline | None = None
    unknown: float | None = None


def parse_labels(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """Labels and their descriptions, as typed.

    One label a line, or all in one line with commas. `label: phrase, phrase` also describes the label.

    Raises:
        Refusal: no labels, too many, or a description without a label.
    """
    if len(text) > MOST_CHARACTERS:
        raise Refusal(f"These labels have {len(text)} characters; at most {MOST_CHARACTERS} are possible here.")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and ":" not in lines[0]:
        lines = [part.strip() for part in lines[0].split(",") if part.strip()]
    labels: dict[str, list[str]] = {}
    for line in lines:
        label, _, phrases = (part.strip() for part in line.partition(":"))
        if not label:
            raise Refusal(f"There is no label before the colon in “{line}”.")
        labels.setdefault(label, []).extend(phrase.strip() for phrase in phrases.split(",") if phrase.strip())
    if not labels:
        raise Refusal("Type at least two labels, one a line: scores say which of them fits best.")
    if len(labels) > MOST_LABELS:
        raise Refusal(f"These are {len(labels)} labels; at most {MOST_LABELS} are possible here.")
    return list(labels), {label: phrases for label, phrases in labels.items() if phrases}


def ask(
    pipe: Any,
    video: str | None,
    text: str | None,
    template: str | None = None,
    window: float | None = None,
    unknown: bool = False,
    examples: Sequence[tuple[str, str]] = (),
) -> Question:
    """Check what the person gave.

    Args:
        pipe: the pipeline that will be asked.
        video: path of the file.
        text: labels, see `parse_labels`.
        template, window, unknown: see `Question`; may be empty.
        examples: paths of clips, each with its label; those of labels that are not typed are left out.

    Raises:
        Refusal: something is missing or wrong, in words for the person at the page.
    """
    if not video:
        raise Refusal("Drop a video or record one first.")
    labels, descriptions = parse_labels(text or "")
    template = (template or "").strip() or None
    if descriptions and pipe.processor.descriptions_kind is None:
        raise Refusal("This model knows labels by their names only: leave out the colon and what follows it.")
    if template and (template.count("{}") != 1 or len(template) > LONGEST_PROMPT):
        raise Refusal(
            f"A prompt needs {{}} exactly once, where the label goes, and has at most {LONGEST_PROMPT} characters."
        )
    examples = tuple((path, label) for path, label in examples if label in labels)
    if len(examples) > MOST_EXAMPLES:
        raise Refusal(f"These are {len(examples)} example clips; at most {MOST_EXAMPLES} are possible here.")
    try:
        labels = pipe.processor.check_candidates(labels)
    except ValueError as error:
        raise Refusal(sentence(error, video)) from error
    return Question(video, labels, descriptions, template, float(window or 0), examples, bool(unknown))


def answers(pipe: Any, question: Question, wanted: Callable[[], bool] = lambda: True) -> Iterator[Answer]:
    """First what the whole video scores, then the same with a timeline that grows window by window.

    Args:
        pipe: a zero-shot video classification pipeline.
        question: see `ask`.
        wanted: asked between the windows; when it says no, the rest is left out.

    Raises:
        Refusal: the video cannot be read, or the labels cannot be used.
    """
    try:
        yield from _answers(pipe, question, wanted)
    except Refusal:
        raise
    except (ValueError, OSError) as error:  # a video that cannot be read, labels that cannot be used
        raise Refusal(sentence(error, question.video)) from error


def _answers(pipe: Any, question: Question, wanted: Callable[[], bool]) -> Iterator[Answer]:
    deadline = time.monotonic() + MOST_SECONDS
    answer, bank = _whole(pipe, question)
    yield answer
    timeline = answer.timeline
    if timeline is None or not wanted():
        return
    for part in pipe.timeline(question.video, label_bank=bank, window=timeline.seconds):
        timeline = timeline.and_then(
            part["start"], part["end"], {entry["label"]: entry["score"] for entry in part["labels"]}
        )
        late = time.monotonic() > deadline and len(timeline.parts) < timeline.total
        if late:
            timeline = replace(timeline, note=f"Ends at {part['end']:.0f} s: there was no time for the rest.")
        if not wanted():
            return
        yield replace(answer, timeline=timeline)
        if late:
            return


@torch.inference_mode()
def _whole(pipe: Any, question: Question) -> tuple[Answer, Any]:
    """The answer for the whole video, its timeline empty, and the encoded labels."""
    processor = pipe.processor.video_processor
    with own_warnings() as notes:
        clip = processor.sample(question.video, num_views=1)
    duration = clip.info.duration
    if duration > LONGEST_VIDEO:
        minutes = f"{duration / 60:.0f} minutes; at most {LONGEST_VIDEO / 60:.0f}"
        raise Refusal(f"This video has {minutes} are possible here.")
    text = {"templates": [question.template] if question.template else None}
    text["descriptions"] = question.descriptions or None
    with own_warnings() as label_notes:
        plain = bank = pipe.label_bank(question.labels, question.template, text["descriptions"])
    if question.examples:
        bank = _with_examples(pipe, bank, question.examples)
    notes += remembered((id(pipe), repr(question.labels), repr(text)), label_notes)
    inputs = processor([clip.frames], do_sample_frames=False, num_views=1, num_crops=1)
    features = pipe.encode_videos(inputs["pixel_values_videos"])
    outputs = {"labels": bank.labels, "logits": pipe.model.score(features, bank)[0]}
    scores = {entry["label"]: entry["score"] for entry in pipe.postprocess(outputs)}
    best = bank.labels.index(next(iter(scores)))
    explanation = pipe.model.explain(features, plain)
    pictures = processor.resize_crop(clip.frames)[0].clamp(0, 255).to(torch.uint8)
    window = question.window if hasattr(pipe, "timeline") else 0  # the code beside a model reads no windows
    answer = Answer(
        question,
        scores,
        frames=_captioned(pictures, clip.timestamps, explanation, best),
        explanation=chart_of(pipe, explanation, bank, best, **text),
        about=_about(clip, len(pictures), explanation),
        notes=tuple(sentence(note, question.video) for note in notes),
        timeline=empty_timeline(window, duration, tuple(scores)[:TIMELINE_LABELS]),
        unknown=_none_of_these(pipe, question, features) if question.unknown else None,
    )
    return answer, bank


def has_whole_code(pipe: Any) -> bool:
    """Whether the model's code knows examples and "none of these"; that beside an exported model does not."""
    bases = [base.__module__ for base in type(pipe.model).__mro__ if base.__name__ == "ZSARPreTrainedModel"]
    return any(importlib.util.find_spec(f"{name.rpartition('.')[0]}.bank_examples") for name in bases)


def _with_examples(pipe: Any, bank: Any, examples: Sequence[tuple[str, str]]) -> Any:
    parts = [_features_of(pipe, path) for path, _ in examples]
    features = type(parts[0]).cat(parts)
    return bank.with_examples(features, [label for _, label in examples], logits=pipe.model.score(features, bank))


def _features_of(pipe: Any, path: str) -> Any:
    """Of an example clip; kept, as further questions are about the same ones."""
    key = (id(pipe), path)
    features = _FEATURES.pop(key, None)
    if features is None:
        try:
            inputs = pipe.processor.video_processor(path, num_views=1, num_crops=1, return_tensors="pt")
            features = pipe.encode_videos(inputs["pixel_values_videos"])
        except (ValueError, OSError) as error:
            raise Refusal(f"The example {os.path.basename(path)}: {sentence(error, path)}") from error
    _FEATURES[key] = features
    while len(_FEATURES) > MOST_FEATURES:
        _FEATURES.popitem(last=False)
    return features


def _none_of_these(pipe: Any, question: Question, features: Any) -> float:
    """The share of the probability that is on labels of other things."""
    others = [label for label in BACKGROUND if label not in question.labels]
    with own_warnings():  # nobody asked for these labels
        joint = pipe.label_bank([*question.labels, *others], question.template, question.descriptions or None)
    joint = joint.with_background(len(question.labels))
    return pipe.model.score(features, joint)[0].softmax(dim=-1)[len(question.labels) :].sum().item()


def empty_timeline(window: float, duration: float, best: tuple[str, ...]) -> Timeline | None:
    """A timeline to be filled; None for a video that is shorter than two windows.

    Windows lie side by side and are longer in a long video, so that at most `MOST_WINDOWS` cover all of it.
    """
    if window <= 0 or duration < 2 * window:
        return None
    seconds = max(window, duration / MOST_WINDOWS)
    return Timeline(seconds, math.ceil(round(duration / seconds, 6)), shown=best)


def _captioned(
    pictures: torch.Tensor, timestamps: Sequence[float], explanation: Any, best: int
) -> list[tuple[Image.Image, str]]:
    weights = explanation["frames"][0, best].tolist() if "frames" in explanation else None
    heats = heat_maps(explanation["patches"][0, best]) if "patches" in explanation else None
    captioned = []
    for index, picture in enumerate(pictures):
        image = Image.fromarray(picture.permute(1, 2, 0).cpu().numpy())
        caption = f"{timestamps[index]:.1f} s"
        if heats is not None:
            image = heats.over(image, index)
        if weights is not None:
            caption += f" · {weights[index]:.0%}"
        captioned.append((image, caption))
    return captioned


def _about(clip: Any, count: int, explanation: Any) -> str:
    info = clip.info
    text = f"{info.duration:.1f} s, {info.width} x {info.height}; the model looked at {count} frames."
    if "frames" in explanation:
        text += " The percentage under a frame is its weight for the best label."
    if "patches" in explanation:
        text += " Orange marks the places that match that label's words."
    return text


@contextlib.contextmanager
def own_warnings() -> Iterator[list[str]]:
    """What the package warns of in this thread, while other threads' warnings go where they went."""
    told: list[str] = []
    thread = threading.get_ident()
    with _LISTENING, warnings.catch_warnings():
        warnings.simplefilter("always")
        others = warnings.showwarning

        def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
            if threading.get_ident() == thread and category.__name__ in NOTED:
                told.append(str(message))
            else:
                others(message, category, *rest, **more)

        warnings.showwarning = show
        yield told


def remembered(key: tuple[Any, ...], notes: list[str]) -> list[str]:
    """The notes on a label set, which is warned of once: later visitors get what was said then."""
    if notes or key not in _NOTES:
        _NOTES[key] = notes
        while len(_NOTES) > MOST_NOTES:
            _NOTES.popitem(last=False)
    return _NOTES.get(key, [])


def sentence(error: Exception | str, video: str) -> str:
    """A message as a sentence, without a path of this machine."""
    text = str(error).replace(str(video), "the video").replace(os.path.basename(video), "the video")
    text = FOR_PROGRAMMERS.sub("", PATH.sub("a file", text))
    first = text.strip().splitlines()[0] if text.strip() else "it could not be used."
    if first.startswith("the video: "):
        return f"This video cannot be read: {first.removeprefix('the video: ')}"
    return first[0].upper() + first[1:]
