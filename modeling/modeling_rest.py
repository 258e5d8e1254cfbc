"""ResT: zero-shot action recognition by semantic transfer among visual prototypes.

Re-implementation of the idea of arXiv 2205.01657, whose architecture and losses are not fully published (card of ResT:
what is not stated in S1 to S7 is our reading). One transformer reads videos, label texts, or both. Training pairs a
video with its label; at inference the video goes in alone. Candidates are never compared with a video through text:
their visual prototypes are composed out of those of seen classes, by how related the labels are.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import BertModel
from transformers import initialization as init
from transformers.utils import logging

from .configuration_rest import ResTConfig
from .guards import full_precision
from .modeling_zsar import (
    LabelBank,
    VideoFeatures,
    ZSARPreTrainedModel,
    check_length,
    gather_prompts,
    normalize,
    split_views,
)
from .parts import needed
from .r2plus1d import R2Plus1D
from .rest_losses import alignment_loss, classification_loss, hard_negatives, matching_loss
from .semantic_transfer import compose_prototypes, transfer_weights
from .visual_backbone import backbone_width, build_backbone, grid_size


logger = logging.get_logger(__name__)

_SEPARATORS = re.compile(r"[\s_/'’‘\"“”-]+")


@dataclass
class ResTVideoFeatures(VideoFeatures):
    """[`VideoFeatures`]; in training also the tokens that the matching loss joins with texts.

    Args:
        visual_tokens (`[batch, views, tokens, width]`, *optional*): inputs of the transformer, in training only.
    """

    visual_tokens: torch.FloatTensor | None = None

    stays_here = ("visual_tokens",)  # the matching loss is computed where the videos are


class VisualEmbedding(nn.Module):
    """Backbone tokens `[B, T', G, channels]` -> transformer inputs `[B, 1 + T' * G, width]`, [VIS] first."""

    def __init__(self, channels: int, width: int, times: int, places: int, eps: float) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.time_embedding = nn.Parameter(torch.zeros(times, width))
        self.space_embedding = nn.Parameter(torch.zeros(places, width)) if places > 1 else None
        self.vis_token = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """
        Raises:
            ValueError: another number of places per frame than the tables were made for.
        """
        batch, times, places = tokens.shape[:3]
        hidden = self.norm(self.projection(tokens)) + self._times(times)[:, None]
        if self.space_embedding is not None:
            if places != len(self.space_embedding):
                raise ValueError(
                    f"{places} visual tokens per frame, but there are positions for {len(self.space_embedding)}: use "
                    "frames of the configuration's image_size."
                )
            hidden = hidden + self.space_embedding
        return torch.cat([self.vis_token.expand(batch, 1, -1), hidden.flatten(1, 2)], dim=1)

    def _times(self, times: int) -> torch.Tensor:
        if times == len(self.time_embedding):
            return self.time_embedding
        table = self.time_embedding.t()[None]
        return nn.functional.interpolate(table, size=times, mode="linear", align_corners=True)[0].t()


class ResTModel(ZSARPreTrainedModel):
    """Vision backbone, one BERT for texts and visual tokens, and the prototypes of the seen classes.

    Buffers saved with the weights: `seen_prototypes [S, d]`, `seen_text_embeds [S, D]` and `seen_counts [S]` (training
    clips behind each prototype; 0 = not set). The tensors of its label banks: `prototypes [K, d]`, `transfer_weights
    [K, S]`, `is_seen [K]` and `text_embeds [K, D]`.
    """

    config_class = ResTConfig
    config: ResTConfig
    parameter_roles = {"vision": ("backbone.",), "text": ("text_model.",), "scale": ("logit_scale",)}
    lora_targets = ("query", "key", "value")
    explains = ("classes",)
    score_inputs = ()
    query_embeds = "prototypes"

    def __init__(self, config: ResTConfig) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config)
        self.text_model = BertModel._from_config(config.text_config, add_pooling_layer=False)
        channels, width, seen = backbone_width(config), config.text_config.hidden_size, config.num_seen_classes
        if config.cross_modal:
            eps = config.text_config.layer_norm_eps
            self.visual_embedding = VisualEmbedding(channels, width, *grid_size(config), eps)
            self.video_projection = nn.Linear(width, config.projection_dim)
            self.text_projection = nn.Linear(width, config.projection_dim)
            self.match_head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))
            if seen:
                self.class_head = nn.Linear(config.projection_dim, seen, bias=False)
                self.logit_scale = nn.Parameter(torch.tensor(config.logit_scale_init))
        video_dim, text_dim = (config.projection_dim,) * 2 if config.cross_modal else (channels, width)
        self.seen_prototypes: torch.Tensor
        self.register_buffer("seen_prototypes", torch.zeros(seen, video_dim))
        self.register_buffer("seen_text_embeds", torch.zeros(seen, text_dim))
        self.register_buffer("seen_counts", torch.zeros(seen, dtype=torch.long))
        self.post_init()

    @property
    def text_limit(self) -> int:
        positions = self.config.text_config.max_position_embeddings
        return min(positions, self.config.max_text_length) if self.config.cross_modal else positions

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, R2Plus1D):
            module.init_weights()
        elif isinstance(module, VisualEmbedding):
            for table in (module.time_embedding, module.space_embedding, module.vis_token):
                if table is not None:
                    init.normal_(table, std=self.config.initializer_range)
        elif isinstance(module, ResTModel):
            if hasattr(module, "logit_scale"):
                init.constant_(module.logit_scale, self.config.logit_scale_init)
            for buffer in (module.seen_prototypes, module.seen_text_embeds, module.seen_counts):
                init.zeros_(buffer)

    @classmethod
    def from_backbone(cls, backbone: Any, text_encoder: Any, *, load_kwargs: Any = None, **config: Any) -> Any:
        """Semantic transfer (`cross_modal=False`) on a published backbone: nothing is trained, but prototypes of seen
        classes have to be set (`hf-zsar fit-prototypes`). [`hf_zsar.load`] with `method="rest"` gives the processor.

        Args:
            backbone: a Hub id or folder of a video model (V-JEPA 2, VideoMAE, TimeSformer) or vision model, or a
                loaded one, whose modules are then shared.
            text_encoder: the same of a sentence encoder, a BERT.
            load_kwargs: passed to `AutoModel.from_pretrained` of the backbone.
            config: fields of [`ResTConfig`]; frames and size are the backbone's unless given.

        Raises:
            ValueError: no such field, or a text encoder that is not a BERT.
        """
        starting = needed("starting", "other checkpoints")
        return starting.start_on_backbone(cls, backbone, text_encoder, load_kwargs or {}, config)

    @property
    def training_classes(self) -> list[str] | None:
        """Those of the class head."""
        return list(self.config.seen_class_names) if hasattr(self, "class_head") else None

    @classmethod
    def training_fields(cls, fields: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
        """The class head is for the classes of the data."""
        return {"seen_class_names": list(classes), **fields} if fields.get("cross_modal", True) else dict(fields)

    def check_classes(self, classes: Sequence[str]) -> None:
        known = list(self.config.seen_class_names)
        if hasattr(self, "class_head") and self.class_head.out_features != len(classes):
            raise ValueError(
                f"The model has a class head of {self.class_head.out_features} classes, the data has {len(classes)}: "
                "choose the classes it was trained on (data.classes of a recipe), or a model without a head for other "
                "classes."
            )
        if self.config.prototype_source == "classifier" and known and known != list(classes):
            raise ValueError(
                f"The prototypes are the class head's rows, made for {known[:5]}, not {list(classes[:5])}."
            )

    # -- the three passes of the transformer -----------------------------------------------------------------------

    def _text_inputs(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "inputs_embeds": self.text_model.get_input_embeddings()(input_ids),
            "token_type_ids": torch.zeros_like(input_ids),
            "position_ids": torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids),
        }

    def _visual_inputs(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        # Their order lives in the time and space tables, so that it does not move with the length of the text.
        ones = torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device)
        return {
            "inputs_embeds": tokens,
            "token_type_ids": ones,
            "position_ids": ones * self.config.max_text_length,
        }

    def encode_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Text pass: token rows `[R, L]` -> unit-norm text embeddings `[R, D]`, float32.

        Raises:
            ValueError: rows longer than `text_limit`.
        """
        check_length(input_ids, self.text_limit)
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hidden = self.text_model(**self._text_inputs(input_ids), attention_mask=attention_mask).last_hidden_state
        if self.config.cross_modal:
            return normalize(self.text_projection(hidden[:, 0]).float())
        if self.config.text_pooling == "cls":
            return normalize(hidden[:, 0].float())
        mask = attention_mask[..., None].float()
        return normalize((hidden.float() * mask).sum(1) / mask.sum(1))

    def compute_features(self, pixel_values_videos: torch.Tensor, **kwargs: Any) -> VideoFeatures:
        """Video pass: clips alone -> unit-norm `view_embeds`; views are averaged after normalization.

        Without `cross_modal`, the mean over time (and grid) of the backbone's feature, and `frame_embeds`.
        """
        clips, batch, views = split_views(pixel_values_videos)
        tokens = self.backbone(clips.to(self.dtype))
        visual_tokens = frame_embeds = None
        if self.config.cross_modal:
            inputs = self.visual_embedding(tokens)
            hidden = self.text_model(**self._visual_inputs(inputs)).last_hidden_state
            per_view = self.video_projection(hidden[:, 0]).float()
            if self.training:
                visual_tokens = inputs.view(batch, views, *inputs.shape[1:])
        else:
            frames = tokens.float().mean(dim=2)
            per_view, frame_embeds = frames.mean(dim=1), frames.view(batch, views, *frames.shape[1:])
        view_embeds = normalize(per_view).view(batch, views, -1)
        return ResTVideoFeatures(
            video_embeds=normalize(view_embeds.mean(dim=1)),
            view_embeds=view_embeds,
            frame_embeds=frame_embeds,
            visual_tokens=visual_tokens,
        )

    def get_match_logits(
        self, visual_tokens: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Joint pass: one text per video -> logits `[B, 2]` of mismatch and match.

        Args:
            visual_tokens: `[B, N, width]`, as in [`ResTVideoFeatures`] for one view.
            input_ids, attention_mask: `[B, L]`.
        """
        text, visual = self._text_inputs(input_ids), self._visual_inputs(visual_tokens)
        joint = {name: torch.cat([text[name], visual[name]], dim=1) for name in text}
        mask = torch.cat([attention_mask, torch.ones_like(visual["position_ids"])], dim=1)
        return self.match_head(self.text_model(**joint, attention_mask=mask).last_hidden_state[:, 0]).float()

    # -- label side ------------------------------------------------------------------------------------------------

    @property
    def has_prototypes(self) -> bool:
        """Whether at least one seen class has its prototype."""
        return bool((self.seen_counts > 0).any())

    def embed_labels(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, prompt_index: torch.Tensor | None
    ) -> torch.Tensor:
        """Unit-norm text embeddings of the labels, `[K, D]`: the mean over the prompts of each."""
        spread, mask = gather_prompts(self.encode_texts(input_ids, attention_mask), prompt_index)
        return normalize(spread.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))

    def encode_labels(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        prompt_index: torch.Tensor | None = None,
        labels: Sequence[str] | None = None,
    ) -> LabelBank:
        """Candidate labels -> their visual prototypes.

        Until there are prototypes (see [`set_prototypes`]) a cross-modal model compares videos with the text
        embeddings themselves.

        Raises:
            ValueError: no prototypes, and text and video are not in one space (`cross_modal=False`).
        """
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        text_embeds = self.embed_labels(input_ids, attention_mask, prompt_index)
        with full_precision(text_embeds.device):
            weights, is_seen = self._transfer_weights(text_embeds, labels)
            composed = compose_prototypes(weights, self.seen_prototypes) if self.has_prototypes else None
        if composed is not None:
            prototypes = composed
        elif self.config.cross_modal:
            prototypes = text_embeds
            if not self.training:
                logger.warning_once("No prototypes of seen classes are set: videos are compared with label texts.")
        else:
            raise ValueError("This model has no prototypes of seen classes: set them first (see set_prototypes).")
        tensors = {
            "prototypes": prototypes,
            "transfer_weights": weights,
            "is_seen": is_seen,
            "text_embeds": text_embeds,
        }
        if self.training and self.config.cross_modal:
            rows = (
                torch.arange(len(input_ids), device=input_ids.device) if prompt_index is None else prompt_index[:, 0]
            )
            tensors["text_ids"] = input_ids.masked_fill(attention_mask == 0, -1)[rows]  # for the matching loss
        return self.make_bank(labels, tensors, (input_ids, attention_mask, prompt_index))

    def _transfer_weights(
        self, text_embeds: torch.Tensor, labels: Sequence[str] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`[K, S]` weights of the seen classes with a prototype, and which candidates are seen themselves, `[K]`."""
        config, known = self.config, self.seen_counts > 0
        weights = text_embeds.new_zeros(len(text_embeds), len(known))
        is_seen = torch.zeros(len(text_embeds), dtype=torch.bool, device=text_embeds.device)
        if not self.has_prototypes:
            return weights, is_seen
        weights[:, known] = transfer_weights(
            text_embeds,
            self.seen_text_embeds[known],
            method=config.transfer_method,
            temperature=config.transfer_temperature,
            top_k=config.transfer_top_k,
            ridge_lambda=config.transfer_ridge_lambda,
        )
        seen = {class_key(name): i for i, name in enumerate(config.seen_class_names)}
        for row, label in enumerate(labels or ()):
            match = seen.get(class_key(label))
            if match is not None and known[match]:
                is_seen[row] = True
                if config.exact_match_uses_seen_prototype:
                    weights[row] = 0
                    weights[row, match] = 1
        return weights, is_seen

    def compute_scores(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        """Cosine of the video with each candidate's prototype, less `gzsl_offset` for seen candidates, times
        `inference_logit_scale`: `[B, K]`."""
        cosine = features.video_embeds.float() @ bank["prototypes"].float().T
        cosine = cosine - self.config.gzsl_offset * bank["is_seen"].float()
        return {"logits_per_video": self.config.inference_logit_scale * cosine}

    def compute_explanation(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        return {"classes": bank["transfer_weights"].float().expand(len(features.video_embeds), -1, -1)}

    @property
    def known_classes(self) -> Sequence[str]:
        return tuple(self.config.seen_class_names) if self.has_prototypes else ()

    def check_exportable(self) -> None:
        if self.config.transfer_method == "ridge":
            raise ValueError(
                'A ResT with transfer_method="ridge" cannot be exported: ONNX has no solver of linear equations.'
            )
        if not (self.has_prototypes or self.config.cross_modal):
            raise ValueError("This model has no prototypes of seen classes: set them first (see set_prototypes).")

    # -- training --------------------------------------------------------------------------------------------------

    def compute_loss(
        self,
        features: VideoFeatures,
        bank: LabelBank,
        targets: torch.Tensor,
        label_ids: torch.Tensor | None = None,
        local_features: VideoFeatures | None = None,
        local_rows: slice = slice(None),
        parts: dict[str, torch.Tensor] | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """Sum of the three losses, weighted (card of ResT, R3): classification of the video pass over the seen
        classes, alignment of the video with the text pass, matching in the joint pass. In evaluation mode, and without
        `cross_modal`, cross-entropy over the candidates.

        Args:
            label_ids: `[K]`, class ids of the candidates, 0..S-1, for the class head.
            local_features, local_rows: this process's own videos, when `features` are those of all.
        """
        if not (self.config.cross_modal and self.training):
            parts = parts or self.compute_scores(features, bank)
            return nn.functional.cross_entropy(parts["logits_per_video"], targets.float().argmax(1))
        return sum(self.training_losses(features, bank, targets, label_ids, local_features, local_rows).values())  # type: ignore[return-value]

    def training_losses(
        self,
        features: VideoFeatures,
        bank: LabelBank,
        targets: torch.Tensor,
        label_ids: torch.Tensor | None = None,
        local_features: VideoFeatures | None = None,
        local_rows: slice = slice(None),
    ) -> dict[str, torch.Tensor]:
        """The weighted losses `cls`, `align` and `match`; those of weight 0 are left out."""
        config, videos, texts = self.config, features.video_embeds, bank["text_embeds"]
        weights = {name: weight for name, weight in config.loss_weights.items() if weight}
        losses = {}
        if "cls" in weights and config.num_seen_classes:
            classes = (torch.arange(len(bank)) if label_ids is None else label_ids).to(targets.device)
            # The video pass alone: the joint pass has read the label.
            with full_precision(videos.device):
                logits = self.logit_scale.exp().clamp(max=100) * videos @ normalize(self.class_head.weight.float()).T
            losses["cls"] = classification_loss(logits, classes[targets.float().argmax(1)], config.label_smoothing)
        with full_precision(videos.device):
            similarity = videos @ texts.T / config.align_temperature
        if "align" in weights:
            losses["align"] = alignment_loss(similarity, targets)
        if "match" in weights:
            local: Any = local_features or features
            negatives = hard_negatives(similarity.detach(), targets)
            rows = [targets.float().argmax(1)[local_rows]]
            rows += [negatives[local_rows]] if negatives is not None else []
            text_ids = bank["text_ids"][torch.cat(rows)]
            tokens = local.visual_tokens[:, 0].repeat(len(rows), 1, 1)
            logits = self.get_match_logits(tokens, text_ids.clamp(min=0), (text_ids >= 0).long())
            losses["match"] = matching_loss(logits, positives=len(rows[0]))
        return {name: weights[name] * loss for name, loss in losses.items()}

    @torch.no_grad()
    def set_prototypes(
        self, prototypes: torch.Tensor, text_embeds: torch.Tensor, counts: torch.Tensor, names: Sequence[str]
    ) -> None:
        """Replace the seen classes: prototypes `[S, d]` (normalized here), text embeddings `[S, D]`, counts `[S]`.

        Raises:
            ValueError: the lengths differ, or the class head was trained for other classes.
        """
        if not len(prototypes) == len(text_embeds) == len(counts) == len(names):
            raise ValueError("prototypes, text_embeds, counts and names must have one row per seen class.")
        if hasattr(self, "class_head") and len(names) != self.class_head.out_features:
            raise ValueError(
                f"The class head has {self.class_head.out_features} classes, got {len(names)} prototypes."
            )
        device = self.seen_prototypes.device
        self.seen_prototypes = normalize(prototypes.float()).to(device)
        self.seen_text_embeds = normalize(text_embeds.float()).to(device)
        self.seen_counts = counts.to(device, torch.long)
        self.config.num_seen_classes, self.config.seen_class_names = len(names), list(names)

    @torch.no_grad()
    def finish_training(
        self,
        processor: Any,
        classes: Sequence[str],
        class_sums: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    ) -> None:
        """Compute the seen prototypes: the normalized sum of the video embeddings of each class, or the rows of the
        class head.

        Raises:
            ValueError: `prototype_source="classifier"` without a class head.
        """
        if self.config.prototype_source == "classifier":
            if not hasattr(self, "class_head"):
                raise ValueError('prototype_source="classifier" needs a trained class head (num_seen_classes > 0).')
            sums, counts = self.class_head.weight.float().cpu(), torch.ones(len(classes))
        else:
            sums, counts = class_sums()
        # The names through the same template as the candidates later.
        inputs = processor.prepare_labels(classes, templates=[self.config.text_template])
        rows = self.encode_texts(inputs["input_ids"].to(self.device), inputs["attention_mask"].to(self.device))
        self.set_prototypes(sums, rows[inputs["prompt_index"][:, 0].to(rows.device)], counts, classes)

    def set_transfer(self, temperature: float, top_k: int | None) -> None:
        """Choose the softmax over seen classes; see `transfer_temperature` and `transfer_top_k`."""
        self.config.transfer_temperature, self.config.transfer_top_k = temperature, top_k


def class_key(name: str) -> str:
    """Where the spellings of one class name meet, as in `processing/prompts.py`, which a model cannot import."""
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", html.unescape(name)).casefold())


__all__ = ["ResTModel", "ResTVideoFeatures"]
