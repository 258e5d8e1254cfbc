"""Evaluation of segments: ground truth and proposals in the official layouts, open-vocabulary splits of the classes,
mean average precision, and what it hides: per class and per length.

A split takes a share of the classes as known and measures the others: the truths of those alone, with those alone as
candidates (Ju et al., ECCV 2022: 75 and 50 % known, ten random splits of each; their lists are not published as data,
so the halves here are of numpy's legacy generator, seeds 0 to 9, over sorted names). `all` measures every class.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_zsar.clips.folders import find_videos
from hf_zsar.processing.prompts import clean_label
from hf_zsar.processing.text_files import read_text
from hf_zsar.processing.video_reading import VideoReadError, open_video
from hf_zsar.segments.annotations import VideoSegments
from hf_zsar.segments.finding import Search
from hf_zsar.segments.formats import named, read_segments
from hf_zsar.segments.formats_json import activitynet_subsets

from .metrics.localization import TEMPORAL_IOUS, localization_map, temporal_iou
from .records import FORMAT, library_versions, now


# Name -> the grid of temporal IoUs, and the subset that is measured.
LOCALIZATION = {"activitynet-localization": ("activitynet", "validation"), "thumos14": ("thumos14", "test")}
# Known shares of the classes, and the splits of each.
KNOWN_SHARES, SPLITS = (75, 50), 10
# Lengths in seconds, as DETAD groups them (Alwassel et al., ECCV 2018).
LENGTHS = {"XS": (0, 30), "S": (30, 60), "M": (60, 120), "L": (120, 180), "XL": (180, float("inf"))}
# What a ranking wants: more, and worse, segments than a person.
HIGH, LOW = 0.2, 0.1
LABELS_OF_PROPOSAL = 3


@dataclass(frozen=True)
class ClassSplit:
    """Which classes are measured."""

    name: str
    classes: tuple[str, ...]


def class_splits(classes: Iterable[str]) -> list[ClassSplit]:
    """All classes, and ten splits for each known share, e.g. `75/0` measures a quarter of the classes."""
    names = np.array(sorted(classes))
    splits = [ClassSplit("all", tuple(names.tolist()))]
    for share in KNOWN_SHARES:
        for seed in range(SPLITS):
            order = np.random.RandomState(seed).permutation(len(names))
            unseen = names[np.sort(order[round(len(names) * share / 100) :])]
            splits += [ClassSplit(f"{share}/{seed}", tuple(unseen.tolist()))] if len(unseen) > 1 else []
    return splits


def ground_truth(path: str | os.PathLike, subset: str, fps: float | None = None) -> list[VideoSegments]:
    """The videos of a subset of ActivityNet's layout that have segments, or all of any other format.

    Raises:
        OSError: the file cannot be opened.
        ValueError: not in a form that we know, or nothing of that subset in it.
    """
    text = read_text(path)
    if '"database"' in text:
        rows = activitynet_subsets(text, os.fspath(path))
        found = [video for name, video in rows if str(name).lower().startswith(subset[:4])]
    else:
        found = read_segments(path, fps=fps)
    found = [video for video in found if video.segments]
    if not found:
        raise ValueError(f"{path}: it has no segments of the subset {subset!r}.")
    return found


def read_results(path: str | os.PathLike) -> list[VideoSegments]:
    """Predictions, or proposals whose labels mean nothing, in the layout of a submission or any other format.

    Raises:
        ValueError: not in a form that we know, or without scores.
    """
    text = read_text(path)
    found = named("activitynet").read(text, os.fspath(path), None) if '"results"' in text else read_segments(path)
    if any("score" not in each for video in found for each in video.segments):
        raise ValueError(f"{path}: every segment needs a score.")
    return found


def rows_of(videos: Iterable[VideoSegments], classes: Sequence[str]) -> list[dict[str, Any]]:
    """The segments of these classes as [`localization_map`] takes them."""
    kept = set(classes)
    return [{"video": v.video, **each} for v in videos for each in v.segments if each["label"] in kept]


def score_localization(
    truth: Sequence[VideoSegments],
    predictions: Callable[[ClassSplit], Sequence[VideoSegments]],
    protocol: str,
    splits: Sequence[str] | None = None,
    **about: Any,
) -> dict[str, Any]:
    """The record of an evaluation.

    Args:
        predictions: of a split's classes, as found among that split's candidates.
        splits: names, or first parts of names (`"75"`); default: all.
        about: further entries of the record.

    Raises:
        ValueError: no such protocol or split.
    """
    if protocol not in LOCALIZATION:
        raise ValueError(f"There is no protocol {protocol!r} of segments. Available: {', '.join(LOCALIZATION)}.")
    grid, _ = LOCALIZATION[protocol]
    chosen = choose(class_splits({each["label"] for video in truth for each in video.segments}), splits)
    results = [_score_split(truth, predictions(split), split, TEMPORAL_IOUS[grid]) for split in chosen]
    return {
        "format": FORMAT,
        "created": now(),
        "libraries": library_versions(),
        "protocol": {"id": protocol, "grid": grid, "temporal_ious": list(TEMPORAL_IOUS[grid])},
        **about,
        "results": results,
        "summary": {name: _mean(results, name) for name in dict.fromkeys(each.name.split("/")[0] for each in chosen)},
        "per_class": _per_class(results),
        "per_length": _per_length(results),
    }


def choose(splits: Sequence[ClassSplit], names: Sequence[str] | None) -> list[ClassSplit]:
    """
    Raises:
        ValueError: a name that no split has.
    """
    if not names:
        return list(splits)
    found = [split for split in splits if split.name in names or split.name.split("/")[0] in names]
    if unknown := [name for name in names if not any(name in (s.name, s.name.split("/")[0]) for s in found)]:
        raise ValueError(f"There is no split {unknown[0]!r}. Available: {', '.join(split.name for split in splits)}.")
    return found


def _score_split(
    truth: Sequence[VideoSegments], found: Sequence[VideoSegments], split: ClassSplit, grid: Sequence[float]
) -> dict[str, Any]:
    truths, predictions = rows_of(truth, split.classes), rows_of(found, split.classes)
    scores = localization_map(truths, predictions, grid)
    lengths = {name: [0, 0] for name in LENGTHS}
    spans: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for each in predictions:
        spans.setdefault((each["video"], each["label"]), []).append((each["start"], each["end"]))
    for each in truths:
        near = np.array(spans.get((each["video"], each["label"]), [(0.0, 0.0)]), dtype=np.float64)
        hit = temporal_iou(np.array([each["start"], each["end"]]), near).max() >= 0.5
        size = each["end"] - each["start"]
        name = next(name for name, (low, high) in LENGTHS.items() if low <= size < high)
        lengths[name] = [lengths[name][0] + bool(hit), lengths[name][1] + 1]
    about = {
        "split": split.name,
        "classes": len(split.classes),
        "truths": len(truths),
        "predictions": len(predictions),
    }
    return {**about, **scores, "found_by_length": lengths}


def _mean(results: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    mine = [each for each in results if each["split"].split("/")[0] == name]
    average = [each["average_map"] for each in mine]
    std = float(np.std(average, ddof=1)) if len(mine) > 1 else None
    maps = np.mean([each["map"] for each in mine], axis=0).tolist()
    return {"splits": len(mine), "average_map": float(np.mean(average)), "std": std, "map": maps}


def _per_class(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Average precision of each class, over thresholds and the splits that have it."""
    rows: dict[str, list[float]] = {}
    for each in results:
        for label, row in each["average_precision"].items():
            rows.setdefault(label, []).append(float(np.mean(row)))
    return {label: float(np.mean(values)) for label, values in sorted(rows.items())}


