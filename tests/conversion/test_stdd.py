"""STDD checkpoints in the official layouts, made here: what is read, what is left out, what is refused."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from hf_zsar import STDDModel
from hf_zsar.conversion import convert_checkpoint
from hf_zsar.conversion.checkpoint_files import ConversionError
from hf_zsar.conversion.stdd import convert, load_teacher
from tests.tiny_models import tiny_clip_config, tiny_clip_tokenizer, tiny_videos


CFG = """
MODEL: {MASK_RATE: 0.25, MASK_STRIDE: [1, 2, 2], CHANNEL_FOLD: 16, TEMPORAL_SCALE: [1, 3], SPATIAL_REPEAT: false,
        TEMPORAL_SHUFFLE: false, DISTILLATION_RATIO: 1.5, TEMPORAL_MODELING_TYPE: stcross_attend}
DATA: {NUM_FRAMES: 6, TEXT_AUG: false}
"""


def make_clip(seed):
    config = CLIPConfig(**tiny_clip_config())
    for tower in (config.text_config, config.vision_config):  # OpenAI's sizes: heads of 64, MLP four times as wide
        tower.num_attention_heads, tower.intermediate_size = 1, 256
    torch.manual_seed(seed)
    return CLIPModel(config).eval()


def openai_state(clip):
    """A CLIPModel's weights under OpenAI's names."""
    ours, state = clip.state_dict(), {"logit_scale": clip.logit_scale.detach()}
    renamed = {
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    }
    norms = {"ln_final": "text_model.final_layer_norm", "visual.ln_pre": "vision_model.pre_layrnorm"}
    norms["visual.ln_post"] = "vision_model.post_layernorm"
    renamed |= {f"{a}.{kind}": f"{b}.{kind}" for a, b in norms.items() for kind in ("weight", "bias")}
    state |= {name: ours[target] for name, target in renamed.items()}
    state |= {
        "text_projection": ours["text_projection.weight"].t(),
        "visual.proj": ours["visual_projection.weight"].t(),
    }
    parts = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2"}
    parts |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    for prefix, tower in (("", "text_model"), ("visual.", "vision_model")):
        for index in range(2):
            block, layer = f"{prefix}transformer.resblocks.{index}.", f"{tower}.encoder.layers.{index}."
            for kind in ("weight", "bias"):
                packed = [ours[f"{layer}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
                state[f"{block}attn.in_proj_{kind}"] = torch.cat(packed)
                state |= {f"{block}{a}.{kind}": ours[f"{layer}{b}.{kind}"] for a, b in parts.items()}
    return {name: tensor.clone() for name, tensor in state.items()}


def prefixed(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


PROJECTOR = {"projector_v.0.weight": torch.eye(64), "projector_v.2.weight": torch.full((64, 64), 0.5)}


@pytest.fixture
def student():
    return make_clip(1)


@pytest.fixture
def write(tmp_path, student):
    """Writes a checkpoint; `state` joins or replaces entries of the student's."""

    def write(state=None, top=None, without=()):
        state = prefixed("model.", openai_state(student)) | (state or {})
        for name in without:
            del state[name]
        path = tmp_path / "checkpoint.pyth"
        torch.save({"model_state": state, **(top or {})}, path)
        return path

    return write


def test_an_epoch_file(write, student):
    teacher = make_clip(2)
    state = prefixed("raw_model.", openai_state(teacher)) | PROJECTOR
    path = write(state, {"epoch": 21, "cfg": CFG, "optimizer_state": {"state": {}}, "scaler_state": {}})
    converted = convert(path)
    config = converted.model.config
    expected = dict(
        mask_rate=0.25, window_size=2, channel_fold=16, temporal_scales=[1, 3], spatial_repeat=False,
        temporal_shuffle=False, distill_weight=1.5, num_frames=6, matching="mean", source_license="none",
    )  # fmt: skip
    assert {name: getattr(config, name) for name in expected} == expected
    assert converted.layout == "STDD epoch file"
    torch.testing.assert_close(dict(converted.model.backbone.model.state_dict()), dict(student.state_dict()))
    assert torch.equal(converted.model.distill_projector[2].weight, PROJECTOR["projector_v.2.weight"])
    assert any("teacher (raw_model.*) was left out" in note for note in converted.notes)
    torch.testing.assert_close(dict(load_teacher(path).state_dict()), dict(teacher.state_dict()))


def test_an_averaged_file(write, student):
    converted = convert(write())
    assert converted.layout == "STDD averaged file"
    assert converted.model.config.distill_weight == 0
    assert converted.model.distill_projector is None
    assert (converted.model.config.mask_rate, converted.model.config.temporal_scales) == (0.5, [1, 2])
    assert any("official training scripts are assumed" in note for note in converted.notes)
    assert load_teacher(write()) is None


