"""The pipeline that travels with exported models: videos against any class names.

It stands alone, and knows nothing but the public methods of the model and the processor. What needs the package is
added in `pipeline_zero_shot_video_classification`.
"""

from __future__ import annotations

import copy
import difflib
import operator
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from transformers import Pipeline, PreTrainedModel


COUNTS = ("num_frames", "num_views", "num_crops", "top_k")  # whole numbers above zero
# What only the pipeline of the package takes.
ELSEWHERE = ("window", "stride", "unknown", "background_labels", "coverage", "false_alarms")

NEUTRAL_LABEL = "something else"  # what a single label is weighed against with `multi_label`


class VideoScoringPipeline(Pipeline):
    """Scores videos against any class names.

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
    # The options of a call: of preprocessing, of the model, and of postprocessing.
    options: tuple[tuple[str, ...], ...] = (
        ("num_frames", "num_views", "num_crops", "sampling", "on_error"),
        ("candidate_labels", "hypothesis_template", "descriptions", "label_bank", "return_saliency"),
        ("top_k", "function_to_apply", "multi_label"),
    )

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
            return_saliency (`bool`): add `saliency` to each label, for methods that explain themselves.
            on_error (`"raise"` or `"return"`): a video that cannot be read, or whose scores are not finite numbers,
                raises, or its error stands in place of its result while the others are scored.
            batch_size (`int`): videos per forward pass.
            num_workers (`int`): decoding threads for many videos.

        Returns:
            Per video a list of `{"score", "label"}`, best first. A list, array or pandas column in gives a list out,
            in order, other iterables an iterator.

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

    def _options_of(self, kwargs: dict[str, Any]) -> tuple[dict, dict, dict]:
        """The options of a call over the pipeline's own, checked."""
        own = (self._preprocess_params, self._forward_params, self._postprocess_params)
        given = self._sanitize_parameters(**kwargs)
        preprocess, forward, postprocess = ({**mine, **theirs} for mine, theirs in zip(own, given, strict=True))
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
        steps: tuple[dict[str, Any], ...] = ({}, {}, {})
        preprocess, forward, postprocess = steps
        for name, value in kwargs.items():
            step = next((step for step, names in zip(steps, self.options, strict=True) if name in names), None)
            if step is None:
                raise ValueError(f"{name!r} is not an option of this pipeline; {self._hint(name)}")
            step[name] = count_of(name, value) if name in COUNTS else value
        if "candidate_labels" in forward:
            forward["candidate_labels"] = split_labels(forward["candidate_labels"])
        if preprocess.get("on_error", "raise") not in ("raise", "return"):
            raise ValueError(f"on_error must be 'raise' or 'return', got {preprocess['on_error']!r}.")
        if postprocess.get("function_to_apply") not in (None, "softmax", "sigmoid", "none"):
            raise ValueError(
                f"function_to_apply must be 'softmax', 'sigmoid' or 'none', got {postprocess['function_to_apply']!r}."
            )
        return preprocess, forward, postprocess

    def _hint(self, name: str) -> str:
        if name in ELSEWHERE:
            return "it is one of hf_zsar.pipeline(...): pip install hf-zsar."
        names = sum(self.options, ())
        inside = [option for option in names if name in option or option in name]
        return f"did you mean {(inside or difflib.get_close_matches(name, names, 1, cutoff=0))[0]}?"

    def preprocess(self, video: Any, **options: Any) -> dict:
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
        return [self.postprocess(self._row(outputs, row), **postprocess) for row in range(len(items))]

    def _row(self, outputs: dict, row: int) -> dict:
        """The outputs of one video of a batch."""
        picked = {name: outputs[name][row] for name in ("logits", "others") if name in outputs}
        if "saliency" in outputs:
            picked["saliency"] = {name: tensor[row] for name, tensor in outputs["saliency"].items()}
        return {"labels": outputs["labels"], **picked}

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
        computing: tuple[Any, Any] | None = None,  # the model and its identity, where the caller knows them
        **asked: Any,
    ) -> dict:
        """Features that [`encode_videos`] gave -> what [`postprocess`] takes, for a batch; options of a call."""
        if return_saliency and "frames" not in self.model.explains:
            raise ValueError(f"{type(self.model).__name__} has no saliency to return.")
        model, identity = computing or self._computing()
        texts, bank = (hypothesis_template, descriptions), label_bank
        bank = (self._bank_of(model, identity, candidate_labels, *texts) if bank is None else bank).to(self.device)
        with model.evaluating():
            outputs = self._outputs(model, identity, features, bank, texts, **asked)
            return {**outputs, "saliency": model.explain(features, bank)} if return_saliency else outputs

    def _outputs(
        self, model: Any, identity: Any, features: Any, bank: Any, texts: tuple[Any, Any], against: str | None = None
    ) -> dict:
        """What `postprocess` takes. `texts` are the template and the descriptions of the labels."""
        outputs = {"labels": bank.labels, "logits": model.score(features, bank, identity)}
        if against is not None:
            other = self._bank_of(model, identity, [against], texts[0], None)
            outputs["others"] = model.score(features, other.to(self.device), identity)
        return outputs

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
        self,
        model: Any,
        identity: Any,
        candidate_labels: Sequence[str],
        hypothesis_template: str | Sequence[str] | None,
        descriptions: Any,
        before_background: int = 0,
    ) -> Any:
        """Kept; of labels of which, behind the first `before_background`, all are background labels."""
        templates = (hypothesis_template,) if isinstance(hypothesis_template, str) else hypothesis_template
        descriptions = self.processor.read_descriptions(descriptions)
        candidate_labels = self.processor.check_candidates(split_labels(candidate_labels), shares=False)
        key = (
            identity,
            tuple(candidate_labels),
            tuple(templates or self.processor.prompt_templates),
            descriptions.fingerprint if descriptions is not None else None,
            before_background,
        )
        bank = self._banks.pop(key, None)  # one step, since other threads may take and put at the same time
        if bank is None:
            bank = self._encode_labels(model, candidate_labels, templates, descriptions)
            bank = bank.with_background(before_background) if before_background else bank
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
        logits = outputs["logits"].float()
        if multi_label and not self.model.scores_each_label:
            rest, others = logits.sum(-1, keepdim=True) - logits, outputs.get("others")
            logits = logits - (rest / (logits.shape[-1] - 1) if others is None else others.float())
        function = function_to_apply or ("sigmoid" if multi_label else "softmax")
        return {"none": logits, "sigmoid": logits.sigmoid(), "softmax": logits.softmax(-1)}[function]

    def postprocess(
        self,
        model_outputs: dict,
        top_k: int | None = None,
        function_to_apply: str | None = None,
        multi_label: bool = False,
    ) -> Any:
        """Logits of one video -> `[{"score", "label"}]`, best first; see `__call__`."""
        scores = self.label_scores(model_outputs, function_to_apply, multi_label)
        order = scores.argsort(descending=True, stable=True)[:top_k]
        results = [{"score": scores[i].item(), "label": model_outputs["labels"][i]} for i in order.tolist()]
        if "saliency" in model_outputs:
            for result, i in zip(results, order.tolist(), strict=True):
                result["saliency"] = {name: tensor[i] for name, tensor in model_outputs["saliency"].items()}
        return results

    def _name_of(self, video: Any, number: int | None = None) -> str:
        """What messages call a video: its path or address without secrets, or its number among those of a call."""
        path = video.get("path") if isinstance(video, dict) else getattr(video, "name", video)
        if isinstance(path, (str, os.PathLike)):
            return self.processor.video_processor.name_of(path)
        return "the video" if number is None else f"video number {number} (counted from 0)"

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
