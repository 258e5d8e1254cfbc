"""A tiny model, processor and input of every method, made offline in a moment: what most tests run on.

A method takes part by an entry in `TINY`, or, where it comes from elsewhere, by `MethodSpec.tiny`: the fields of its
tiny configuration and the tokenizer of its text tower.
Everything here depends on `seed` alone, so two processes build equal models.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import BertTokenizer, CLIPTokenizer, PreTrainedConfig, PreTrainedModel, ProcessorMixin
from transformers import initialization as init

from hf_zsar import METHODS
from hf_zsar.methods import load_object


LABELS = ("riding a bike", "playing guitar", "cooking", "walking a dog", "surfing")
IMAGE_SIZE = 32
NUM_FRAMES = 4

# Words that the tiny vocabularies hold as one piece; others are spelled out in bytes (CLIP) or letters (BERT).
WORDS = "a video of person riding bike the human is playing guitar in this cooking walking dog surfing lower newer"


@functools.cache
def _clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    # Written down rather than trained: the trainers of `tokenizers` break ties differently from process to process.
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS.split():
        *letters, last = word
        pieces = [*letters, f"{last}</w>"]
        merges.update({("".join(pieces[:end]), pieces[end]): None for end in range(1, len(pieces))})
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # The published order: bytes, bytes that end a word, merges, and the two special tokens with the highest ids.
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: position for position, token in enumerate(dict.fromkeys(tokens))}, list(merges)


@functools.cache
def _bert_vocabulary() -> dict[str, int]:
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    tokens += WORDS.split()
    return {token: position for position, token in enumerate(dict.fromkeys(tokens))}


def tiny_clip_tokenizer() -> CLIPTokenizer:
    """CLIP's byte-level BPE with a few dozen merges; any text can be spelled. 77 positions, as CLIP's."""
    vocab, merges = _clip_vocabulary()
    return CLIPTokenizer(vocab=dict(vocab), merges=list(merges), model_max_length=77)


def tiny_bert_tokenizer() -> BertTokenizer:
    """BERT's uncased WordPiece with a few dozen words; any ASCII text can be spelled."""
    return BertTokenizer(vocab=dict(_bert_vocabulary()), model_max_length=32)


def tiny_clip_config(**overrides: Any) -> dict[str, Any]:
    """A two-layer CLIP over 4 x 4 patches. Width 64: the heads of the methods count width / 64 heads."""
    vocab, _ = _clip_vocabulary()
    tower = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2)
    text = dict(
        vocab_size=len(vocab),
        max_position_embeddings=77,
        bos_token_id=vocab["<|startoftext|>"],
        eos_token_id=vocab["<|endoftext|>"],
        pad_token_id=vocab["<|endoftext|>"],
    )
    vision = dict(image_size=IMAGE_SIZE, patch_size=8)
    config = dict(
        model_type="clip", text_config={**tower, **text}, vision_config={**tower, **vision}, projection_dim=64
    )
    return {**config, **overrides}


def tiny_xclip_config(**overrides: Any) -> dict[str, Any]:
    """The tiny CLIP with messages between `NUM_FRAMES` frames."""
    config = tiny_clip_config(model_type="xclip", prompt_num_attention_heads=2)
    vision = dict(
        num_frames=NUM_FRAMES,
        mit_hidden_size=64,
        mit_intermediate_size=96,
        mit_num_hidden_layers=1,
        mit_num_attention_heads=2,
    )
    return {**config, "vision_config": {**config["vision_config"], **vision}, **overrides}


def tiny_siglip_config(**text: Any) -> dict[str, Any]:
    """Two towers of two layers without projections."""
    tower = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)
    defaults = dict(vocab_size=len(_clip_vocabulary()[0]), max_position_embeddings=77, projection_size=32)
    text = {**defaults, **text}
    vision = dict(image_size=IMAGE_SIZE, patch_size=8)
    return dict(model_type="siglip", text_config={**tower, **text}, vision_config={**tower, **vision})


def tiny_tipsv2_config() -> dict[str, Any]:
    """Two towers of two layers, with a class and a register token."""
    text = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)
    vision = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=IMAGE_SIZE, patch_size=8)
    text |= dict(vocab_size=len(_clip_vocabulary()[0]), max_position_embeddings=77)
    return dict(model_type="tipsv2", text_config=text, vision_config=vision)


