"""STDD as a whole: what must hold of it by its definition, masks, matching and distillation."""

from __future__ import annotations

import logging

import pytest
import torch
from accelerate import cpu_offload, cpu_offload_with_hook
from accelerate.hooks import ModelHook, add_hook_to_module
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassError
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel

from hf_zsar import LabelBank, STDDConfig, STDDModel
from hf_zsar.modeling import modeling_stdd
from hf_zsar.modeling.distillation import distillation, distillation_loss, teacher_frame_embeds
from hf_zsar.modeling.modeling_stdd import bidirectional_match, text_tensors
from hf_zsar.modeling.modeling_zsar import VideoFeatures, normalize
from tests.tiny_models import (
    LABELS,
    parameters_of,
    score_any,
    tiny_clip_config,
    tiny_inputs,
    tiny_model,
    tiny_processor,
    tiny_videos,
)


def stdd(**overrides):
    return tiny_model("stdd", **overrides)


def frame_embeds(model, videos, **options):
    with torch.no_grad():
        return model.encode_videos(videos, **options).frame_embeds


def text_inputs(**options):
    return dict(tiny_processor("stdd").prepare_labels(list(LABELS), **options))


def random_bank(labels=3, prompts=4, dim=64, seed=0):
    prompts = torch.randn(labels, prompts, dim, generator=torch.Generator().manual_seed(seed))
    mask = torch.ones(prompts.shape[:2], dtype=torch.bool)
    return LabelBank([str(i) for i in range(labels)], text_tensors(normalize(prompts), mask))


def random_features(batch=2, views=1, frames=4, dim=64, seed=0):
    embeds = torch.randn(batch, views, frames, dim, generator=torch.Generator().manual_seed(seed))
    return VideoFeatures(video_embeds=normalize(embeds.mean((1, 2))), frame_embeds=embeds)


# -- the tower ---------------------------------------------------------------------------------------


def test_the_tower_has_the_weights_of_clip_and_no_others():
    model = stdd(distill_weight=0.0)
    clip = CLIPModel(model.config.backbone_config)
    names = {f"backbone.model.{name}" for name in clip.state_dict()}
    assert set(model.state_dict()) == names
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in clip.parameters())


@torch.no_grad()
@pytest.mark.parametrize(
    "settings",
    [dict(mask_rate=0), dict(window_size=1, mask_rate=0.9), dict(use_stca=False), dict(window_size=4, mask_rate=0)],
)
def test_it_is_clip_per_frame_without_masks_and_mixing(settings):
    model, videos = stdd(channel_fold=65, **settings), tiny_videos()
    plain = model.backbone.model.get_image_features(videos.flatten(0, 1)).pooler_output
    torch.testing.assert_close(frame_embeds(model, videos).view_as(plain), plain, rtol=0, atol=1e-5)


@torch.no_grad()
def test_any_clip_opens_without_training_and_its_features_change():
    clip = CLIPModel(CLIPConfig(**tiny_clip_config())).eval()
    model, videos = STDDModel.from_encoder(clip, channel_fold=8), tiny_videos()
    plain = clip.get_image_features(videos.flatten(0, 1)).pooler_output
    assert (frame_embeds(model, videos).view_as(plain) - plain).abs().max() > 1e-3
    assert model.distill_projector[2].weight.count_nonzero() == 0


def test_without_mixing_frames_are_independent():
    model, videos = stdd(channel_fold=65), tiny_videos(batch=1)
    changed = videos.clone()
    changed[:, 1] += 1
    differs = (frame_embeds(model, videos) != frame_embeds(model, changed)).any(-1)
    assert differs[0, 0].tolist() == [False, True, False, False]
    plain = stdd(channel_fold=65, use_stca=False)
    assert (frame_embeds(model, videos) - frame_embeds(plain, videos)).abs().max() > 1e-3


