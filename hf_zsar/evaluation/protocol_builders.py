"""The field's protocols, built from the packaged lists: `load_protocol("half_e2e", "ucf101")`.

Each names whose protocol it is. Class subsets are taken by name from the lists; the generators in `splits.py`
reproduce them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from hf_zsar.clips.layouts import dataset_info
from hf_zsar.data import load_class_list, load_protocol_file, resource_sha256

from .protocols import Protocol, Split, in_label_order
from .splits import held_out_clips


Videos = Mapping[str, Sequence[str]]

ZERO_SHOT = "another data set; no clip of this one"
SEEN_OR_OTHER = "the seen classes of the same split, or another set"
K400 = "Kinetics-400, whose classes the candidates are not"
_HMDB_ORDER = (
    "HMDB51's label order is alphabetical. The label files of ActionCLIP, X-CLIP and ViFi-CLIP exchange kick / kick "
    "ball and sword / sword exercise; results scored against those names differ by up to a few points."
)
_FULL_LIST = {
    "ucf101": ("ucf101_all_videos", None, "all 13,320 clips"),
    "hmdb51": ("hmdb51_all_videos", None, "all 6,766 clips"),
    "activitynet200": (
        "activitynet200_videos",
        "full",
        "training and validation videos, one label each (BIKE's list)",
    ),
    "kinetics400": ("kinetics400_val_videos", None, "validation clips (ViFi-CLIP's list)"),
}


class _Lists:
    """Reads packaged lists and remembers which."""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.used: dict[str, str] = {}

    def protocol(self, name: str) -> dict[str, Any]:
        self.used[name] = resource_sha256(name)
        return load_protocol_file(name)

    def classes(self, name: str) -> tuple[tuple[str, ...], str]:
        """Class names and a phrase that says how they are ordered."""
        self.used[name] = resource_sha256(name)
        record = load_class_list(name)
        return tuple(record["classes"]), record["order"]

    def full(self) -> tuple[Videos, str]:
        """Every clip of the data set by class, and what to call that set."""
        name, split, phrase = _FULL_LIST[self.dataset]
        record = self.protocol(name)
        if split is not None:
            record = next(entry for entry in record["splits"] if entry["name"] == split)
        return record["videos_by_class"], phrase

    def make(
        self,
        protocol: str,
        splits: Iterable[Split],
        videos: Videos,
        class_list: str | None = None,
        caveats: Sequence[str] = (),
        **texts: str,
    ) -> Protocol:
        """A protocol on this data set, `videos` giving the class of every clip."""
        classes, order = self.classes(class_list or self.dataset)
        notes = (*caveats, _HMDB_ORDER) if self.dataset == "hmdb51" else tuple(caveats)
        return Protocol(
            id=protocol,
            dataset=self.dataset,
            classes=classes,
            labels_of={clip: (name,) for name in classes for clip in videos.get(name, ())},
            splits=tuple(splits),
            label_order=order,
            lists=dict(self.used),
            caveats=notes,
            **texts,
        )


def _clips_of(videos: Videos, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(clip for name in names for clip in videos.get(name, ()))


def _restricted(classes: Sequence[str], name: str, chosen: Sequence[str], videos: Videos) -> Split:
    """All clips of the chosen classes against the chosen classes."""
    candidates = in_label_order(classes, chosen)
    return Split(name, candidates, _clips_of(videos, candidates))


def _full(lists: _Lists, protocol: str) -> Protocol:
    videos, clip_set = lists.full()
    classes, _ = lists.classes(lists.dataset)
    return lists.make(
        protocol,
        [Split("full", classes, _clips_of(videos, classes))],
        videos,
        rule="all classes are candidates",
        clip_set=clip_set,
        training=ZERO_SHOT,
    )


@dataclass(frozen=True)
class _ClassSubsets:
    """One split for every `unseen` list of a packaged class split.

    Args:
        source: the list is `<data set>_<source>`.
        part: its only split that counts, if not all do.
        clips, sources, caveats: by data set, where it differs from others.
    """

    source: str
    rule: str
    training: str = ZERO_SHOT
    caveat: str | None = None
    part: str | None = None
    clips: str = "those of the split"
    sources: Mapping[str, str] = field(default_factory=dict)
    caveats: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, lists: _Lists, protocol: str) -> Protocol:
        videos, clip_set = lists.full()
        classes, _ = lists.classes(lists.dataset)
        record = lists.protocol(f"{lists.dataset}_{self.sources.get(lists.dataset, self.source)}")
        entries = [entry for entry in record["splits"] if self.part in (None, entry["name"])]
        caveat = self.caveats.get(lists.dataset, self.caveat)
        return lists.make(
            protocol,
            [_restricted(classes, entry["name"], entry["unseen"], videos) for entry in entries],
            videos,
            rule=self.rule,
            clip_set=f"of {clip_set}, {self.clips}",
            training=self.training,
            caveats=(caveat,) if caveat else (),
        )


_half_e2e = _ClassSubsets(
    "half_e2e", "ten halves of the classes by numpy's legacy generator, seeds 0 to 9, over ASCII-sorted names (E2E)"
)
_half_bike = _ClassSubsets(
    "half_e2e",  # only UCF101's official order differs from the sorted one
    "ten halves of the classes by numpy's legacy generator, seeds 0 to 9, over the label order (BIKE)",
    sources={"ucf101": "half_bike"},
    caveat="BIKE's own half-class routine scores raw frame features; here the whole model is scored.",
)
_half_openvclip = _ClassSubsets(
    "half_openvclip",
    "ten halves of the classes by Python's random generator seeded 2023 (Open-VCLIP)",
    caveats={"hmdb51": "Open-VCLIP's HMDB51 clips are the 5,100 of official split 1; here all 6,766 count."},
)
_xu2017 = _ClassSubsets(
    "half_xu2017",
    "50 random seen/unseen class splits of Xu et al. (IJCV 2017), tested on the unseen half (section 4)",
    SEEN_OR_OTHER,
    "Published numbers often use the first 10 or 30 of the 50 splits.",
)
_locate = _ClassSubsets(
    "half_locate",
    "ten random 100/100 class splits that LoCATe-GAT publishes, tested on the unseen half (section 4)",
    SEEN_OR_OTHER,
)
_truze = _ClassSubsets(
    "truze",
    "the classes that overlap no Kinetics-400 class (TruZe, GCPR 2021)",
    "Kinetics-400, or the seen classes of TruZe",
    part="zsl",
    clips="those of the unseen classes",
)


def _test_splits(lists: _Lists, protocol: str) -> Protocol:
    classes, _ = lists.classes(lists.dataset)
    record = lists.protocol(f"{lists.dataset}_official_splits")
    tests = [entry for entry in record["splits"] if entry["part"] == "test"]
    videos: dict[str, list[str]] = {name: [] for name in classes}
    for entry in tests:
        for name, clips in entry["videos_by_class"].items():
            known = set(videos[name])
            videos[name] += [clip for clip in clips if clip not in known]
    return lists.make(
        protocol,
        [Split(f"split{entry['split']}", classes, _clips_of(entry["videos_by_class"], classes)) for entry in tests],
        videos,
        rule="the three official test splits, all classes as candidates (X-CLIP, ViFi-CLIP)",
        clip_set="the official test clips",
        training=ZERO_SHOT,
    )


def _k600(lists: _Lists, protocol: str, source: str, clip_set: str, caveat: str) -> Protocol:
    classes, _ = lists.classes("kinetics600_new220")
    videos = lists.protocol(source)["videos_by_class"]
    record = lists.protocol("kinetics600_zsar_er")
    return lists.make(
        protocol,
        [_restricted(classes, entry["name"], entry["test"], videos) for entry in record["splits"]],
        videos,
        class_list="kinetics600_new220",
        caveats=(caveat,),
        rule="three random 160-class tests out of the 220 classes that Kinetics-400 lacks (ER-ZSAR)",
        clip_set=clip_set,
        training=K400,
    )


def _k600_test(lists: _Lists, protocol: str) -> Protocol:
    caveat = "BIKE and ViFi-CLIP score the part that they could download; k600_val is another family of numbers."
    return _k600(
        lists, protocol, "kinetics600_new220_test_videos_er", "clips of the K600 test set (ER-ZSAR's list)", caveat
    )


def _k600_val(lists: _Lists, protocol: str) -> Protocol:
    caveat = "Open-VCLIP, FROSTER and STDD score these; k600_er_test is another family of numbers."
    clip_set = "clips of the K600 validation set (Open-VCLIP's list)"
    return _k600(lists, protocol, "kinetics600_new220_val_videos_openvclip", clip_set, caveat)


def _base2novel(lists: _Lists, protocol: str) -> Protocol:
    classes, _ = lists.classes(lists.dataset)
    record = lists.protocol(f"{lists.dataset}_base2novel_vifi")
    entries = {entry["name"]: entry["videos_by_class"] for entry in record["splits"]}
    videos = {**entries["base_val"], **entries["novel_val"]}
    return lists.make(
        protocol,
        [_restricted(classes, part, record[f"{part}_classes"], videos) for part in ("base", "novel")],
        videos,
        rule="base classes against base candidates, novel against novel, harmonic mean (ViFi-CLIP)",
        clip_set="validation clips of each half (ViFi-CLIP's lists)",
        training="16 clips of every base class, one of the three packaged lists",
        caveats=("The published figure is the mean over three models, one for each training list.",),
    )


def _few_shot(lists: _Lists, protocol: str) -> Protocol:
    shots = int(protocol.removeprefix("fewshot_"))
    classes, _ = lists.classes(lists.dataset)
    if lists.dataset == "ssv2":
        entries = {
            entry["name"]: entry["videos_by_class"] for entry in lists.protocol("ssv2_base2novel_vifi")["splits"]
        }
        videos, clip_set = {**entries["base_val"], **entries["novel_val"]}, "validation set"
    else:
        record = lists.protocol(f"{lists.dataset}_official_splits")
        entry = next(entry for entry in record["splits"] if entry["name"] == "split1/test")
        videos, clip_set = entry["videos_by_class"], "official test split 1"
    lists.protocol(f"{lists.dataset}_fewshot_vifi")
    return lists.make(
        protocol,
        [Split("test", classes, _clips_of(videos, classes))],
        videos,
        rule=f"all classes are candidates after training on {shots} clips of each (X-CLIP, ViFi-CLIP)",
        clip_set=clip_set,
        training=f"{shots} clips of every class (packaged list K{shots})",
    )


_GZSL_SOURCE = {"activitynet200": "half_locate"}


def _gzsl(lists: _Lists, protocol: str) -> Protocol:
    videos, clip_set = lists.full()
    classes, _ = lists.classes(lists.dataset)
    record = lists.protocol(f"{lists.dataset}_{_GZSL_SOURCE.get(lists.dataset, 'half_xu2017')}")
    held_out = held_out_clips(lists.dataset, videos)
    splits = []
    for entry in record["splits"]:
        seen = set(entry["seen"])
        tested = {name: held_out[name] if name in seen else videos[name] for name in classes}
        splits.append(Split(entry["name"], classes, _clips_of(tested, classes), frozenset(seen)))
    return lists.make(
        protocol,
        splits,
        videos,
        rule="seen and unseen classes compete; per-class mean S and U, H = 2SU/(S+U) (our reading)",
        clip_set=f"of {clip_set}, all of the unseen classes and the held-out fifth of the seen ones",
        training="the seen classes of the same split without the held-out clips",
        caveats=("One split is one training; a model that saw none of the data set can be scored on all.",),
    )


@dataclass(frozen=True)
class ProtocolSpec:
    """A protocol before it meets a data set."""

    id: str
    summary: str
    datasets: tuple[str, ...]
    build: Callable[[_Lists, str], Protocol]


_PAIR, _TRIPLE = ("ucf101", "hmdb51"), ("ucf101", "hmdb51", "activitynet200")
PROTOCOLS = {
    spec.id: spec
    for spec in (
        ProtocolSpec("full", "every clip, all classes are candidates", (*_TRIPLE, "kinetics400"), _full),
        ProtocolSpec("half_e2e", "ten random halves of the classes (E2E, ResT)", _TRIPLE, _half_e2e),
        ProtocolSpec("half_bike", "ten random halves of the classes (BIKE, Text4Vis, DA-STI)", _TRIPLE, _half_bike),
        ProtocolSpec("half_openvclip", "ten random halves of the classes (Open-VCLIP)", _PAIR, _half_openvclip),
        ProtocolSpec("test_splits", "the three official test splits (X-CLIP, ViFi-CLIP)", _PAIR, _test_splits),
        ProtocolSpec("k600_er_test", "160 of 220 new classes, three times, test clips", ("kinetics600",), _k600_test),
        ProtocolSpec("k600_val", "160 of 220 new classes, three times, validation clips", ("kinetics600",), _k600_val),
        ProtocolSpec("xu2017", "50 seen/unseen class splits (Xu et al.)", _PAIR, _xu2017),
        ProtocolSpec("locate", "ten 100/100 class splits (LoCATe-GAT)", ("activitynet200",), _locate),
        ProtocolSpec("truze", "only classes that overlap no Kinetics-400 class", _PAIR, _truze),
        *(
            ProtocolSpec(f"fewshot_{k}", f"after training on {k} clips of each class", (*_PAIR, "ssv2"), _few_shot)
            for k in (2, 4, 8, 16)
        ),
        ProtocolSpec(
            "base2novel", "base and novel halves apart, harmonic mean", (*_PAIR, "kinetics400", "ssv2"), _base2novel
        ),
        ProtocolSpec("gzsl", "seen and unseen classes compete, harmonic mean", _TRIPLE, _gzsl),
    )
}


def protocol_spec(protocol: str) -> ProtocolSpec:
    """The entry of a protocol id.

    Raises:
        ValueError: unknown, naming those that exist.
    """
    if protocol not in PROTOCOLS:
        near = get_close_matches(protocol, PROTOCOLS, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"There is no protocol {protocol!r}. {hint}Available: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[protocol]


def load_protocol(protocol: str, dataset: str | None = None) -> Protocol:
    """A protocol on a data set, from the packaged lists.

    Args:
        protocol: an id of `PROTOCOLS`.
        dataset: may be left out where the protocol is defined on one data set.

    Raises:
        ValueError: unknown protocol or data set, or a pair that is not defined.
    """
    spec = protocol_spec(protocol)
    if dataset is None:
        if len(spec.datasets) > 1:
            raise ValueError(f"Protocol {protocol!r} needs a data set: {', '.join(spec.datasets)}.")
        dataset = spec.datasets[0]
    info = dataset_info(dataset)
    if info.name not in spec.datasets:
        raise ValueError(f"Protocol {protocol!r} is not defined on {info.title}, but on {', '.join(spec.datasets)}.")
    return spec.build(_Lists(info.name), protocol)