def tiny_bert_config(**overrides: Any) -> dict[str, Any]:
    """A two-layer BERT."""
    config = dict(
        vocab_size=len(_bert_vocabulary()),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    return {**config, **overrides}


@dataclass(frozen=True)
class TinyMethod:
    """How to build a method small.

    Args:
        config: the fields of its configuration class.
        tokenizer: builds the tokenizer of its text tower.
        variants: name -> fields that change the code path, for tests that go through every one.
        processor: extra arguments of its processor class.
        prepare: fills what a real checkpoint has filled and a fresh model has not (in place, without chance).
    """

    config: Callable[[], dict[str, Any]]
    tokenizer: Callable[[], Any]
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[PreTrainedModel], None] | None = None


def _learned_scale(model: PreTrainedModel) -> None:
    if hasattr(model.backbone.model, "logit_bias"):  # a fresh SigLIP starts from a scale of 1
        init.constant_(model.backbone.model.logit_scale, 3.0)


def _tiny_actionclip_config() -> dict[str, Any]:
    return dict(backbone_config=tiny_clip_config(), num_frames=NUM_FRAMES, temporal_layers=2, max_frame_positions=8)


def _tiny_dasti_config() -> dict[str, Any]:
    # The text tower is trained: the common training tests ask every parameter for a gradient.
    return dict(
        backbone_config=tiny_clip_config(),
        num_frames=NUM_FRAMES,
        temporal_num_layers=2,
        temporal_max_positions=8,
        freeze_text=False,
    )


_TINY_VIT = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)


