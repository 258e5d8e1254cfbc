"""Published models behind our contract: their scores are those of transformers' own classes used by hand."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModel, AutoProcessor

import hf_zsar
from hf_zsar import LabelBank
from hf_zsar.encoders import ENCODERS, build_processor, wrap
from tests.tiny_encoders import (
    TINY_ENCODERS,
    encoder_folder,
    pe_audio_config,
    pe_config,
    random_model,
    some_videos,
    word_tokenizer,
)
from tests.tiny_models import IMAGE_SIZE, LABELS


every_encoder = pytest.mark.parametrize("kind", TINY_ENCODERS)
with_processor = pytest.mark.parametrize("kind", [kind for kind, tiny in TINY_ENCODERS.items() if tiny.has_processor])
LANGUAGE_MODELS = ("embedding_gemma2", "qwen3_vl")
PE = {"pe_video": pe_config, "pe_audio_video": pe_audio_config}
TASK = "zero-shot-video-classification"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of all kinds. Not to be changed."""
    root = tmp_path_factory.mktemp("encoders")
    return {kind: encoder_folder(kind, root / kind) for kind in TINY_ENCODERS}


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> Callable[[str], tuple]:
    """Model and processor of a kind. Not to be changed."""
    return functools.cache(lambda kind: hf_zsar.load(folders[kind]))


def counts_of(kind: str) -> list[int]:
    only = TINY_ENCODERS[kind].only_frames
    return [only, only] if only else [1, 7, 64]


def our_logits(model, processor, videos, labels, **options) -> torch.Tensor:
    """A video at a time, its frames as they are."""
    with torch.no_grad():
        bank = model.build_label_bank(processor, labels, templates=["{}"])
        rows = []
        for video in videos:
            inputs = processor(videos=[video], do_sample_frames=False, **options)
            rows.append(model.score(model.encode_videos(**inputs), bank))
    return torch.cat(rows)


def test_every_encoder_is_tried():
    assert {*TINY_ENCODERS, *PE, "open_clip"} == set(ENCODERS)  # open_clip: test_open_clip.py


