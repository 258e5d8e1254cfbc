"""Export of a model to ONNX with all that scoring needs, checked against PyTorch before it is kept.

Three graphs stand for the three steps: `video.onnx` (`encode_videos`), `text.onnx` (`encode_labels`), `score.onnx`
(`score`), with names of inputs and outputs that lead from one to the next. Beside them: the processor, `scoring.json`
with what a caller has to know, and `example.py`, which gives probabilities without PyTorch.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .files import is_empty, replacing_folder
from .methods import METHODS, load_object
from .modeling.guards import is_exported
from .modeling.label_bank import LabelBank
from .modeling.modeling_zsar import ZSARPreTrainedModel
from .printing import dump_json
from .processing.prompts import class_key


FORMAT = "hf_zsar/onnx/1"
EXAMPLES = Path(__file__).parent / "onnx_examples"
# Axes of any size by name of a tensor. Others of a bank have the labels first, features the videos.
AXES = {
    "pixel_values_videos": ("batch",),
    "input_ids": ("rows", "length"),
    "attention_mask": ("rows", "length"),
    "token_groups": ("rows", "length"),
    "prompt_index": ("labels", "prompts"),
    "attribute_index": ("labels", "attributes"),
    "word_index": ("labels", "word_rows"),
    "prompt_embeds": ("labels", "prompts"),
    "prompt_outputs": ("labels", "prompts"),
    "prompt_mask": ("labels", "prompts"),
    "word_embeds": ("labels", "words"),
    "word_groups": ("labels", "words"),
    "word_ids": ("labels", "words"),
    "logits_per_video": ("batch", "labels"),
}
TOKEN_NAMES = {"token_groups": "word_groups"}
Tensors = dict[str, torch.Tensor]


class OnnxExportError(ValueError):
    """A model that cannot be exported, or an export that does not compute what the model does; nothing is left."""


class VideoGraph(nn.Module):
    """`encode_videos` with plain tensors."""

    def __init__(self, model: ZSARPreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tensors: Tensors) -> Tensors:
        return dict(self.model.encode_videos(tensors["pixel_values_videos"]).items())


class TextGraph(nn.Module):
    """`encode_labels` with the tensors of the bank alone."""

    def __init__(self, model: ZSARPreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tensors: Tensors) -> Tensors:
        # In a graph the groups of tokens need another name than those of words, which come out.
        return self.model.encode_labels(**{TOKEN_NAMES.get(name, name): each for name, each in tensors.items()})


class ScoreGraph(nn.Module):
    """`score`: the tensors of both sides -> `logits_per_video [B, K]`."""

    def __init__(self, model: ZSARPreTrainedModel, video_names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.video_names = model, video_names

    def forward(self, tensors: Tensors) -> Tensors:
        features = _Features({name: tensors[name] for name in self.video_names})
        bank: Any = {name: tensor for name, tensor in tensors.items() if name not in self.video_names}
        if not is_exported():
            bank = LabelBank(("",) * len(bank["text_embeds"]), bank)
        return {"logits_per_video": self.model.compute_scores(features, bank)["logits_per_video"]}


class _Features(dict[str, torch.Tensor]):
    """Features as `compute_scores` reads them."""

    def __getattr__(self, name: str) -> torch.Tensor | None:
        return self.get(name)


def export_onnx(
    model: ZSARPreTrainedModel, processor: Any, folder: str | os.PathLike, tolerance: float = 1e-4
) -> dict[str, float]:
    """Write `video.onnx`, `text.onnx`, `score.onnx`, the processor, `scoring.json` and `example.py`.

    Args:
        model, processor: as loaded; the number of frames and the picture size are the processor's. The numbers of
            videos, labels, prompts and tokens are free.
        folder: new or empty.
        tolerance: largest difference from PyTorch allowed, relative to the largest output.

    Returns:
        the largest relative difference of each graph.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is not installed.
        OnnxExportError: the graphs differ from the model, or it cannot be exported: the message says why.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("ONNX export needs: pip install 'hf-zsar[export]'") from error
    folder = Path(folder)
    if folder.exists() and not is_empty(folder):
        raise OnnxExportError(f"{folder} exists and is not empty: choose another folder.")
    model = model.eval().float()
    processor = processor.limited_to(model.text_limit)
    text_graph = _text_graph(model, processor)
    scoring: dict[str, Any] = {"format": FORMAT, "method": model.config.model_type}
    with replacing_folder(folder) as work, torch.no_grad(), _plain_banks(model):
        differences = {}
        given = {"video": _video_inputs(processor), "text": _text_inputs(model, text_graph, processor)}
        video = VideoGraph(model).eval()
        sides = {"video": video(given["video"]), "text": text_graph(given["text"])}
        given["score"] = {**sides["video"], **sides["text"]}
        graphs = {"video": video, "text": text_graph, "score": ScoreGraph(model, tuple(sides["video"]))}
        inputs = {**given["video"], **given["text"]}
        parts = [_Part(dict(each), dict(each)) for each in (inputs, _fewer(inputs))]
        for name, graph in graphs.items():
            path = work / f"{name}.onnx"
            _write_graph(graph.eval(), given[name], path)
            differences[name], scoring[name] = _compare(path, graph, list(given[name]), parts)
            if not differences[name] <= tolerance:
                raise OnnxExportError(f"{name}.onnx is off by {differences[name]:.2g}, allowed {tolerance:.2g}.")
        processor.save_pretrained(work)
        if not (work / "tokenizer.json").exists():
            raise OnnxExportError("The tokenizer of this model has no tokenizer.json: load it as a fast tokenizer.")
        scoring |= {"frames": _frames(processor), "text": scoring["text"] | _text_options(processor, text_graph)}
        (work / "scoring.json").write_text(dump_json(scoring, indent=2), encoding="utf-8")
        example = "words.py" if "word_groups" in model.text_input_names else "prompts.py"
        shutil.copyfile(EXAMPLES / example, work / "example.py")
    return differences


