"""The adapter between methods and their backbone, and starting a method from a CLIP."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, CLIPConfig, CLIPModel, MetaClip2Config, MetaClip2Model

from hf_zsar import METHODS
from hf_zsar.modeling import encoder
from hf_zsar.modeling.dual_encoder import DualEncoderPreTrainedModel
from hf_zsar.modeling.encoder_clip import CLIPEncoder
from tests.tiny_models import (
    IMAGE_SIZE,
    NUM_FRAMES,
    method_fields,
    parameters_of,
    tiny_clip_config,
    tiny_inputs,
    tiny_model,
    tiny_videos,
)


DUAL_ENCODER_METHODS = [n for n, spec in METHODS.items() if issubclass(spec.model_class, DualEncoderPreTrainedModel)]


def tiny_clip(seed: int = 0, **overrides) -> CLIPModel:
    config = {**tiny_clip_config(), **overrides}
    config.pop("model_type")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLIPModel(CLIPConfig(**config)).eval()


@pytest.fixture
def backbone() -> CLIPEncoder:
    return tiny_model("actionclip").backbone.eval()


def sentences(count: int, context: int = 77, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as the official tokenizer gives them (zeros after the end token), and the mask of their true lengths."""
    config = tiny_clip_config()["text_config"]
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 20, (count,), generator=generator)
    lengths[0] = context  # one row fills the whole context
    ids = torch.randint(5, config["bos_token_id"], (count, context), generator=generator)
    positions = torch.arange(context)
    ids[:, 0] = config["bos_token_id"]
    ids[torch.arange(count), lengths - 1] = config["eos_token_id"]
    mask = positions < lengths[:, None]
    return ids * mask, mask.long()


# -- the adapter ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_frames_are_clips_image_features(backbone):
    frames = tiny_videos().flatten(0, 1)
    pooled, patches = backbone.encode_frames(frames, return_patches=True)
    assert torch.allclose(pooled, backbone.model.get_image_features(frames).pooler_output, atol=1e-6)
    hidden = backbone.model.vision_model(frames).last_hidden_state
    assert torch.allclose(patches, backbone.project_patches(hidden), atol=1e-6)
    assert patches.shape == (len(frames), 16, backbone.dim)
    assert backbone.encode_frames(frames)[1] is None


@torch.no_grad()
def test_other_frame_sizes_interpolate_the_positions(backbone):
    frames = torch.randn(2, 3, 48, 32)
    pooled, patches = backbone.encode_frames(frames, return_patches=True)
    assert patches.shape[1] == 6 * 4
    expected = backbone.model.get_image_features(frames, interpolate_pos_encoding=True).pooler_output
    assert torch.allclose(pooled, expected, atol=1e-6)


@torch.no_grad()
def test_sorted_and_trimmed_texts_are_the_full_context(backbone, monkeypatch):
    ids, mask = sentences(41)
    # Small batches, so that rows of one batch differ in length and batches differ too.
    monkeypatch.setattr(encoder, "TEXT_BATCH", 7)
    trimmed = backbone.encode_texts(ids, mask, 77)
    official = backbone.model.text_projection(backbone.model.text_model(input_ids=ids).pooler_output)
    assert torch.allclose(trimmed, official, atol=1e-6)
    without_mask = backbone.encode_texts(ids, None, 77)
    assert torch.allclose(without_mask, official, atol=1e-6)


@torch.no_grad()
def test_what_stands_after_the_end_token_does_not_matter(backbone):
    ids, mask = sentences(9)
    end = tiny_clip_config()["text_config"]["eos_token_id"]
    padded = torch.where(mask.bool(), ids, torch.tensor(end))
    pair = [backbone.encode_texts(rows, mask, 77) for rows in (ids, padded)]
    assert torch.allclose(*pair, atol=1e-6)


def test_only_as_many_tokens_are_encoded_as_each_batch_needs(backbone, monkeypatch):
    widths = []
    inner = backbone.embed_texts
    monkeypatch.setattr(backbone, "embed_texts", lambda ids, mask: widths.append(ids.shape[1]) or inner(ids, mask))
    monkeypatch.setattr(encoder, "TEXT_BATCH", 10)
    ids, mask = sentences(41)
    with torch.no_grad():
        backbone.encode_texts(ids, mask, 77)
    assert widths == sorted(widths) and widths[-1] == 77 and widths[0] < 20 and len(widths) == 5


