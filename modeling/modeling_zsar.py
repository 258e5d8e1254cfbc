"""What all zero-shot action recognition models share: the three steps, their values, and the base class.

A model answers in three public steps::

    features = model.encode_videos(pixel_values_videos)   # video side
    bank = model.encode_labels(**processor.prepare_labels(labels), labels=labels)  # text side
    logits = model.score(features, bank)                  # the only place where the two meet

`forward` is the three in a row plus the method's loss. Everything else (pipeline, evaluation, retrieval, training) is
built on the same three steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple

from .guards import all_finite, evaluation_mode, full_precision, is_recorded, say_what_is_not_finite
from .label_bank import LabelBank
from .model_identity import ModelIdentity, fingerprint_of, identify, in_use
from .outputs import Explanation, VideoFeatures, ZSAROutput
from .parts import needed, part
from .tensor_shapes import check_length, gather_prompts, masked_mean, normalize, split_views


class ForwardOptions(TransformersKwargs, total=False):
    """What `forward` takes besides its named arguments. Not among them, because `Trainer` holds every argument of
    `forward` with "label" in its name for a column of labels.

    Args:
        label_ids: `[K]`, class id of every candidate; ids may repeat.
        label_bank: a ready text side instead of `input_ids`.
    """

    label_ids: torch.Tensor | None
    label_bank: LabelBank | None


class ZSARPreTrainedModel(PreTrainedModel):
    """Base class of all methods: `forward` in terms of the three steps, saving, initialization, fingerprints.

    A method implements [`compute_features`], [`encode_labels`], [`compute_scores`] and [`compute_loss`].
    """

    base_model_prefix = "model"
    main_input_name = "pixel_values_videos"
    input_modalities = ["video", "text"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    # The loss is a mean over videos already; `Trainer` must not hand down a count to divide by.
    accepts_loss_kwargs = False

    output_class: type[ZSAROutput] = ZSAROutput
    # What `prepare_labels` of the method's processor gives, hence what `encode_labels` takes besides `labels`.
    text_input_names: tuple[str, ...] = ("input_ids", "attention_mask", "prompt_index")
    # What the training loss contrasts a video with: "per_sample", the text of every video of the batch (a class may
    # stand twice); "distinct", every class of the batch once; "all", all classes.
    text_candidates: str = "distinct"
    # Whether the sigmoid of a logit is a probability, whatever the other labels are.
    scores_each_label: bool = False
    # role -> prefixes of the names of its parameters; see `role_of`.
    parameter_roles: dict[str, tuple[str, ...]] = {}
    # Linear layers of the towers that low-rank adapters go to, as `target_modules` of peft's `LoraConfig`.
    lora_targets: tuple[str, ...] = ()
    # The tensors of [`VideoFeatures`] that [`score`] reads besides `video_embeds`; None: all that there are.
    score_inputs: tuple[str, ...] | None = None
    # The tensor of a label bank that lies in the space of `video_embeds`, for a search of candidates.
    query_embeds: str = "text_embeds"
    # What [`explain`] gives: names of the tensors of [`Explanation`].
    explains: tuple[str, ...] = ()
    # Whether the loss sees the videos and texts of all processes; None: in training.
    gather_loss: bool | None = None
    # What the file that it was loaded from lacks: these are random numbers.
    missing_weights: tuple[str, ...] = ()
    # The model as it was, candidates, and their bank, from one batch to the next.
    kept_bank: tuple[ModelIdentity | None, Any, LabelBank] | None = None

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *args: Any, **kwargs: Any
    ) -> Any:
        """As the base class; weights are safetensors, and a pickle is not opened unless `use_safetensors=False`.

        Raises:
            OSError: no such model, or its weights are damaged.
            ValueError: a configuration that cannot be, or that asks for more than [`SizeLimits`]; weights that are
                stored as another kind of numbers than the model's.
        """
        kwargs.setdefault("use_safetensors", True)
        wants_info, kwargs["output_loading_info"] = kwargs.get("output_loading_info", False), True
        try:
            loaded: Any = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        except SafetensorError as error:
            name = pretrained_model_name_or_path
            raise OSError(f"{name}: its weights cannot be read as safetensors: {error}.") from error
        model, info = loaded
        model.missing_weights = tuple(sorted(info["missing_keys"]))
        model.freeze_roles(*model.frozen_roles)  # loading has replaced the parameters
        return (model, info) if wants_info else model

    @staticmethod
    def _load_pretrained_model(
        model: PreTrainedModel, state_dict: Any, checkpoint_files: Any, load_config: Any, *rest: Any, **named: Any
    ) -> Any:
        """As the base class, which makes any number of any other without a word."""
        if load_config.hf_quantizer is None and (files := part("tensor_files")):
            for each in (checkpoint_files or ()) if state_dict is None else [state_dict]:
                files.check_types(each, model.state_dict(), load_config.weights_only)
        return PreTrainedModel._load_pretrained_model(model, state_dict, checkpoint_files, load_config, *rest, **named)

    def post_init(self) -> None:
        # Loading builds a model without storage first, so that this is known before anything is allocated.
        if sizes := part("size_limits"):
            number = sum(parameter.numel() for parameter in self.parameters())
            sizes.hold_to_size("parameters", number, "the parameters of the model")
        super().post_init()
        self.freeze_roles(*self.frozen_roles)

    @classmethod
    def is_custom_code(cls) -> bool:
        """`False`: our initialization respects what is loaded already, as transformers' own does.

        For other code the base class leaves out every module without parameters of its own, and such modules of
        the backbones initialize their children.
        """
        return False

    @property
    def text_limit(self) -> int | None:
        """Tokens of a prompt that the text tower reads, for `processor.limited_to`; `None`: its configuration does not
        say."""
        return getattr(self.config.get_text_config(), "max_position_embeddings", None)

    @property
    def training_classes(self) -> list[str] | None:
        """The classes that the method can be trained on, in the order of their ids; `None`: any."""
        return None

    @property
    def text_is_static(self) -> bool:
        """Whether training leaves the text side as it is, so that a label set is encoded once for all steps."""
        return False

    @property
    def frozen_roles(self) -> tuple[str, ...]:
        """The roles that the configuration keeps from training. Frozen when a model is made or loaded; who trains them
        all the same calls `requires_grad_(True)` afterwards."""
        return ()

    def freeze_roles(self, *roles: str) -> None:
        """Freeze the parameters of these roles, see [`role_of`]."""
        if roles:
            for name, parameter in self.named_parameters():
                if self.role_of(name) in roles:
                    parameter.requires_grad_(False)

    @property
    def known_classes(self) -> Sequence[str]:
        """The seen classes that others are composed of: names of the last axis of `Explanation.classes`."""
        return ()

    @classmethod
    def training_fields(cls, fields: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
        """Fields of a configuration -> those of a new model that is to be trained on these classes."""
        return dict(fields)

    def check_classes(self, classes: Sequence[str]) -> None:
        """
        Raises:
            ValueError: the model cannot be trained on these classes.
        """

    def prepare_training(self, classes: Sequence[str], teacher: str | PreTrainedModel | None = None) -> None:
        """Get ready to be trained.

        Args:
            classes: their names in the order of their ids.
            teacher: folder, Hub id or model that a method with a teacher learns from; default: itself as it is now.

        Raises:
            ValueError: see [`check_classes`].
        """
        self.check_classes(classes)
        # A text side that training leaves as it is: else several processes wait for its gradients.
        self.freeze_roles(*(("text",) if self.text_is_static else ()))

    def finish_training(
        self,
        processor: Any,
        classes: Sequence[str],
        class_sums: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    ) -> None:
        """What a method still makes of its training videos when the weights are trained.

        Args:
            processor: the model's own.
            classes: their names in the order of their ids.
            class_sums: gives, at the cost of a pass over all videos, the sums of the `video_embeds` of each class
                `[classes, dim]` and the numbers of its videos `[classes]`.
        """

    def check_exportable(self) -> None:
        """
        Raises:
            ValueError: the model computes what a graph (ONNX) cannot.
        """

    def role_of(self, name: str) -> str:
        """`"vision"` or `"text"` tower, `"scale"` (the logit scale), or `"head"`: all that the method adds.

        Args:
            name: of a parameter, as in `named_parameters()`.
        """
        return next((role for role, prefixes in self.parameter_roles.items() if name.startswith(prefixes)), "head")

    def compute_features(self, pixel_values_videos: torch.Tensor, **kwargs: Any) -> VideoFeatures:
        """What a method implements of [`encode_videos`]."""
        raise NotImplementedError

    def encode_videos(self, pixel_values_videos: torch.Tensor, **kwargs: Any) -> VideoFeatures:
        """`[B, T, 3, H, W]` or `[B, V, T, 3, H, W]` (V views) -> what the method scores with.

        Args:
            kwargs: see `compute_features` of the method.

        Raises:
            FloatingPointError, ValueError: see [`check_finite`].
        """
        features = self.compute_features(pixel_values_videos, **kwargs)
        self.check_finite(features, "features of videos")
        return features

    def encode_labels(self, input_ids: torch.Tensor, labels: Sequence[str] | None = None, **inputs: Any) -> LabelBank:
        """Token ids `[R, L]` of the R distinct prompts and `prompt_index [K, A]` -> the text side of K labels.

        Raises:
            FloatingPointError, ValueError: see [`check_finite`].
        """
        raise NotImplementedError

    def evaluating(self) -> AbstractContextManager[None]:
        """In evaluation mode; afterwards every part of it is in the mode that it was in."""
        return evaluation_mode(self)

    @torch.no_grad()
    def build_label_bank(self, processor: Any, labels: Sequence[str], **options: Any) -> LabelBank:
        """Labels -> their bank, on the model's device.

        Args:
            processor: the model's own.
            options: `templates`, `descriptions` and whatever else `processor.prepare_labels` takes.

        Raises:
            ValueError: see `prepare_labels`.
            FloatingPointError, ValueError: see [`check_finite`].
        """
        labels = labels if isinstance(labels, str) else list(labels)  # a string is for the processor to refuse
        inputs = processor.prepare_labels(labels, **options)
        return self.encode_labels(**{name: each.to(self.device) for name, each in inputs.items()}, labels=labels)

    def compute_scores(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        """What a method implements of [`score`]: `logits_per_video [B, K]` and whatever else its output shows."""
        raise NotImplementedError

    def score(self, features: VideoFeatures, bank: LabelBank, identity: ModelIdentity | None = None) -> torch.Tensor:
        """Logits `[B, K]`, float32; softmax over K gives the method's probabilities.

        Args:
            identity: what [`identity`] gave a moment ago, where reading it again would cost too much.

        Raises:
            ValueError: the bank was made by another model (see [`identity`]); not asked in training.
            FloatingPointError, ValueError: see [`check_finite`].
        """
        return self.score_parts(features, bank, identity)["logits_per_video"]

    def score_parts(
        self, features: VideoFeatures, bank: LabelBank, identity: ModelIdentity | None = None
    ) -> dict[str, torch.Tensor]:
        """As [`score`]: `logits_per_video` and whatever else of the score the method's output shows."""
        self.check_bank(bank, identity)
        return self._score_parts(features, bank)

    def _score_parts(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        with full_precision(features.video_embeds.device):
            parts = self.compute_scores(features, bank.without_examples)
            if bank.examples is not None:
                logits = bank.examples.add_to(parts["logits_per_video"], features.video_embeds)
                parts = {**parts, "logits_per_video": logits}
        self.check_finite(parts, "scores of videos")
        return parts

    @torch.no_grad()
    def explain(self, features: VideoFeatures, bank: LabelBank) -> Explanation:
        """Why the labels of a bank got their scores.

        Raises:
            FloatingPointError, ValueError: as [`score`].
        """
        self.check_bank(bank)
        with full_precision(features.video_embeds.device):
            parts = self.compute_explanation(features, bank)
        self.check_finite(parts, "explanations of videos")
        return Explanation(**parts)

    def compute_explanation(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        """What a method implements of [`explain`]: the tensors that `explains` names."""
        if "prompts" not in self.explains:
            return {}
        cosines = torch.einsum("bd,kpd->bkp", features.video_embeds.float(), bank["prompt_embeds"].float())
        return {"prompts": cosines}

    def check_bank(self, bank: LabelBank, identity: ModelIdentity | None = None) -> None:
        """Refuse a bank of another model, or of this one before its weights, adapters or configuration changed.

        Not in training, where weights change all the time, nor while the model is compiled or exported.

        Raises:
            ValueError: such a bank.
        """
        if not self.training and not is_recorded():
            (identity or self.identity()).check(bank.identity, "This label bank")

    def compute_loss(
        self, features: VideoFeatures, bank: LabelBank, targets: torch.Tensor, **inputs: Any
    ) -> torch.Tensor:
        """The method's training loss.

        Args:
            targets: `[B, K]`, true where candidate k is the class of video b.
            inputs: what `forward` was given; `parts`, the result of `score_parts` on these features and this bank;
                `label_ids [K]`; and, where features and bank are those of all processes, this process's own
                `local_features` and which rows they are, `local_rows`.
        """
        raise NotImplementedError

    @can_return_tuple
    def forward(
        self,
        pixel_values_videos: torch.FloatTensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        prompt_index: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        candidates: Any = None,
        return_loss: bool | None = None,
        **kwargs: Unpack[ForwardOptions],
    ) -> ZSAROutput:
        r"""Score videos against labels.

        Args:
            pixel_values_videos: `[B, T, 3, H, W]` or `[B, V, T, 3, H, W]`, normalized frames.
            input_ids, attention_mask: `[R, L]`, the distinct prompts of all labels.
            prompt_index: `[K, A]`, rows of `input_ids` that belong to each label, -1 where there is none. Without it
                every row is a label of its own.
            labels: `[B]`, position of the right candidate of each video; with `label_ids`, its class id.
            candidates (`Candidates`): the text side of a batch of [`VideoTextCollator`] instead of tokens. In
                evaluation mode the bank is kept until the candidates or the weights change, and the loss is the mean
                over videos of the negative logarithm of the right candidate's probability, whatever the training loss
                is.
            return_loss: give the loss; without `labels`, candidate i belongs to video i.
            kwargs: see [`ForwardOptions`]; others go to `encode_videos`.

        Raises:
            ValueError: no videos, nothing to compare them with, or candidates for training in evaluation mode (or the
                other way round).
        """
        if pixel_values_videos is None:
            raise ValueError("pixel_values_videos is missing: pass the frames, e.g. processor(videos=...).")
        given: dict[str, Any] = dict(kwargs)
        label_bank, label_ids = given.pop("label_bank", None), given.pop("label_ids", None)
        text: dict[str, Any] = dict(input_ids=input_ids, attention_mask=attention_mask, prompt_index=prompt_index)
        text.update({name: given.pop(name) for name in self.text_input_names if name in given})
        if label_bank is not None:
            self.check_bank(label_bank)
        features = self.encode_videos(pixel_values_videos, **given)
        device = features.video_embeds.device
        if candidates is not None:
            candidates = candidates.to(device)
            text, label_ids = dict(candidates.text), candidates.label_ids
            label_bank = candidates.bank_of(self)
        if input_ids is None and label_bank is None:
            raise ValueError("Pass input_ids (see processor.prepare_labels) or a label_bank (see encode_labels).")
        bank = label_bank.to(device) if label_bank is not None else self.encode_labels(**text)
        parts, loss = self._score_parts(features, bank), None
        if return_loss or (labels is not None and return_loss is None):
            if candidates is not None and not self.training:
                loss = nn.functional.cross_entropy(parts["logits_per_video"].float(), labels)
            else:
                inputs = dict(text, pixel_values_videos=pixel_values_videos, parts=parts)
                loss = self._loss(features, bank, labels, label_ids, inputs)
        return self.output_class(
            loss=loss,
            logits_per_text=parts["logits_per_video"].t(),
            video_embeds=features.video_embeds,
            text_embeds=bank["text_embeds"],
            **parts,
        )

    def train(self, mode: bool = True) -> ZSARPreTrainedModel:
        """As the base class. Who starts an evaluation calls `eval()`: a bank of older weights is dropped. A batch norm
        whose weights are frozen keeps its means and variances, too: adapters that are saved alone do not hold them."""
        if not (mode and self.training):
            self.kept_bank = None
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and is_frozen(module):
                module.eval()
        return self

    def _loss(
        self,
        features: VideoFeatures,
        bank: LabelBank,
        labels: torch.Tensor | None,
        label_ids: torch.Tensor | None,
        inputs: dict[str, Any],
    ) -> torch.Tensor:
        batch, device = features.video_embeds.shape[0], features.video_embeds.device
        if labels is None:
            if len(bank) != batch:
                raise ValueError(f"{batch} videos and {len(bank)} candidates: pass labels [B] to say which is right.")
            labels = torch.arange(batch, device=device)
        if label_ids is None:
            label_ids = torch.arange(len(bank), device=device)
        local_rows, local_features = slice(None), features
        if self.gathers_loss:
            gather = needed("distributed", "a loss over several processes").gather_batch
            features, bank, labels, label_ids, local_rows = gather(self, features, bank, labels, label_ids)
            inputs["parts"] = self._score_parts(features, bank)
        targets = labels.to(device)[:, None] == label_ids.to(device)[None, :]
        missing = int((~targets.any(dim=1)).sum())
        if missing:
            raise ValueError(
                f"{missing} of {len(labels)} labels match no candidate: labels must be positions 0..{len(bank) - 1} "
                "of the candidates, or class ids that occur in label_ids."
            )
        inputs.update(label_ids=label_ids, local_features=local_features, local_rows=local_rows)
        return self.compute_loss(features, bank, targets, **inputs)

    @property
    def gathers_loss(self) -> bool:
        """Whether the loss is one over the videos and texts of all processes."""
        return (self.training if self.gather_loss is None else self.gather_loss) and torch.distributed.is_initialized()

    @can_return_tuple
    def get_video_features(self, pixel_values_videos: torch.FloatTensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Pooled, L2-normalized video embeddings `[B, dim]` as `pooler_output`; frame embeddings as
        `last_hidden_state` where the method has them."""
        features = self.encode_videos(pixel_values_videos, **kwargs)
        return BaseModelOutputWithPooling(last_hidden_state=features.frame_embeds, pooler_output=features.video_embeds)

    @can_return_tuple
    def get_text_features(self, input_ids: torch.LongTensor, **inputs: Any) -> BaseModelOutputWithPooling:
        """Pooled, L2-normalized label embeddings `[K, dim]` as `pooler_output`. Takes what `encode_labels` takes."""
        return BaseModelOutputWithPooling(pooler_output=self.encode_labels(input_ids, **inputs)["text_embeds"])

    def make_bank(
        self, labels: Sequence[str] | None, tensors: dict[str, torch.Tensor], inputs: Iterable[torch.Tensor | None]
    ) -> LabelBank:
        """Build the bank that `encode_labels` returns; `inputs` are the token tensors that it was made of."""
        count = next(iter(tensors.values())).shape[0]
        labels = tuple(labels) if labels is not None else tuple(str(i) for i in range(count))
        self.check_finite(tensors, "embeddings of labels")
        if self.training or is_recorded():  # weights change at every step, with a frozen text tower in silence
            return LabelBank(labels, tensors)
        identity = self.identity()
        return LabelBank(labels, tensors, fingerprint_of(str(identity), labels, *inputs), identity=identity)

    def check_finite(self, values: Mapping[str, torch.Tensor], what: str) -> None:
        """Nothing but finite numbers leaves a model. Not asked in training, nor while it is compiled or exported.

        Args:
            values: tensors whose first axis counts `what`, e.g. `"scores of videos"`.

        Raises:
            FloatingPointError: NaN or infinity among them, though the weights are finite.
            ValueError: because of weights that hold such values.
        """
        if not (self.training or is_recorded() or all_finite(values.values())):
            say_what_is_not_finite(self, values, what)

    @torch.compiler.disable
    def identity(self) -> ModelIdentity:
        """What tells this model, as it is now, from others: label banks and stored features carry it.

        Of every tensor that takes part a few elements are read, so that it costs milliseconds: it sees whatever
        changes most of a tensor (training, averaging, merged adapters, another checkpoint), not one element; see
        `weights_fingerprint(full=True)`. The same on every device, for copies in bfloat16 and float16, and with an
        adapter switched off as without it.
        """
        return identify(self)

    @torch.compiler.disable
    def weights_fingerprint(self, full: bool = False) -> str:
        """Hex digest of [`identity`]; with `full` of every element in its own type, which takes as long as reading all
        weights."""
        tensors = in_use(self)[1] if full else []
        return fingerprint_of(str(self.identity()), *(tensor for tensor in tensors if not tensor.is_meta))

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """As the base class. A configuration that was loaded from an export points at code files; the pointers are
        dropped where those files are not saved along, else every later load would ask for them."""
        pointers = ("custom_pipelines",) if self._auto_class is not None else ("custom_pipelines", "auto_map")
        for name in pointers:
            self.config.__dict__.pop(name, None)
        super().save_pretrained(save_directory, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = getattr(self.config, "initializer_range", 0.02)
        if isinstance(module, (nn.Linear, nn.Embedding)):
            init.normal_(module.weight, mean=0.0, std=std)
            if getattr(module, "bias", None) is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)


def is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters and none of them is trained."""
    trained = [parameter.requires_grad for parameter in module.parameters()]
    return bool(trained) and not any(trained)


__all__ = ["Explanation", "LabelBank", "ModelIdentity", "VideoFeatures", "ZSAROutput", "ZSARPreTrainedModel"]
__all__ += ["check_length", "gather_prompts", "masked_mean", "normalize", "split_views"]
