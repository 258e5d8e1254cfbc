"""Processors: labels to prompts to tokens, saving and loading without torchvision."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoProcessor

from hf_zsar import METHODS, Descriptions, ZSARVideoProcessor
from hf_zsar.data import available_class_lists, load_class_names
from hf_zsar.modeling import modeling_rest
from hf_zsar.processing.prompts import class_key, clean_label, fill_templates, normalize_text
from tests.tiny_models import LABELS, tiny_folder, tiny_processor


@pytest.fixture(params=sorted(METHODS))
def method(request):
    return request.param


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("ApplyEyeMakeup", "apply eye makeup"),
        ("YoYo", "yo yo"),
        ("apply_eye_makeup", "apply eye makeup"),
        ("Apply Eye Makeup", "Apply Eye Makeup"),
        ("playing TV games", "playing TV games"),
        ("surfing", "surfing"),
        ("Archery", "Archery"),
        ("  salsa   spin ", "salsa spin"),
        ("rock &amp; roll", "rock & roll"),
        ("massaging person’s head", "massaging person's head"),
    ],
)
def test_clean_label(label, words):
    assert clean_label(label) == words


@given(st.text())
def test_cleaning_and_normalizing_are_idempotent(text):
    assert clean_label(clean_label(text)) == clean_label(text)
    assert normalize_text(normalize_text(text)) == normalize_text(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("RidingABike", "riding a bike"),
        ("riding_a-bike", "Riding  a bike"),
        ("rock &amp; roll", "Rock & Roll"),
        ("massaging person’s head", "massaging person's head"),
        ("ＴＡＩ ＣＨＩ", "tai chi"),
        ("STRASSE kehren", "straße kehren"),
    ],
)
def test_spellings_of_a_class_meet(one, other):
    assert class_key(one) == class_key(other) == modeling_rest.class_key(one)


@pytest.mark.parametrize(("one", "other"), [("C", "C++"), ("कि", "का"), ("kick", "kick ball"), ("走る", "走れ")])
def test_different_classes_stay_apart(one, other):
    assert class_key(one) != class_key(other)


@pytest.mark.parametrize("name", available_class_lists())
def test_class_names_keep_their_key_when_they_become_words_and_none_meet(name):
    """What makes the same prompt is the same class; no two classes of the field's data sets are taken for one."""
    names = list(dict.fromkeys(load_class_names(name)))  # ImageNet has two cranes
    keys = [class_key(each) for each in names]
    assert [class_key(clean_label(each)) for each in names] == keys
    assert [modeling_rest.class_key(each) for each in names] == keys
    assert len(set(keys)) == len(keys)


def test_templates_need_one_place_for_the_label():
    assert fill_templates("{}", ["a {}"]) == ["a {}"]
    for template in ("no place", "{} and {}"):
        with pytest.raises(ValueError, match="exactly one"):
            fill_templates("running", [template])


def test_prepare_labels_says_which_rows_belong_to_which_label(method):
    processor = tiny_processor(method, prompt_templates=["{}", "a video of {}"])
    inputs = processor.prepare_labels(["surfing", "cooking", "surfing"])
    index = inputs["prompt_index"]
    assert index.shape[0] == 3
    assert torch.equal(index[0], index[2])
    assert not set(index[0].tolist()) & set(index[1].tolist()) - {-1}
    assert inputs["input_ids"].shape == inputs["attention_mask"].shape
    assert inputs["attention_mask"].sum(1).max() == inputs["input_ids"].shape[1]
    assert index.max() < len(inputs["input_ids"])


@pytest.mark.parametrize("labels", ["surfing", [], ["surfing", " "], [1, 2]])
def test_bad_labels_are_refused(method, labels):
    with pytest.raises(ValueError, match="labels"):
        tiny_processor(method).prepare_labels(labels)