def test_texts_with_gradient_equal_those_without(backbone, monkeypatch):
    ids, mask = sentences(12)
    pooled, tokens = backbone.encode_words(ids, mask, 77)
    monkeypatch.setattr(encoder, "TEXT_BATCH", 5)
    with torch.no_grad():
        plain = backbone.encode_texts(ids, mask, 77)
        same, plain_tokens = backbone.encode_words(ids, mask, 77)
    assert (
        pooled.requires_grad and torch.allclose(pooled, plain, atol=1e-6) and torch.allclose(pooled, same, atol=1e-6)
    )
    assert torch.allclose(tokens, plain_tokens, atol=1e-6)
    ends = mask.sum(1) - 1
    assert torch.allclose(tokens[torch.arange(12), ends], pooled, atol=1e-6)


@torch.no_grad()
def test_own_function_in_place_of_a_block(backbone):
    frames = tiny_videos().flatten(0, 1)
    seen = []

    def skip_odd(layer, hidden, index):
        seen.append(index)
        return hidden if index % 2 else layer.forward(hidden, None)

    skipped, _ = backbone.encode_frames(frames, skip_odd)
    hidden = backbone.model.vision_model.pre_layrnorm(backbone.embed_patches(frames))
    assert seen == [0, 1]
    assert torch.allclose(skipped, backbone.pool(backbone.vision_layers[0](hidden, None)), atol=1e-6)


def test_own_function_under_gradient_checkpointing_gives_the_same_gradients():
    frames = tiny_videos().flatten(0, 1)
    calls, gradients = [], []

    def block(layer, hidden, index):
        calls.append(index)
        hidden = hidden + layer.self_attn(layer.layer_norm1(hidden))[0]
        return hidden + layer.mlp(layer.layer_norm2(hidden))

    for checkpointing in (False, True):
        model = tiny_model("actionclip").train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        calls.clear()
        model.backbone.encode_frames(frames, block)[0].square().sum().backward()
        # Once forward, and once more when the gradient comes by.
        assert sorted(calls) == ([0, 0, 1, 1] if checkpointing else [0, 1])
        gradients.append([p.grad.clone() for p in parameters_of(model, "vision") if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 20
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*gradients, strict=True))


def test_roles_of_the_towers_are_all_but_the_scale():
    model = tiny_model("actionclip")
    towers = {id(p) for role in ("vision", "text") for p in parameters_of(model, role)}
    rest = {n for n, p in model.backbone.named_parameters() if id(p) not in towers}
    assert rest == {"model.logit_scale"}


def test_sizes(backbone):
    config = backbone.model.config
    assert backbone.dim == config.projection_dim and backbone.patch_size == (8, 8)
    assert backbone.vision_width == config.vision_config.hidden_size
    assert backbone.text_width == config.text_config.hidden_size
    assert (len(backbone.vision_layers), len(backbone.text_layers)) == (2, 2)


# -- starting from a CLIP ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", DUAL_ENCODER_METHODS)
def test_from_a_loaded_clip_its_modules_are_shared(method):
    clip = tiny_clip(seed=3)
    clip.set_attn_implementation({"text_config": "eager"})
    before = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    torch.manual_seed(0)
    model = METHODS[method].model_class.from_encoder(clip, **method_fields(method))
    assert model.backbone.model is clip and model.config.backbone_config is clip.config
    assert all(torch.equal(tensor, before[name]) for name, tensor in clip.state_dict().items())
    assert clip.text_model.config._attn_implementation == "eager" != clip.vision_model.config._attn_implementation
    assert not model.training
    assert all(p.isfinite().all() and p.device.type == "cpu" for p in model.parameters())
    features = model.encode_videos(tiny_videos())
    assert features.video_embeds.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("method", DUAL_ENCODER_METHODS)
