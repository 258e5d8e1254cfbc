"""Methods on published models of images: whatever an encoder's towers look like, the method computes on them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoProcessor

import hf_zsar
from hf_zsar import METHODS, LabelBank
from hf_zsar.encoders import ENCODERS
from hf_zsar.modeling.dual_encoder import DualEncoderPreTrainedModel
from tests.tiny_encoders import TINY_ENCODERS, encoder_folder, some_videos
from tests.tiny_models import LABELS, NUM_FRAMES, method_fields, parameters_of, tiny_folder, tiny_videos


ON_ENCODERS = [
    name
    for name, spec in METHODS.items()
    if issubclass(spec.model_class, DualEncoderPreTrainedModel) and spec.model_class.needs_blocks
]
SHOWN = [kind for kind in TINY_ENCODERS if ENCODERS[kind].adapter_class().shows_blocks]
FAST = ("clip", "siglip")
on_every_encoder = pytest.mark.parametrize(
    "kind", [kind if kind in FAST else pytest.param(kind, marks=pytest.mark.slow) for kind in SHOWN]
)
every_method = pytest.mark.parametrize("method", ON_ENCODERS)
Started = Callable[..., tuple]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return functools.cache(lambda kind: encoder_folder(kind, tmp_path_factory.mktemp("encoders") / kind))


@pytest.fixture(scope="module")
def started(folder_of: Callable[[str], Path]) -> Started:
    """`started(method, kind, **fields)`: model and processor by the one call."""

    def start(method: str, kind: str, **fields) -> tuple:
        torch.manual_seed(0)
        own = method_fields(method)
        return hf_zsar.load(folder_of(kind), method=method, **{**own, **fields})

    return start


def answer(model, processor, labels=LABELS) -> torch.Tensor:
    with torch.no_grad():
        features = model.encode_videos(**processor(videos=some_videos([9, 5], size=45)))
        return model.score(features, model.build_label_bank(processor, labels))


def test_all_of_these_are_tried():
    assert ON_ENCODERS == ["actionclip", "dasti", "stdd"] and set(SHOWN) == {"clip", "metaclip_2", "siglip", "tipsv2"}


@every_method
@on_every_encoder
def test_one_call_gives_a_model_and_the_processor_that_goes_with_it(method, kind, started, folder_of, tmp_path):
    model, processor = started(method, kind)
    published, its_processor = hf_zsar.load(folder_of(kind))
    assert type(model) is METHODS[method].model_class and type(processor) is METHODS[method].processor_class
    assert tuple(processor.prompt_templates) == METHODS[method].processor_class.default_templates
    for name in ("size", "crop_size", "do_normalize", "image_mean", "image_std", "resample"):
        assert getattr(processor.video_processor, name) == getattr(its_processor.video_processor, name), name
    assert processor.video_processor.num_frames == model.config.num_frames == NUM_FRAMES
    assert (processor.text_padding, processor.text_limit) == (its_processor.text_padding, its_processor.text_limit)
    weights = published.backbone.model.state_dict()
    assert all(torch.equal(weights[name], each) for name, each in model.backbone.model.state_dict().items())
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, text_side = AutoModel.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    assert torch.equal(answer(again, text_side), answer(model, processor))
    classifier, videos = hf_zsar.pipeline(tmp_path), some_videos([9, 5], size=45)
    scores = answer(model, processor).softmax(dim=1)
    for row, answers in zip(scores, classifier(videos, candidate_labels=list(LABELS)), strict=True):
        found = {each["label"]: each["score"] for each in answers}
        assert found == pytest.approx(dict(zip(LABELS, row.tolist(), strict=True)), abs=1e-5)
    assert text_side.prepare_labels(LABELS)["input_ids"].shape[1] in ([32] if kind == "siglip" else range(3, 78))


@torch.no_grad()
@on_every_encoder
def test_frames_and_texts_are_the_encoders_own(kind, started):
    model, processor = started("actionclip", kind)
    frames, tokens = tiny_videos().flatten(0, 1), processor.tokenize([f"a video of {label}" for label in LABELS])
    upstream = model.backbone.model
    expected = upstream.get_image_features(pixel_values=frames).pooler_output
    pooled, patches = model.backbone.encode_frames(frames, return_patches=True)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=0)
    assert patches.shape == (len(frames), 16, model.backbone.dim) and expected.shape[1] == model.backbone.dim
    given = {"input_ids": tokens["input_ids"]} if kind == "siglip" else tokens  # its own processor gives no mask
    texts = upstream.get_text_features(**given).pooler_output
    found, words = model.backbone.encode_words(tokens["input_ids"], tokens["attention_mask"], 77)
    torch.testing.assert_close(found, texts, atol=1e-5, rtol=0)
    assert words.shape == (*tokens["input_ids"].shape, model.backbone.dim)
    trimmed = model.backbone.encode_texts(tokens["input_ids"], tokens["attention_mask"], 77)
    torch.testing.assert_close(trimmed, texts, atol=1e-5, rtol=0)


@torch.no_grad()
def test_patches_of_siglip_are_pooled_as_if_each_were_the_image(started):
    backbone = started("dasti", "siglip")[0].backbone
    tokens = backbone.run_vision_layers(backbone.embed_patches(tiny_videos().flatten(0, 1)))
    patches = backbone.project_patches(tokens)
    torch.testing.assert_close(patches[:, 5], backbone.pool(tokens[:, 5:6]))


@torch.no_grad()
@pytest.mark.slow
def test_patches_of_tipsv2_are_its_last_states_behind_class_and_register(started):
    backbone, frames = started("dasti", "tipsv2")[0].backbone, tiny_videos().flatten(0, 1)
    expected = backbone.model.vision_model(pixel_values=frames).last_hidden_state[:, 2:]
    torch.testing.assert_close(backbone.encode_frames(frames, return_patches=True)[1], expected, atol=1e-6, rtol=0)


@torch.no_grad()
@on_every_encoder
def test_space_time_blocks_without_masks_and_mixing_are_the_encoders_own(kind, started):
    model, _ = started("stdd", kind, mask_rate=0.0, channel_fold=1000)
    videos = tiny_videos()
    plain = model.backbone.model.get_image_features(pixel_values=videos.flatten(0, 1)).pooler_output
    found = model.encode_videos(videos).frame_embeds.flatten(0, 2)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=0)
    mixed = started("stdd", kind)[0].encode_videos(videos).frame_embeds.flatten(0, 2)
    assert (mixed - plain).abs().max() > 1e-3


@every_method
@on_every_encoder
def test_one_step_of_training_changes_both_sides(method, kind, started):
    fields = dict(distill_weight=2.0) if method == "stdd" else {}
    model, processor = started(method, kind, **fields)
    model = model.train()
    model.prepare_training(LABELS)
    inputs = {"pixel_values_videos": tiny_videos(), **processor.prepare_labels(LABELS)}
    model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    for role in ("vision", "text", "scale"):
        gradients = [each.grad for each in parameters_of(model, role) if each.grad is not None]
        # Of the scale of ActionCLIP on an encoder with a bias the latter is there, too, and moves nothing.
        assert gradients and all(each.isfinite().all() for each in gradients), role
        assert any(each.abs().max() > 0 for each in gradients) or role == "scale", role
    if method == "stdd":
        assert model.teacher.encode_frames(tiny_videos()[0])[0].shape == (NUM_FRAMES, model.backbone.dim)


@every_method
@on_every_encoder
def test_banks_are_saved_and_sliced(method, kind, started, tmp_path):
    model, processor = started(method, kind)
    with torch.no_grad():
        features = model.encode_videos(**processor(videos=some_videos([9, 5], size=45)))
        model.build_label_bank(processor, LABELS).save(tmp_path / "bank.safetensors")
        some = LabelBank.load(tmp_path / "bank.safetensors").select([LABELS[3], LABELS[0]])
        of_two = model.build_label_bank(processor, [LABELS[3], LABELS[0]])
        torch.testing.assert_close(model.score(features, some), model.score(features, of_two), atol=1e-5, rtol=1e-4)


@every_method
def test_attributes_are_found_among_padded_tokens(method, started):
    model, processor = started(method, "siglip")
    known = {LABELS[0]: ["wheel", "helmet"]}
    with torch.no_grad():
        features = model.encode_videos(**processor(videos=some_videos([9], size=45)))
        plain, described = (
            model.score(features, model.build_label_bank(processor, LABELS, descriptions=each))
            for each in (None, known)
        )
    assert (plain - described)[0, 0].abs() > 1e-6
    if method == "dasti":
        data = processor.prepare_labels(LABELS[:1], descriptions=known)
        groups = data["word_groups"][data["attribute_index"][0, 0]]
        assert groups.max() == 1 and (groups >= 0).sum() == len("wheelhelmet")


@every_method
def test_what_a_method_cannot_stand_on_is_refused_in_one_sentence(method, folder_of, tmp_path):
    with pytest.raises(ValueError, match="cannot stand on a 'xclip' model, only on clip, metaclip_2, siglip, tipsv2"):
        hf_zsar.load(folder_of("xclip"), method=method)
    with pytest.raises(ValueError, match="cannot stand on a model of open_clip"):
        hf_zsar.load("hf-hub:timm/PE-Core-B-16", method=method)
    (tmp_path / "config.json").write_text('{"model_type": "siglip2"}')
    with pytest.raises(ValueError, match="NaFlex.*google/siglip2-base-patch16-224"):
        hf_zsar.load(tmp_path, method=method)
    with pytest.raises(ValueError, match="is a model of this package already"):
        hf_zsar.load(tiny_folder(method, tmp_path / "own"), method=method)
    with pytest.raises(ValueError, match="num_frame"):
        hf_zsar.load(folder_of("clip"), method=method, num_frame=3)