@pytest.mark.parametrize(("layers", "scales", "reach"), [(1, [1], 1), (1, [2], 2), (2, [1], 2), (2, [2, 1], 4)])
def test_temporal_reach_is_layers_times_the_largest_scale(layers, scales, reach):
    backbone = tiny_clip_config()
    backbone["vision_config"]["num_hidden_layers"] = layers
    model, videos = stdd(backbone_config=backbone, temporal_scales=scales), tiny_videos(batch=1, frames=8)
    changed = videos.clone()
    changed[:, 2] += 1
    differs = (frame_embeds(model, videos) != frame_embeds(model, changed)).any(-1)
    assert differs[0, 0].tolist() == [abs(frame - 2) <= reach for frame in range(8)]


def test_videos_and_views_never_interact():
    model, videos = stdd(), tiny_videos(batch=3, views=2)
    together = frame_embeds(model, videos)
    torch.testing.assert_close(frame_embeds(model, videos[[2, 0, 1]]), together[[2, 0, 1]], rtol=0, atol=1e-6)
    for view in range(2):
        alone = frame_embeds(model, videos[:, view])
        torch.testing.assert_close(alone[:, 0], together[:, view], rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_any_number_of_frames(frames):
    embeds = frame_embeds(stdd(temporal_scales=[1, 3]), tiny_videos(frames=frames))
    assert embeds.shape == (2, 1, frames, 64)
    assert embeds.isfinite().all()


def test_attention_implementations_agree():
    videos = tiny_videos()
    embeds = []
    for name in ("eager", "sdpa"):
        model = stdd()
        model.set_attn_implementation(name)
        assert model.backbone.vision_layers[0].self_attn.config._attn_implementation == name
        embeds.append(frame_embeds(model, videos))
    torch.testing.assert_close(*embeds, rtol=0, atol=1e-5)


def test_device_hooks_on_blocks_are_respected():
    """What `device_map` relies on: accelerate puts a hook around each block, which moves its input."""
    model, videos = stdd(), tiny_videos()
    expected, seen = frame_embeds(model, videos), []

    class Recorder(ModelHook):
        def pre_forward(self, module, *args, **kwargs):
            seen.append((module, args[0].shape))
            return (args[0] * 2,), kwargs

        def post_forward(self, module, output):
            return output * 0.5

    for layer in model.backbone.vision_layers:
        add_hook_to_module(layer, Recorder())
    hooked = frame_embeds(model, videos)
    assert seen == [(layer, (8, 17, 64)) for layer in model.backbone.vision_layers]
    assert (hooked - expected).abs().max() > 1e-4


@pytest.mark.parametrize("offload", [cpu_offload, cpu_offload_with_hook])
def test_offloaded_weights(offload):
    model, videos = stdd(), tiny_videos()
    expected = frame_embeds(model, videos)
    offload(model, execution_device="cpu")
    assert torch.equal(frame_embeds(model, videos), expected)


@torch.no_grad()
def test_the_tower_compiles_and_exports_as_one_graph():
    """With deterministic masks nothing depends on data, and the batch is free."""
    model, videos = stdd(), tiny_videos()
    compiled = torch.compile(lambda clips: model.encode_videos(clips).frame_embeds, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(videos), frame_embeds(model, videos), rtol=0, atol=1e-6)

    class Tower(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, clips):
            return self.model.encode_videos(clips).frame_embeds

    exported = torch.export.export(Tower(), (videos,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    more = tiny_videos(batch=5)
    torch.testing.assert_close(exported(more), frame_embeds(model, more), rtol=0, atol=1e-6)


def test_other_resolutions_interpolate_positions():
    model = stdd()
    assert frame_embeds(model, torch.randn(1, 2, 3, 48, 64)).shape == (1, 1, 2, 64)
    with pytest.raises(ValueError, match="3x4 patches"):
        model.encode_videos(torch.randn(1, 2, 3, 24, 32))


# -- configuration -----------------------------------------------------------------------------------


def test_a_grid_of_seven_is_refused_when_the_model_is_made():
    """CLIP ViT-B/32: 7 x 7 patches."""
    backbone = CLIPConfig(**tiny_clip_config())
    backbone.vision_config.image_size = 56
    with pytest.raises(StrictDataclassClassValidationError, match="7x7 patches .* use_stca=False"):
        STDDConfig(backbone_config=backbone)
    with pytest.raises(StrictDataclassClassValidationError, match="7x7"):
        STDDModel.from_encoder(CLIPModel(backbone))
    model = STDDModel.from_encoder(CLIPModel(backbone), use_stca=False)
    assert frame_embeds(model, torch.randn(1, 2, 3, 56, 56)).shape == (1, 1, 2, 64)


@pytest.mark.parametrize(
    ("field", "value"),
    [("mask_rate", 1.0), ("mask_rate", -0.1), ("window_size", 0), ("channel_fold", 0)]
    + [("temporal_scales", value) for value in ([], [0], [1, -2], 2)],
)
def test_settings_that_mean_nothing_are_refused(field, value):
    with pytest.raises(StrictDataclassError, match=field):
        STDDConfig(**{field: value})


def test_the_default_is_vit_b_16():
    config = STDDConfig()
    assert config.backbone_config.vision_config.patch_size == 16
    assert STDDConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()


# -- masks -------------------------------------------------------------------------------------------


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_evaluation_is_deterministic_by_default():
    model, videos = stdd(), tiny_videos()
    first = frame_embeds(model, videos, generator=seeded(0))
    torch.manual_seed(1)
    assert torch.equal(frame_embeds(model, videos), first)


def test_official_random_evaluation_follows_its_generator():
    model, videos = stdd(eval_temporal_shuffle=True), tiny_videos()
    first = frame_embeds(model, videos, generator=seeded(0))
    assert torch.equal(frame_embeds(model, videos, generator=seeded(0)), first)
    assert (frame_embeds(model, videos, generator=seeded(1)) - first).abs().max() > 1e-3
    torch.manual_seed(5)
    drawn = frame_embeds(model, videos)
    assert not torch.equal(frame_embeds(model, videos), drawn)
    torch.manual_seed(5)
    assert torch.equal(frame_embeds(model, videos), drawn)


@pytest.mark.parametrize(("spatial_repeat", "shuffle"), [(True, True), (False, True), (True, False)])
def test_training_draws_a_mask_for_every_block_and_video(monkeypatch, spatial_repeat, shuffle):
    model = stdd(spatial_repeat=spatial_repeat, temporal_shuffle=shuffle).train()
    calls = []
    draw = modeling_stdd.random_window_mask
    monkeypatch.setattr(modeling_stdd, "random_window_mask", lambda *args: calls.append(args) or draw(*args))
    generator = seeded()
    masked = frame_embeds(model, tiny_videos(), generator=generator)
    assert calls == [((2, 2), 4, (4, 4), 2, 0.5, True, spatial_repeat, shuffle, generator)]
    explicit = frame_embeds(model, tiny_videos(), patch_masks=draw(*calls[0][:-1], seeded()))
    assert torch.equal(masked, explicit)


def test_masks_of_the_wrong_kind_are_refused():
    model, videos = stdd(), tiny_videos()
    mask = torch.zeros(4, 16, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"expected \[blocks, videos, frames, patches\] = \[2, 2, 4, 16\]"):
        model.encode_videos(videos, patch_masks=mask[:, :8])
    mask[0, 0] = True
    with pytest.raises(ValueError, match="the same number of patches"):
        model.encode_videos(videos, patch_masks=mask)
    with pytest.raises(ValueError, match="at least one"):
        model.encode_videos(videos, patch_masks=torch.ones_like(mask))


def test_gradient_checkpointing_repeats_the_masks():
    """Recomputing a block must not draw anew: same loss and gradients with and without."""
    gradients = []
    for checkpointing in (False, True):
        model = stdd().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.backbone.vision_layers[0].gradient_checkpointing
        model(**tiny_inputs("stdd"), labels=torch.tensor([0, 1]), generator=seeded()).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(*gradients)


# -- matching ----------------------------------------------------------------------------------------


def test_aggregation_table():
    similarity = torch.tensor([[1.0, 2, 6], [4, 0, 1]])  # two frames, three prompts
    frames, prompts = similarity[None, None], torch.eye(3)[None]
    assert bidirectional_match(frames, prompts, torch.ones(1, 3).bool()).item() == 4.5


@torch.no_grad()
def test_matching_reduces_as_it_should():
    model, bank = stdd(), random_bank()
    features = random_features()
    frames = normalize(features.frame_embeds[:, 0])
    similarity = torch.einsum("btd,kad->btka", frames, bank["prompt_embeds"]) * model.backbone.model.logit_scale.exp()

    def bank_of(count):
        tensors = text_tensors(bank["prompt_embeds"][:, :count], bank["prompt_mask"][:, :count])
        return LabelBank(bank.labels, tensors)

    one_prompt = similarity[..., 0]
    torch.testing.assert_close(
        score_any(model, features, bank_of(1)), (one_prompt.amax(1) + one_prompt.mean(1)) / 2, rtol=0, atol=1e-4
    )
    one_frame = VideoFeatures(video_embeds=features.video_embeds, frame_embeds=features.frame_embeds[:, :, :1])
    torch.testing.assert_close(
        score_any(model, one_frame, bank),
        (similarity[:, 0].mean(-1) + similarity[:, 0].amax(-1)) / 2,
        rtol=0,
        atol=1e-4,
    )
    model.config.matching = "mean"
    pooled = normalize(bank["prompt_embeds"].mean(1))
    expected = torch.einsum("btd,kd->btk", frames, pooled).mean(1) * model.backbone.model.logit_scale.exp()
    torch.testing.assert_close(score_any(model, features, bank), expected, rtol=0, atol=1e-4)


def with_prompts(bank, index):
    return LabelBank(bank.labels, text_tensors(bank["prompt_embeds"][:, index], bank["prompt_mask"][:, index]))


@torch.no_grad()
def test_order_and_doubling_of_prompts_and_frames():
    model, bank, features = stdd(), random_bank(), random_features()
    logits = score_any(model, features, bank)
    shuffled = VideoFeatures(
        video_embeds=features.video_embeds, frame_embeds=features.frame_embeds[:, :, [2, 0, 3, 1]]
    )
    for other in (
        score_any(model, shuffled, bank),
        score_any(model, features, with_prompts(bank, [3, 1, 0, 2])),
        score_any(model, features, with_prompts(bank, [0, 1, 2, 3] * 2)),
    ):
        torch.testing.assert_close(other, logits, rtol=0, atol=1e-4)
    # Doubling one prompt weighs it more in the mean over prompts and leaves the best prompt of a frame alone.
    doubled = score_any(model, features, with_prompts(bank, [0, 0, 1, 2, 3]))
    similarity = torch.einsum("bvtd,kad->bvtka", normalize(features.frame_embeds), bank["prompt_embeds"])[:, 0]
    best_frame = similarity.amax(1) * model.backbone.model.logit_scale.exp()
    expected = logits + (best_frame[..., [0, 0, 1, 2, 3]].mean(-1) - best_frame.mean(-1)) / 2
    torch.testing.assert_close(doubled, expected, rtol=0, atol=1e-4)
    assert (doubled - logits).abs().max() > 1e-3


@torch.no_grad()
def test_masked_prompts_do_not_exist():
    model, features, bank = stdd(), random_features(), random_bank()
    mask = bank["prompt_mask"].clone()
    mask[1, 2:] = False
    masked = LabelBank(bank.labels, text_tensors(bank["prompt_embeds"] * mask[..., None], mask))
    fewer = with_prompts(bank, [0, 1])
    logits = score_any(model, features, masked)
    torch.testing.assert_close(logits[:, 1], score_any(model, features, fewer)[:, 1], rtol=0, atol=1e-4)
    torch.testing.assert_close(logits[:, [0, 2]], score_any(model, features, bank)[:, [0, 2]], rtol=0, atol=1e-4)
    torch.testing.assert_close(masked["text_embeds"][1], fewer["text_embeds"][1])


@torch.no_grad()
@pytest.mark.parametrize("matching", ["bidirectional", "mean"])
def test_logits_are_averaged_over_views(matching):
    model, bank, features = stdd(matching=matching), random_bank(), random_features(views=3)
    views = [
        VideoFeatures(video_embeds=features.video_embeds, frame_embeds=features.frame_embeds[:, [view]])
        for view in range(3)
    ]
    mean = torch.stack([score_any(model, view, bank) for view in views]).mean(0)
    torch.testing.assert_close(score_any(model, features, bank), mean, rtol=0, atol=1e-4)


@torch.no_grad()
def test_memory_of_matching_is_bounded_in_the_number_of_labels(monkeypatch):
    model, bank, features = stdd(), random_bank(labels=7), random_features(views=2)
    whole, sizes = score_any(model, features, bank), []

    def recording(frames, prompts, mask):
        sizes.append(frames.shape[:3].numel() * mask.numel())
        return bidirectional_match(frames, prompts, mask)

    monkeypatch.setattr(modeling_stdd, "bidirectional_match", recording)
    monkeypatch.setattr(modeling_stdd, "MAX_SIMILARITIES", 2 * 2 * 4 * 4 * 3)  # three labels at a time
    torch.testing.assert_close(score_any(model, features, bank), whole)
    assert len(sizes) == 3
    assert max(sizes) <= modeling_stdd.MAX_SIMILARITIES


@torch.no_grad()
@pytest.mark.parametrize("matching", ["bidirectional", "mean"])
def test_matching_is_float32_under_autocast_and_in_half_models(matching):
    model, bank, features = stdd(matching=matching), random_bank(), random_features()
    expected = score_any(model, features, bank)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(score_any(model, features, bank), expected)
    half = features.to(torch.bfloat16)
    logits = score_any(model.to(torch.bfloat16), half, bank.to(torch.bfloat16))
    assert logits.dtype == torch.float32


@torch.no_grad()
def test_banks_hold_unit_prompts_and_their_mask():
    model = stdd()
    descriptions = {LABELS[0]: {"clauses": {"ao": ["which needs a bike", "which takes place on a road"]}}}
    bank = model.encode_labels(**text_inputs(descriptions=descriptions), labels=LABELS)
    assert bank["prompt_mask"].sum(1).tolist() == [24, 8, 8, 8, 8]
    norms = bank["prompt_embeds"].norm(dim=-1)
    torch.testing.assert_close(norms, bank["prompt_mask"].float())
    assert bank.fingerprint != model.encode_labels(**text_inputs(), labels=LABELS).fingerprint


# -- training ----------------------------------------------------------------------------------------


def training_inputs():
    return dict(tiny_inputs("stdd"), labels=torch.tensor([0, 1]), generator=seeded())


def test_the_text_tower_is_trained_only_if_asked():
    model = stdd(train_text_tower=False).train()
    model(**training_inputs()).loss.backward()
    assert all(parameter.grad is None for parameter in parameters_of(model, "text"))
    assert all(parameter.grad is not None for parameter in parameters_of(model, "vision"))
    assert model.eval().encode_labels(**text_inputs()).fingerprint
    model = stdd(train_text_tower=True).train()
    model(**training_inputs()).loss.backward()
    assert all(parameter.grad is not None for parameter in parameters_of(model, "text"))


def distilled(**overrides):
    model = stdd(distill_weight=2.0, train_text_tower=False, **overrides)
    model.set_teacher()
    return model


def test_the_projector_starts_at_zero():
    model = distilled()
    assert model.distill_projector[2].weight.count_nonzero() == 0
    assert model.distill_projector[0].weight.std() > 0.1  # Kaiming-normal: sqrt(2 / 64) = 0.18
    videos = tiny_videos()
    features = model.encode_videos(videos)
    student, teacher = normalize(features.frame_embeds), teacher_frame_embeds(model.teacher, videos)
    expected = 1 - (student * teacher).sum(-1).mean()
    found = distillation_loss(student, 0.1 * model.distill_projector(student), teacher)
    torch.testing.assert_close(found, expected)
    assert found > 1e-3


def test_a_student_without_space_time_attention_has_nothing_to_learn_from_itself():
    model = distilled(use_stca=False).train()
    loss = model(**training_inputs()).loss
    model.config.distill_weight = 0.0
    torch.testing.assert_close(model(**training_inputs()).loss, loss, rtol=0, atol=1e-5)


def test_distillation_reaches_student_and_projector_but_not_the_teacher():
    model, videos = distilled().train(), tiny_videos()
    features = model.encode_videos(videos, generator=seeded())
    loss = distillation(model, features, videos)
    loss.backward()
    tower = model.backbone.model.vision_model
    for parameter in (tower.embeddings.patch_embedding.weight, model.distill_projector[2].weight):
        assert parameter.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    assert teacher_frame_embeds(model.teacher, videos).grad_fn is None
    # The first weight has a gradient as soon as the second is not zero any more.
    assert model.distill_projector[0].weight.grad.count_nonzero() == 0


def test_the_teacher_is_no_part_of_the_model(tmp_path):
    model = distilled()
    names = set(model.state_dict())
    assert names == set(stdd(distill_weight=2.0).state_dict())
    assert len(list(model.parameters())) == len(names)
    model.save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == names
    assert STDDModel.from_pretrained(tmp_path).teacher is None


def test_the_teacher_stays_as_it_was_and_keeps_no_text_tower():
    model = distilled().train()
    assert not model.teacher.training
    assert model.teacher.model.text_model is None
    before = teacher_frame_embeds(model.teacher, tiny_videos())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(**training_inputs()).loss.backward()
    optimizer.step()
    assert torch.equal(teacher_frame_embeds(model.teacher, tiny_videos()), before)
    assert not torch.equal(normalize(frame_embeds(model.eval(), tiny_videos())), before)


def test_a_clip_that_shares_its_modules_with_the_student_is_copied(tmp_path):
    clip = CLIPModel(CLIPConfig(**tiny_clip_config())).eval()
    model = STDDModel.from_encoder(clip, channel_fold=8)
    model.set_teacher(clip)
    student = {parameter.data_ptr() for parameter in model.parameters()}
    assert not student & {parameter.data_ptr() for parameter in model.teacher.parameters()}
    assert all(parameter.requires_grad for parameter in clip.parameters())
    frames = tiny_videos().flatten(0, 1)
    expected = normalize(clip.get_image_features(frames).pooler_output)
    torch.testing.assert_close(teacher_frame_embeds(model.teacher, tiny_videos()).view_as(expected), expected)
    clip.save_pretrained(tmp_path)
    model.set_teacher(str(tmp_path))
    torch.testing.assert_close(teacher_frame_embeds(model.teacher, tiny_videos()).view_as(expected), expected)


def test_a_teacher_of_another_size_is_refused():
    other = CLIPModel(CLIPConfig(**tiny_clip_config(projection_dim=32)))
    with pytest.raises(ValueError, match="32 dimensions, the student in 64"):
        stdd(distill_weight=2.0).set_teacher(other)


def test_distillation_weighs_as_configured():
    losses = {}
    for weight in (0.0, 1.0, 3.0):
        model = stdd(distill_weight=weight, train_text_tower=False).train()
        model.set_teacher()
        losses[weight] = model(**training_inputs()).loss
    torch.testing.assert_close(losses[3.0] - losses[0.0], 3 * (losses[1.0] - losses[0.0]))
    assert losses[1.0] > losses[0.0]


def test_what_distillation_misses_is_said(caplog):
    model, videos = stdd(distill_weight=0.375), tiny_videos()  # a warning of its own: each is given once
    features, bank = model.encode_videos(videos), random_bank()
    targets = torch.eye(2, 3, dtype=torch.bool)
    with caplog.at_level(logging.WARNING):
        alone = model.compute_loss(features, bank, targets)
    assert "distill_weight=0.375 but there is no teacher" in caplog.text
    cross_entropy = torch.nn.functional.cross_entropy(score_any(model, features, bank), torch.tensor([0, 1]))
    torch.testing.assert_close(alone, cross_entropy)
    model.set_teacher()
    with pytest.raises(ValueError, match="needs pixel_values_videos"):
        model.compute_loss(features, bank, targets)


def test_the_teacher_follows_features_gathered_from_all_processes(monkeypatch):
    """Two processes with equal batches: the loss over both is the loss of one."""
    from hf_zsar.modeling import distillation as of_teacher
    from hf_zsar.modeling import distributed

    model = distilled().train()
    single = model(**training_inputs()).loss
    for module in (distributed, of_teacher):
        monkeypatch.setattr(module, "gather_with_grad", lambda tensor: torch.cat([tensor, tensor]))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    model.gather_loss = True
    torch.testing.assert_close(model(**training_inputs()).loss, single)
