"""Base of all processors: videos to pixel values, labels to prompts to token ids.

A processor is a [`ZSARVideoProcessor`], a tokenizer and prompt templates. The two sides never mix:
`processor(videos=...)` and `processor.prepare_labels(...)` can be called apart, and the pipeline does, so that a label
set is tokenized and encoded once for any number of videos.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from transformers import BatchFeature, ProcessorMixin
from transformers.processing_utils import ProcessingKwargs, TextKwargs, Unpack
from transformers.utils import cached_file

from .descriptions import Descriptions
from .label_checks import as_labels, check_candidates, check_choice, check_prompts, check_text, is_visible, listed
from .label_losses import LabelWarning, Prompt, find_losses
from .prompts import as_templates, clean_label, describe, normalize_text
from .video_processing_zsar import READ_OPTIONS, Generator, ZSARVideoProcessor


DESCRIPTIONS_NAME = "descriptions.json"
# What transformers writes for a tokenizer without a limit is far above.
NO_LIMIT = 10**6
# Label sets that are remembered as warned about.
MOST_TOLD = 10_000


class ZSARProcessor(ProcessorMixin):
    """Videos and labels in, model inputs out.

    Args:
        video_processor ([`ZSARVideoProcessor`]): frame sampling and preprocessing.
        tokenizer: the tokenizer of the text tower.
        prompt_templates: each with one `{}` for the label; several make an ensemble.
        clean_labels: turn published class names into words first (see `clean_label`).
        descriptions ([`Descriptions`] or mapping, *optional*): what is known about labels beyond their names; saved
            beside the tokenizer as `descriptions.json`.
        max_text_length (`int`, *optional*): tokens of a prompt that the text tower reads, for a tokenizer that says
            more or nothing.
        text_padding: `"longest"`, or `"max_length"` for text towers that read rows of their full length only.

    Raises:
        ValueError: another padding, or `"max_length"` where neither tokenizer nor `max_text_length` gives a length.

    torchvision is not needed: the video processor is loaded by its class, not through `AutoVideoProcessor`.
    """

    model_input_names = ["pixel_values_videos", "input_ids", "attention_mask", "prompt_index"]
    # The method's own templates; a processor saved with others keeps those.
    default_templates: tuple[str, ...] = ("{}",)
    # The kind of descriptions that the method has a use of its own for; others take either kind as more prompts.
    descriptions_kind: str | None = None
    check_candidates = staticmethod(check_candidates)
    as_templates = staticmethod(as_templates)

    def __init__(
        self,
        video_processor: ZSARVideoProcessor | None = None,
        tokenizer: Any = None,
        prompt_templates: Sequence[str] | None = None,
        clean_labels: bool = True,
        descriptions: Descriptions | dict | str | None = None,
        max_text_length: int | None = None,
        text_padding: str = "longest",
        **kwargs: Any,
    ) -> None:
        super().__init__(video_processor, tokenizer, **kwargs)
        self.prompt_templates = self.as_templates(prompt_templates or self.default_templates)
        self.clean_labels = clean_labels
        self.descriptions = self.read_descriptions(descriptions)
        self.max_text_length = max_text_length
        self.text_padding = check_choice("text_padding", text_padding, ("longest", "max_length"))
        if text_padding == "max_length" and self.text_limit is None:
            raise ValueError("text_padding='max_length' needs a length: pass max_text_length.")
        self._warned_labels: set[int] = set()

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        # transformers' own check wants a torchvision-based video processor.
        if argument_name == "video_processor" and isinstance(argument, ZSARVideoProcessor):
            return ZSARVideoProcessor
        return super().check_argument_for_proper_class(argument_name, argument)

    @classmethod
    def _get_arguments_from_pretrained(
        cls, pretrained_model_name_or_path: str, processor_dict: dict | None = None, **kwargs: Any
    ) -> list[Any]:
        subfolder = kwargs.pop("subfolder", "")
        settings = (processor_dict or {}).get("video_processor")
        if settings is not None:
            overrides = {name: kwargs[name] for name in ZSARVideoProcessor.OPTIONS if name in kwargs}
            video_processor = ZSARVideoProcessor(**{**settings, **overrides})
        else:
            video_processor = ZSARVideoProcessor.from_pretrained(
                pretrained_model_name_or_path, subfolder=subfolder, **kwargs
            )
        tokenizer = cls._load_tokenizer_from_pretrained(
            "tokenizer", pretrained_model_name_or_path, subfolder=subfolder, **kwargs
        )
        return [video_processor, tokenizer]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> ZSARProcessor:
        """As [`ProcessorMixin.from_pretrained`]; also reads `descriptions.json` when the folder or repo has one."""
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        if processor.descriptions is None:
            names = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
            found = cached_file(
                pretrained_model_name_or_path,
                DESCRIPTIONS_NAME,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
                **{name: kwargs[name] for name in names if name in kwargs},
            )
            processor.descriptions = Descriptions.load(found) if found else None
        return processor

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> Any:
        """As [`ProcessorMixin.save_pretrained`]; descriptions go into `descriptions.json`."""
        os.makedirs(save_directory, exist_ok=True)
        path = os.path.join(save_directory, DESCRIPTIONS_NAME)
        if self.descriptions is not None:
            self.descriptions.save(path)
        elif os.path.exists(path):
            os.remove(path)
        return super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        settings = super().to_dict()
        settings.pop("descriptions", None)
        return settings

    def __call__(
        self,
        videos: Any = None,
        labels: Sequence[str] | None = None,
        text: str | Sequence[str] | None = None,
        templates: str | Sequence[str] | None = None,
        descriptions: Descriptions | dict | str | None = None,
        generator: Generator | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> BatchFeature:
        """Prepare a whole model input.

        Args:
            videos: one video or a list: path, URL, bytes, file object, `{"path", "bytes"}`, array or tensor
                `[T, H, W, 3]` / `[T, 3, H, W]`, list of PIL frames, open torchcodec decoder.
            labels: candidate labels, made into prompts (see `prepare_labels`).
            text: ready texts instead of labels, tokenized as they are, one row each.
            templates, descriptions: see `prepare_labels`.
            generator: for a video processor that samples at random.
            kwargs: options of the video processor for this call and, with `text`, of the tokenizer, flat or as
                `videos_kwargs` and `text_kwargs`; `return_tensors` is `"pt"` unless said otherwise.

        Returns:
            `pixel_values_videos` and, with labels or text, the token tensors.

        Raises:
            ValueError: nothing to process, labels and text at once, or an option that means nothing.
        """
        if videos is None and labels is None and text is None:
            raise ValueError("Nothing to process: pass videos, labels or text.")
        if labels is not None and text is not None:
            raise ValueError("Pass labels (made into prompts) or text (tokenized as it is), not both.")
        given: dict[str, Any] = dict(kwargs)
        reading = {name: given.pop(name) for name in READ_OPTIONS if name in given}
        self._check_options(given, text is not None)
        options = self._merge_kwargs(self.valid_processor_kwargs, self.tokenizer.init_kwargs, **given)  # type: ignore[arg-type]
        text_options, video_options = options["text_kwargs"], options["videos_kwargs"]
        return_tensors = video_options.pop("return_tensors", "pt")
        text_options.pop("return_tensors", None)
        data: dict[str, Any] = {}
        if labels is not None:
            data.update(self.prepare_labels(labels, templates=templates, descriptions=descriptions))
        elif text is not None:
            data.update(self.tokenize([text] if isinstance(text, str) else list(text), **text_options))
        if videos is not None:
            data.update(self.video_processor(videos, generator=generator, **video_options, **reading))
        return BatchFeature(data, tensor_type=return_tensors, skip_tensor_conversion=["video_metadata"])

    def _check_options(self, kwargs: dict[str, Any], with_text: bool) -> None:
        """transformers only warns of an option that it does not know; a misspelled one must not pass unnoticed."""
        known = {"common_kwargs", *self.valid_processor_kwargs.__annotations__}
        known |= set(self.video_processor.valid_kwargs.__annotations__)
        known |= set(TextKwargs.__annotations__) if with_text else set()
        if unknown := sorted(set(kwargs) - known):
            raise ValueError(
                f"Unknown option {', '.join(unknown)}: not of the video processor, and those of the tokenizer go with "
                "text=... only, as the prompts of labels are always padded as the text tower needs it."
            )

    @property
    def text_limit(self) -> int | None:
        """Tokens of a prompt that are kept: what both the tokenizer and the text tower take. `None`: neither says."""
        known = (self.tokenizer.model_max_length, self.max_text_length)
        return min((limit for limit in known if limit is not None and limit < NO_LIMIT), default=None)

    def limited_to(self, max_text_length: int | None) -> ZSARProcessor:
        """This processor, or a copy of it where prompts would be longer than a model reads (`model.text_limit`)."""
        if max_text_length is None or (self.text_limit is not None and self.text_limit <= max_text_length):
            return self
        limited = copy.copy(self)
        limited.max_text_length = max_text_length
        return limited

    def prepare_labels(
        self,
        labels: Sequence[str],
        templates: str | Sequence[str] | None = None,
        descriptions: Descriptions | dict | str | None = None,
        warn: bool = True,
    ) -> BatchFeature:
        """Labels -> prompts -> tokens, ready for `model.encode_labels`.

        Args:
            labels: K class names; they are cleaned first when the processor says so.
            templates: one or several templates instead of the processor's.
            descriptions: knowledge about the labels instead of the processor's; a path is read.
            warn: say, once for each label set, what of the labels the model does not get (`LabelWarning`).

        Returns:
            `input_ids [R, L]` and `attention_mask [R, L]` of the R *distinct* prompts, trimmed to the longest, and
            `prompt_index [K, A]`: the rows of each label, -1 where a label has fewer prompts.

        Raises:
            ValueError: no label, an empty label, a template without exactly one `{}`, or one that leaves no room for
                labels.
        """
        labels = as_labels(labels)
        names, templates = self.check_labels(labels), self._templates(templates)
        prompts = self.build_prompts(names, templates, self.read_descriptions(descriptions))
        data = self.index_prompts(prompts)
        if warn:
            distinct = dict.fromkeys(text for of_label in prompts for text in of_label)
            self._tell_losses(labels, names, [Prompt.of(text, templates) for text in distinct], data)
        return data

    def prepare_label_each(self, labels: Sequence[str], templates: Sequence[str]) -> BatchFeature:
        """As `prepare_labels`, label i in template i only: what one training batch needs."""
        names = self.check_labels(labels)
        pairs = zip(names, templates, strict=True)
        return self.index_prompts(
            [self.build_prompts([name], [template], self.descriptions)[0] for name, template in pairs]
        )

    def check_labels(self, labels: Sequence[str]) -> list[str]:
        """The labels as words, in order.

        Raises:
            ValueError: see `prepare_labels`.
        """
        labels = as_labels(labels)
        for label in labels:
            check_text(label, "the label")
        names = [
            clean_label(label, self.repairs_text) if self.clean_labels else self.repair(label) for label in labels
        ]
        if not names or not all(map(is_visible, names)):
            raise ValueError(f"labels must name at least one class and none may be empty, got {listed(labels)}.")
        return names

    @property
    def repairs_text(self) -> bool:
        """Whether texts are repaired as CLIP's own tokenizer does; no other tokenizer does that."""
        return any(cls.__name__.startswith("CLIPTokenizer") for cls in type(self.tokenizer).__mro__)

    def repair(self, text: str) -> str:
        """The text as the official tokenizer would see it.

        Raises:
            ValueError: it holds what is not a character.
        """
        check_text(text, "the text")
        return normalize_text(text) if self.repairs_text else text

    def build_prompts(
        self, names: Sequence[str], templates: Sequence[str], descriptions: Descriptions | None
    ) -> list[list[str]]:
        """The prompts of every label: its name in every template and, where it is described, the name with each
        description behind it.

        An ensemble of descriptors (arXiv 2408.16412, 2603.08289), in which names and descriptions weigh the same: that
        weight is our choice. Methods that use descriptions in a way of their own override this.
        """
        known = [_described(descriptions, name) for name in names]
        check_prompts(len(names), len(templates) * max(1, 2 * max(map(len, known), default=0)))
        return [describe(name, own, templates) for name, own in zip(names, known, strict=True)]

    def described_rows(self) -> dict[str, Any]:
        """Label -> its prompts, for every label that is described."""
        names = list(self.descriptions or ())
        return {name: self.build_prompts([name], self.prompt_templates, self.descriptions)[0] for name in names}

    def check_exportable(self) -> None:
        """
        Raises:
            ValueError: prompts of a label depend on other labels, so that an export (ONNX) cannot list them.
        """

    def index_prompts(self, prompts: Sequence[Sequence[str]]) -> BatchFeature:
        """Tokenize each distinct prompt once and say which label uses which row."""
        rows: dict[str, int] = {}
        index = [[rows.setdefault(prompt, len(rows)) for prompt in of_label] for of_label in prompts]
        width = max(len(of_label) for of_label in index)
        data = self.tokenize(list(rows))
        data["prompt_index"] = torch.tensor([of_label + [-1] * (width - len(of_label)) for of_label in index])
        return BatchFeature(data)

    def tokenize(self, texts: Sequence[str], **options: Any) -> dict[str, torch.Tensor]:
        """For CLIP's tokenizer repaired as the official one does (see `normalize_text`): `input_ids` and
        `attention_mask` `[R, L]`, padded as the text tower needs it, cut at `text_limit`."""
        encoded = self.encode([self.repair(text) for text in texts], **options)
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}

    def encode(self, texts: Sequence[str], **options: Any) -> Any:
        """What the tokenizer makes of texts."""
        limit = self.text_limit
        options = {"truncation": limit is not None, "max_length": limit, "padding": self.text_padding, **options}
        # Some tokenizers give no mask unless they are asked.
        return self.tokenizer(list(texts), return_tensors="pt", return_attention_mask=True, **options)

    def count_tokens(self, text: str) -> int:
        """Tokens of a prompt, start and end included, before anything is cut."""
        return len(self.tokenizer(self.repair(text), truncation=False, verbose=False)["input_ids"])

    def _tell_losses(self, labels: Sequence[str], *args: Any) -> None:
        """One warning for a label set, once; raises where a template leaves no room for labels. See `find_losses`."""
        lost = find_losses(self, labels, *args)
        key = hash((tuple(labels), lost))
        if lost and key not in self._warned_labels:
            if len(self._warned_labels) >= MOST_TOLD:
                self._warned_labels.clear()
            self._warned_labels.add(key)
            message = f"Not everything of these labels reaches the model: {lost}."
            warnings.warn(message, LabelWarning, stacklevel=3)

    def _templates(self, templates: str | Sequence[str] | None) -> list[str]:
        return self.prompt_templates if templates is None else self.as_templates(templates)

    def read_descriptions(self, descriptions: Descriptions | dict | str | os.PathLike | None) -> Descriptions | None:
        """Descriptions out of what a user passes: a value, a mapping, the path of a file; or the processor's own."""
        if descriptions is None:
            return getattr(self, "descriptions", None)
        return Descriptions.of(descriptions, self.descriptions_kind)


def _described(descriptions: Descriptions | None, label: str) -> Sequence[str]:
    """What is known about a label, as short texts: attributes, or a graph written out."""
    known = (descriptions.for_label(label) if descriptions is not None else None) or ()
    return known if isinstance(known, tuple) else known.clause_list()


__all__ = ["ZSARProcessor"]