def _tiny_rest_config() -> dict[str, Any]:
    sizes = dict(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic")
    return dict(
        backbone_type="transformers",
        backbone_config=dict(model_type="resnet", **sizes),
        visual_token_pooling="spatial",
        image_size=IMAGE_SIZE,
        max_text_length=32,
        projection_dim=24,
        text_config=dict(model_type="bert", **tiny_bert_config()),
        num_frames=NUM_FRAMES,
        seen_class_names=["running", "swimming", "eating", "dancing", "reading", "painting"],
    )


def _fill_prototypes(model: PreTrainedModel) -> None:
    for buffer in (model.seen_prototypes, model.seen_text_embeds):
        waves = torch.sin(torch.arange(buffer.numel()).reshape(buffer.shape) + 1.0)
        init.copy_(buffer, torch.nn.functional.normalize(waves, dim=-1))
    init.ones_(model.seen_counts)


def _tiny_stdd_config() -> dict[str, Any]:
    # Everything that has weights is trained: the common training tests ask every parameter for a gradient.
    return dict(
        backbone_config=tiny_clip_config(),
        num_frames=NUM_FRAMES,
        channel_fold=8,
        train_text_tower=True,
        distill_weight=0.0,
    )


def _tiny_video_text_config() -> dict[str, Any]:
    return dict(backbone_config=tiny_clip_config(), num_frames=NUM_FRAMES)


def _on_encoders() -> dict[str, dict[str, Any]]:
    """A method over other encoders than CLIP: without a token of the whole image, and (slow) with one and with two."""
    configs = (tiny_siglip_config(), tiny_clip_config(model_type="metaclip_2"), tiny_tipsv2_config())
    return {config["model_type"]: dict(backbone_config=config) for config in configs}


class _TinyMethods(dict[str, TinyMethod]):
    def __missing__(self, method: str) -> TinyMethod:
        return load_object(METHODS[method].tiny)


# method -> how to build it small; every method of the package has an entry (tests/test_tiny_models.py)
TINY = _TinyMethods(
    actionclip=TinyMethod(
        _tiny_actionclip_config,
        tiny_clip_tokenizer,
        variants={
            **{header: dict(sim_header=header) for header in ("meanP", "Conv_1D", "LSTM", "Transf", "Transf_cls")},
            "temporal_shift": dict(temporal_shift=True),
            "joint_space_time": dict(joint_space_time=True, sim_header="meanP"),
            **_on_encoders(),
            "siglip_shift": dict(backbone_config=tiny_siglip_config(), temporal_shift=True),
            "siglip_joint": dict(backbone_config=tiny_siglip_config(), joint_space_time=True, sim_header="meanP"),
        },
        prepare=_learned_scale,
    ),
    dasti=TinyMethod(
        _tiny_dasti_config,
        tiny_clip_tokenizer,
        variants={
            **{fusion: dict(spatial_fusion=fusion) for fusion in ("residual", "softmax", "add", "none")},
            "temporal_only": dict(use_spatial_interaction=False),
            "spatial_only": dict(use_temporal_interaction=False),
            "no_temporal_transformer": dict(use_temporal_transformer=False),
            "linear_projections": dict(patch_projection="linear"),
            "frozen_text": dict(freeze_text=True),
            "one_class_at_a_time": dict(class_chunk_size=1),
            "all_classes": dict(loss_mode="all_classes", loss_target="multi_hot"),
            **_on_encoders(),
        },
        prepare=_learned_scale,
        processor=dict(
            descriptions={
                "riding a bike": ["wheel", "helmet", "road"],
                "cooking": ["pan", "stove"],
                "surfing": ["wave"],
            }
        ),
    ),
    rest=TinyMethod(
        _tiny_rest_config,
        tiny_bert_tokenizer,
        variants={
            "transfer_only": dict(cross_modal=False),
            "r2plus1d": dict(backbone_type="r2plus1d_18", backbone_widths=[4, 8, 8, 16], backbone_stem_width=4),
            "grid_tokens": dict(visual_token_pooling="none"),
            "vision_transformer": dict(
                backbone_config=dict(model_type="vit", image_size=IMAGE_SIZE, patch_size=8, **_TINY_VIT),
                visual_token_pooling="none",
            ),
            "ridge": dict(transfer_method="ridge"),
            "top_k": dict(transfer_top_k=2),
        },
        prepare=_fill_prototypes,
    ),
    stdd=TinyMethod(
        _tiny_stdd_config,
        tiny_clip_tokenizer,
        variants={
            "one_scale": dict(temporal_scales=[1]),
            "random_evaluation": dict(eval_temporal_shuffle=True),
            "mean_matching": dict(matching="mean"),
            "plain_clip": dict(use_stca=False),
            "distilled": dict(distill_weight=2.0, train_text_tower=False),
            **_on_encoders(),
        },
        prepare=_learned_scale,
    ),
    video_text=TinyMethod(
        _tiny_video_text_config,
        tiny_clip_tokenizer,
        variants={
            "siglip": dict(backbone_config=tiny_siglip_config()),
            "xclip": dict(backbone_config=tiny_xclip_config()),
            **_on_encoders(),
        },
        prepare=_learned_scale,
    ),
)


def tiny_config(method: str, **overrides: Any) -> PreTrainedConfig:
    """The tiny configuration of a method, some fields replaced."""
    return METHODS[method].config_class(**{**TINY[method].config(), **overrides})


def method_fields(method: str) -> dict:
    """Fields of the tiny configuration that are the method's own."""
    config = tiny_config(method).to_diff_dict()
    own = METHODS[method].config_class.__dataclass_fields__
    return {name: value for name, value in config.items() if name in own and name != "backbone_config"}


def tiny_model(method: str, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """A tiny model with random weights, in evaluation mode. The global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = METHODS[method].model_class(tiny_config(method, **overrides)).eval()
        if TINY[method].prepare is not None:
            TINY[method].prepare(model)
    return model


def tiny_processor(method: str, folder: Path | None = None, **overrides: Any) -> ProcessorMixin:
    """The processor that goes with `tiny_model`; saved into `folder` when one is given."""
    from hf_zsar import ZSARVideoProcessor

    video_processor = ZSARVideoProcessor(
        num_frames=NUM_FRAMES,
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    )
    tiny = TINY[method]
    processor = METHODS[method].processor_class(video_processor, tiny.tokenizer(), **{**tiny.processor, **overrides})
    if folder is not None:
        processor.save_pretrained(folder)
    return processor


def tiny_folder(method: str, folder: Path, **overrides: Any) -> Path:
    """Model and processor saved side by side: what `from_pretrained` and `pipeline` read."""
    tiny_model(method, **overrides).save_pretrained(folder)
    tiny_processor(method, folder)
    return folder


def score_any(model: PreTrainedModel, features: Any, bank: Any) -> torch.Tensor:
    """`model.score` with a bank that a test has made or changed by hand."""
    return model.score(features, bank.admitted_by(model))


def parameters_of(model: Any, role: str) -> list[Any]:
    """The parameters that a model says play a role, in order."""
    return [parameter for name, parameter in model.named_parameters() if model.role_of(name) == role]


def tiny_videos(batch: int = 2, views: int | None = None, frames: int = NUM_FRAMES, seed: int = 0) -> torch.Tensor:
    """Random normalized frames `[B, T, 3, H, W]`, or `[B, V, T, 3, H, W]` with `views`."""
    shape = (batch, *([views] if views else []), frames, 3, IMAGE_SIZE, IMAGE_SIZE)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny_inputs(
    method: str,
    labels: Sequence[str] = LABELS,
    batch: int = 2,
    views: int | None = None,
    seed: int = 0,
    **processor_overrides: Any,
) -> dict[str, torch.Tensor]:
    """A whole model input: random frames, and the labels through the method's own processor."""
    processor = tiny_processor(method, **processor_overrides)
    return {"pixel_values_videos": tiny_videos(batch, views, seed=seed), **processor.prepare_labels(list(labels))}