@pytest.mark.parametrize("kind", PE)
def test_perception_encoders_score_as_their_forward_does(kind):
    """In memory: what a folder of theirs needs, timm, needs torchvision."""
    upstream = random_model(PE[kind]())
    pair = getattr(upstream, "video_model", upstream)
    pair.text_video_logit_scale.data.fill_(3.0)
    pair.text_video_logit_bias.data.fill_(-2.0)
    settings = {"size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    processor = build_processor(ENCODERS[kind], upstream.config, settings, word_tokenizer())
    model = wrap(ENCODERS[kind], upstream, processor)
    tokens = processor.tokenizer(list(LABELS), return_tensors="pt", padding=True)
    videos, rows = some_videos([1, 7, 64]), []
    with torch.no_grad():
        for video in videos:
            pixels = (torch.from_numpy(video).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
            rows.append(pair(**tokens, pixel_values_videos=pixels[None]).logits_video_text)
    torch.testing.assert_close(our_logits(model, processor, videos, LABELS), torch.cat(rows), atol=1e-5, rtol=0)
    assert torch.cat(rows).std() > 1e-2 and model.scores_each_label


@every_encoder
def test_scores_are_those_of_the_upstream_classes(kind, folders, loaded):
    # Language models read texts one by one in the other hand, which takes its time.
    labels = [*LABELS, *(f"action {i}" for i in range(15 if kind in LANGUAGE_MODELS else 395))]
    videos = some_videos(counts_of(kind))
    expected = TINY_ENCODERS[kind].score(folders[kind], videos, labels)
    found = our_logits(*loaded(kind), videos, labels)
    bound = 1e-5 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, atol=bound, rtol=0)
    assert expected.std() > 1e-3, "all alike: this would not notice"
    alone = our_logits(*loaded(kind), videos, labels[1:2])
    torch.testing.assert_close(alone, expected[:, 1:2], atol=bound, rtol=0)


@with_processor
@pytest.mark.parametrize("layout", ["separate files", "one file"])
def test_frames_of_another_size_become_the_pixels_of_upstream(kind, layout, folders, tmp_path):
    """Of a strip, up to one gray level, in both layouts of processor files."""
    folder, upstream = folders[kind], AutoProcessor.from_pretrained(folders[kind])
    if layout == "one file":
        folder = shutil.copytree(folder, tmp_path / kind)
        (folder / "preprocessor_config.json").unlink()
        upstream.save_pretrained(folder)
        assert not (folder / "preprocessor_config.json").exists()
    (video,) = some_videos([3], size=45)
    expected = upstream.image_processor(list(video), return_tensors="pt")["pixel_values"].reshape(3, 3, 32, 32)
    processor = hf_zsar.load(folder)[1]
    found = processor(videos=[video], do_sample_frames=False)["pixel_values_videos"][0]
    level = 1 / 255 / min(processor.video_processor.image_std)
    torch.testing.assert_close(found, expected, atol=level * 1.01, rtol=0)
    assert (found - expected).abs().mean() < level / 20


@with_processor
def test_probabilities_of_resized_frames_are_close_to_upstream(kind, folders, loaded):
    """Pixels differ by up to a gray level where pictures are resized; that moves no probability by more than 0.02."""
    videos = some_videos(counts_of(kind)[:2], size=45)
    expected = TINY_ENCODERS[kind].score(folders[kind], videos, LABELS).softmax(dim=1)
    torch.testing.assert_close(our_logits(*loaded(kind), videos, LABELS).softmax(dim=1), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", [kind for kind in TINY_ENCODERS if kind not in LANGUAGE_MODELS])
def test_other_sizes_and_seeds_than_the_common_ones(kind, tmp_path):
    folder = encoder_folder(kind, tmp_path / kind, seed=7, image_size=48)
    counts = [TINY_ENCODERS[kind].only_frames] * 2 if TINY_ENCODERS[kind].only_frames else [2, 13]
    rng = np.random.default_rng(7)
    videos = [rng.integers(0, 256, (count, 48, 48, 3), dtype=np.uint8) for count in counts]
    expected = TINY_ENCODERS[kind].score(folder, videos, LABELS)
    found = our_logits(*hf_zsar.load(folder), videos, LABELS)
    torch.testing.assert_close(found, expected, atol=1e-5 * max(1.0, expected.abs().max().item()), rtol=0)
    assert expected.std() > 1e-3


@every_encoder
def test_videos_of_different_lengths_in_one_batch_score_as_each_alone(kind, folders):
    classifier, videos = hf_zsar.pipeline(folders[kind]), some_videos([3, 64, 9, 1])
    together = classifier(videos, candidate_labels=list(LABELS), batch_size=4)
    for video, answers in zip(videos, together, strict=True):
        alone = {each["label"]: each["score"] for each in classifier(video, candidate_labels=list(LABELS))}
        assert {each["label"]: each["score"] for each in answers} == pytest.approx(alone, abs=1e-5)


@every_encoder
@pytest.mark.parametrize("way", ["ours", "transformers"])
def test_the_pipeline_takes_a_folder_as_it_is_published(kind, way, folders):
    build = hf_zsar.pipeline if way == "ours" else transformers.pipeline
    classifier = build(**({"task": TASK} if way == "transformers" else {}), model=str(folders[kind]))
    video = some_videos([TINY_ENCODERS[kind].clip_frames])[0]
    expected = TINY_ENCODERS[kind].score(folders[kind], [video], [f"a video of {label}" for label in LABELS])[0]
    answers = classifier(video, candidate_labels=list(LABELS))
    found = {answer["label"]: answer["score"] for answer in answers}
    assert found == pytest.approx(dict(zip(LABELS, expected.softmax(0).tolist(), strict=True)), abs=1e-5)
    many = classifier([video, video[:3]], candidate_labels=list(LABELS), top_k=1)
    assert [len(each) for each in many] == [1, 1]


def test_sigmoid_of_a_model_with_a_bias_is_its_own(folders):
    video = some_videos([8])[0]
    expected = TINY_ENCODERS["siglip"].score(folders["siglip"], [video], [f"a video of {each}" for each in LABELS])[0]
    classifier = hf_zsar.pipeline(folders["siglip"])
    answers = classifier(video, candidate_labels=list(LABELS), multi_label=True)
    found = {answer["label"]: answer["score"] for answer in answers}
    assert found == pytest.approx(dict(zip(LABELS, expected.sigmoid().tolist(), strict=True)), abs=1e-5)
    (alone,) = classifier(video, candidate_labels=[LABELS[2]], multi_label=True)
    assert alone["score"] == pytest.approx(found[LABELS[2]], abs=1e-6)


@every_encoder
def test_several_prompts_are_averaged_as_unit_vectors(kind, loaded):
    """As open_clip's classifier does. X-CLIP's prompts are averaged after the video has changed each."""
    model, processor = loaded(kind)
    with torch.no_grad():
        bank = model.build_label_bank(processor, LABELS, templates=["{}", "a video of {}"])
        each = [
            model.build_label_bank(processor, LABELS, templates=[t])["text_embeds"] for t in ("{}", "a video of {}")
        ]
    mean = torch.nn.functional.normalize(sum(each), dim=-1)
    torch.testing.assert_close(bank["text_embeds"], mean, atol=1e-6, rtol=0)


@every_encoder
def test_descriptions_are_half_of_a_labels_prompts(kind, loaded):
    model, processor = loaded(kind)
    name, plain = LABELS[2], LABELS[4]
    with torch.no_grad():
        known = {name: ["a pan", "a stove"]}
        bank = model.build_label_bank(processor, [name, plain], templates=["{}"], descriptions=known)
        texts = [name, f"{name}, a pan", f"{name}, a stove", plain]
        alone, pan, stove, other = model.build_label_bank(processor, texts, templates=["{}"])["text_embeds"]
    mean = torch.nn.functional.normalize(2 * alone + pan + stove, dim=-1)
    torch.testing.assert_close(bank["text_embeds"], torch.stack([mean, other]), atol=1e-6, rtol=0)
    assert (mean - alone).abs().max() > 1e-4


@every_encoder
def test_banks_are_saved_and_sliced(kind, loaded, tmp_path):
    model, processor = loaded(kind)
    frames = TINY_ENCODERS[kind].clip_frames
    with torch.no_grad():
        features = model.encode_videos(**processor(videos=some_videos([frames, frames, frames])))
        bank = model.build_label_bank(processor, LABELS)
        whole = model.score(features, bank)
        bank.save(tmp_path / "bank.safetensors")
        some = LabelBank.load(tmp_path / "bank.safetensors").select([LABELS[3], LABELS[0]])
        torch.testing.assert_close(model.score(features, some), whole[:, [3, 0]])
        torch.testing.assert_close(model.score(features.select([2]), bank), whole[2:])


@every_encoder
def test_views_are_averaged(kind, loaded):
    model, processor = loaded(kind)
    frames = TINY_ENCODERS[kind].clip_frames
    pixels = processor(videos=some_videos([frames] * 2))["pixel_values_videos"]
    with torch.no_grad():
        bank = model.build_label_bank(processor, LABELS)
        one = model.score(model.encode_videos(pixels[:1]), bank)
        twice = model.score(model.encode_videos(pixels[:1].repeat(2, 1, 1, 1, 1)[None]), bank)
        torch.testing.assert_close(twice, one)
        both = model.encode_videos(pixels[None])
    assert both.view_embeds.shape[:2] == (1, 2) and both.video_embeds.norm().item() == pytest.approx(1)


def test_xclip_takes_only_its_own_number_of_frames(folders):
    classifier = hf_zsar.pipeline(folders["xclip"])
    with pytest.raises(ValueError, match="exactly 4 frames, got 6"):
        classifier(some_videos([9])[0], candidate_labels=list(LABELS), num_frames=6)


def test_siglip_rows_are_padded_to_their_full_length(folders, tmp_path):
    model, processor = hf_zsar.load(folders["siglip"])
    assert processor.prepare_labels(LABELS)["input_ids"].shape[1] == 32
    processor.save_pretrained(tmp_path)
    assert AutoProcessor.from_pretrained(tmp_path).prepare_labels(LABELS)["input_ids"].shape[1] == 32


def test_a_chat_model_is_no_encoder_unless_one_says_so(folders, tmp_path):
    folder = shutil.copytree(folders["qwen3_vl"], tmp_path / "chat")
    (folder / "modules.json").unlink()
    for build in (hf_zsar.load, hf_zsar.pipeline, functools.partial(transformers.pipeline, TASK)):
        with pytest.raises(ValueError, match='may be a chat model.*encoder="qwen3_vl"'):
            build(str(folder))
    assert hf_zsar.load(folder, encoder="qwen3_vl")[0].backbone.video_prompt["fps"] == 1
    assert hf_zsar.pipeline(folder, encoder="qwen3_vl").processor.text_format.startswith("<|im_start|>system")


def test_a_processor_that_cannot_be_loaded_is_no_missing_one(folders, tmp_path):
    classifier = hf_zsar.pipeline(folders["clip"])
    classifier.save_pretrained(tmp_path)
    model = classifier.model
    assert transformers.pipeline(TASK, model=AutoModel.from_pretrained(tmp_path)).processor.prompt_templates
    (tmp_path / "processor_config.json").write_text("{")
    with pytest.raises((OSError, ValueError)):
        transformers.pipeline(TASK, model=str(tmp_path))
    model.config._name_or_path = ""
    with pytest.raises(ValueError, match="comes without a processor"):
        transformers.pipeline(TASK, model=model)


def test_what_is_no_supported_model_is_refused_in_one_sentence(folders, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"'bert' model.*X-CLIP.*hf_zsar\.encoders"):
        hf_zsar.load(tmp_path)
    with pytest.raises(ValueError, match=r"'bert' model.*X-CLIP.*hf_zsar\.encoders"):
        hf_zsar.pipeline(str(tmp_path))


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer_config.json"), "no tokenizer"),
        (("preprocessor_config.json",), "preprocessor_config.json"),
    ],
)
def test_a_checkpoint_without_a_file_says_which(missing, reason, folders, tmp_path):
    folder = shutil.copytree(folders["clip"], tmp_path / "clip")
    for name in missing:
        (folder / name).unlink(missing_ok=True)
    for build in (hf_zsar.load, hf_zsar.pipeline):
        with pytest.raises(OSError, match=reason):
            build(str(folder))


@every_encoder
def test_our_own_folder_of_it_scores_the_same(kind, folders, tmp_path):
    classifier = hf_zsar.pipeline(folders[kind])
    classifier.save_pretrained(tmp_path)
    video, labels = some_videos([9], size=45)[0], list(LABELS)
    assert type(AutoModel.from_pretrained(tmp_path)).__name__ == "VideoTextModel"
    again = transformers.pipeline(TASK, model=str(tmp_path))
    scores = [
        {each["label"]: each["score"] for each in pipe(video, candidate_labels=labels)} for pipe in (again, classifier)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
