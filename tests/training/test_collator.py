"""The collator: what a batch holds, and that nothing in it depends on workers, order or neighbors."""

from __future__ import annotations

import copy
import io
import pickle
import random
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from hf_zsar import LabelWarning
from hf_zsar.clips.datasets import load_video_dataset
from hf_zsar.processing.limits import set_limits
from hf_zsar.processing.video_container import default_threads
from hf_zsar.processing.video_reading import VideoReadError
from hf_zsar.training.augmentation import ClipAugmentation
from hf_zsar.training.candidates import with_candidates
from hf_zsar.training.collator import VideoTextCollator, cached_frames
from tests.tiny_models import IMAGE_SIZE, NUM_FRAMES, tiny_model, tiny_processor


AUGMENTATION = ClipAugmentation(size=IMAGE_SIZE, flip=0.5, grayscale=0.2, jitter=0.5)
NAMES = ["red falling", "red rising", "red coming", "red leaving"]


@pytest.fixture(scope="module")
def dataset(rendered):
    return load_video_dataset(rendered, label_names=NAMES)


def collator_of(method="actionclip", **options):
    return VideoTextCollator(tiny_processor(method), NAMES, **{"augmentation": AUGMENTATION, "seed": 3, **options})


def jpeg(color, size=(40, 30)):
    data = io.BytesIO()
    Image.new("RGB", size, color).save(data, "JPEG", quality=95)
    return data.getvalue()


# -- randomness ------------------------------------------------------------------------------------------------------


def test_a_clip_depends_on_seed_epoch_and_index_alone(dataset):
    collator = collator_of(text="per_sample")
    rows = [dataset[i] for i in range(6)]
    whole = collator(rows)["pixel_values_videos"]
    assert whole.shape == (6, NUM_FRAMES, 3, IMAGE_SIZE, IMAGE_SIZE)
    torch.manual_seed(99), random.seed(99), np.random.seed(99)
    for place in (4, 0):
        assert torch.equal(collator([rows[place]])["pixel_values_videos"][0], whole[place])
    assert torch.equal(collator(rows[::-1])["pixel_values_videos"], whole.flip(0))
    collator.set_epoch(1)
    assert not torch.equal(collator(rows)["pixel_values_videos"], whole)
    collator.set_epoch(0)
    assert torch.equal(collator(rows)["pixel_values_videos"], whole)
    assert not torch.equal(collator_of(seed=4)(rows)["pixel_values_videos"], whole)


@pytest.mark.parametrize("options", [{"augmentation": None}, {"sampling": None}], ids=["frames", "crops"])
def test_frames_and_crops_are_each_drawn_anew(dataset, options):
    drawn = []
    for seed, epoch in ((3, 0), (3, 1), (4, 0), (3, 0)):
        collator = collator_of(**{**options, "seed": seed})
        collator.set_epoch(epoch)
        drawn.append(collator([dataset[i] for i in range(4)])["pixel_values_videos"])
    assert torch.equal(drawn[0], drawn[3])
    assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_an_index_a_path_or_bytes_tell_examples_apart_even_of_one_video(dataset, tmp_path):
    collator, path = collator_of(), dataset[0]["video"]["path"]
    with open(path, "rb") as file:
        data = file.read()

    def pixels(video):
        return collator([{"video": video, "label": 0}])["pixel_values_videos"]

    assert torch.equal(pixels(path), pixels({"path": path, "bytes": None}))
    assert torch.equal(pixels({"path": None, "bytes": data}), pixels({"path": None, "bytes": data}))
    copied = shutil.copy(path, tmp_path / "same.mp4")
    assert not torch.equal(pixels(path), pixels(str(copied)))
    first, second = (collator([{"video": path, "label": 0, "index": i}])["pixel_values_videos"] for i in (0, 1))
    assert not torch.equal(first, second)


def test_workers_change_nothing(dataset):
    def batches(workers):
        loader = DataLoader(dataset, batch_size=3, collate_fn=collator_of(text="per_sample"), num_workers=workers)
        return [(batch["pixel_values_videos"], batch["candidates"].text["input_ids"]) for batch in loader]

    for alone, shared in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


# -- text ------------------------------------------------------------------------------------------------------------


def test_per_sample_text_keeps_repetitions_and_draws_one_template_each(dataset):
    collator = collator_of(text="per_sample")
    rows = [dataset[i] for i in (0, 1, 2, 3, 0)]
    batch = collator(rows)
    text, label_ids = batch["candidates"].text, batch["candidates"].label_ids
    assert label_ids.tolist() == batch["labels"].tolist() == [row["label"] for row in rows]
    assert text["prompt_index"].shape == (5, 1)
    texts = collator.processor.tokenizer.batch_decode(text["input_ids"], skip_special_tokens=True)
    per_video = [texts[row] for row in text["prompt_index"][:, 0]]
    assert per_video[0] == per_video[4]  # one draw for one example
    assert all(NAMES[row["label"]] in text for row, text in zip(rows, per_video, strict=True))
    drawn = set()
    for epoch in range(20):
        collator.set_epoch(epoch)
        again = collator(rows[:1])["candidates"].text["input_ids"]
        drawn.add(collator.processor.tokenizer.batch_decode(again, skip_special_tokens=True)[0])
    assert len(drawn) > 5


