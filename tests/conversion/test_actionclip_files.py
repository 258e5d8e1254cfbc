"""ActionCLIP files in both layouts: what is found out, what is refused, and the folder that comes out."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel, AutoProcessor

from hf_zsar import ActionCLIPModel
from hf_zsar.conversion import convert_checkpoint
from hf_zsar.conversion.actionclip import convert, convert_mmaction2
from hf_zsar.conversion.checkpoint_files import ConversionError
from tests.conversion.official_files import (
    DIM,
    GRID,
    PATCH,
    STRANGER,
    WIDTH,
    mmaction2_file,
    official_file,
    openai_clip,
    transformer_head,
)
from tests.tiny_models import tiny_clip_tokenizer


def frames(num_frames: int = 4) -> torch.Tensor:
    return torch.randn(2, num_frames, 3, GRID * PATCH, GRID * PATCH, generator=torch.Generator().manual_seed(1))


def positions() -> dict[str, torch.Tensor]:
    return {"frame_position_embeddings.weight": torch.zeros(77, DIM)}


def lstm_head() -> dict[str, torch.Tensor]:
    lstm = torch.nn.LSTM(DIM, DIM)
    return positions() | {f"lstm_visual.{name}": tensor.detach() for name, tensor in lstm.named_parameters()}


def class_token_head(num_frames: int = 4) -> dict[str, torch.Tensor]:
    layer = torch.nn.TransformerEncoderLayer(DIM, 8)
    encoder = torch.nn.TransformerEncoder(layer, 2, torch.nn.LayerNorm(DIM), enable_nested_tensor=False)
    head = {f"transformer.transformer_enc.{name}": tensor for name, tensor in encoder.state_dict().items()}
    tokens = {"cls_token": torch.randn(1, 1, DIM), "pos_embed": torch.randn(1, num_frames + 1, DIM)}
    return positions() | head | {f"transformer.{name}": tensor for name, tensor in tokens.items()}


HEADS = {
    "meanP": dict,
    "LSTM": lstm_head,
    "Conv_1D": lambda: positions() | {"shift.weight": torch.randn(DIM, 1, 3)},
    "Transf": transformer_head,
    "Transf_cls": class_token_head,
}


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("header", HEADS)
def test_head_is_recognized_and_loaded(tmp_path, header, prefix):
    head = HEADS[header]()
    conversion = convert(official_file(tmp_path / "last_model.pt", head=head, prefix=prefix), num_frames=4)
    model = conversion.model
    assert model.config.sim_header == header
    used = {n: t for n, t in head.items() if header == "Transf" or n != "frame_position_embeddings.weight"}
    assert sum(p.numel() for p in model.temporal_head.parameters()) == sum(t.numel() for t in used.values())
    total = lambda tensors: sum(t.double().abs().sum().item() for t in tensors)  # noqa: E731
    assert total(model.temporal_head.parameters()) == pytest.approx(total(used.values()))
    left_out = any("frame_position_embeddings.weight left out" in note for note in conversion.notes)
    assert left_out == (header in ("LSTM", "Conv_1D", "Transf_cls"))
    with torch.no_grad():
        assert model.encode_videos(frames()).video_embeds.isfinite().all()


def test_number_of_frames(tmp_path):
    transformer = official_file(tmp_path / "a.pt", head=transformer_head())
    with pytest.raises(ConversionError, match=r"how many frames.*num_frames \(--num-frames\)"):
        convert(transformer)
    assert convert(transformer, num_frames=16).model.config.num_frames == 16
    with pytest.raises(ConversionError, match="max_frame_positions=77"):
        convert_checkpoint(transformer, "actionclip", num_frames=78)
    class_token = official_file(tmp_path / "b.pt", head=class_token_head(num_frames=5))
    assert convert(class_token).model.config.num_frames == 5
    with pytest.raises(ConversionError, match=r"pos_embed is \(1, 6, 16\), expected \(1, 9, 16\)"):
        convert(class_token, num_frames=8)
    assert convert_mmaction2(mmaction2_file(tmp_path / "c.pth")).model.config.num_frames == 4


def test_layouts_differ_in_the_epsilon_of_the_head(tmp_path):
    official = convert(official_file(tmp_path / "a.pt", head=transformer_head()), num_frames=4).model
    ported = convert_mmaction2(mmaction2_file(tmp_path / "b.pth")).model
    assert official.temporal_head.layers[0].layer_norm1.eps == 1e-12
    assert ported.temporal_head.layers[0].layer_norm1.eps == 1e-5
    assert (official.config.max_frame_positions, ported.config.max_frame_positions) == (77, 4)


def test_temporal_shift_is_told_from_the_names(tmp_path):
    torch.manual_seed(0)
    shifted = convert(official_file(tmp_path / "a.pt", clip=openai_clip(net=".net")), num_frames=4).model
    plain = convert(official_file(tmp_path / "b.pt", clip=openai_clip()), num_frames=4).model
    assert shifted.config.temporal_shift and not plain.config.temporal_shift
    assert all(torch.equal(p, plain.state_dict()[n]) for n, p in shifted.state_dict().items())
    with torch.no_grad():
        pair = [model.encode_videos(frames()).video_embeds for model in (shifted, plain)]
    assert (pair[0] - pair[1]).abs().max() > 1e-3


def test_joint_space_time_is_told_from_the_names(tmp_path):
    clip = openai_clip() | {"visual.time_embedding": torch.randn(3, WIDTH)}
    model = convert(official_file(tmp_path / "a.pt", clip=clip)).model
    assert model.config.joint_space_time and model.config.num_frames == 3
    assert torch.equal(model.time_embedding, clip["visual.time_embedding"])


def test_convolution_of_the_official_code_keeps_its_layout_unless_told(tmp_path):
    path = official_file(tmp_path / "a.pt", head=HEADS["Conv_1D"]())
    conversion = convert(path, num_frames=4)
    assert conversion.model.config.conv1d_legacy_view
    assert any("mixes channels and time" in note for note in conversion.notes)
    assert not convert(path, num_frames=4, conv1d_legacy_view=False).model.config.conv1d_legacy_view


def test_files_that_are_refused(tmp_path):
    official = official_file(tmp_path / "official.pt")
    ported = mmaction2_file(tmp_path / "ported.pth")
    with pytest.raises(ConversionError, match="not a checkpoint of the official ActionCLIP code"):
        convert(ported)
    with pytest.raises(ConversionError, match="no 'state_dict'"):
        convert_mmaction2(official)
    foreign = official_file(tmp_path / "foreign.pt", head={"visual_prompt.0": torch.zeros(1)})
    with pytest.raises(ConversionError, match=r"unknown temporal head: \['visual_prompt\.0'\]"):
        convert(foreign, num_frames=4)
    head = transformer_head() | {"transformer.resblocks.0.gate": torch.zeros(1)}
    del head["transformer.resblocks.1.ln_2.bias"]
    with pytest.raises(ConversionError, match=r"missing: temporal_head\.layers\.1\.layer_norm2\.bias") as info:
        convert(official_file(tmp_path / "head.pt", head=head), num_frames=4)
    assert "unexpected: transformer.resblocks.0.gate" in str(info.value)
    with pytest.raises(ConversionError, match="entries that are not tensors: module.gate"):
        convert(official_file(tmp_path / "list.pt", head={"gate": [1, 2]}), num_frames=4)
    clip = openai_clip() | {STRANGER: torch.zeros(1)}
    with pytest.raises(ConversionError, match=f"unexpected: {STRANGER}"):
        convert(official_file(tmp_path / "clip.pt", clip=clip), num_frames=4)
    stray = mmaction2_file(tmp_path / "stray.pth")
    content = torch.load(stray, weights_only=True)
    content["state_dict"]["cls_head.fc.weight"] = torch.zeros(1)
    torch.save(content, stray)
    with pytest.raises(ConversionError, match=r"cls_head\.fc\.weight"):
        convert_mmaction2(stray)


def test_fields_of_the_configuration(tmp_path):
    path = official_file(tmp_path / "a.pt")
    model = convert_checkpoint(path, "actionclip", num_frames=4, loss_type="ce", eval_logit_scale=50.0).model
    assert (model.config.loss_type, model.config.eval_logit_scale) == ("ce", 50.0)
    with pytest.raises(ConversionError, match="ActionCLIPConfig has no field 'loss_typo'"):
        convert_checkpoint(path, "actionclip", num_frames=4, loss_typo="ce")
    with pytest.raises(ConversionError, match="num_frames must be at least 1"):
        convert_checkpoint(path, "actionclip", num_frames=0)
    with pytest.raises(ConversionError, match="Unknown source 'other'; known: actionclip"):
        convert_checkpoint(path, "other")


@pytest.mark.parametrize("kind", ["actionclip", "mmaction2-actionclip"])
def test_folder_loads_by_the_auto_classes_with_the_protocol_of_its_code(tmp_path, kind):
    official = kind == "actionclip"
    path = (official_file if official else mmaction2_file)(tmp_path / "file", head=transformer_head(rows=4))
    conversion = convert_checkpoint(path, kind, tokenizer=tiny_clip_tokenizer(), num_frames=4)
    conversion.save(tmp_path / "out")
    model, processor = AutoModel.from_pretrained(tmp_path / "out"), AutoProcessor.from_pretrained(tmp_path / "out")
    assert isinstance(model, ActionCLIPModel) and len(processor.prompt_templates) == 16
    video = processor.video_processor
    assert (video.num_frames, video.crop_size) == (4, {"height": GRID * PATCH, "width": GRID * PATCH})
    assert video.size == {"shortest_edge": GRID * PATCH * 256 // 224}
    assert video.sampling == ("actionclip" if official else "mmaction")
    assert video.antialias == official
    labels = processor.prepare_labels(["riding a bike", "cooking"])
    with torch.no_grad():
        loaded, converted = (m(frames(), **labels).logits_per_video for m in (model, conversion.model))
    assert torch.equal(loaded, converted)


def test_without_a_tokenizer_the_folder_says_so_and_waits_for_one(tmp_path):
    path = official_file(tmp_path / "file")
    conversion = convert_checkpoint(path, "actionclip", num_frames=4)
    assert any("no tokenizer" in note for note in conversion.notes) and "no tokenizer" in conversion.summary()
    conversion.save(tmp_path / "out")
    tiny_clip_tokenizer().save_pretrained(tmp_path / "out")
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert processor.video_processor.sampling == "actionclip"
    assert processor.prepare_labels(["cooking"])["prompt_index"].shape == (1, 16)


def test_tokenizer_and_templates(tmp_path):
    path = official_file(tmp_path / "file")
    tokenizer = tiny_clip_tokenizer()
    templates = ["{}", "a video of {}"]
    conversion = convert_checkpoint(path, "actionclip", tokenizer, templates, num_frames=4)
    conversion.save(tmp_path / "out")
    assert AutoProcessor.from_pretrained(tmp_path / "out").prompt_templates == templates
    with pytest.raises(ConversionError, match="pass --tokenizer too"):
        convert_checkpoint(path, "actionclip", None, templates, num_frames=4)
    with pytest.raises(ConversionError, match="no tokenizer can be loaded"):
        convert_checkpoint(path, "actionclip", str(tmp_path / "nowhere"), num_frames=4)
    tokenizer.add_tokens(["<new>"])
    with pytest.raises(ConversionError, match=r"tokenizer has \d+ entries"):
        convert_checkpoint(path, "actionclip", tokenizer, num_frames=4)


def test_plain_clip_folder_starts_a_method(tmp_path):
    torch.save(openai_clip(), tmp_path / "clip.pt")
    conversion = convert_checkpoint(str(tmp_path / "clip.pt"), "openai-clip", tiny_clip_tokenizer())
    conversion.save(tmp_path / "clip")
    model = ActionCLIPModel.from_encoder(str(tmp_path / "clip"))
    assert model.config.sim_header == "meanP"
    expected = conversion.model.state_dict()
    assert all(torch.equal(p, expected[n]) for n, p in model.backbone.model.state_dict().items())
    names = {path.name for path in (tmp_path / "clip").iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer_config.json"} <= names
