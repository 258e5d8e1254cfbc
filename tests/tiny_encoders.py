"""Published models in tiny, saved as their folders look, and how they score by hand: transformers alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, AutoProcessor, AutoTokenizer, PreTrainedModel
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from tests.tiny_models import (
    IMAGE_SIZE,
    NUM_FRAMES,
    tiny_bert_config,
    tiny_bert_tokenizer,
    tiny_clip_config,
    tiny_clip_tokenizer,
    tiny_siglip_config,
    tiny_xclip_config,
)


_TOWER = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)
_SIZE = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}


@dataclass(frozen=True)
class TinyEncoder:
    """How to build and use one.

    Args:
        config: fields of its configuration.
        tokenizer: builds its tokenizer.
        frames: saves its image or video processor into a folder.
        score: folder, videos (uint8 `[T, H, W, 3]` each) and texts -> logits `[B, K]` by transformers alone.
        has_processor: whether its own processor loads without torchvision.
        clip_frames: of a clip, as its files say.
        only_frames: the one number of frames that it takes.
        prepare: fills what a fresh model leaves at a value that would hide faults (in place).
    """

    config: Callable[[], dict[str, Any]]
    tokenizer: Callable[[], Any]
    frames: Callable[[Path], object]
    score: Callable[[Path, Sequence[np.ndarray], Sequence[str]], torch.Tensor]
    only_frames: int | None = None
    clip_frames: int = 8
    has_processor: bool = True
    prepare: Callable[[PreTrainedModel], None] | None = None


def word_tokenizer(lower: bool = True, **options: Any) -> TokenizersBackend:
    """Letters and a few special tokens; 32 positions unless told otherwise."""
    vocabulary = {token: i for i, token in enumerate(["<pad>", "</s>", "<unk>", *map(chr, range(33, 127))])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase() if lower else normalizers.Sequence([])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", behavior="isolated")]
    )
    options = {"model_max_length": 32, "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", **options}
    return TokenizersBackend(tokenizer_object=backend, **options)


def _clip_frames(folder: Path) -> None:
    transformers.CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=_SIZE).save_pretrained(folder)


def _unit(values: torch.Tensor) -> torch.Tensor:
    return values / values.norm(dim=-1, keepdim=True)


@torch.no_grad()
def frames_by_hand(folder: Path, videos: Sequence[np.ndarray], texts: Sequence[str], **text: Any) -> torch.Tensor:
    """An image-text model on videos: mean of unit frame embeddings, cosine, the learned scale and bias."""
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    tokens = processor(text=list(texts), return_tensors="pt", **{"padding": True, **text})
    labels = _unit(model.get_text_features(**tokens).pooler_output)
    rows = []
    for video in videos:
        pixels = processor(images=list(video), return_tensors="pt")["pixel_values"]
        rows.append(_unit(_unit(model.get_image_features(pixel_values=pixels).pooler_output).mean(dim=0)))
    logits = torch.stack(rows) @ labels.T * model.logit_scale.exp()
    return logits + getattr(model, "logit_bias", 0)


@torch.no_grad()
def xclip_by_hand(folder: Path, videos: Sequence[np.ndarray], texts: Sequence[str]) -> torch.Tensor:
    """`XCLIPModel.forward`, a video at a time."""
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    rows = []
    for video in videos:
        inputs = processor(text=list(texts), videos=list(video), return_tensors="pt", padding=True)
        if inputs["pixel_values"].ndim == 4:
            inputs["pixel_values"] = inputs["pixel_values"][None]
        rows.append(model(**inputs).logits_per_video[0])
    return torch.stack(rows)


@torch.no_grad()
def cosines_by_hand(folder: Path, videos: Sequence[np.ndarray], texts: Sequence[str]) -> torch.Tensor:
    """A model of pictures or clips with values 0 to 1 and texts padded to 32 tokens: cosine, over a temperature."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(list(texts), return_tensors="pt", padding="max_length", truncation=True, max_length=32)
    labels = _unit(model.get_text_features(**tokens).pooler_output)
    rows = []
    for video in videos:
        pixels = torch.from_numpy(video).permute(0, 3, 1, 2) / 255
        if hasattr(model, "get_video_features"):
            longer = len(pixels) != model.config.vision_config.num_frames
            found = model.get_video_features(pixel_values_videos=pixels[None], interpolate_pos_encoding=longer)
            rows.append(_unit(found.pooler_output.flatten()))
        else:
            rows.append(_unit(_unit(model.get_image_features(pixel_values=pixels).pooler_output).mean(dim=0)))
    return torch.stack(rows) @ labels.T / getattr(model, "temperature", 1)