def _per_length(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Share of truths that some prediction of their label finds at an IoU of 0.5, by length; over all splits."""
    found = {name: np.sum([each["found_by_length"][name] for each in results], axis=0).tolist() for name in LENGTHS}
    return {
        name: {"recall": hits / count if count else None, "truths": count} for name, (hits, count) in found.items()
    }


def localization_report(record: Mapping[str, Any]) -> str:
    """The record as a table for people."""
    from .reports import aligned

    grid = record["protocol"]["temporal_ious"]
    rows = [["known classes", "splits", "mAP", "std", *(f"@{threshold:.2g}" for threshold in grid)]]
    for name, each in record["summary"].items():
        std = "" if each["std"] is None else f"{100 * each['std']:.1f}"
        cells = [f"{100 * value:.1f}" for value in (each["average_map"], *each["map"])]
        known = "none (all are measured)" if name == "all" else f"{name} %"
        rows.append([known, str(each["splits"]), cells[0], std, *cells[1:]])
    lengths = [["length", "truths", "found at IoU 0.5"]]
    for name, each in record["per_length"].items():
        low, high = LENGTHS[name]
        share = "" if each["recall"] is None else f"{100 * each['recall']:.1f} %"
        span = f"{low} s and more" if high == float("inf") else f"{low} to {high} s"
        lengths.append([f"{name} ({span})", str(each["truths"]), share])
    ranked = sorted(record["per_class"].items(), key=lambda pair: -pair[1])
    ends = ranked if len(ranked) <= 10 else [*ranked[:5], *ranked[-5:]]
    classes = [["class" if len(ranked) <= 10 else "class (five best, five worst)", "AP"]]
    classes += [[label, f"{100 * value:.1f}"] for label, value in ends]
    videos = record["videos"]
    lines = [f"{record['protocol']['id']}: {videos['scored']} of {videos['expected']} videos"]
    return "\n".join([*lines, "", *aligned(rows), "", *aligned(lengths), "", *aligned(classes)])


def videos_by_id(root: str | os.PathLike) -> dict[str, str]:
    """Id of a video (its file name without suffix, and without ActivityNet's `v_`) -> its file below a folder."""
    found: dict[str, str] = {}
    for path in find_videos(Path(root)):
        found.setdefault(Path(path).stem, str(path))
        found.setdefault(Path(path).stem.removeprefix("v_"), str(path))
    return found


class Finder:
    """Finds the segments of videos for many label sets; each video is decoded and encoded once.

    Args:
        pipe: the pipeline.
        root: where the videos lie.
        options: of `pipe.segments`.
        proposals: if given, these stretches are labeled and nothing else is looked for.
        say: told of what is missing and of each video that cannot be read.

    Attributes:
        missing: ids of the videos that are not there.
        broken: id -> what is wrong with it.
    """

    def __init__(
        self,
        pipe: Any,
        truth: Sequence[VideoSegments],
        root: str | os.PathLike,
        splits: Sequence[ClassSplit],
        options: Mapping[str, Any],
        proposals: Sequence[VideoSegments] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        options = {"high": HIGH, "low": LOW, **options}
        self.pipe, self.splits = pipe, splits
        self.num_frames = options.pop("num_frames", None) or pipe.processor.video_processor.num_frames
        sets = [[clean_label(label) for label in split.classes] for split in splits]
        self.searches = [Search(pipe, labels, **options) for labels in sets]
        self.proposals = None if proposals is None else {each.video: each for each in proposals}
        self.missing: list[str] = []
        self.broken: dict[str, str] = {}
        self._found: dict[str, list[VideoSegments]] = {split.name: [] for split in splits}
        there = videos_by_id(root)
        for video in truth:
            path = there.get(Path(video.video).stem)
            if path is None:
                self.missing.append(video.video)
                continue
            try:
                self._add(video.video, path)
            except (VideoReadError, FloatingPointError) as error:
                self.broken[video.video] = str(error)
                say(f"error: {error}")
        if self.missing:
            say(f"{len(self.missing)} of {len(truth)} videos are not under {root}")

    def __call__(self, split: ClassSplit) -> list[VideoSegments]:
        return self._found[split.name]

    def _add(self, name: str, path: str) -> None:
        if self.proposals is None:
            encoded = list(self.searches[0].encoded(path, self.num_frames))
            answers = [list(search.segments(encoded)) for search in self.searches]
        else:
            answers = self._labeled(path, self.proposals.get(name, VideoSegments(name)).segments)
        for split, search, found in zip(self.splits, self.searches, answers, strict=True):
            names = dict(zip(search.labels, split.classes, strict=True))
            rows = tuple({**each, "label": names[each["label"]]} for each in found)
            self._found[split.name].append(VideoSegments(name, rows))

    def _labeled(self, path: str, proposals: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
        """The likeliest labels of each proposal, the score being the label's times the proposal's."""
        processor, count = self.pipe.processor.video_processor, self.num_frames
        answers: list[list[dict[str, Any]]] = [[] for _ in self.searches]
        with open_video(path) as reader:
            for each in proposals:
                start, end = each["start"], min(each["end"], reader.duration)
                clip = reader.read_at([start + (place + 0.5) * (end - start) / count for place in range(count)])
                pixels = processor.normalize(processor.resize_crop(clip.frames, num_crops=1)[0])
                features = self.pipe.encode_videos(pixels[None])
                for search, answer in zip(self.searches, answers, strict=True):
                    best = search.scores(features)[0].topk(min(LABELS_OF_PROPOSAL, len(search.labels)))
                    for score, label in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                        cut = {"start": each["start"], "end": each["end"], "score": score * each["score"]}
                        answer.append({**cut, "label": search.labels[label]})
        return answers