def test_distinct_text_holds_each_class_once_and_all_holds_all(dataset):
    rows = [dataset[i] for i in (0, 1, 2, 9)]
    labels = [row["label"] for row in rows]
    batch = collator_of("rest", text="distinct")(rows)
    candidates = batch["candidates"]
    assert candidates.label_ids.tolist() == sorted(set(labels)) and batch["labels"].tolist() == labels
    assert len(candidates.text["prompt_index"]) == len(set(labels)) < len(rows)
    candidates = collator_of("stdd", text="all")(rows)["candidates"]
    assert candidates.label_ids.tolist() == [0, 1, 2, 3] == list(range(len(candidates.text["prompt_index"])))


def test_each_distinct_prompt_is_tokenized_once(dataset):
    rows = [dataset[0]] * 5
    assert len(collator_of("rest", text="per_sample")(rows)["candidates"].text["input_ids"]) == 1


@pytest.mark.parametrize(
    ("method", "fields", "text"),
    [
        ("actionclip", {}, "per_sample"),
        ("dasti", {}, "per_sample"),
        ("dasti", {"loss_mode": "all_classes"}, "all"),
        ("rest", {"seen_class_names": NAMES}, "distinct"),
        ("stdd", {}, "all"),
    ],
)
def test_every_loss_gets_the_candidates_it_wants(method, fields, text, dataset):
    model = tiny_model(method, **fields).train()
    collator = VideoTextCollator.for_model(model, tiny_processor(method), NAMES)
    assert collator.text == text == model.text_candidates
    assert model(**collator([dataset[i] for i in range(4)])).loss.isfinite()


def test_wrong_text_mode():
    with pytest.raises(ValueError, match="per_sample"):
        collator_of(text="each")


UNREADABLE = ["雪", "走", "cooking"]  # BERT's tiny vocabulary has no sign of the first two


@pytest.mark.parametrize("workers", [0, 2])
def test_what_labels_lose_is_said_once_and_not_with_every_batch(dataset, workers, tmp_path, recwarn):
    """By a collator of its own labels, by a stock Trainer in training, and in evaluation."""

    def told():
        found = [str(each.message) for each in recwarn.list if issubclass(each.category, LabelWarning)]
        recwarn.clear()
        return found

    rows = [{"video": row["video"]["path"], "label": row["label"] % 3} for row in dataset]
    collator = VideoTextCollator(tiny_processor("rest"), UNREADABLE)
    (message,) = told()
    assert "'雪', '走'" in message
    for _ in range(3):
        collator([with_candidates(rows, UNREADABLE, training=True)[0]])
    assert not told()
    names = UNREADABLE[::-1]  # Python itself says the same words only once
    model = tiny_model("rest", seen_class_names=names)
    collator = VideoTextCollator(tiny_processor("rest"))
    arguments = TrainingArguments(
        str(tmp_path), max_steps=2, report_to="none", use_cpu=True, save_strategy="no", dataloader_num_workers=workers
    )
    trainer = Trainer(model, arguments, collator, with_candidates(rows[:4], names, training=True))
    trainer.train()
    (message,) = told()
    assert "'走', '雪'" in message
    for _ in range(2):
        trainer.evaluate(with_candidates(rows[:4], ["雪", "水", "cooking"]))
    (other,) = told()
    assert "'雪', '水'" in other


# -- frames ----------------------------------------------------------------------------------------------------------


def test_without_augmentation_frames_are_those_of_evaluation(dataset):
    collator = collator_of(augmentation=None, sampling=None)
    row = dataset[5]
    expected = collator.processor(videos=row["video"])["pixel_values_videos"]
    assert torch.equal(collator([row])["pixel_values_videos"], expected)


def test_a_processor_of_many_views_trains_on_one(dataset):
    collator = collator_of()
    collator.processor.video_processor.num_views = 3
    collator.processor.video_processor.num_crops = 3
    assert collator([dataset[0]])["pixel_values_videos"].ndim == 5
    evaluation = collator_of(augmentation=None, sampling=None)
    evaluation.processor.video_processor.num_crops = 3
    assert evaluation([dataset[0]])["pixel_values_videos"].ndim == 5


def test_number_and_sampler_of_frames_can_be_chosen(dataset):
    cached = {"frames": [jpeg((200, 0, 0))] * 6, "label": 1}
    for row in (dataset[0], with_candidates(dataset)[0], cached, with_candidates([cached], NAMES)[0]):
        assert collator_of(num_frames=2)([row])["pixel_values_videos"].shape[1] == 2
    with pytest.raises(ValueError, match="Unknown sampling"):
        collator_of(sampling="nonsense")([dataset[0]])


