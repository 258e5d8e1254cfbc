"""`pipeline("zero-shot-video-classification")`. It stands alone, since it travels as remote code with exported models,
and knows nothing but the public methods of the model and the processor."""

from __future__ import annotations

import copy
import difflib
import importlib
import operator
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from transformers import Pipeline, PreTrainedModel


try:  # its name here, beside the package; where this file stands alone, the processor is asked
    from hf_zsar.processing.video_sources import is_one_video
except ImportError:
    is_one_video = None

# The options of a call, by the step that takes them, and those that are whole numbers above zero.
PREPROCESS = ("num_frames", "num_views", "num_crops", "sampling", "window", "stride", "on_error")
FORWARD = (
    "candidate_labels hypothesis_template descriptions label_bank return_saliency unknown background_labels".split()
)
POSTPROCESS = ("top_k", "function_to_apply", "multi_label", "coverage", "false_alarms")
IDLE = ("sampling", "num_views")  # with windows, whose frames are taken at segment centers
COUNTS = ("num_frames", "num_views", "num_crops", "top_k")

NEUTRAL_LABEL = "something else"  # what a single label is weighed against with `multi_label`


class ZeroShotVideoClassificationPipeline(Pipeline):
    """Scores videos against any class names.

    ```python
    >>> import hf_zsar
    >>> from transformers import pipeline

    >>> classifier = pipeline("zero-shot-video-classification", model=hf_zsar.embedded_model_path())
    >>> classifier("ride.mp4", candidate_labels=["riding a bike", "cooking"])
    [{'score': 0.93, 'label': 'riding a bike'}, {'score': 0.07, 'label': 'cooking'}]
    ```

    A label set is encoded once and kept (least recently used out first), so that further videos cost only their own
    frames. Many videos are decoded by threads while the model works. The model stays as it was given: in its types, in
    its mode, and for `save_pretrained`.
    """

    model: Any  # of the contract: `encode_videos`, `encode_labels`, `score`
    processor: Any  # its own: `prepare_labels`, and a `video_processor`

    _load_processor = True  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_video_processor = False  # type: ignore[assignment]
    _load_feature_extractor = False  # type: ignore[assignment]

    # Label sets kept in memory.
    max_label_banks = 16
    # Makes a model and processor of the contract out of those of other classes; set where there are adapters.
    take_over: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def __init__(self, *args: Any, precision: str = "auto", compile: bool = False, **kwargs: Any) -> None:
        """
        Args:
            precision: `"fp32"` computes as the weights are; `"bf16"` computes in a copy of a float32 model with its
                matrices in bfloat16 (scalars, buffers and all scoring stay float32), not for models with batch norms;
                `"auto"` does so on a CPU that multiplies bfloat16, above 50 million parameters, unless a `dtype` was
                asked for. The copy takes half the memory of the model on top of it, and is made anew when the model
                changes; `dtype=torch.bfloat16` loads such a model alone.
            compile: `torch.compile` the video side; the first call is slow, and so is each new shape.
            args, kwargs: as any pipeline's, and defaults of the options of a call.
        """
        asked_for = kwargs.get("dtype") not in (None, "auto")
        kwargs = self.take_over(kwargs) if self.take_over is not None else kwargs
        super().__init__(*args, **kwargs)
        if precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision must be 'auto', 'fp32' or 'bf16', got {precision!r}.")
        self._in_bf16 = precision == "bf16" or (precision == "auto" and not asked_for and bf16_pays(self.model))
        if self._in_bf16 and (reason := why_not_bf16(self.model)):
            raise ValueError(f"precision='bf16' is not for {reason}.")
        self._copy: tuple[Any, Any] = (None, None)  # what it is a copy of, and the copy
        self._copying = threading.Lock()
        self._compile = compile
        self._compiled: tuple[Any, Any] = (None, None)  # the model, and its compiled video side
        # Prompts that its text tower has positions for; a copy where the given processor would make longer ones.
        self.processor = self.processor.limited_to(self.model.text_limit)
        self._banks: OrderedDict[tuple, Any] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Of a pipeline that is copied or goes to a spawned process: all but what is made anew, or belongs to one."""
        return {**self.__dict__, "_copy": (None, None), "_copying": None, "_compiled": (None, None)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _copying=threading.Lock())

    def __call__(self, videos: Any, candidate_labels: Sequence[str] | None = None, **kwargs: Any) -> Any:
        """Score one video or many.

        Args:
            videos: a path, http(s) URL, bytes, file object, `{"path", "bytes"}`, array or tensor `[T, H, W, 3]` or
                `[T, 3, H, W]`, list of PIL frames or open torchcodec decoder; or a list, column or generator of those.
            candidate_labels (`list[str]`): the class names, two or more; or one string with commas between them.
            hypothesis_template (`str` or `list[str]`, *optional*): with one `{}` for the label; several make an
                ensemble. Default: the model's own.
            descriptions (*optional*): knowledge about the labels (a `Descriptions`, mapping or path): more prompts of
                each, or as the method uses it. Default: what is saved with the model.
            label_bank (*optional*): a ready text side instead of `candidate_labels`.
            top_k (`int`, *optional*): give only the k best.
            function_to_apply (`"softmax"`, `"sigmoid"` or `"none"`): default softmax over the labels.
            multi_label (`bool`): several labels may be true: each is weighed against the mean of the others, a single
                one against the label `"something else"`, and scores no longer sum to 1. A model whose sigmoid is a
                probability by itself (SigLIP) is asked for that.
            num_frames, num_views, num_crops, sampling (*optional*): instead of the processor's.
            window, stride (`float`, seconds, *optional*): score windows of a long video; memory does not grow with its
                length. `stride` defaults to `window`.
            unknown (`bool`): also score that the video shows none of the labels: the share of the probability that is
                on background labels (NegLabel, arXiv 2403.20078), without those that mean the same as a label.
            background_labels (`list[str]`, *optional*): for `unknown`; default: the classes of Kinetics-400.
            false_alarms, coverage (`float`, *optional*): with a `label_bank` that `hf-zsar calibrate` wrote. The share
                of clips of the labels that may be called unknown; as many labels as hold the right one so often.
            return_saliency (`bool`): add `saliency` to each label, for methods that explain themselves.
            on_error (`"raise"` or `"return"`): a video that cannot be read, or whose scores are not finite numbers,
                raises, or its error stands in place of its result while the others are scored.
            batch_size (`int`): videos (or windows) per forward pass.
            num_workers (`int`): decoding threads for many videos.

        Returns:
            Per video a list of `{"score", "label"}`, best first; with `window` a list of `{"start", "end", "labels"}`
            in seconds. With `unknown` `{"labels", "unknown"}` instead of such a list, with `false_alarms` also
            `"is_unknown"`. A list, array or pandas column in gives a list out, in order, other iterables an iterator.

        Raises:
            ValueError: no labels, one label where scores are shares, a bad option.
            VideoReadError: a video that cannot be read.
            FloatingPointError: a video whose scores are NaN or infinite.

        A `LabelWarning` says which labels do not reach the model as they are.
        """
        if candidate_labels is not None:
            kwargs["candidate_labels"] = candidate_labels
        if self.processor.video_processor.is_one_video(videos):
            return next(self.stream([videos], **kwargs))
        results = self.stream(videos, **kwargs)
        return list(results) if isinstance(videos, (list, tuple)) or hasattr(videos, "shape") else results

    def stream(
        self, videos: Iterable[Any], *, batch_size: int | None = None, num_workers: int | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Results one by one, in the order of the videos; see `__call__`. Holds a bounded number of decoded videos."""
        batch_size = count_of("batch_size", batch_size) or self._batch_size or 1
        workers = count_of("num_workers", num_workers or None) or self._num_workers or min(4, os.cpu_count() or 1)
        return self._stream(videos, batch_size, workers, *self._options_of(kwargs))

    def _stream(
        self, videos: Iterable[Any], batch_size: int, workers: int, preprocess: dict, forward: dict, postprocess: dict
    ) -> Iterator[Any]:
        on_error = preprocess.pop("on_error", "raise")
        if preprocess.get("window") is not None:
            options = (batch_size, preprocess, forward, postprocess)
            for number, video in enumerate(videos):
                name = self._name_of(video, number)
                yield self._guard(on_error, lambda v, n: list(self._timeline(v, *options, name=n)), video, name)
            return

        def read(numbered: tuple[int, Any]) -> tuple[str, Any]:
            number, video = numbered
            return self._name_of(video, number), self._guard(on_error, self.preprocess, video, **preprocess)

        batch: list[tuple[str, Any]] = []
        for item in self.processor.video_processor.prefetch(read, enumerate(videos), workers):
            batch.append(item)
            if len(batch) == batch_size:
                yield from self._run_batch(batch, forward, postprocess, on_error)
                batch = []
        yield from self._run_batch(batch, forward, postprocess, on_error)

    def timeline(
        self,
        video: Any,
        candidate_labels: Sequence[str] | None = None,
        *,
        window: float,
        stride: float | None = None,
        live: bool = False,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        """Score the windows of one video as they come, also of a source without end.

        Args:
            video: as in `__call__`; a pipe or another file object that can be read only once is read as it flows.
            window, stride: in seconds; `stride` defaults to `window`.
            live: the URL is a stream or camera that never ends.
            batch_size: windows per forward pass; an entry waits until its batch is full.
            candidate_labels, kwargs: as in `__call__`.

        Yields:
            `{"start", "end", "labels"}` in seconds, each as soon as it is scored. Only the windows under way are held.

        Raises:
            ValueError: no labels, a bad option.
            VideoReadError: while iterating, where the source cannot be read (further).
        """
        kwargs = {**kwargs, "window": window, "stride": stride}
        if candidate_labels is not None:
            kwargs["candidate_labels"] = candidate_labels
        preprocess, forward, postprocess = self._options_of(kwargs)
        if preprocess.pop("on_error", "raise") != "raise":
            raise ValueError("timeline has no on_error: what was scored was given already when a source breaks off.")
        batch_size = count_of("batch_size", batch_size) or self._batch_size or 1
        return self._timeline(video, batch_size, {**preprocess, "live": live}, forward, postprocess)

    def segments(self, video: Any, candidate_labels: Sequence[str] | None = None, **options: Any) -> Any:
        """When which label happens: `[{"label", "start", "end", "score"}]`; see `hf_zsar.segments.find_segments`."""
        return importlib.import_module("hf_zsar.segments").find_segments(self, video, candidate_labels, **options)

    def _options_of(self, kwargs: dict[str, Any]) -> tuple[dict, dict, dict]:
        """The options of a call over the pipeline's own, checked."""
        own = (self._preprocess_params, self._forward_params, self._postprocess_params)
        given = self._sanitize_parameters(**kwargs)
        preprocess, forward, postprocess = ({**mine, **theirs} for mine, theirs in zip(own, given, strict=True))
        if preprocess.get("stride") is not None and preprocess.get("window") is None:
            raise ValueError("stride is the step between windows: pass window too.")
        if preprocess.get("window") is not None and (idle := [name for name in IDLE if kwargs.get(name) is not None]):
            raise ValueError(f"{idle[0]} changes nothing with window: leave one of them out.")
        if forward.get("hypothesis_template") is not None:
            forward["hypothesis_template"] = self.processor.as_templates(forward["hypothesis_template"])
        bank, labels = forward.get("label_bank"), forward.get("candidate_labels")
        if bank is None and labels is None:
            raise ValueError("candidate_labels is missing: pass the class names to choose among.")
        function, multi_label = postprocess.get("function_to_apply"), postprocess.get("multi_label")
        shares = function == "softmax" or (function is None and not multi_label)
        labels = self.processor.check_candidates(labels if bank is None else bank.labels, shares)
        if bank is None:
            forward["candidate_labels"] = labels
        coverage, false_alarms = postprocess.get("coverage"), postprocess.get("false_alarms")
        if false_alarms is not None and not forward.get("unknown"):
            raise ValueError("false_alarms is about unknown=True: pass it, too.")
        if coverage is not None and (multi_label or function):
            raise ValueError("coverage is about shares over the labels: leave out multi_label and function_to_apply.")
        if coverage is not None or false_alarms is not None:
            if bank is None:
                raise ValueError("coverage and false_alarms need a label_bank that `hf-zsar calibrate` wrote.")
            bank.calibration.check(coverage, false_alarms)
        if multi_label and len(labels) == 1 and not self.model.scores_each_label:
            forward["against"] = NEUTRAL_LABEL
        return preprocess, forward, postprocess

    @staticmethod
    def _guard(on_error: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if on_error == "raise":
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs)
        except (FloatingPointError, ValueError) as error:
            # By name, since this file stands alone; any other error is the caller's and concerns all videos.
            if {"FloatingPointError", "VideoReadError"} & {each.__name__ for each in type(error).__mro__}:
                return error
            raise

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        preprocess, forward, postprocess = {}, {}, {}
        for name, value in kwargs.items():
            if name in COUNTS:
                value = count_of(name, value)
            if name in PREPROCESS:
                preprocess[name] = value
            elif name in FORWARD:
                forward[name] = value
            elif name in POSTPROCESS:
                postprocess[name] = value
            else:
                raise ValueError(f"{name!r} is not an option of this pipeline; did you mean {nearest_option(name)}?")
        if "candidate_labels" in forward:
            forward["candidate_labels"] = split_labels(forward["candidate_labels"])
        if preprocess.get("on_error", "raise") not in ("raise", "return"):
            raise ValueError(f"on_error must be 'raise' or 'return', got {preprocess['on_error']!r}.")
        if postprocess.get("function_to_apply") not in (None, "softmax", "sigmoid", "none"):
            raise ValueError(
                f"function_to_apply must be 'softmax', 'sigmoid' or 'none', got {postprocess['function_to_apply']!r}."
            )
        return preprocess, forward, postprocess

    def preprocess(self, video: Any, window: float | None = None, stride: float | None = None, **options: Any) -> dict:
        """Decode, sample and normalize the frames of one video."""
        options = {name: value for name, value in options.items() if value is not None}
        values = dict(self.processor.video_processor(video, return_tensors="pt", **options))
        if len(values["pixel_values_videos"]) != 1:
            raise ValueError("A collection of videos holds another collection: pass the videos one by one.")
        return values

    def _run_batch(
        self, items: Sequence[tuple[str, Any]], forward: dict, postprocess: dict, on_error: str = "raise"
    ) -> Iterator[Any]:
        """Score what was decoded, each with what the video is called; videos with tensors of one shape go through the
        model together."""
        results = [item for _, item in items]
        groups: dict[torch.Size, list[int]] = {}
        for position, (_, item) in enumerate(items):
            if not isinstance(item, Exception):
                groups.setdefault(item["pixel_values_videos"].shape[1:], []).append(position)
        for positions in groups.values():
            together = [items[i] for i in positions]
            scored = self._score_together(together, forward, postprocess, on_error)
            for position, result in zip(positions, scored, strict=True):
                results[position] = result
        yield from results

    def _score_together(
        self, items: Sequence[tuple[str, Any]], forward: dict, postprocess: dict, on_error: str
    ) -> list[Any]:
        inputs = {"pixel_values_videos": torch.cat([item["pixel_values_videos"] for _, item in items])}
        try:
            outputs = self.forward(inputs, **forward)
        except FloatingPointError as error:
            if len(items) > 1:  # by themselves, to learn which it is
                return [self._score_together([item], forward, postprocess, on_error)[0] for item in items]
            named = FloatingPointError(f"{items[0][0]}: {error}")
            if on_error == "raise":
                raise named from error
            return [named]
        return [self.postprocess(select_row(outputs, row), **postprocess) for row in range(len(items))]

    def _forward(self, model_inputs: dict, **options: Any) -> dict:
        computing = model, _ = self._computing()
        with model.evaluating():
            features = self._video_side(model)(model_inputs["pixel_values_videos"])
        return self.score_features(features, computing=computing, **options)

    @torch.no_grad()
    def score_features(
        self,
        features: Any,
        candidate_labels: Sequence[str] = (),  # unless `label_bank` is given
        hypothesis_template: str | Sequence[str] | None = None,
        descriptions: Any = None,
        label_bank: Any = None,
        return_saliency: bool = False,
        against: str | None = None,
        unknown: bool = False,
        background_labels: Sequence[str] | None = None,
        computing: tuple[Any, Any] | None = None,  # the model and its identity, where the caller knows them
    ) -> dict:
        """Features that [`encode_videos`] gave -> what [`postprocess`] takes, for a batch; options of a call."""
        if return_saliency and "frames" not in self.model.explains:
            raise ValueError(f"{type(self.model).__name__} has no saliency to return.")
        model, identity = computing or self._computing()
        bank = label_bank
        if bank is None:
            bank = self._bank_of(model, identity, candidate_labels, hypothesis_template, descriptions)
        bank = bank.to(self.device)
        with model.evaluating():
            outputs = {"labels": bank.labels, "logits": model.score(features, bank, identity)}
            if "calibration" in bank.metadata:
                outputs |= {"calibration": bank.calibration, "platt": bank.tensors.get("platt")}
            if unknown:
                labels = bank.without_examples.labels
                joint = self._with_background(
                    model, identity, labels, hypothesis_template, descriptions, background_labels
                )
                shares = model.score(features, joint.to(self.device), identity).softmax(dim=-1)
                outputs["unknown"] = shares[:, len(labels) :].sum(dim=-1)
            if return_saliency:
                outputs["saliency"] = model.explain(features, bank)
            if against is not None:
                other = self._bank_of(model, identity, [against], hypothesis_template, None)
                outputs["others"] = model.score(features, other.to(self.device), identity)
        return outputs

    def _with_background(
        self, model: Any, identity: Any, labels: Sequence[str], template: Any, descriptions: Any, background: Any
    ) -> Any:
        """The bank of the labels and, behind them, of background labels."""
        if background is None:
            try:  # beside an export there may be no package
                background = importlib.import_module("hf_zsar.data").load_class_names("kinetics400")
            except ImportError:
                raise ValueError("unknown=True needs background_labels where hf_zsar is not installed.") from None
        others = [label for label in split_labels(background) if label not in labels]
        if not others:
            raise ValueError("background_labels must hold some that are not candidate labels.")
        joint = self._bank_of(model, identity, [*labels, *others], template, descriptions)
        return joint.with_background(len(labels))

    def _computing(self) -> tuple[Any, Any]:
        """The model that computes, which is the pipeline's own or its copy in bfloat16, and the former's identity."""
        identity = self.model.identity()
        if not self._in_bf16:
            return self.model, identity
        key = (identity, self.model.device)
        with self._copying:  # once, however many threads ask
            if key != self._copy[0]:
                self._copy = (None, None)  # the old copy is gone before there is a new one
                self._copy = key, bf16_copy(self.model)
            return self._copy[1], identity

    def _video_side(self, model: Any) -> Callable[[torch.Tensor], Any]:
        if not self._compile:
            return model.encode_videos
        if self._compiled[0] is not model:
            self._compiled = model, torch.compile(model.encode_videos)
        return self._compiled[1]

    def encode_videos(self, pixel_values_videos: torch.Tensor) -> Any:
        """The features of videos as this pipeline computes them, e.g. of what `preprocess` gives.

        Args:
            pixel_values_videos: `[B, T, 3, H, W]` or `[B, V, T, 3, H, W]`, on any device.
        """
        model, _ = self._computing()
        with torch.no_grad(), model.evaluating():
            return self._video_side(model)(pixel_values_videos.to(self.device))

    def label_bank(
        self,
        candidate_labels: Sequence[str],
        hypothesis_template: str | Sequence[str] | None = None,
        descriptions: Any = None,
    ) -> Any:
        """The encoded label set; kept, so that asking again costs nothing while the model stays the same."""
        return self._bank_of(*self._computing(), candidate_labels, hypothesis_template, descriptions)

    def _bank_of(
        self, model: Any, identity: Any, candidate_labels: Sequence[str], hypothesis_template: Any, descriptions: Any
    ) -> Any:
        templates = (hypothesis_template,) if isinstance(hypothesis_template, str) else hypothesis_template
        descriptions = self.processor.read_descriptions(descriptions)
        candidate_labels = self.processor.check_candidates(split_labels(candidate_labels), shares=False)
        key = (
            identity,
            tuple(candidate_labels),
            tuple(templates or self.processor.prompt_templates),
            descriptions.fingerprint if descriptions is not None else None,
        )
        bank = self._banks.pop(key, None)  # one step, since other threads may take and put at the same time
        if bank is None:
            bank = self._encode_labels(model, candidate_labels, templates, descriptions)
        self._banks[key] = bank
        while len(self._banks) > self.max_label_banks:
            self._banks.popitem(last=False)
        return bank

    def _encode_labels(
        self, model: Any, labels: Sequence[str], templates: Sequence[str] | None, descriptions: Any
    ) -> Any:
        try:
            with model.evaluating():
                return model.build_label_bank(self.processor, labels, templates=templates, descriptions=descriptions)
        except FloatingPointError as error:
            raise ValueError(f"None of the videos can be scored: {error}") from error

    def label_scores(self, outputs: dict, function_to_apply: str | None = None, multi_label: bool = False) -> Any:
        """The scores of the labels, in their order: of a video, or of a batch as [`score_features`] gives it."""
        logits, platt, calibration = outputs["logits"].float(), outputs.get("platt"), outputs.get("calibration")
        if multi_label and platt is not None:
            logits = platt[:, 0] * logits + platt[:, 1]
        elif calibration is not None:
            logits = logits / calibration.temperature
        if multi_label and platt is None and not self.model.scores_each_label:
            others = outputs.get("others")
            rest = logits.sum(-1, keepdim=True) - logits
            logits = logits - (rest / (logits.shape[-1] - 1) if others is None else others.float())
        function = function_to_apply or ("sigmoid" if multi_label else "softmax")
        return {"none": logits, "sigmoid": logits.sigmoid(), "softmax": logits.softmax(-1)}[function]

    def postprocess(
        self,
        model_outputs: dict,
        top_k: int | None = None,
        function_to_apply: str | None = None,
        multi_label: bool = False,
        coverage: float | None = None,
        false_alarms: float | None = None,
    ) -> Any:
        """Logits of one video -> `[{"score", "label"}]`, best first; see `__call__` for more."""
        calibration: Any = model_outputs.get("calibration")
        scores = self.label_scores(model_outputs, function_to_apply, multi_label)
        order = scores.argsort(descending=True, stable=True)[:top_k]
        results = [{"score": scores[i].item(), "label": model_outputs["labels"][i]} for i in order.tolist()]
        if "saliency" in model_outputs:
            for result, i in zip(results, order.tolist(), strict=True):
                result["saliency"] = {name: tensor[i] for name, tensor in model_outputs["saliency"].items()}
        if coverage is not None:
            least = calibration.least_probability(coverage)
            results = results[:1] + [result for result in results[1:] if result["score"] >= least]
        if "unknown" not in model_outputs:
            return results
        found = {"labels": results, "unknown": model_outputs["unknown"].item()}
        if false_alarms is not None:
            found["is_unknown"] = found["unknown"] > calibration.unknown_above(false_alarms)
        return found

    def _name_of(self, video: Any, number: int | None = None) -> str:
        """What messages call a video: its path or address without secrets, or its number among those of a call."""
        path = video.get("path") if isinstance(video, dict) else getattr(video, "name", video)
        if isinstance(path, (str, os.PathLike)):
            return self.processor.video_processor.name_of(path)
        return "the video" if number is None else f"video number {number} (counted from 0)"

    def _timeline(
        self, video: Any, batch_size: int, preprocess: dict, forward: dict, postprocess: dict, name: str | None = None
    ) -> Iterator[dict[str, Any]]:
        name = name or self._name_of(video)
        options = {name: value for name, value in preprocess.items() if value is not None and name not in IDLE}
        spans: list[tuple[float, float]] = []
        batch: list[tuple[str, dict[str, torch.Tensor]]] = []

        def scored() -> Iterator[dict[str, Any]]:
            results = self._run_batch(batch, forward, postprocess)
            for (start, end), labels in zip(spans, results, strict=True):
                yield {"start": start, "end": end, **(labels if isinstance(labels, dict) else {"labels": labels})}
            spans.clear()
            batch.clear()

        for start, end, pixels in self.processor.video_processor.iter_windows(video, **options):
            spans.append((start, end))
            batch.append((f"{name}, {start:g} to {end:g} s", {"pixel_values_videos": pixels[None]}))
            if len(batch) == batch_size:
                yield from scored()
        yield from scored()

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save the model and its processor as an ordinary folder.

        Unlike the base class this saves the processor, and does not write `custom_pipelines` into the configuration,
        which would make every later load demand `trust_remote_code`. To save with code see `hf_zsar.hub.export`.
        """
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)


def bf16_pays(model: PreTrainedModel) -> bool:
    """Whether bfloat16 is much faster here and the model is large enough for it to matter."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    fast = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    large = sum(parameter.numel() for parameter in model.parameters()) > 50_000_000
    here = model.device.type == "cpu" and model.dtype == torch.float32
    return bool(fast and large and here and why_not_bf16(model) is None)


def why_not_bf16(model: torch.nn.Module) -> str | None:
    """What keeps a copy in bfloat16 from standing for the model, if anything does."""
    if any(hasattr(module, "running_mean") for module in model.modules()):
        return f"batch norms, as this {type(model).__name__} has, whose statistics do not survive it"
    if any(parameter.is_meta for parameter in model.parameters()):
        return "weights that are kept elsewhere, as by device_map: load the model with dtype=torch.bfloat16"
    return None


def bf16_copy(model: torch.nn.Module) -> torch.nn.Module:
    """A copy of a float32 model in bfloat16, for evaluation; scalars (such as the logit scale, which a coarser type
    would shift) and buffers stay float32."""
    memo: dict[int, Any] = {}  # what the copy has instead, so that float32 weights are never there twice
    for parameter in model.parameters():
        if parameter.numel() > 1 and parameter.dtype == torch.float32:
            memo[id(parameter)] = torch.nn.Parameter(parameter.detach().to(torch.bfloat16), requires_grad=False)
    for value in vars(model).values():
        if isinstance(value, torch.nn.Module):  # not a part of the model, such as a teacher
            memo[id(value)] = None
    return copy.deepcopy(model, memo).requires_grad_(False).eval()


def count_of(name: str, value: Any) -> int | None:
    """An option that counts something, as a plain `int` (a ValueError below 1); None stays."""
    if value is None:
        return None
    whole = hasattr(value, "__index__") and not isinstance(value, bool)  # also numpy's integers
    if not whole or operator.index(value) < 1:
        raise ValueError(f"{name} must be a whole number above zero, got {value!r}.")
    return operator.index(value)


def split_labels(labels: Any) -> Any:
    """`"a, b, c"` -> its parts; anything else as it is."""
    return [part for part in map(str.strip, labels.split(",")) if part] if isinstance(labels, str) else labels


def nearest_option(name: str) -> str:
    """The option that an unknown name most likely means."""
    names = (*PREPROCESS, *FORWARD, *POSTPROCESS)
    inside = [option for option in names if name in option or option in name]
    return (inside or difflib.get_close_matches(name, names, 1, cutoff=0))[0]


def select_row(outputs: dict, row: int) -> dict:
    """The outputs of one video of a batch."""
    picked = {name: outputs[name][row] for name in ("logits", "others", "unknown") if name in outputs}
    picked |= {name: outputs[name] for name in ("calibration", "platt") if name in outputs}
    if "saliency" in outputs:
        picked["saliency"] = {name: tensor[row] for name, tensor in outputs["saliency"].items()}
    return {"labels": outputs["labels"], **picked}


__all__ = ["ZeroShotVideoClassificationPipeline"]
