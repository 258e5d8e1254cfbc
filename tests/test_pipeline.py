"""`pipeline("zero-shot-video-classification")` on tiny models of every method."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import weakref
from itertools import count, islice

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModel, pipeline

import hf_zsar
from hf_zsar import METHODS, VideoReadError
from hf_zsar.pipeline_video_scoring import bf16_copy, why_not_bf16
from hf_zsar.processing.prefetching import prefetch
from tests.tiny_models import LABELS, tiny_folder
from tests.videos import write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "clip.mp4", num_frames=20)


@pytest.fixture(scope="module", params=sorted(METHODS))
def folder(request, tmp_path_factory):
    return tiny_folder(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def classifier(folder):
    return pipeline(hf_zsar.registration.TASK, model=str(folder), device="cpu")


def scores_of(results):
    return {result["label"]: result["score"] for result in results}


def test_result_is_sorted_and_sums_to_one(classifier, video):
    results = classifier(video, candidate_labels=LABELS)
    scores = [result["score"] for result in results]
    assert {result["label"] for result in results} == set(LABELS)
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)


def test_auto_classes_load_the_folder(folder):
    config, model = AutoConfig.from_pretrained(folder), AutoModel.from_pretrained(folder)
    assert type(model) is METHODS[config.model_type.removeprefix("zsar_")].model_class


def test_every_form_of_a_video_gives_the_same_scores(classifier, video):
    with hf_zsar.processing.video_reading.open_video(video) as reader:
        frames = reader.read_indices(range(20)).frames
    data = video.read_bytes()
    forms = [
        str(video),
        video,
        data,
        io.BytesIO(data),
        {"path": str(video), "bytes": None},
        {"path": None, "bytes": data},
        frames.numpy(),
        frames,
        frames.permute(0, 3, 1, 2),
        [Image.fromarray(frame) for frame in frames.numpy()],
    ]
    expected = scores_of(classifier(video, candidate_labels=LABELS))
    for form in forms:
        assert scores_of(classifier(form, candidate_labels=LABELS)) == pytest.approx(expected, abs=1e-4)


def test_many_videos_keep_their_order_whatever_the_batch(classifier, tmp_path):
    videos = [write_video(tmp_path / f"{i}.mp4", 5 + 3 * i, width=40 + 8 * i, first_number=100 * i) for i in range(5)]
    one_by_one = [scores_of(classifier(v, candidate_labels=LABELS)) for v in videos]
    for options in ({}, {"batch_size": 2}, {"batch_size": 8, "num_workers": 3}):
        results = classifier(videos, candidate_labels=LABELS, **options)
        for result, expected in zip(results, one_by_one, strict=True):
            assert scores_of(result) == pytest.approx(expected, abs=1e-4)
    streamed = classifier((v for v in videos), candidate_labels=LABELS)
    assert not isinstance(streamed, list)
    assert scores_of(next(streamed)) == pytest.approx(one_by_one[0], abs=1e-4)


def test_a_bad_file_raises_or_stands_in_its_place(classifier, video, tmp_path):
    bad = tmp_path / "broken.mp4"
    bad.write_bytes(b"no video")
    with pytest.raises(VideoReadError, match="broken.mp4"):
        classifier([video, bad, video], candidate_labels=LABELS)
    good, error, again = classifier([video, bad, video], candidate_labels=LABELS, on_error="return", batch_size=2)
    assert isinstance(error, VideoReadError)
    assert scores_of(good) == pytest.approx(scores_of(again))
    (timeline,) = classifier([bad], candidate_labels=LABELS, on_error="return", window=0.2)
    assert isinstance(timeline, VideoReadError)


def test_a_wrong_option_is_no_bad_file(classifier, video):
    with pytest.raises(ValueError, match="sampling"):
        classifier([video, video], candidate_labels=LABELS, sampling="nosuch", on_error="return")
    error = classifier([video.with_name("missing.mp4")], candidate_labels=LABELS, on_error="return")[0]
    assert isinstance(error, VideoReadError)


def test_label_set_is_encoded_once(classifier, video, monkeypatch):
    calls = []
    encode = classifier.model.encode_labels
    monkeypatch.setattr(classifier.model, "encode_labels", lambda **kw: calls.append(1) or encode(**kw))
    labels = ["sailing", "climbing"]
    classifier([video] * 3, candidate_labels=labels)
    classifier(video, candidate_labels=labels)
    assert len(calls) == 1
    classifier(video, candidate_labels=labels, hypothesis_template="someone is {}")
    assert len(calls) == 2
    monkeypatch.setattr(type(classifier), "max_label_banks", 1)
    classifier(video, candidate_labels=["a", "b"])
    classifier(video, candidate_labels=labels)
    assert len(calls) == 4


def test_the_label_set_that_was_used_longest_ago_is_forgotten(folder, monkeypatch):
    classifier = pipeline(hf_zsar.registration.TASK, model=str(folder), device="cpu")
    monkeypatch.setattr(type(classifier), "max_label_banks", 2)
    first = classifier.label_bank(["a", "b"])
    second = classifier.label_bank(["c", "d"])
    assert classifier.label_bank(["a", "b"]) is first
    classifier.label_bank(["e", "f"])
    assert classifier.label_bank(["a", "b"]) is first
    assert classifier.label_bank(["c", "d"]) is not second


def test_new_weights_make_a_new_bank(folder, video):
    classifier = pipeline(hf_zsar.registration.TASK, model=str(folder), device="cpu")
    before = classifier.label_bank(LABELS)
    with torch.no_grad():
        classifier.model.get_input_embeddings().weight.mul_(2)
    assert classifier.label_bank(LABELS).fingerprint != before.fingerprint


def test_a_question_reads_the_weights_once_for_their_identity(classifier, video, monkeypatch):
    classifier(video, candidate_labels=LABELS)  # the label set is encoded
    reads, identify = [], type(classifier.model).identity
    monkeypatch.setattr(type(classifier.model), "identity", lambda model: reads.append(model) or identify(model))
    classifier(video, candidate_labels=LABELS)
    assert len(reads) == 1


def test_options_of_scoring(classifier, video):
    full = classifier(video, candidate_labels=LABELS)
    assert classifier(video, candidate_labels=LABELS, top_k=2) == full[:2]
    raw = classifier(video, candidate_labels=LABELS, function_to_apply="none")
    exp = torch.tensor([r["score"] for r in raw]).softmax(0)
    assert exp.tolist() == pytest.approx([r["score"] for r in full], abs=1e-5)
    logits = torch.tensor([r["score"] for r in raw])
    sigmoid = classifier(video, candidate_labels=LABELS, function_to_apply="sigmoid")
    assert [r["score"] for r in sigmoid] == pytest.approx(logits.sigmoid().tolist(), abs=1e-5)
    others = (logits.sum() - logits) / (len(logits) - 1)
    multi = classifier(video, candidate_labels=LABELS, multi_label=True)
    assert [r["score"] for r in multi] == pytest.approx((logits - others).sigmoid().tolist(), abs=1e-5)
    assert [r["label"] for r in multi] == [r["label"] for r in full]


def test_a_ready_bank_may_stand_for_the_labels(classifier, video):
    bank = classifier.label_bank(LABELS)
    expected = classifier(video, candidate_labels=LABELS)
    assert classifier(video, label_bank=bank) == expected
    assert {r["label"] for r in classifier(video, label_bank=bank.select(LABELS[:2]))} == set(LABELS[:2])


def test_frames_and_views_per_call(classifier, video):
    shapes = []
    encode = classifier.model.encode_videos
    classifier.model.encode_videos = lambda pixels: shapes.append(tuple(pixels.shape)) or encode(pixels)
    try:
        classifier(video, candidate_labels=LABELS, num_views=2)
        classifier(video, candidate_labels=LABELS, num_views=2, num_crops=3)
    finally:
        del classifier.model.encode_videos
    assert [shape[:2] for shape in shapes] == [(1, 2), (1, 6)]


def test_windows_give_a_timeline(classifier, tmp_path):
    video = write_video(tmp_path / "long.mp4", num_frames=50, fps=10)
    timeline = classifier(video, candidate_labels=LABELS, window=2.0, stride=1.0, batch_size=3)
    assert [entry["start"] for entry in timeline] == pytest.approx([0, 1, 2, 3])
    assert all(entry["end"] > entry["start"] for entry in timeline)
    first = classifier(video, candidate_labels=LABELS, window=2.0, stride=1.0)[0]
    assert scores_of(first["labels"]) == pytest.approx(scores_of(timeline[0]["labels"]), abs=1e-4)


def test_a_stream_without_end_is_scored_as_it_comes(classifier, tmp_path):
    """Entries of a pipe come while it is still open, and few windows are held however many there were."""
    video = write_video(tmp_path / "stream.ts", num_frames=120, fps=10, gop=5)
    expected = classifier(video, candidate_labels=LABELS, window=1.0)
    data, chunk = video.read_bytes(), 2048
    read_end, write_end = os.pipe()
    go_on = threading.Event()

    def send() -> None:
        with open(write_end, "wb", buffering=0) as pipe:
            half = len(data) // 2
            for start in range(0, half, chunk):
                pipe.write(data[start : min(start + chunk, half)])
            assert go_on.wait(60)
            pipe.write(data[half:])

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    with open(read_end, "rb", buffering=0) as source:
        entries = classifier.timeline(source, LABELS, window=1.0)
        found = [next(entries)]
        assert not go_on.is_set(), "the first window is scored while the stream is still running"
        go_on.set()
        found += entries
    sender.join(60)
    assert [entry["start"] for entry in found] == pytest.approx([entry["start"] for entry in expected])
    for ours, theirs in zip(found[:-1], expected[:-1], strict=True):
        assert scores_of(ours["labels"]) == pytest.approx(scores_of(theirs["labels"]), abs=1e-4)


def test_a_timeline_holds_one_batch_of_windows(classifier, monkeypatch):
    alive: list[weakref.ref] = []
    largest = 0

    def endless(source, window, stride=None, **options):
        assert options.pop("live") and not options
        for number in count():
            pixels = torch.randn(8, 3, 32, 32)
            alive.append(weakref.ref(pixels))
            yield number * window, (number + 1) * window, pixels

    monkeypatch.setattr(classifier.processor.video_processor, "iter_windows", endless)
    entries = []
    for entry in islice(classifier.timeline("camera", LABELS, window=2.0, live=True, batch_size=3), 30):
        entries.append(entry)
        largest = max(largest, sum(ref() is not None for ref in alive))
    assert [each["start"] for each in entries] == pytest.approx(range(0, 60, 2))
    assert largest <= 4


def test_a_timeline_refuses_at_once(classifier, video):
    with pytest.raises(ValueError, match="candidate_labels is missing"):
        classifier.timeline(video, window=1.0)
    with pytest.raises(ValueError, match="on_error"):
        classifier.timeline(video, LABELS, window=1.0, on_error="return")


def test_unknown_options_are_refused(classifier, video):
    for options, message in (
        ({"candidate_labels": LABELS, "temprature": 1}, "is not an option"),
        ({"candidate_labels": LABELS, "function_to_apply": "relu"}, "function_to_apply"),
        ({"candidate_labels": LABELS, "on_error": "ignore"}, "on_error"),
        ({}, "candidate_labels is missing"),
        ({"candidate_labels": []}, "labels must name"),
    ):
        with pytest.raises(ValueError, match=message):
            classifier(video, **options)


def test_one_label_is_no_share_of_anything(classifier, video):
    """A softmax over one label is 1.0 whatever the video shows."""
    for options in ({}, {"function_to_apply": "softmax"}, {"multi_label": True, "function_to_apply": "softmax"}):
        for labels in (["cooking"], "cooking", np.array(["cooking"])):
            with pytest.raises(ValueError, match="only label"):
                classifier(video, candidate_labels=labels, **options)
    with pytest.raises(ValueError, match="only label"):
        classifier(video, label_bank=classifier.label_bank(["cooking"]))
    with pytest.raises(ValueError, match="only label"):
        classifier.timeline(video, ["cooking"], window=0.5)


def test_one_label_by_its_logit_or_against_something_else(classifier, video):
    other = write_video(video.with_name("other.mp4"), num_frames=20, first_number=700)
    logits = [classifier(v, ["cooking"], function_to_apply="none")[0]["score"] for v in (video, other)]
    assert logits[0] != logits[1]
    shares = scores_of(classifier(video, ["cooking", "something else"]))
    (alone,) = classifier(video, ["cooking"], multi_label=True)
    assert alone["label"] == "cooking" and 0 < alone["score"] < 1
    if not classifier.model.config.model_type.endswith("actionclip"):  # which averages shares, not cosines
        assert alone["score"] == pytest.approx(shares["cooking"], abs=1e-4)
    (by_bank,) = classifier(video, label_bank=classifier.label_bank(["cooking"]), multi_label=True)
    assert by_bank["score"] == pytest.approx(alone["score"], abs=1e-5)
    (window, *_) = classifier(video, ["cooking"], multi_label=True, window=0.5)
    assert 0 < window["labels"][0]["score"] < 1


def test_labels_of_any_collection(classifier, video):
    expected = classifier(video, candidate_labels=LABELS)
    for labels in (np.array(LABELS), (label for label in LABELS), ", ".join(LABELS), f"{','.join(LABELS)},"):
        assert classifier(video, candidate_labels=labels) == expected
    several = classifier([video, video], candidate_labels=(label for label in LABELS))
    assert [scores_of(each).keys() for each in several] == [scores_of(expected).keys()] * 2


@pytest.mark.parametrize(
    "labels", [["cooking", "surfing", "cooking"], [np.int64(1), np.int64(2)], ["cooking", None], [["cooking"], ["b"]]]
)
def test_candidates_that_are_no_set_of_names_are_refused(classifier, video, labels):
    for function in ("softmax", "none"):
        with pytest.raises(ValueError, match="label"):
            classifier(video, candidate_labels=labels, function_to_apply=function)
    with pytest.raises(ValueError, match="label"):
        classifier.label_bank(labels)


def test_counts_are_whole_numbers_above_zero(classifier, video):
    expected = classifier(video, candidate_labels=LABELS, top_k=2, num_frames=4)
    of_numpy = {"top_k": np.int64(2), "num_frames": np.int32(4), "batch_size": np.uint8(1), "num_workers": np.int16(1)}
    assert classifier(video, candidate_labels=LABELS, **of_numpy) == expected
    for name in ("top_k", "num_frames", "num_views", "batch_size", "num_workers"):
        for value in (-1, 2.5, "3", True, *([0] if name != "num_workers" else [])):
            with pytest.raises(ValueError, match=f"{name} must be a whole number above zero"):
                classifier(video, candidate_labels=LABELS, **{name: value})
    assert len(classifier(video, candidate_labels=LABELS, top_k=99)) == len(LABELS)


def test_options_are_checked_before_any_video_is_opened(classifier):
    for options in ({"top_k": 0}, {"candidate_labels": ["cooking"]}, {"stride": 1.0}):
        with pytest.raises(ValueError, match=r"top_k|only label|pass window too"):
            classifier(iter(["missing.mp4"]), **{"candidate_labels": LABELS, **options})
    for idle in ({"sampling": "uniform"}, {"num_views": 2}):
        with pytest.raises(ValueError, match=f"{next(iter(idle))} changes nothing with window"):
            classifier(iter(["missing.mp4"]), candidate_labels=LABELS, window=1.0, **idle)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("labels", "candidate_labels"), ("template", "hypothesis_template"), ("topk", "top_k"), ("windows", "window")],
)
def test_an_unknown_option_is_told_from_the_one_that_is_meant(classifier, video, name, meant):
    with pytest.raises(ValueError, match=f"{name!r} is not an option of this pipeline; did you mean {meant}?"):
        classifier(video, **{name: LABELS})


def test_the_prompts_of_a_pipeline_fit_its_text_tower(folder, video, classifier):
    model, processor = classifier.model, classifier.processor
    assert type(classifier)(model=model, processor=processor).processor is processor
    endless = type(processor).from_pretrained(folder)
    endless.tokenizer.model_max_length = int(1e30)
    pipe = type(classifier)(model=model, processor=endless)
    assert pipe.processor.text_limit == model.text_limit and endless.text_limit is None
    long = "cooking " * 90
    with pytest.warns(hf_zsar.LabelWarning, match="cut off") as caught:
        pipe([video, video], candidate_labels=[long, "surfing"])
    assert len(caught.list) == 1


def test_bf16_agrees_with_float32_and_keeps_the_scale(folder, video, classifier):
    if "batch norms" in (why_not_bf16(classifier.model) or ""):
        with pytest.raises(ValueError, match="batch norms"):
            pipeline(hf_zsar.registration.TASK, model=str(folder), device="cpu", precision="bf16")
        return
    pipes = {
        p: pipeline(hf_zsar.registration.TASK, model=str(folder), device="cpu", precision=p) for p in ("fp32", "bf16")
    }
    half = bf16_copy(pipes["bf16"].model)
    assert {p.dtype for p in half.parameters() if p.ndim > 0} == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in half.parameters() if p.ndim == 0)
    assert all(b.dtype != torch.bfloat16 for b in half.buffers())
    features = [pipe.encode_videos(pipe.preprocess(video)["pixel_values_videos"]) for pipe in pipes.values()]
    assert features[1].frame_embeds.dtype == torch.bfloat16
    embeds = [each.video_embeds.float().flatten() for each in features]
    assert torch.nn.functional.cosine_similarity(*embeds, dim=0) > 0.99
    results = [scores_of(pipe(video, candidate_labels=LABELS)) for pipe in pipes.values()]
    assert sum(results[1].values()) == pytest.approx(1, abs=1e-3)


def test_precision_is_chosen_by_size_and_processor(monkeypatch):
    from hf_zsar import pipeline_video_scoring as module

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    large = torch.nn.utils.skip_init(torch.nn.Linear, 8000, 8000)
    large.device, large.dtype = torch.device("cpu"), torch.float32
    assert module.bf16_pays(large)
    large.dtype = torch.float16
    assert not module.bf16_pays(large)
    small = torch.nn.Linear(8, 8)
    small.device, small.dtype = torch.device("cpu"), torch.float32
    assert not module.bf16_pays(small)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    large.dtype = torch.float32
    assert not module.bf16_pays(large)


def test_unknown_precision_is_refused(folder):
    with pytest.raises(ValueError, match="precision"):
        pipeline(hf_zsar.registration.TASK, model=str(folder), device="cpu", precision="int4")


@pytest.mark.slow
def test_compiled_pipeline_gives_the_same_scores(folder, video, classifier):
    compiled = pipeline(hf_zsar.registration.TASK, model=str(folder), device="cpu", compile=True)
    expected = scores_of(classifier(video, candidate_labels=LABELS))
    assert scores_of(compiled(video, candidate_labels=LABELS)) == pytest.approx(expected, abs=1e-4)


def test_saved_pipeline_loads_without_trust(classifier, video, tmp_path):
    classifier.save_pretrained(tmp_path)
    assert "custom_pipelines" not in (tmp_path / "config.json").read_text()
    again = pipeline(hf_zsar.registration.TASK, model=str(tmp_path), device="cpu")
    expected = scores_of(classifier(video, candidate_labels=LABELS))
    assert scores_of(again(video, candidate_labels=LABELS)) == pytest.approx(expected, abs=1e-5)


def test_columns_give_lists_and_other_collections_iterators(classifier, video):
    pandas = pytest.importorskip("pandas")
    expected = scores_of(classifier(video, candidate_labels=LABELS))
    for column in (
        pandas.Series([video] * 2),
        np.array([str(video)] * 2),
        np.array([video, str(video)], dtype=object),
    ):
        results = classifier(column, candidate_labels=LABELS)
        assert isinstance(results, list) and len(results) == 2
        assert all(scores_of(each) == pytest.approx(expected, abs=1e-5) for each in results)
    assert len(list(classifier((each for each in [video] * 3), candidate_labels=LABELS))) == 3


@pytest.mark.parametrize(
    "wrong", [None, 3, Image.new("RGB", (4, 4)), np.arange(3)], ids=["None", "int", "PIL", "array"]
)
def test_what_is_no_video_raises_at_once(classifier, wrong):
    with pytest.raises(ValueError, match="neither a video nor a collection of videos"):
        classifier(wrong, candidate_labels=LABELS)


def test_what_is_no_video_in_a_collection_stands_in_its_place(classifier, video):
    wrong = [None, 3, Image.new("RGB", (4, 4)), {"video": video}]
    results = classifier([video, *wrong], candidate_labels=LABELS, on_error="return")
    assert isinstance(results[0], list)
    assert all(isinstance(each, hf_zsar.VideoReadError) for each in results[1:])
    with pytest.raises(ValueError, match="another collection"):
        classifier([[video, video]], candidate_labels=LABELS)


def test_prefetch_is_bounded_ordered_and_stops_on_errors():
    started = []

    def work(i):
        started.append(i)
        if i == 7:
            raise ValueError("seven")
        return i

    source = iter(range(1000))
    results = prefetch(work, source, workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert max(started) < 10
    with pytest.raises(ValueError, match="seven"):
        list(results)
    assert next(source) < 15


def test_threads_never_hang(folder, video, tmp_path):
    """Broken files among good ones, many threads, an early stop: the process ends by itself."""
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(video.read_bytes()[:300])
    code = f"""
import hf_zsar
from transformers import pipeline
pipe = pipeline("zero-shot-video-classification", model={str(folder)!r}, device="cpu")
videos = [{str(video)!r}, {str(bad)!r}] * 20
results = pipe(videos, candidate_labels=["a", "b"], on_error="return", num_workers=4, batch_size=3)
assert [isinstance(r, list) for r in results] == [True, False] * 20
next(pipe(iter(videos), candidate_labels=["a", "b"], num_workers=4))
try:
    pipe(videos, candidate_labels=["a", "b"], num_workers=4)
except hf_zsar.VideoReadError:
    print("done")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "done", run.stderr