def _tipsv2_config() -> dict[str, Any]:
    text = dict(_TOWER, vocab_size=97, max_position_embeddings=32)
    vision = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=IMAGE_SIZE, patch_size=8)
    return dict(model_type="tipsv2", text_config=text, vision_config=vision)


def _videoprism_config() -> dict[str, Any]:
    text = dict(_TOWER, vocab_size=97, max_position_embeddings=32)
    sizes = dict(num_spatial_layers=1, num_temporal_layers=1, num_auxiliary_layers=1)
    vision = dict(hidden_size=32, intermediate_size=48, num_attention_heads=2, image_size=IMAGE_SIZE)
    vision |= dict(tubelet_size=[1, 8, 8], num_frames=NUM_FRAMES, **sizes)
    return dict(model_type="videoprism", text_config=text, vision_config=vision)


def pe_audio_config() -> dict[str, Any]:
    """The same of PE-AudioVideo."""
    both = pe_config()
    codec = dict(encoder_hidden_size=4, downsampling_ratios=[2, 2], codebook_dim=8, decoder_hidden_size=16)
    audio = dict(_TOWER, head_dim=16, dac_config=transformers.DacConfig(**codec))
    sides = dict(
        audio_config=transformers.PeAudioEncoderConfig(**audio),
        video_config=transformers.PeVideoEncoderConfig(**both["video_config"]),
    )
    return dict(
        model_type="pe_audio_video",
        text_config=both["text_config"],
        audio_video_config=dict(_TOWER, head_dim=16, **sides),
    )


def pe_config() -> dict[str, Any]:
    """Of PE-Video, with a picture tower that needs no timm; saved, that would be read as one of timm."""
    text = dict(_TOWER, model_type="modernbert", vocab_size=97, max_position_embeddings=64, pad_token_id=0)
    text |= dict(cls_token_id=1, sep_token_id=1, bos_token_id=1, eos_token_id=1)
    vision = transformers.ViTConfig(**_TOWER, image_size=IMAGE_SIZE, patch_size=8, num_labels=24)
    video = dict(_TOWER, head_dim=16, vision_config=vision)
    return dict(model_type="pe_video", text_config=text, video_config=video)


@torch.no_grad()
def gemma_by_hand(folder: Path, videos: Sequence[np.ndarray], texts: Sequence[str]) -> torch.Tensor:
    """The mean over all tokens; pictures of 32 x 32 in 8 x 8 patches of which 2 x 2 become a token."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    labels = torch.cat([model(**tokenizer(text, return_tensors="pt"))[0].mean(dim=1) for text in texts])
    rows = []
    for video in videos:
        ids = tokenizer("<boi>" + "<video>" * 16 + "<eoi>", add_special_tokens=False)["input_ids"] * len(video)
        corners = [(y, x) for y in range(0, 32, 4) for x in range(0, 32, 4)]
        squares = [
            torch.stack([torch.from_numpy(frame[y : y + 4, x : x + 4]) / 255 for y, x in corners]) for frame in video
        ]
        places = torch.tensor([[x, y] for y in range(8) for x in range(8)])
        output = model(
            input_ids=torch.tensor([[1, *ids]]),
            pixel_values_videos=torch.stack(squares).flatten(2),
            video_position_ids=places.expand(len(video), -1, -1),
            num_frames_per_video=torch.tensor([len(video)]),
        )
        rows.append(output[0].mean(dim=1))
    return _unit(torch.cat(rows)) @ _unit(labels).T


@torch.no_grad()
def qwen_by_hand(folder: Path, videos: Sequence[np.ndarray], texts: Sequence[str]) -> torch.Tensor:
    """The last token behind the card's instruction; pairs of frames of 32 x 32, 2 x 2 patches of 8 x 8 a token."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    head = "<|im_start|>system\nRepresent the user's input.<|im_end|>\n<|im_start|>user\n"
    tail = "<|im_end|>\n<|im_start|>assistant\n"

    def last(content: str, **pictures: torch.Tensor) -> torch.Tensor:
        ids = tokenizer(head + content + tail, return_tensors="pt")["input_ids"]
        kinds = {"mm_token_type_ids": 2 * (ids == tokenizer.convert_tokens_to_ids("<|video_pad|>")).int()}
        return model(input_ids=ids, **(kinds if pictures else {}), **pictures)[0][:, -1]

    rows = []
    for video in videos:
        frames = [torch.from_numpy(frame) / 127.5 - 1 for frame in video]
        if len(frames) % 2:
            frames.append(frames[-1])
        text, patches = "", []
        for i in range(0, len(frames), 2):
            seconds = (i + min(i + 1, len(video) - 1)) / 2
            text += f"<{seconds:.1f} seconds><|vision_start|>{'<|video_pad|>' * 4}<|vision_end|>"
            for y, x in ((y + dy, x + dx) for y in (0, 16) for x in (0, 16) for dy in (0, 8) for dx in (0, 8)):
                pair = torch.stack([frame[y : y + 8, x : x + 8] for frame in frames[i : i + 2]])
                patches.append(pair.permute(3, 0, 1, 2).flatten())
        grid = torch.tensor([[len(frames) // 2, 4, 4]])
        rows.append(last(text, pixel_values_videos=torch.stack(patches), video_grid_thw=grid))
    return _unit(torch.cat(rows)) @ _unit(torch.cat([last(text) for text in texts])).T


def _gemma_tokenizer() -> TokenizersBackend:
    """With a token before every text."""
    tokenizer = word_tokenizer(additional_special_tokens=["<boi>", "<video>", "<eoi>"], model_max_length=4096)
    backend = tokenizer.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 1)])
    return tokenizer


