"""`pipeline("zero-shot-video-classification")`: what travels with exported models, and what needs the package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .clips.class_lists import background_for
from .pipeline_video_scoring import VideoScoringPipeline, count_of, split_labels
from .processing.video_sources import is_one_video


IDLE = ("sampling", "num_views")  # with windows, whose frames are taken at segment centers


class ZeroShotVideoClassificationPipeline(VideoScoringPipeline):
    """Scores videos against any class names.

    ```python
    >>> import hf_zsar
    >>> from transformers import pipeline

    >>> classifier = pipeline("zero-shot-video-classification", model=hf_zsar.embedded_model_path())
    >>> classifier("ride.mp4", candidate_labels=["riding a bike", "cooking"])
    [{'score': 0.93, 'label': 'riding a bike'}, {'score': 0.07, 'label': 'cooking'}]
    ```

    See [`VideoScoringPipeline`]. Options of a call besides those of [`VideoScoringPipeline.__call__`]:

    Args:
        window, stride (`float`, seconds, *optional*): score windows of a long video; memory does not grow with its
            length. `stride` defaults to `window`. The result of a video is a list of `{"start", "end", "labels"}`.
        unknown (`bool`): also score that the video shows none of the labels: the share of the probability that is on
            background labels (NegLabel, arXiv 2403.20078), without those that mean the same as a label. The result is
            `{"labels", "unknown"}` instead of a list, with `false_alarms` also `"is_unknown"`.
        background_labels (`list[str]`, *optional*): for `unknown`; default: the classes of Kinetics-400.
        false_alarms, coverage (`float`, *optional*): with a `label_bank` that `hf-zsar calibrate` wrote. The share of
            clips of the labels that may be called unknown; as many labels as hold the right one so often.
    """

    options = tuple(
        (*names, *further)
        for names, further in zip(
            VideoScoringPipeline.options,
            (("window", "stride"), ("unknown", "background_labels"), ("coverage", "false_alarms")),
            strict=True,
        )
    )
    # Makes a model and processor of the contract out of those of other classes; set where there are adapters.
    take_over: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def __init__(self, *args: Any, precision: str = "auto", compile: bool = False, **kwargs: Any) -> None:
        """See [`VideoScoringPipeline`]."""
        kwargs = self.take_over(kwargs) if self.take_over is not None else kwargs
        super().__init__(*args, precision=precision, compile=compile, **kwargs)

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
        from .segments import find_segments

        return find_segments(self, video, candidate_labels, **options)

    def _stream(
        self, videos: Any, batch_size: int, workers: int, preprocess: dict, forward: dict, postprocess: dict
    ) -> Iterator[Any]:
        if preprocess.get("window") is None:
            preprocess = {name: value for name, value in preprocess.items() if name not in ("window", "stride")}
            yield from super()._stream(videos, batch_size, workers, preprocess, forward, postprocess)
            return
        on_error, options = preprocess.pop("on_error", "raise"), (batch_size, preprocess, forward, postprocess)
        for number, video in enumerate(videos):
            name = self._name_of(video, number)
            yield self._guard(on_error, lambda v, n: list(self._timeline(v, *options, name=n)), video, name)

    def _timeline(
        self, video: Any, batch_size: int, preprocess: dict, forward: dict, postprocess: dict, name: str | None = None
    ) -> Iterator[dict[str, Any]]:
        name = name or self._name_of(video)
        options = {name: value for name, value in preprocess.items() if value is not None and name not in IDLE}
        spans: list[tuple[float, float]] = []
        batch: list[tuple[str, Any]] = []

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

    def _options_of(self, kwargs: dict[str, Any]) -> tuple[dict, dict, dict]:
        preprocess, forward, postprocess = super()._options_of(kwargs)
        if preprocess.get("stride") is not None and preprocess.get("window") is None:
            raise ValueError("stride is the step between windows: pass window too.")
        if preprocess.get("window") is not None and (idle := [name for name in IDLE if kwargs.get(name) is not None]):
            raise ValueError(f"{idle[0]} changes nothing with window: leave one of them out.")
        if forward.get("unknown"):
            bank = forward.get("label_bank")
            labels = forward["candidate_labels"] if bank is None else bank.labels
            background = forward.get("background_labels")
            background = None if background is None else split_labels(background)
            forward["background_labels"] = background_for(background, labels)
        coverage, false_alarms = postprocess.get("coverage"), postprocess.get("false_alarms")
        if false_alarms is not None and not forward.get("unknown"):
            raise ValueError("false_alarms is about unknown=True: pass it, too.")
        if coverage is not None and (postprocess.get("multi_label") or postprocess.get("function_to_apply")):
            raise ValueError("coverage is about shares over the labels: leave out multi_label and function_to_apply.")
        if coverage is not None or false_alarms is not None:
            if (bank := forward.get("label_bank")) is None:
                raise ValueError("coverage and false_alarms need a label_bank that `hf-zsar calibrate` wrote.")
            bank.calibration.check(coverage, false_alarms)
        return preprocess, forward, postprocess

    def _outputs(
        self,
        model: Any,
        identity: Any,
        features: Any,
        bank: Any,
        texts: tuple[Any, Any],
        against: str | None = None,
        unknown: bool = False,
        background_labels: Sequence[str] = (),
    ) -> dict:
        outputs = super()._outputs(model, identity, features, bank, texts, against)
        if "calibration" in bank.metadata:
            outputs |= {"calibration": bank.calibration, "platt": bank.tensors.get("platt")}
        if unknown:
            labels = bank.without_examples.labels
            joint = self._bank_of(model, identity, [*labels, *background_labels], *texts, len(labels))
            shares = model.score(features, joint.to(self.device), identity).softmax(dim=-1)
            outputs["unknown"] = shares[:, len(labels) :].sum(dim=-1)
        return outputs

    def _row(self, outputs: dict, row: int) -> dict:
        further = {name: outputs[name] for name in ("calibration", "platt") if name in outputs}
        further |= {"unknown": outputs["unknown"][row]} if "unknown" in outputs else {}
        return {**super()._row(outputs, row), **further}

    def label_scores(self, outputs: dict, function_to_apply: str | None = None, multi_label: bool = False) -> Any:
        logits, platt, calibration = outputs["logits"].float(), outputs.get("platt"), outputs.get("calibration")
        if multi_label and platt is not None:  # such logits say yes or no by themselves
            logits, multi_label = platt[:, 0] * logits + platt[:, 1], False
            function_to_apply = function_to_apply or "sigmoid"
        elif calibration is not None:
            logits = logits / calibration.temperature
        return super().label_scores({**outputs, "logits": logits}, function_to_apply, multi_label)

    def postprocess(
        self,
        model_outputs: dict,
        top_k: int | None = None,
        function_to_apply: str | None = None,
        multi_label: bool = False,
        coverage: float | None = None,
        false_alarms: float | None = None,
    ) -> Any:
        results = super().postprocess(model_outputs, top_k, function_to_apply, multi_label)
        calibration: Any = model_outputs.get("calibration")
        if coverage is not None:
            least = calibration.least_probability(coverage)
            results = results[:1] + [result for result in results[1:] if result["score"] >= least]
        if "unknown" not in model_outputs:
            return results
        found = {"labels": results, "unknown": model_outputs["unknown"].item()}
        if false_alarms is not None:
            found["is_unknown"] = found["unknown"] > calibration.unknown_above(false_alarms)
        return found


__all__ = ["ZeroShotVideoClassificationPipeline", "is_one_video"]