def _text_graph(model: ZSARPreTrainedModel, processor: Any) -> nn.Module:
    try:
        model.check_exportable()
        processor.check_exportable()
    except ValueError as error:
        raise OnnxExportError(str(error)) from error
    spec = next((spec for spec in METHODS.values() if spec.model_type == model.config.model_type), None)
    graph = TextGraph if spec is None or spec.label_graph is None else load_object(spec.label_graph)
    return graph(model).eval()


@contextmanager
def _plain_banks(model: ZSARPreTrainedModel) -> Iterator[None]:
    """`encode_labels` gives tensors instead of a bank, whose labels would be fixed in number."""
    model.make_bank = lambda labels, tensors, inputs: tensors
    try:
        yield
    finally:
        del model.make_bank


def _video_inputs(processor: Any) -> Tensors:
    size, frames = processor.video_processor.crop_size, processor.video_processor.num_frames
    shape = (2, frames, 3, size["height"], size["width"])
    return {"pixel_values_videos": torch.randn(shape, generator=torch.Generator().manual_seed(0))}


def _text_inputs(model: ZSARPreTrainedModel, graph: nn.Module, processor: Any) -> Tensors:
    """Three labels of up to two prompts, in four rows."""
    inputs = processor.tokenize(["a first text", "another, longer text, to export with", "a third", "fourth"])
    mask = inputs["attention_mask"]
    for name in model.text_input_names:
        if name.endswith("_index"):
            inputs[name] = torch.tensor([[0, 1], [2, 3], [3, -1]])
        elif name == "word_groups":
            inputs["token_groups"] = mask - 1
    if hasattr(graph, "classes"):
        inputs["seen_index"] = torch.tensor([-1, -1, 0 if graph.classes else -1])
    return inputs


def _write_graph(graph: nn.Module, inputs: Tensors, path: Path) -> None:
    """Export with true names, any size of the axes that may vary, and without inputs that nothing reads."""
    import onnx

    outputs = graph(inputs)
    axes = {name: _axes(name, graph) for name in (*inputs, *outputs)}
    shapes = {name: dict.fromkeys(range(len(axes[name])), torch.export.Dim.DYNAMIC) for name in inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            graph,
            (),
            path,
            kwargs={"tensors": inputs},
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={"tensors": shapes},
            dynamo=True,
            verbose=False,
            external_data=False,
        )
    proto = onnx.load(path)
    read = {name for node in proto.graph.node for name in node.input}
    kept = [each for each in proto.graph.input if each.name in read]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    del proto.graph.value_info[:]  # sizes under names that the exporter made up
    for each in (*proto.graph.input, *proto.graph.output):
        for size, name in zip(each.type.tensor_type.shape.dim, axes[each.name], strict=False):
            size.dim_param = name
    onnx.save(proto, path)