def test_on_the_weights_of_a_clip_metaclip_2_scores_as_it_does(method, tmp_path):
    clip, inputs = tiny_clip(seed=3), tiny_inputs(method)
    metaclip = MetaClip2Model(MetaClip2Config(**{**clip.config.to_dict(), "model_type": "metaclip_2"}))
    metaclip.load_state_dict(clip.state_dict())
    models = []
    for backbone in (clip, metaclip.eval()):
        torch.manual_seed(0)
        models.append(METHODS[method].model_class.from_encoder(backbone, **method_fields(method)))
    logits = [model(**inputs).logits_per_video for model in models]
    torch.testing.assert_close(logits[1], logits[0], atol=1e-5, rtol=0)
    assert "MetaClip2EncoderLayer" in models[1]._no_split_modules and "CLIPEncoderLayer" in models[0]._no_split_modules
    models[1].save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(loaded(**inputs).logits_per_video, logits[1])


@pytest.mark.parametrize("method", DUAL_ENCODER_METHODS)
def test_from_a_folder(method, tmp_path):
    tiny_clip(seed=3).save_pretrained(tmp_path)
    model_class = METHODS[method].model_class
    options = dict(dtype=torch.bfloat16, load_kwargs=dict(attn_implementation="eager"), **method_fields(method))
    torch.manual_seed(0)
    model = model_class.from_encoder(tmp_path, **options)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.config._attn_implementation == "eager"
    assert model.config.backbone_config.vision_config._attn_implementation == "eager"
    again = model_class.from_encoder(str(tmp_path), dtype=torch.float32, **method_fields(method))
    clip = tiny_clip(seed=3)
    assert all(torch.equal(p, clip.state_dict()[n]) for n, p in again.backbone.model.state_dict().items())


def test_head_that_starts_fresh_is_the_one_of_an_ordinary_model():
    """The way past a second backbone changes nothing about how the rest is initialized."""
    torch.manual_seed(0)
    started = METHODS["actionclip"].model_class.from_encoder(tiny_clip(), sim_header="Transf", temporal_layers=2)
    ordinary = tiny_model("actionclip")
    assert sum(p.numel() for p in started.temporal_head.parameters())
    for name, weight in started.temporal_head.named_parameters():
        other = ordinary.temporal_head.get_parameter(name)
        if name != "position_embedding.weight":
            assert weight.std().item() == pytest.approx(other.std().item(), rel=0.2, abs=1e-7), name


def test_a_clip_started_from_without_initialization_keeps_its_weights():
    """Weights that transformers does not know to be loaded are not thrown away."""
    from transformers.initialization import no_init_weights

    config = tiny_clip().config
    with no_init_weights():
        clip = CLIPModel(config)
    clip.load_state_dict(tiny_clip(seed=5).state_dict())
    model = METHODS["actionclip"].model_class.from_encoder(clip)
    expected = tiny_clip(seed=5).state_dict()
    assert all(torch.equal(p, expected[n]) for n, p in model.backbone.model.state_dict().items())


def test_image_and_patch_size_are_the_checkpoints():
    vision = {**tiny_clip_config()["vision_config"], "image_size": 48, "patch_size": 16}
    clip = tiny_clip(vision_config=vision)
    model = METHODS["actionclip"].model_class.from_encoder(clip)
    assert model.backbone.patch_size == (16, 16)
    videos = torch.randn(1, NUM_FRAMES, 3, 48, 48)
    with torch.no_grad():
        frames = model.encode_videos(videos).frame_embeds[0, 0]
        expected = clip.get_image_features(videos[0]).pooler_output
    assert torch.allclose(frames, expected, atol=1e-6)


def test_what_cannot_be_started_from(tmp_path):
    model_class = METHODS["actionclip"].model_class
    with pytest.raises(ValueError, match="this model is loaded already"):
        model_class.from_encoder(tiny_clip(), dtype=torch.bfloat16)
    bert = BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16))
    with pytest.raises(ValueError, match="ActionCLIPModel cannot stand on a 'bert' model, only on clip, .*siglip"):
        model_class.from_encoder(bert)
    with pytest.raises(OSError):
        model_class.from_encoder(str(tmp_path / "nowhere"))


def test_saved_and_loaded_after_starting_from_a_clip(tmp_path):
    model_class = METHODS["actionclip"].model_class
    model = model_class.from_encoder(tiny_clip(), num_frames=NUM_FRAMES)
    model.save_pretrained(tmp_path)
    loaded = model_class.from_pretrained(tmp_path)
    videos = tiny_videos()
    assert videos.shape[-1] == IMAGE_SIZE
    with torch.no_grad():
        pair = [m.encode_videos(videos).video_embeds for m in (model, loaded)]
    assert torch.equal(*pair)
