"""The published models that [`VideoTextModel`] stands on: which adapter goes with which, what their files leave out.

Another distribution adds one with an entry point in the group `hf_zsar.encoders` that names an [`EncoderSpec`]:

    [project.entry-points."hf_zsar.encoders"]
    mine = "my_package.encoder:SPEC"
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .methods import MethodSpec, find_specs


if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from hf_zsar.modeling.encoder import Encoder
    from hf_zsar.modeling.modeling_video_text import VideoTextModel
    from hf_zsar.processing.processing_zsar import ZSARProcessor

# What says where a model is read from.
SOURCE = ("revision", "token", "cache_dir", "local_files_only", "subfolder", "trust_remote_code")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True)
class EncoderSpec:
    """A kind of published model.

    Args:
        model_type: in the configuration of its checkpoints.
        name: as people call it.
        adapter: module and class of its adapter, e.g. `"my_package.encoder:MineEncoder"`.
        example: repository id of a checkpoint.
        license: of that checkpoint's weights, as its card says; empty where that is to be looked up there.
        good_for: in a few words.
        figures: published zero-shot figures, theirs, with the source.
        prompt: tokenizer -> the `video_prompt` of [`VideoTextConfig`], for a language model.
        config: module and class of its configuration, where transformers has none.
        evidence: whether the type is also that of other models, so that a checkpoint must show that it embeds.
        text: options of [`VideoTextProcessor`] that no file of a checkpoint tells.
        video: fields of the checkpoint's own image or video processor -> the same of [`ZSARVideoProcessor`]; a size of
            `None` is that of the vision tower.
    """

    model_type: str
    name: str
    adapter: str
    example: str = ""
    license: str = ""
    good_for: str = ""
    figures: str = ""
    prompt: Callable[[Any], dict[str, Any]] | None = None
    evidence: bool = False
    config: str = ""
    text: Mapping[str, Any] = field(default_factory=dict)
    video: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda settings: {}

    def adapter_class(self) -> type[Encoder]:
        return _load(self.adapter)

    def config_class(self) -> type[PreTrainedConfig]:
        return _load(self.config)


def _load(place: str) -> Any:
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def _own(model_type: str, name: str, adapter: str, **options: Any) -> EncoderSpec:
    return EncoderSpec(model_type, name, f"hf_zsar.modeling.encoder_{adapter}", **options)


def _around(tokenizer: Any) -> dict[str, list[int]]:
    """The tokens that a tokenizer itself puts before and after a text."""
    bare, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return {"before": whole[:start], "after": whole[start + len(bare) :]}


# The instruction of the model's card in the chat template of Qwen, around what is embedded.
_QWEN_BEFORE = "<|im_start|>system\nRepresent the user's input.<|im_end|>\n<|im_start|>user\n"
_QWEN_AFTER = "<|im_end|>\n<|im_start|>assistant\n"


def _gemma_frames(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As many pooled patches as a frame may have, and not more frames than the file says."""
    multiple = settings.get("patch_size", 16) * settings.get("pooling_kernel_size", 3)
    area = settings.get("max_soft_tokens", 70) * multiple**2
    return {
        "fps": settings.get("fps", 1),
        "sampling_options": {"max_frames": settings.get("max_frames", 32)},
        "size": {"min_pixels": area, "max_pixels": area, "multiple": multiple},
    }