def _qwen_tokenizer() -> TokenizersBackend:
    """Bytes, and the signs of Qwen's chat template."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<|endoftext|>", *letters])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    signs = [f"<|{name}|>" for name in ("im_start", "im_end", "vision_start", "vision_end", "video_pad", "image_pad")]
    return TokenizersBackend(
        tokenizer_object=backend,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=signs,
        model_max_length=4096,
    )


def _gemma_config() -> dict[str, Any]:
    ids = {name: 97 + i for i, name in enumerate(("boi_token_id", "video_token_id", "eoi_token_id"))}
    sizes = dict(head_dim=16, num_key_value_heads=2)
    text = dict(_TOWER, vocab_size=100, hidden_size_per_layer_input=8, embedding_dim=24, sliding_window=64, **sizes)
    text |= dict(global_head_dim=16, sliding_window_pattern=2, max_position_embeddings=4096)
    vision = dict(_TOWER, model_type="gemma4_vision", patch_size=4, pooling_kernel_size=2, **sizes)
    vision |= dict(position_embedding_size=64)
    return dict(model_type="embedding_gemma2", text_config=text, vision_config=vision, audio_config=None, **ids)


def _qwen_config() -> dict[str, Any]:
    signs = ("im_start", "im_end", "vision_start", "vision_end", "video_pad", "image_pad")
    ids = dict(zip(signs, _qwen_tokenizer().convert_tokens_to_ids([f"<|{name}|>" for name in signs]), strict=True))
    text = dict(_TOWER, vocab_size=300, head_dim=16, num_key_value_heads=2, max_position_embeddings=4096)
    text |= dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0, mrope_section=[4, 2, 2]))
    vision = dict(depth=2, hidden_size=32, intermediate_size=48, num_heads=2, patch_size=8, out_hidden_size=32)
    vision |= dict(num_position_embeddings=16, deepstack_visual_indexes=[0])
    return dict(
        model_type="qwen3_vl",
        text_config=text,
        vision_config=vision,
        video_token_id=ids["video_pad"],
        image_token_id=ids["image_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )


def _save_json(name: str, **fields: Any) -> Callable[[Path], None]:
    """A processor of frames whose class needs torchvision: its file as it writes it."""
    return lambda folder: (folder / name).write_text(json.dumps(fields), encoding="utf-8")


def _bert_clip_config(model_type: str) -> dict[str, Any]:
    config = tiny_clip_config(model_type=model_type)
    text = tiny_bert_config(**({"project_dim": 48} if model_type == "altclip" else {}))
    return {**config, "text_config": text}


def _quiet_xclip(model: PreTrainedModel) -> None:
    """A prompt generator that does not saturate: a fresh one makes 1e-3 out of the last bit of a pixel."""
    _loud(model)
    for parameter in model.prompts_generator.decoder.parameters():
        parameter.data.mul_(0.1 if parameter.ndim > 1 else 1.0)


def _loud(model: PreTrainedModel) -> None:
    """Scale and bias as trained models have them."""
    model.logit_scale.data.fill_(3.0)
    if hasattr(model, "logit_bias"):
        model.logit_bias.data.fill_(-2.0)


def _xclip_files(folder: Path) -> None:
    """Its image processor, whose file names the class of the whole."""
    frames = transformers.VideoMAEImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=_SIZE)
    _save_json("preprocessor_config.json", **frames.to_dict(), processor_class="XCLIPProcessor")(folder)


def _qwen_files(folder: Path) -> None:
    """Its video processor, and the modules that say that it embeds."""
    _save_json(
        "video_preprocessor_config.json",
        video_processor_type="Qwen3VLVideoProcessor",
        size={"shortest_edge": 4096, "longest_edge": 25165824},
        fps=2,
        patch_size=8,
        merge_size=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )(folder)
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": ""}]), encoding="utf-8")


# model_type of each kind -> how to build it small
TINY_ENCODERS: dict[str, TinyEncoder] = {
    "clip": TinyEncoder(tiny_clip_config, tiny_clip_tokenizer, _clip_frames, frames_by_hand, prepare=_loud),
    "metaclip_2": TinyEncoder(
        lambda: tiny_clip_config(model_type="metaclip_2"),
        tiny_clip_tokenizer,
        _clip_frames,
        frames_by_hand,
        prepare=_loud,
    ),
    "altclip": TinyEncoder(
        lambda: _bert_clip_config("altclip"), tiny_bert_tokenizer, _clip_frames, frames_by_hand, prepare=_loud
    ),
    "chinese_clip": TinyEncoder(
        lambda: _bert_clip_config("chinese_clip"), tiny_bert_tokenizer, _clip_frames, frames_by_hand, prepare=_loud
    ),
    "siglip": TinyEncoder(
        lambda: tiny_siglip_config(vocab_size=97, max_position_embeddings=32),
        lambda: word_tokenizer(model_input_names=["input_ids"]),
        lambda folder: transformers.SiglipImageProcessorPil(size=_SIZE).save_pretrained(folder),
        lambda *given: frames_by_hand(*given, padding="max_length", truncation=True, max_length=32),
        prepare=_loud,
    ),
    "xclip": TinyEncoder(
        tiny_xclip_config,
        tiny_clip_tokenizer,
        _xclip_files,
        xclip_by_hand,
        only_frames=NUM_FRAMES,
        clip_frames=NUM_FRAMES,
        prepare=_quiet_xclip,
    ),
    "tipsv2": TinyEncoder(
        _tipsv2_config,
        word_tokenizer,
        _save_json(
            "preprocessor_config.json",
            image_processor_type="Tipsv2ImageProcessor",
            size=_SIZE,
            do_resize=True,
            do_rescale=True,
            rescale_factor=1 / 255,
            do_normalize=False,
            resample=2,
        ),
        cosines_by_hand,
        has_processor=False,
    ),
    "videoprism": TinyEncoder(
        _videoprism_config,
        word_tokenizer,
        _save_json(
            "video_preprocessor_config.json",
            video_processor_type="LlavaOnevisionVideoProcessor",
            size={"height": 384, "width": 384},
            do_rescale=True,
            do_normalize=True,
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
            resample=3,
        ),
        cosines_by_hand,
        has_processor=False,
        clip_frames=NUM_FRAMES,
    ),
    "embedding_gemma2": TinyEncoder(
        _gemma_config,
        _gemma_tokenizer,
        _save_json(
            "video_preprocessor_config.json",
            video_processor_type="EmbeddingGemma2VideoProcessor",
            patch_size=4,
            pooling_kernel_size=2,
            max_soft_tokens=16,
            image_mean=[0.0] * 3,
            image_std=[1.0] * 3,
        ),
        gemma_by_hand,
        has_processor=False,
    ),
    "qwen3_vl": TinyEncoder(_qwen_config, _qwen_tokenizer, _qwen_files, qwen_by_hand, has_processor=False),
}


def random_model(config: dict[str, Any], seed: int = 0) -> PreTrainedModel:
    """A model of these fields with random weights."""
    config = dict(config)
    config = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModel.from_config(config).eval()


def encoder_folder(kind: str, folder: Path, seed: int = 0, image_size: int = IMAGE_SIZE) -> Path:
    """A tiny model with random weights, its tokenizer and its image processor, as transformers saves them."""
    tiny = TINY_ENCODERS[kind]
    config = tiny.config()
    if image_size != IMAGE_SIZE:
        config["vision_config"] = {**config["vision_config"], "image_size": image_size}
    model = random_model(config, seed)
    if tiny.prepare is not None:
        tiny.prepare(model)
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    tiny.frames(folder)
    for path in folder.glob("*preprocessor_config.json"):
        path.write_text(path.read_text().replace(f": {IMAGE_SIZE}", f": {image_size}"))
    return folder


def some_videos(counts: Sequence[int], size: int = IMAGE_SIZE, seed: int = 0) -> list[np.ndarray]:
    """Noise with so many frames each: uint8 `[T, size, size + size // 2, 3]`, or square at the encoders' size."""
    rng = np.random.default_rng(seed)
    width = size if size == IMAGE_SIZE else size + size // 2
    return [rng.integers(0, 256, (count, size, width, 3), dtype=np.uint8) for count in counts]