def test_call_prepares_both_sides(method):
    processor = tiny_processor(method)
    video = np.zeros((6, 40, 48, 3), dtype=np.uint8)
    inputs = processor(videos=video, labels=LABELS)
    expected = processor.prepare_labels(LABELS)
    assert inputs["pixel_values_videos"].shape[:3] == (1, 4, 3)
    assert torch.equal(inputs["input_ids"], expected["input_ids"])
    assert torch.equal(processor(text=["surfing"])["input_ids"], processor.tokenize(["surfing"])["input_ids"])
    with pytest.raises(ValueError, match="Nothing to process"):
        processor()
    with pytest.raises(ValueError, match="not both"):
        processor(labels=LABELS, text=["surfing"])


def test_save_and_load_through_auto_processor(method, tmp_path):
    folder = tiny_folder(method, tmp_path)
    saved = tiny_processor(method, prompt_templates=["one {}", "two {}"], clean_labels=False)
    saved.save_pretrained(folder)
    loaded = AutoProcessor.from_pretrained(folder)
    assert type(loaded) is METHODS[method].processor_class
    assert isinstance(loaded.video_processor, ZSARVideoProcessor)
    assert loaded.prompt_templates == ["one {}", "two {}"]
    assert loaded.clean_labels is False
    assert loaded.to_dict() == saved.to_dict()
    for name, value in saved.prepare_labels(LABELS).items():
        assert torch.equal(loaded.prepare_labels(LABELS)[name], value)


def test_descriptions_are_saved_beside_the_processor(method, tmp_path):
    folder = tiny_folder(method, tmp_path)
    kind = METHODS[method].processor_class.descriptions_kind or "attributes"
    descriptions = Descriptions.from_dict({"surfing": ["wave", "board"]}, kind)
    tiny_processor(method, descriptions=descriptions).save_pretrained(folder)
    loaded = AutoProcessor.from_pretrained(folder)
    assert loaded.descriptions.for_label("surfing") == descriptions.for_label("surfing")
    assert loaded.descriptions.fingerprint == descriptions.fingerprint
    assert "descriptions" not in json.loads((folder / "processor_config.json").read_text())
    tiny_processor(method, descriptions=None).save_pretrained(folder)
    assert AutoProcessor.from_pretrained(folder).descriptions is None


def test_options_of_a_call_reach_the_video_processor_and_the_tokenizer(method):
    processor = tiny_processor(method)
    video = np.zeros((9, 40, 50, 3), dtype=np.uint8)
    inputs = processor(videos=video, text="surfing", num_frames=2, padding="max_length", max_length=20)
    assert inputs["pixel_values_videos"].shape[:2] == (1, 2)
    assert inputs["input_ids"].shape == (1, 20)
    nested = processor(
        videos=video,
        text="surfing",
        videos_kwargs={"num_frames": 2},
        text_kwargs={"padding": "max_length", "max_length": 20},
    )
    assert all(torch.equal(nested[name], inputs[name]) for name in inputs)
    with_metadata = processor(videos=video, return_metadata=True, thread_count=1)
    assert len(with_metadata["video_metadata"][0]["timestamps"][0]) == processor.video_processor.num_frames


def test_the_generator_is_the_callers_own(method):
    processor = tiny_processor(method)
    video = np.random.default_rng(0).integers(0, 255, (40, 40, 50, 3), dtype=np.uint8)
    generator = np.random.default_rng(1)
    draws = [processor(videos=video, sampling="tsn_random", generator=generator) for _ in range(4)]
    assert any(not torch.equal(draws[0]["pixel_values_videos"], draw["pixel_values_videos"]) for draw in draws[1:])


def test_wrong_options_are_refused(method):
    processor = tiny_processor(method)
    video = np.zeros((9, 40, 50, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="Unknown option num_frame: "):
        processor(videos=video, num_frame=2)
    with pytest.raises(ValueError, match="Unknown option num_frame: "):
        processor(text="surfing", num_frame=2)
    with pytest.raises(ValueError, match="max_length: .* those of the tokenizer go with text="):
        processor(videos=video, labels=["surfing"], max_length=20)


def test_options_given_to_from_pretrained_win(method, tmp_path):
    tiny_processor(method, tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path, num_frames=2, do_normalize=False)
    assert (loaded.video_processor.num_frames, loaded.video_processor.do_normalize) == (2, False)