def test_cached_frames_one_of_each_segment():
    frames = [jpeg((10 * i, 0, 0)) for i in range(12)]

    def numbers(pictures):
        return [round(np.asarray(picture)[..., 0].mean() / 10) for picture in pictures]

    assert numbers(cached_frames(frames, 4)) == [1, 4, 7, 10]
    assert numbers(cached_frames(frames[:2], 4)) == [0, 0, 1, 1]
    for seed in range(20):
        drawn = numbers(cached_frames(frames, 4, np.random.default_rng(seed)))
        assert all(3 * i <= number < 3 * (i + 1) for i, number in enumerate(drawn))
    with pytest.raises(VideoReadError, match="cached frame"):
        cached_frames([b"no picture"], 2)


def picture(size: tuple[int, int], kind: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size).save(data, kind)
    return data.getvalue()


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "no cached frames"),
        ([picture((9000, 5000), "PNG")], "picture_pixels"),  # a few kilobytes
        ([picture((20000, 2), "JPEG")], "picture_ratio"),
        ([picture((16, 16), "EPS")], "cannot be read"),  # which another program would draw
        ([picture((16, 16), "TIFF")], "cannot be read"),
        ([picture((16, 16), "PNG")[:45]], "cannot be read"),
        ([picture((64, 64), "JPEG")[:200]], "cannot be read"),
        ([b""], "cannot be read"),
        ([None], "cannot be read"),
    ],
)
def test_cached_frames_of_strangers(frames, words):
    with pytest.raises(VideoReadError, match=words):
        cached_frames(frames, 2)


def test_cached_frames_are_held_to_the_pixels_of_a_clip():
    before = set_limits(clip_pixels=3 * 64 * 64)
    try:
        assert len(cached_frames([jpeg((1, 2, 3), (64, 64))], 3)) == 3
        with pytest.raises(VideoReadError, match="clip_pixels"):
            cached_frames([jpeg((1, 2, 3), (64, 64))], 4)
    finally:
        set_limits(**asdict(before))


def test_examples_may_bring_cached_frames():
    rows = [{"frames": [jpeg((200, 0, 0))] * 6, "label": 1, "index": 0}]
    batch = collator_of()(rows)
    assert batch["pixel_values_videos"].shape == (1, NUM_FRAMES, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert torch.equal(collator_of()(rows)["pixel_values_videos"], batch["pixel_values_videos"])


# -- broken videos ---------------------------------------------------------------------------------------------------


def test_broken_videos_raise_or_are_named_and_skipped(dataset, tmp_path, caplog):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is not a video")
    rows = [dataset[0], {"video": str(broken), "label": 2, "index": 77}, dataset[5]]
    with pytest.raises(VideoReadError, match=r"broken\.mp4"):
        collator_of()(rows)
    skipping = collator_of(on_error="skip", text="per_sample")
    batch = skipping(rows)
    assert batch["labels"].tolist() == [rows[0]["label"], rows[2]["label"]]
    assert len(batch["pixel_values_videos"]) == len(batch["candidates"].label_ids) == 2
    assert "broken.mp4" in caplog.text
    with pytest.raises(VideoReadError, match="none of the 1"):
        skipping(rows[1:2])


# -- workers ---------------------------------------------------------------------------------------------------------


class Threads(torch.utils.data.Dataset):
    """Each row is how many threads a video is decoded with where the row is read."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return default_threads()


def test_a_worker_decodes_with_one_thread(monkeypatch):
    """There are as many workers as cores already."""
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert default_threads() == 4
    assert next(iter(DataLoader(Threads(), batch_size=2, num_workers=1))).tolist() == [1, 1]


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_that_live_through_epochs_hear_of_every_epoch(dataset, context):
    """And from a copy, or one that was pickled, as well."""
    for collator in (collator_of(), copy.deepcopy(collator_of()), pickle.loads(pickle.dumps(collator_of()))):
        rows = [with_candidates(dataset, training=True)[i] for i in range(2)]
        loader = DataLoader(
            rows, num_workers=1, collate_fn=collator, persistent_workers=True, multiprocessing_context=context
        )
        for epoch in (0, 1, 7):
            collator.set_epoch(epoch)
            pixels = [batch["pixel_values_videos"] for batch in loader]
            again = collator_of()
            again.set_epoch(epoch)
            assert all(
                torch.equal(a, again([row])["pixel_values_videos"]) for a, row in zip(pixels, rows, strict=True)
            )


def test_the_seed_of_the_trainer_counts_where_the_collator_has_none(dataset):
    rows = [dataset[0]]
    own, trainers = collator_of(), collator_of(seed=None)
    kept, drawn = own(rows)["pixel_values_videos"], trainers(rows)["pixel_values_videos"]
    for collator in (own, trainers):
        collator.set_run(3, 0)
    assert torch.equal(own(rows)["pixel_values_videos"], kept)
    assert torch.equal(trainers(rows)["pixel_values_videos"], kept) and not torch.equal(drawn, kept)
