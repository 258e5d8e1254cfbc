"""What of labels and prompts reaches a model: all of it, or a warning or error says what does not."""

from __future__ import annotations

import time
import warnings
from dataclasses import asdict

import numpy as np
import pytest
import torch

from hf_zsar import METHODS, Descriptions, LabelWarning
from hf_zsar.processing.limits import set_limits
from tests.tiny_models import LABELS, tiny_bert_tokenizer, tiny_clip_tokenizer, tiny_model, tiny_processor


# More tokens than any tiny text tower has positions.
LONG = "cooking " * 90


@pytest.fixture(params=sorted(METHODS))
def method(request):
    return request.param


@pytest.fixture
def limited():
    """`limited(name=value)` changes limits for one test."""
    before = []

    def change(**values):
        before.append(set_limits(**values))

    yield change
    for each in reversed(before):
        set_limits(**asdict(each))


def bare(method, **options):
    """A processor that has descriptions of no label."""
    return tiny_processor(method, **{"descriptions": None, **options})


def warnings_of(function):
    """The label warnings of a call, as text; they come to whoever asks for all."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(each.message) for each in caught if issubclass(each.category, LabelWarning)]


# -- what is a list of labels ----------------------------------------------------------------------------------------


def test_labels_come_in_any_collection_of_strings(method):
    pandas = pytest.importorskip("pandas")
    expected = bare(method).prepare_labels(list(LABELS))
    for labels in (
        np.array(LABELS),
        np.array(LABELS, dtype=object),
        pandas.Series(LABELS),
        (label for label in LABELS),
        dict.fromkeys(LABELS),
        [np.str_(label) for label in LABELS],
    ):
        found = bare(method).prepare_labels(labels)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "labels",
    [
        None,
        5,
        b"surfing",
        [b"surfing"],
        np.array("surfing"),
        np.array([["surfing", "cooking"]]),
        [np.int64(3), np.int64(4)],
        torch.arange(2),
        ["surfing", None],
        ["surfing", float("nan")],
        ["surfing", "\u200b"],
        ["surfing", "\ufe0f\u0301"],
        ["surfing", "\t \n"],
        ["surf\ud800ing", "cooking"],
        ["caf\udce9", "cooking"],
        ["surfing\0", "cooking"],
    ],
)
def test_what_is_no_label_is_refused_in_words(method, labels):
    with pytest.raises(ValueError, match="label") as error:
        tiny_processor(method).prepare_labels(labels)
    assert not isinstance(error.value, UnicodeError) and str(error.value).isprintable()


@pytest.mark.parametrize("template", ["\ud83d of {}", 5, "none", "{} {}"])
def test_what_is_no_template_is_refused_in_words(method, template):
    with pytest.raises(ValueError, match=r"text|template"):
        tiny_processor(method).prepare_labels(["surfing"], templates=[template])
    with pytest.raises(ValueError, match="template"):
        tiny_processor(method).prepare_labels(["surfing"], templates=[])


def test_one_template_may_stand_alone():
    assert bare("rest", prompt_templates="doing {}").prompt_templates == ["doing {}"]


# -- longer than the text tower --------------------------------------------------------------------------------------


def test_labels_that_differ_behind_the_end_are_named_once(method):
    processor = bare(method)
    labels = [LONG + "surfing", "cooking", LONG + "riding"]
    (message,) = warnings_of(lambda: processor.prepare_labels(labels, templates="{}"))
    assert "cut off" in message and "same" in message
    assert "surfing'" in message and "riding'" in message and "'cooking'" not in message
    assert warnings_of(lambda: processor.prepare_labels(labels, templates="{}")) == []
    assert len(warnings_of(lambda: processor.prepare_labels([*labels, "dancing"], templates="{}"))) == 1


def test_what_fits_is_prepared_without_a_word(method):
    assert warnings_of(lambda: bare(method).prepare_labels(LABELS)) == []


def test_the_end_of_a_template_may_be_cut_in_silence_and_that_of_a_label_not(method):
    processor = bare(method)
    room = processor.text_limit - processor.count_tokens("")
    tail = " a" * room
    assert warnings_of(lambda: processor.prepare_labels(["surfing", "cooking"], templates="{}" + tail)) == []
    full = "a " * (room - 1) + "{}" + tail
    assert warnings_of(lambda: processor.prepare_labels(["surfing", "cooking"], templates=full)) == []
    (message,) = warnings_of(lambda: processor.prepare_labels(["surfing", "cooking walking"], templates=full))
    assert "'cooking walking'" in message and "'surfing'" not in message


def test_a_template_without_room_for_labels_is_refused(method):
    for template in ("a " * 500 + "{}", "a " * 76 + "{} in a video"):
        with pytest.raises(ValueError, match="leaves no room for the label"):
            bare(method).prepare_labels(["surfing", "cooking"], templates=["{}", template])


def test_an_attribute_template_without_room_is_refused():
    processor = tiny_processor("dasti", attribute_template="a " * 500 + "{}")
    with pytest.raises(ValueError, match="leaves no room"):
        processor.prepare_labels(["surfing", "cooking"])


def test_clauses_and_attributes_that_are_cut_are_said():
    graphs = Descriptions.from_dict({"surfing": ["which has " + LONG]}, "graph")
    (message,) = warnings_of(
        lambda: tiny_processor("stdd", descriptions=graphs).prepare_labels(["surfing", "cooking"])
    )
    assert "tokens that it reads: 'surfing'" in message
    attributes = {"surfing": [LONG], "cooking": ["pan"]}
    for encoding in ("sentence", "per_attribute"):
        processor = tiny_processor("dasti", descriptions=attributes, attribute_encoding=encoding)
        (message,) = warnings_of(lambda processor=processor: processor.prepare_labels(["surfing", "cooking"]))
        assert "tokens that it reads: 'surfing'" in message


def test_a_batch_of_training_is_not_warned_about(method):
    labels = [LONG + "surfing", LONG + "riding"]
    assert warnings_of(lambda: bare(method).prepare_label_each(labels, ["{}", "{}"])) == []
    assert warnings_of(lambda: bare(method).prepare_labels(labels, templates="{}", warn=False)) == []


def test_a_tokenizer_without_a_limit_takes_that_of_the_tower(method, tmp_path):
    model, processor = tiny_model(method), bare(method)
    expected = processor.prepare_labels([LONG, "surfing"], warn=False)
    processor.tokenizer.model_max_length = int(1e30)
    assert processor.text_limit is None
    with pytest.raises(ValueError, match=f"limited_to\\({model.text_limit}\\)"):
        model.encode_labels(**processor.prepare_labels([LONG, "surfing"]))
    limited = processor.limited_to(model.text_limit)
    assert processor.text_limit is None and limited.limited_to(10**4) is limited
    limited.save_pretrained(tmp_path)
    for each in (limited, type(limited).from_pretrained(tmp_path)):
        each.tokenizer.model_max_length = int(1e30)  # what no file says is not saved
        found = each.prepare_labels([LONG, "surfing"], warn=False)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_tower_may_be_shorter_than_the_tokenizer(method):
    processor = bare(method).limited_to(12)
    assert warnings_of(lambda: processor.prepare_labels(["a " * 20 + "x", "a " * 20 + "y"], templates="{}"))
    assert processor.prepare_labels(["a " * 20], templates="{}", warn=False)["input_ids"].shape[1] == 12


# -- unknown to the tokenizer, or the same to it ---------------------------------------------------------------------


@pytest.mark.parametrize("labels", [["射箭", "瑜伽"], ["🏹", "🧘"], ["приготовление", "бег"], ["رقص", "طبخ"]])
def test_labels_in_signs_that_a_tokenizer_does_not_know_are_named(labels):
    (message,) = warnings_of(lambda: bare("rest").prepare_labels([*labels, "surfing"]))
    assert "does not know" in message and all(label in message for label in labels) and "surfing" not in message
    assert "same" in message
    # CLIP's spells everything in bytes.
    assert warnings_of(lambda: bare("actionclip").prepare_labels([*labels, "surfing"])) == []


def test_a_label_that_is_mostly_known_is_not_named():
    assert warnings_of(lambda: bare("rest").prepare_labels(["cooking in a cafe ☕", "surfing"])) == []
    assert "☕☕" in warnings_of(lambda: bare("rest").prepare_labels(["cooking ☕☕", "surfing"]))[0]


def test_labels_that_become_the_same_tokens_are_named(method):
    (message,) = warnings_of(lambda: bare(method).prepare_labels(["Surfing", "cooking", "surfing", "walking_dog"]))
    assert "'Surfing' = 'surfing'" in message and "cooking" not in message
    (message,) = warnings_of(lambda: bare(method).prepare_labels(["walking_dog", "walking dog", "WalkingDog"]))
    assert "'walking_dog' = 'walking dog' = 'WalkingDog'" in message


def test_attributes_may_tell_labels_apart():
    labels = ["Surfing", "surfing"]
    processor = tiny_processor("dasti", descriptions={"Surfing": ["wave"], "surfing": ["sand"]})
    assert warnings_of(lambda: processor.prepare_labels(labels)) == []


def test_a_label_may_stand_twice_in_a_batch(method):
    assert warnings_of(lambda: bare(method).prepare_labels(["surfing", "cooking", "surfing"])) == []


# -- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["label", "template", "text"])
def test_a_megabyte_of_text_is_refused_at_once(method, place):
    huge, start = "cooking" * 150_000, time.perf_counter()
    calls = {
        "label": lambda: bare(method).prepare_labels([huge, "surfing"]),
        "template": lambda: bare(method).prepare_labels(["surfing"], templates=huge + "{}"),
        "text": lambda: bare(method)(text=[huge]),
    }
    with pytest.raises(ValueError, match="text_characters.*set_limits") as error:
        calls[place]()
    assert len(str(error.value)) < 400
    assert time.perf_counter() - start < 5


def test_a_megabyte_in_a_description_is_refused_at_once():
    huge = "x" * 10**6
    for data in (
        {"surfing": [huge]},
        {huge: ["wave"]},
        {"surfing": {"clauses": {"ao": [huge]}}},
        {"surfing": {"relations": {"object_object": [["a", "b", huge]]}}},
    ):
        with pytest.raises(ValueError, match="text_characters"):
            Descriptions.from_dict(data)


@pytest.mark.parametrize("data", [{"surfing": ["wave"] * 2000}, {"surfing": {"sub_actions": ["a"] * 2000}}])
def test_endless_descriptions_are_refused(data):
    with pytest.raises(ValueError, match="descriptions allows"):
        Descriptions.from_dict(data)


def test_a_deep_description_is_refused():
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested"):
        Descriptions.from_dict({"surfing": {"clauses": {"ao": deep}}})


def test_the_number_of_labels_and_prompts_is_bounded(method, limited):
    limited(labels=10, prompts=20)
    with pytest.raises(ValueError, match="number of labels.*labels allows"):
        bare(method).prepare_labels(f"label {i}" for i in iter(int, 1))  # without end
    with pytest.raises(ValueError, match="prompts each.*prompts allows"):
        bare(method).prepare_labels(["surfing", "cooking"], templates=["a {}"] * 11)
    with pytest.raises(ValueError, match="number of classes"):
        Descriptions.from_dict({f"label {i}": ["wave"] for i in range(11)})


def test_the_longest_list_of_clauses_counts_for_every_label(limited):
    limited(prompts=30)
    graphs = Descriptions.from_dict({"surfing": [f"which has {i} waves" for i in range(9)]}, "graph")
    processor = tiny_processor("stdd", descriptions=graphs, prompt_templates=["{}", "a {}"])
    with pytest.raises(ValueError, match="20 prompts each"):
        processor.prepare_labels(["surfing", "cooking"])
    processor = tiny_processor("dasti", descriptions={"surfing": list("abcdefgh")}, prompt_templates=["{}"])
    limited(prompts=10)
    with pytest.raises(ValueError, match="8 prompts each"):
        processor.prepare_labels(["surfing", "cooking"])


# -- repairs are CLIP's ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "repaired"), [("rock &amp; roll", "rock & roll"), ("it’s ﬁne", "it's fine")])
def test_only_clip_tokenizers_get_repaired_text(text, repaired):
    for clean in (True, False):
        clip, bert = bare("actionclip", clean_labels=clean), bare("rest", clean_labels=clean)
        assert clip.check_labels([text]) == [repaired]
        assert bert.check_labels([text]) == [text]
        assert torch.equal(clip.tokenize([text])["input_ids"], clip.tokenize([repaired])["input_ids"])
        raw = tiny_bert_tokenizer()(text, return_tensors="pt")["input_ids"]
        assert torch.equal(bert.tokenize([text])["input_ids"], raw)
    assert torch.equal(
        clip.tokenize([text])["input_ids"], tiny_clip_tokenizer()(repaired, return_tensors="pt")["input_ids"]
    )
