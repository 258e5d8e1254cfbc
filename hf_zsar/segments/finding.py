"""`pipe.segments(...)`: when which label happens in a video."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

import torch

from .decisions import Moment, decided, smoothed
from .encoding import Frame, FrameUse, Stretch, frame_use, stretches
from .shots import ShotDetector


# A label is as likely as half, or a quarter, of the likeliest one, those of the background among them.
HIGH, LOW = 0.5, 0.25
Encoded = tuple[list[Stretch], Any]
LABEL_OPTIONS = ("hypothesis_template", "descriptions", "label_bank", "background_labels", "multi_label")


@dataclass(frozen=True)
class SegmentOptions:
    """How scores over time become segments.

    Args:
        window: seconds that a score looks at, at the finest scale.
        stride: seconds from score to score; default: a quarter of `window`, which must be a multiple of it.
        scales: how many times `window` each scale looks at.
        smooth: standard deviation of the filter over time, in seconds; default: `stride`.
        high, low: a segment reaches `high` somewhere, and goes as far as `low` holds.
        sigma: of soft non-maximum suppression; more keeps more of what overlaps.
        min_length: seconds; shorter segments are left out.

    Raises:
        ValueError: one that means nothing.
    """

    window: float = 2.0
    stride: float | None = None
    scales: tuple[int, ...] = (1, 2)
    smooth: float | None = None
    high: float = HIGH
    low: float = LOW
    sigma: float = 0.2
    min_length: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.window < math.inf and (self.stride is None or 0 < self.stride <= self.window)):
            raise ValueError(f"window and stride are seconds, 0 < stride <= window: {self.window}, {self.stride}.")
        if abs(self.window / self.step - self.steps) > 1e-6 * self.steps:
            raise ValueError(f"window must be a whole number of strides: {self.window:g} / {self.step:g}.")
        if not self.scales or not all(isinstance(scale, int) and 1 <= scale <= 64 for scale in self.scales):
            raise ValueError(f"scales are whole numbers from 1 to 64, got {self.scales!r}.")
        if not 0 < self.low <= self.high:
            raise ValueError(f"low and high must be 0 < low <= high, got {self.low}, {self.high}.")
        if not (0 <= self.width < math.inf and self.sigma > 0 and 0 <= self.min_length < math.inf):
            raise ValueError("smooth and min_length must be seconds, sigma above zero.")

    @property
    def step(self) -> float:
        """Seconds from score to score."""
        return self.window / 4 if self.stride is None else self.stride

    @property
    def steps(self) -> int:
        """Strides in a window."""
        return round(self.window / self.step)

    @property
    def width(self) -> float:
        """Seconds of the filter."""
        return self.step if self.smooth is None else self.smooth


def find_segments(
    pipe: Any,
    video: Any,
    candidate_labels: Sequence[str] | None = None,
    *,
    live: bool = False,
    unknown: bool = True,
    batch_size: int = 1,
    num_frames: int | None = None,
    **options: Any,
) -> Any:
    """When which label happens in a video.

    One pass decodes each frame once. Windows of several scales around every `stride` are scored, each within one
    shot; scores are smoothed, and runs of high ones become segments.

    The score of a label at a time is its probability over that of the likeliest label. With `unknown`, the labels of
    the background ("none of these") are among those, so that background becomes no segment.

    Args:
        pipe: the pipeline.
        video: as in a call of the pipeline; one that can be read only once is read as it flows.
        candidate_labels: the class names, or `label_bank` among the options.
        live: the video is a stream or camera that may never end; see also `live_source`.
        unknown: parts of the video may show none of the labels.
        batch_size: windows (their frames, for a model that pools frames) per forward pass.
        num_frames: frames in a window of the finest scale; default: the processor's.
        options: the fields of [`SegmentOptions`], and options of a call of the pipeline: `hypothesis_template`,
            `descriptions`, `label_bank`, `background_labels`, and `multi_label` (the score is the label's own).

    Returns:
        `[{"label", "start", "end", "score"}]` in seconds, by start, the score a mean over that time; with `live`
        an iterator that gives each segment when it closes: `window * max(scales) / 2 + 2 * smooth` seconds later.

    Raises:
        ValueError: no labels, a bad option.
        VideoReadError: a video that cannot be read; of an iterator, while iterating.
    """
    search = Search(pipe, candidate_labels, live=live, unknown=unknown, batch_size=batch_size, **options)
    if live and callable(getattr(video, "pieces", None)):
        return search.watch(video, num_frames)
    found = search.segments(search.encoded(video, num_frames))
    return found if live else sorted(found, key=lambda each: (each["start"], each["end"]))


class Search:
    """What [`find_segments`] looks for and how; errors as there. One search serves many videos."""

    def __init__(
        self,
        pipe: Any,
        candidate_labels: Sequence[str] | None = None,
        *,
        live: bool = False,
        unknown: bool = True,
        batch_size: int = 1,
        **options: Any,
    ) -> None:
        names = [field.name for field in fields(SegmentOptions)]
        if wrong := [name for name in options if name not in (*names, *LABEL_OPTIONS)]:
            near = get_close_matches(wrong[0], (*names, *LABEL_OPTIONS), 1, cutoff=0)[0]
            raise ValueError(f"{wrong[0]!r} is not an option of segments; did you mean {near!r}?")
        if options.get("background_labels") is not None and not unknown:
            raise ValueError("background_labels change nothing with unknown=False: leave one of them out.")
        self.options = SegmentOptions(**{name: options.pop(name) for name in names if name in options})
        self.pipe, self.live = pipe, live
        self.batch = 1 if live else batch_size * self.options.steps
        asked = options if candidate_labels is None else {**options, "candidate_labels": candidate_labels}
        asked = {**asked, "unknown": True} if unknown else asked
        _, forward, say = pipe._options_of(asked)
        self.multi_label = say.get("multi_label", False)
        texts = [forward.get(name) for name in ("hypothesis_template", "descriptions")]
        bank = forward.get("label_bank")
        self.bank = pipe.label_bank(forward["candidate_labels"], *texts) if bank is None else bank
        self.against = {"against": forward["against"]} if "against" in forward else {}
        self.labels = list(self.bank.without_examples.labels)
        self.joint = None
        if unknown:  # the labels and, behind them, those of the background
            together = [*self.labels, *forward["background_labels"]]
            self.joint = pipe._bank_of(*pipe._computing(), together, *texts, len(self.labels))

    def watch(self, source: Any, num_frames: int | None = None) -> Iterator[dict[str, Any]]:
        """The segments of a [`LiveSource`]: each piece by itself, so that nothing lasts through a gap."""
        for begun, pictures in source.pieces():
            encoded = self._noted(self.encoded(pictures, num_frames), source, begun)
            for each in self.segments(encoded):
                yield {**each, "start": begun + each["start"], "end": begun + each["end"]}

    def _noted(self, encoded: Iterable[Encoded], source: Any, begun: float) -> Iterator[Encoded]:
        for parts, features in encoded:
            yield parts, features
            source.answered(begun + parts[-1].end)

    def segments(self, encoded: Iterable[Encoded]) -> Iterator[dict[str, Any]]:
        """What [`encoded`] gives -> the segments, each when it closes."""
        options = self.options
        moments = (moment for each in encoded for moment in self._scored(*each))
        for label, extent, score in decided(
            smoothed(moments, options.width), options.high, options.low, options.sigma
        ):
            if extent.end - extent.start >= options.min_length:
                yield {"label": self.labels[label], "start": extent.start, "end": extent.end, "score": score}

    def encoded(self, video: Any, num_frames: int | None = None) -> Iterator[Encoded]:
        """The stretches of a video, some at a time, with the features of their windows, one scale after the other."""
        options, steps = self.options, self.options.steps
        num_frames = num_frames or self.pipe.processor.video_processor.num_frames
        per_cell = -(-num_frames // steps)  # so that a window has num_frames or a few more
        cells = self.pipe.processor.video_processor.iter_windows(
            video, options.step, num_frames=per_cell, live=self.live, num_crops=1
        )
        first = next(cells, None)
        if first is None:
            return
        use = frame_use(self.pipe, num_frames, first[2], lambda features: self._outputs(features)["logits"])
        frames = self._frames(itertools.chain([first], cells), use)
        for parts in batches(stretches(frames, per_cell * steps, options.scales), self.batch):
            yield parts, use.features([window for part in parts for window in part.windows])

    def _frames(self, cells: Iterator[tuple[float, float, torch.Tensor]], use: FrameUse) -> Iterator[list[Frame]]:
        """The frames of each cell; some cells are encoded together."""
        shots = ShotDetector()
        for group in batches(cells, self.batch):
            kept = iter(use.keep(torch.cat([pixels for _, _, pixels in group])))
            for start, end, pixels in group:
                length, numbers = (end - start) / len(pixels), shots.number(pixels)
                times = [start + place * length for place in range(len(pixels))] + [end]
                yield [Frame(times[i], times[i + 1], shot, next(kept)) for i, shot in enumerate(numbers)]

    def _outputs(self, features: Any) -> dict:
        return self.pipe.score_features(features, label_bank=self.bank, **self.against)

    def scores(self, features: Any) -> torch.Tensor:
        """The score of each label, see [`find_segments`]: features of N windows -> `[N, K]`."""
        outputs = self._outputs(features)
        scores = self.pipe.label_scores(outputs, multi_label=self.multi_label)
        if not self.multi_label:
            scores = scores / scores.amax(dim=-1, keepdim=True)
        if self.joint is not None:
            rivals = self.pipe.score_features(features, label_bank=self.joint)["logits"].float()
            known = rivals[:, : len(self.labels)].amax(dim=-1, keepdim=True)
            scores = scores * (known - rivals.amax(dim=-1, keepdim=True)).exp()
        return scores

    def _scored(self, parts: Sequence[Stretch], features: Any) -> Iterator[Moment]:
        rows = self.scores(features).unflatten(0, (len(parts), -1)).double().cpu().numpy()
        for part, row in zip(parts, rows, strict=True):
            yield Moment(part.start, part.end, part.shot, row)


def batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """The items, `size` at a time."""
    while group := list(itertools.islice(items, size)):
        yield group