def _axes(name: str, graph: nn.Module) -> tuple[str, ...]:
    """Names of the first axes of a tensor, whose sizes are free."""
    of_videos = isinstance(graph, VideoGraph) or name in getattr(graph, "video_names", ())
    return AXES.get(name, ("batch",) if of_videos else ("labels",))


def _compare(path: Path, graph: nn.Module, names: list[str], parts: list[_Part]) -> tuple[float, dict[str, Any]]:
    """Largest difference, where what comes out is kept for the next graph; and what goes in and comes out."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    read, given = [each.name for each in session.get_inputs()], [each.name for each in session.get_outputs()]
    worst = 0.0
    for part in parts:
        expected = graph({name: part.expected[name] for name in names})
        found = session.run(None, {name: part.found[name].numpy() for name in read})
        part.expected.update(expected)
        part.found.update({name: torch.from_numpy(each) for name, each in zip(given, found, strict=True)})
        for name, ours in expected.items():
            if "words" in AXES.get(name, ()):  # the graph does not trim them: judged by the scores that they give
                continue
            scale = max(ours.float().abs().max().item(), 1e-6)
            worst = max(worst, (ours.float() - part.found[name].float()).abs().max().item() / scale)
    sides = {"inputs": session.get_inputs(), "outputs": session.get_outputs()}
    return worst, {
        side: {each.name: {"type": each.type, "shape": each.shape} for each in values}
        for side, values in sides.items()
    }


@dataclass
class _Part:
    """One set of inputs, and all that came out of it so far: of PyTorch, and of the graphs."""

    expected: Tensors
    found: Tensors


def _fewer(inputs: Tensors) -> Tensors:
    """One video; the last two labels, of which one has a prompt less."""
    labels = [name for name in inputs if name == "seen_index" or "labels" in AXES.get(name, ())]
    fewer = {name: inputs[name][1:] for name in labels}
    return {**inputs, **fewer, "pixel_values_videos": inputs["pixel_values_videos"][:1]}


def _frames(processor: Any) -> dict[str, Any]:
    video = processor.video_processor
    names = ("num_frames", "crop_size", "rescale_factor", "image_mean", "image_std")
    return {name: getattr(video, name) for name in names} | {
        "layout": "[batch, frames, 3, height, width] float32, RGB, (value * rescale_factor - mean) / std",
        "more": "processor_config.json: how frames are sampled, resized and cropped",
    }


def _text_options(processor: Any, graph: nn.Module) -> dict[str, Any]:
    """What makes token rows of labels, and probabilities of logits."""
    tokenizer, limit = processor.tokenizer, processor.text_limit
    padding = {"pad_id": tokenizer.pad_token_id, "pad_token": tokenizer.pad_token}
    options: dict[str, Any] = {
        "labels": "plain words in the spelling of the prompts" + (", not CamelCase" * processor.clean_labels),
        "templates": list(processor.prompt_templates),
        "described": _described(processor),
        "max_tokens": limit or 2**20,
        "padding": padding,
        "seen_classes": {class_key(name): i for i, name in enumerate(getattr(graph, "classes", ()))},
        "probabilities": "softmax of logits_per_video over the labels; scale, templates and prototypes are in the "
        "graphs",
    }
    mode = getattr(processor, "word_mask_mode", None)
    if processor.text_padding == "max_length" or mode == "all":
        padding["length"] = limit
    if mode is not None:  # of a method that reads words
        side = "prompt_index" if processor.word_source == "class" else "attribute_index"
        options |= {"word_index": side, "word_mask_mode": mode}
        if processor.text_pad_token_id is not None:
            padding["pad_id"] = processor.text_pad_token_id
    return options


def _described(processor: Any) -> Mapping[str, Any]:
    """Label -> its prompts, or rows with the places of words in them, where there is more than the templates."""
    found = processor.described_rows()
    return found | {processor.check_labels([name])[0]: value for name, value in found.items()}