def test_given_fields_win(write):
    model = convert(write(top={"cfg": CFG}), mask_rate=0.75, distill_weight=2.0, use_stca=False).model
    assert (model.config.mask_rate, model.config.use_stca, model.config.channel_fold) == (0.75, False, 16)
    assert model.distill_projector[2].weight.count_nonzero() == 0  # fresh, since the file has none
    model = convert(write(PROJECTOR), distill_weight=0.0).model
    assert model.distill_projector is None


def test_prefixes_of_parallel_training_and_foreign_parts(write, student):
    parallel = prefixed("module.", prefixed("model.", openai_state(student)))
    path = write()
    torch.save({"model_state": parallel}, path)
    torch.testing.assert_close(dict(convert(path).model.backbone.model.state_dict()), dict(student.state_dict()))
    other = {"projector_t.0.weight": torch.eye(64)}
    converted = convert(
        write(other, {"cfg": "MODEL: {TEMPORAL_MODELING_TYPE: expand_temporal_view, TEMPORAL_SCALE: 2}"})
    )
    assert any("projector_t.0.weight" in note for note in converted.notes)
    assert any("'expand_temporal_view', which is not STDD's" in note for note in converted.notes)
    assert converted.model.config.temporal_scales == [2]


def test_the_missing_license_is_said_and_kept(write, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="hf_zsar"):
        converted = convert_checkpoint(str(write()), "stdd", tokenizer=tiny_clip_tokenizer())
    assert "no license" in caplog.text
    assert "no license" in converted.summary()
    converted.save(tmp_path / "out")
    loaded = STDDModel.from_pretrained(tmp_path / "out")
    assert loaded.config.source_license == "none"
    with torch.no_grad():
        expected = converted.model.encode_videos(tiny_videos()).frame_embeds
        assert torch.equal(loaded.encode_videos(tiny_videos()).frame_embeds, expected)


def test_the_folder_reads_videos_as_the_official_code(write, tmp_path):
    from hf_zsar import STDDProcessor
    from hf_zsar.processing.processing_stdd import BASE_TEMPLATES

    converted = convert_checkpoint(str(write(top={"cfg": CFG})), "stdd", tokenizer=tiny_clip_tokenizer())
    converted.save(tmp_path / "out")
    processor = STDDProcessor.from_pretrained(tmp_path / "out")
    video = processor.video_processor
    assert (video.sampling, video.resample, video.antialias, video.crop_rounding) == (
        "slowfast",
        "bilinear",
        False,
        "ceil",
    )
    assert (video.num_frames, dict(video.size)) == (6, {"shortest_edge": 32})
    assert processor.prompt_templates == list(BASE_TEMPLATES)  # TEXT_AUG: false


@pytest.mark.parametrize(
    ("state", "without", "message"),
    [
        (None, ["model.visual.proj"], "lacks 1 weights: visual.proj"),
        (None, ["model.visual.transformer.resblocks.1.ln_2.bias"], "1 missing: .*layers.1.layer_norm2.bias"),
        ({"model.visual.extra": torch.zeros(1)}, [], "1 unexpected: .*visual.extra"),
        ({"model.logit_scale": torch.tensor(float("nan"))}, [], "not finite numbers: .*logit_scale"),
        (
            {"projector_v.0.weight": torch.zeros(3, 3), "projector_v.2.weight": torch.eye(64)},
            [],
            r"is \(3, 3\), expected",
        ),
        ({"projector_v.0.weight": torch.eye(64)}, [], "1 missing: distill_projector.2.weight"),
        ({"epoch": 3}, [], "entries that are not tensors: epoch"),
    ],
)
def test_weights_that_do_not_fit_are_listed(write, state, without, message):
    with pytest.raises(ConversionError, match=message):
        convert(write(state, without=without))


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ("MODEL: [", "its 'cfg' is not YAML"),
        ("MODEL: 3", "no MODEL and DATA sections"),
        ("MODEL: {MASK_STRIDE: [2, 2, 2]}", r"MASK_STRIDE must be \[1, w, w\]"),
        ("MODEL: {MASK_STRIDE: 2}", r"MASK_STRIDE must be \[1, w, w\]"),
        ("MODEL: {MASK_RATE: often}", "mask_rate"),
        ("MODEL: {MASK_RATE: 1.0}", "mask_rate must be at least 0 and below 1"),
    ],
)
def test_settings_that_cannot_be_read_are_refused(write, cfg, message):
    with pytest.raises(ConversionError, match=message):
        convert(write(top={"cfg": cfg}))


def test_other_files_are_refused(tmp_path, student):
    for content, message in (
        ({"state_dict": {}}, "no 'model_state'"),
        ({"model_state": openai_state(student)}, "no weights under 'model.'"),
        ({"model_state": {}}, "no weights"),
    ):
        torch.save(content, tmp_path / "file.pt")
        with pytest.raises(ConversionError, match=message):
            convert(tmp_path / "file.pt")