def _qwen_frames(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As the model's card samples: a frame a second, 64 at most, here of a size with which those fit the 8,192 tokens
    that it reads. Its files say what the chat models do."""
    multiple = settings.get("patch_size", 16) * settings.get("merge_size", 2)
    return {
        "fps": 1,
        "sampling_options": {"max_frames": 64},
        "size": {"min_pixels": 4 * multiple**2, "max_pixels": 240 * multiple**2, "multiple": multiple},
    }


def _qwen_prompt(tokenizer: Any) -> dict[str, Any]:
    signs = ("<", " seconds>", ".", *"0123456789")
    texts = {"before": _QWEN_BEFORE, "after": _QWEN_AFTER, **dict(zip(signs, signs, strict=True))}
    ids = {name: tokenizer(text, add_special_tokens=False)["input_ids"] for name, text in texts.items()}
    spelled = {sign: ids.pop(sign) for sign in signs}
    return {**ids, "spelled": spelled, "fps": 1.0}


OWN = (
    _own(
        "clip",
        "CLIP",
        "clip:CLIPEncoder",
        example="openai/clip-vit-base-patch16",
        license="MIT",
        good_for="frames; CPU (base, patch 32)",
    ),
    _own(
        "metaclip_2",
        "MetaCLIP 2",
        "clip:CLIPEncoder",
        example="facebook/metaclip-2-worldwide-huge-quickgelu",
        good_for="frames; labels in many languages",
    ),
    _own(
        "altclip",
        "AltCLIP",
        "masked_clip:MaskedCLIPEncoder",
        example="BAAI/AltCLIP",
        good_for="frames; nine languages",
    ),
    _own(
        "chinese_clip",
        "ChineseCLIP",
        "masked_clip:MaskedCLIPEncoder",
        example="OFA-Sys/chinese-clip-vit-base-patch16",
        good_for="frames; Chinese labels",
    ),
    _own(
        "siglip",
        "SigLIP, SigLIP 2",
        "siglip:SiglipEncoder",
        example="google/siglip2-base-patch16-224",
        license="Apache-2.0",
        good_for="frames; several labels at once; many languages (SigLIP 2)",
        text={"text_padding": "max_length"},
    ),
    _own(
        "tipsv2",
        "TIPSv2",
        "tipsv2:Tipsv2Encoder",
        example="google/tipsv2-b14",
        good_for="frames; patches that know words",
        video=lambda _: {"resample": "bilinear", "do_normalize": False},
    ),
    _own(
        "xclip",
        "X-CLIP",
        "xclip:XCLIPEncoder",
        example="microsoft/xclip-base-patch32",
        license="MIT",
        good_for="clips of 8 or 16 frames; CPU (base)",
        figures="HMDB51 47.4 (MVEB, L/14; results of mteb, without its prompt generator)",
    ),
    _own(
        "videoprism",
        "VideoPrism LvT",
        "videoprism:VideoPrismEncoder",
        example="google/videoprism-lvt-base-f16r288",
        license="Apache-2.0",
        good_for="clips of 16 frames; motion",
        figures="Kinetics-400 69.2 (base; its card), 67.6 (a re-run, mteb pull request 5193)",
        text={"text_padding": "max_length"},
        video=lambda _: {"do_normalize": False, "size": None},
    ),
    _own("pe_video", "PE-Video", "pe_video:PeVideoEncoder", good_for="clips of any length"),
    _own(
        "pe_audio_video",
        "PE-AudioVideo",
        "pe_video:PeAudioVideoEncoder",
        example="facebook/pe-av-large",
        good_for="clips of any length; accuracy",
        figures="Kinetics-400 75.7 (large, MVEB; results of mteb)",
    ),
    _own(
        "embedding_gemma2",
        "EmbeddingGemma 2",
        "embeddinggemma2:EmbeddingGemma2Encoder",
        example="google/embeddinggemma-2",
        license="Apache-2.0",
        good_for="clips at 1 frame a second; many languages; CPU",
        prompt=_around,
        video=_gemma_frames,
    ),
    _own(
        "open_clip",
        "open_clip",
        "open_clip:OpenCLIPEncoder",
        example="hf-hub:timm/PE-Core-B-16",
        good_for="frames; whatever open_clip loads: PE-Core, MobileCLIP 2, DFN, EVA-02 (needs hf-zsar[open_clip])",
        figures="PE-Core B, L, G: Kinetics-400 65.6, 73.4, 76.9 (README of facebookresearch/perception_models)",
        config="hf_zsar.modeling.configuration_open_clip:OpenCLIPConfig",
        text={"text_padding": "max_length"},
    ),
    _own(
        "qwen3_vl",
        "Qwen3-VL-Embedding",
        "qwen3vl:Qwen3VLEncoder",
        example="Qwen/Qwen3-VL-Embedding-2B",
        license="Apache-2.0",
        good_for="clips at 1 frame a second; accuracy; many languages",
        figures="HMDB51 64.3 (8B; results of mteb)",
        prompt=_qwen_prompt,
        evidence=True,
        text={"text_format": _QWEN_BEFORE + "{}" + _QWEN_AFTER},
        video=_qwen_frames,
    ),
)
ENCODERS: dict[str, EncoderSpec] = find_specs("hf_zsar.encoders", OWN, "model_type")


def load_encoder(
    source: str | os.PathLike,
    *,
    method: MethodSpec | None = None,
    encoder: str | None = None,
    processor: Mapping[str, Any] | None = None,
    video_processor: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[PreTrainedModel, ZSARProcessor]:
    """A published model and its processor, from files as they are published; or a method on it.

    Args:
        source: repository id or folder.
        method: stands on it, with new weights of its own; without one, [`VideoTextModel`].
        encoder: the checkpoint's `model_type`, to say that it embeds where its files do not.
        processor, video_processor: options of these instead of what the files say.
        options: fields of the method's configuration, and options of `from_pretrained` of the published model:
            `revision`, `token`, `dtype`, ...

    Raises:
        OSError: no such model, or files are missing.
        ValueError: a type of model that there is no adapter for, or that the method cannot stand on.
    """
    from transformers import AutoConfig, AutoModel

    if is_open_clip(source):
        if method is not None:
            raise ValueError(f"{source}: {method.prefix} cannot stand on a model of open_clip, which shows no blocks.")
        return _load_open_clip(os.fspath(source))
    source, place = os.fspath(source), {name: options[name] for name in SOURCE if name in options}
    config = AutoConfig.from_pretrained(source, **place)
    spec, video = spec_of(config.model_type, source), dict(video_processor or {})
    of_method: Any = method.config_class if method is not None else None
    fields = {
        name: options.pop(name) for name in list(options) if name in getattr(of_method, "__dataclass_fields__", ())
    }
    if of_method is not None:
        video = {"num_frames": of_method(backbone_config=config, **fields).num_frames, **video}
    sides: Any = {"processor": processor, "video_processor": video, "cls": method and method.processor_class}
    its_processor = load_processor(spec, config, source, encoder=encoder, **place, **sides)
    options = {"use_safetensors": True, **options, "output_loading_info": True}
    loaded, info = AutoModel.from_pretrained(source, **options)
    model_class: Any = method.model_class if method is not None else None
    model = model_class.from_encoder(loaded, **fields) if method is not None else wrap(spec, loaded, its_processor)
    model.missing_weights = tuple(sorted(info["missing_keys"]))
    return model, its_processor


def load_processor(
    spec: EncoderSpec,
    config: PreTrainedConfig,
    source: str,
    *,
    encoder: str | None = None,
    cls: type[ZSARProcessor] | None = None,
    processor: Mapping[str, Any] | None = None,
    video_processor: Mapping[str, Any] | None = None,
    **place: Any,
) -> ZSARProcessor:
    """The processor of a published model out of its files, for which nothing but the tokenizer's class is imported.
    `cls`, `processor` and `video_processor` as in [`build_processor`].

    Raises:
        OSError: a file is missing.
        ValueError: a type that others have, too, and nothing that says that this model embeds.
    """
    from transformers import AutoTokenizer

    from hf_zsar.processing.checkpoint_images import frame_settings

    if spec.evidence and encoder != spec.model_type and not _has(source, ("modules.json",), place):
        raise ValueError(
            f"{source} may be a chat model: it has no modules.json, which {spec.name} comes with. If it embeds, use "
            f'hf_zsar.pipeline or hf_zsar.load with encoder="{spec.model_type}".'
        )
    if not _has(source, _TOKENIZER_FILES, place):
        raise OSError(f"{source} has no tokenizer ({', '.join(_TOKENIZER_FILES)}), so no label can be read.")
    tokenizer = AutoTokenizer.from_pretrained(source, **place)
    settings = frame_settings(source, **place)
    return build_processor(spec, config, settings, tokenizer, cls, processor, video_processor)


def is_open_clip(source: Any) -> bool:
    """Whether this names a checkpoint of open_clip: a repository as it writes one, or a folder with its configuration
    alone."""
    source = os.fspath(source)
    folder = os.path.exists(os.path.join(source, "open_clip_config.json"))
    return source.startswith("hf-hub:") or (folder and not os.path.exists(os.path.join(source, "config.json")))


def _load_open_clip(source: str) -> tuple[VideoTextModel, ZSARProcessor]:
    import open_clip
    from transformers.utils import cached_file

    from hf_zsar.modeling.configuration_open_clip import OpenCLIPConfig
    from hf_zsar.modeling.encoder_open_clip import with_config
    from hf_zsar.processing.text_files import read_json

    place = source.removeprefix("hf-hub:")
    described = read_json(cached_file(place, "open_clip_config.json"))
    config = OpenCLIPConfig(model_cfg=described["model_cfg"], name_or_path=source)
    name = source if source.startswith("hf-hub:") else f"local-dir:{source}"
    model = with_config(open_clip.create_model(name, pretrained_text=False), config)
    spec = ENCODERS["open_clip"]
    processor = build_processor(spec, config, _open_clip_frames(described), _open_clip_tokenizer(place, described))
    return wrap(spec, model, processor), processor


def _open_clip_frames(described: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an image processor out of open_clip's configuration."""
    wanted = described.get("preprocess_cfg", {})
    size = described["model_cfg"]["vision_cfg"].get("image_size", 224)
    height, width = (size, size) if isinstance(size, int) else size
    square, mode = {"height": height, "width": width}, wanted.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise ValueError(f"Frames are resized to the shortest side or squashed, not {mode!r}.")
    fields = {"resample": wanted.get("interpolation", "bicubic"), "do_center_crop": mode == "shortest"}
    fields |= {"size": square if mode == "squash" else {"shortest_edge": min(height, width)}, "crop_size": square}
    fields |= {f"image_{name}": wanted[name] for name in ("mean", "std") if name in wanted}
    return {**fields, "crop_rounding": "round"}


def _open_clip_tokenizer(place: str, described: Mapping[str, Any]) -> Any:
    """The tokenizer of a checkpoint: its own files, or CLIP's with the vocabulary that open_clip brings."""
    from transformers import AutoTokenizer, CLIPTokenizer

    text = described["model_cfg"]["text_cfg"]
    length = text.get("context_length", 77)
    if name := text.get("hf_tokenizer_name"):
        source = place if _has(place, _TOKENIZER_FILES, {}) else name
        return AutoTokenizer.from_pretrained(source, model_max_length=length)
    from open_clip.tokenizer import SimpleTokenizer

    theirs = SimpleTokenizer()
    merges = [pair for pair, _ in sorted(theirs.bpe_ranks.items(), key=lambda item: item[1])]
    start, end, pad = (theirs.decoder[number] for number in (theirs.sot_token_id, theirs.eot_token_id, 0))
    signs = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": pad}
    return CLIPTokenizer(vocab=dict(theirs.encoder), merges=merges, model_max_length=length, **signs)


def spec_of(model_type: str, source: str) -> EncoderSpec:
    """
    Raises:
        ValueError: there is no adapter for models of this type.
    """
    if model_type == "siglip2":
        raise ValueError(
            f"{source} is a SigLIP 2 of any picture size (NaFlex), which is not supported: take one of a fixed size, "
            "such as google/siglip2-base-patch16-224."
        )
    if model_type not in ENCODERS:
        known = ", ".join(f"{spec.model_type} ({spec.name})" for spec in ENCODERS.values())
        raise ValueError(
            f"{source} is a {model_type!r} model, which nothing here knows how to score videos with. Supported are "
            f"the models of this package and {known}. To add one: an entry point in the group hf_zsar.encoders, see "
            "hf_zsar/encoders.py."
        )
    return ENCODERS[model_type]


def build_processor(
    spec: EncoderSpec,
    config: PreTrainedConfig,
    settings: Mapping[str, Any],
    tokenizer: Any,
    cls: type[ZSARProcessor] | None = None,
    processor: Mapping[str, Any] | None = None,
    video_processor: Mapping[str, Any] | None = None,
) -> ZSARProcessor:
    """The processor of a published model out of the fields of its own image or video processor and its tokenizer.

    Args:
        cls: another class than [`VideoTextProcessor`].
        processor, video_processor: options instead of what the files say.
    """
    from hf_zsar.processing.checkpoint_images import image_size, options_of
    from hf_zsar.processing.processing_video_text import VideoTextProcessor
    from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor

    name = config._name_or_path or spec.name
    # transformers cuts half a pixel off at the top and at the left where it works without torchvision.
    options = {
        "crop_rounding": settings.get("crop_rounding", "floor"),
        **options_of(settings, name),
        **spec.video(settings),
    }
    if options.get("size") is None:
        options["size"] = dict(zip(("height", "width"), image_size(config, name), strict=True))
    if isinstance(options["size"], Mapping) and "multiple" not in options["size"]:  # old files hold one number
        options.setdefault("crop_size", options["size"])
    frames = getattr(getattr(config, "vision_config", None), "num_frames", None) or settings.get("num_frames")
    if frames is not None and options.get("fps") is None:
        options["num_frames"] = frames
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    frames_side = ZSARVideoProcessor(**{**options, **(video_processor or {})})
    text = {"max_text_length": limit, **spec.text, **(processor or {})}
    return (cls or VideoTextProcessor)(frames_side, tokenizer, **text)


def wrap(spec: EncoderSpec, model: PreTrainedModel, processor: ZSARProcessor) -> VideoTextModel:
    """[`VideoTextModel`] over a loaded model; frames per clip are the processor's."""
    from hf_zsar.modeling.modeling_video_text import VideoTextModel

    prompt = spec.prompt(processor.tokenizer) if spec.prompt is not None else None
    return VideoTextModel.from_encoder(model, num_frames=processor.video_processor.num_frames, video_prompt=prompt)


def take_over(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a pipeline, with our model and processor in place of a published model and its own processor,
    and with the processor where transformers could not load one.

    Raises:
        OSError, ValueError: as [`load_encoder`]; or there is no processor and nothing says where it could come from.
    """
    from transformers import AutoProcessor

    model: Any = options.get("model")
    processor: Any = options.get("processor")
    if not hasattr(model, "config") or (hasattr(model, "encode_videos") and processor is not None):
        return options
    name = model.config._name_or_path
    place = {"revision": commit} if (commit := getattr(model.config, "_commit_hash", None)) else {}
    if processor is None and not name:
        raise ValueError(f"This {type(model).__name__} comes without a processor: pass its own as processor=.")
    if hasattr(model, "encode_videos"):
        return {**options, "processor": AutoProcessor.from_pretrained(name, **place)}  # raises what went wrong
    spec = spec_of(model.config.model_type, name or type(model).__name__)
    if processor is None or spec.evidence:
        processor = load_processor(spec, model.config, name, **place)
    elif not hasattr(processor, "prepare_labels"):
        frames = getattr(processor, "video_processor", None) or processor.image_processor
        processor = build_processor(spec, model.config, frames.to_dict(), processor.tokenizer)
    return {**options, "model": wrap(spec, model, processor), "processor": processor}


def _has(source: str, names: tuple[str, ...], place: Mapping[str, Any]) -> bool:
    """Whether a folder or repository has one of these files."""
    from transformers.utils import cached_file

    place = {name: value for name, value in place.items() if name != "trust_remote_code"}
    return any(cached_file(source, name, _raise_exceptions_for_missing_entries=False, **place) for name in names)
