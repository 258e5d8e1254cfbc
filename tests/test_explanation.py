"""Explanations of DA-STI models: what is in them, and that they can be drawn."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from PIL import Image
from transformers import pipeline

import hf_zsar
from hf_zsar.cli import main
from hf_zsar.explanation import ExplainedVideo, explain
from hf_zsar.plots.explanation import draw_explanation, overlay
from tests.tiny_models import LABELS, TINY, tiny_folder
from tests.videos import write_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder("dasti", tmp_path_factory.mktemp("dasti"))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "clip.mp4", num_frames=20, fps=10)


@pytest.fixture(scope="module")
def explanation(folder, video) -> ExplainedVideo:
    pipe = pipeline(hf_zsar.registration.TASK, model=str(folder), device="cpu")
    return explain(pipe, video, LABELS)


def test_it_explains_the_best_label_or_the_one_asked_for(folder, video, explanation):
    pipe = pipeline(hf_zsar.registration.TASK, model=str(folder), device="cpu")
    results = pipe(video, candidate_labels=LABELS)
    assert explanation.label == results[0]["label"]
    assert explanation.score == pytest.approx(results[0]["score"], abs=1e-4)
    assert explanation.frames.shape == (4, 32, 32, 3)
    assert explanation.timestamps == pytest.approx([0.2, 0.7, 1.2, 1.7], abs=0.06)
    assert explanation.frame_weights.sum().item() == pytest.approx(1, abs=1e-5)
    assert explanation.heat.shape == (4, 4, 4)
    other = explain(pipe, video, LABELS, label="riding a bike")
    attributes = TINY["dasti"].processor["descriptions"]["riding a bike"]
    assert sorted(name for name, _ in other.words) == sorted(attributes)
    values = [value for _, value in other.words]
    assert values == sorted(values, reverse=True)
    with pytest.raises(ValueError, match="none of the candidates"):
        explain(pipe, video, LABELS, label="sleeping")


def test_saliency_through_the_pipeline(folder, video, explanation):
    pipe = pipeline(hf_zsar.registration.TASK, model=str(folder), device="cpu")
    best = pipe(video, candidate_labels=LABELS, return_saliency=True, top_k=1)[0]
    assert best["saliency"].keys() == {"frames", "patches", "words"}
    torch.testing.assert_close(best["saliency"]["frames"], explanation.frame_weights)


def test_methods_without_saliency_say_so(tmp_path, video):
    pipe = pipeline(hf_zsar.registration.TASK, model=str(tiny_folder("rest", tmp_path)), device="cpu")
    with pytest.raises(ValueError, match="no saliency"):
        explain(pipe, video, LABELS)
    with pytest.raises(ValueError, match="no saliency"):
        pipe(video, candidate_labels=LABELS, return_saliency=True)


def test_one_candidate_has_no_share_to_explain(folder, video):
    pipe = pipeline(hf_zsar.registration.TASK, model=folder, device="cpu")
    with pytest.raises(ValueError, match="only label"):
        explain(pipe, video, LABELS[:1])


def test_heat_is_warm_where_patches_match_and_dim_elsewhere(explanation):
    heat = torch.zeros(4, 4, 4)
    heat[0, 0, 0] = 1
    gray = dataclasses.replace(explanation, heat=heat, frames=torch.full((4, 32, 32, 3), 120, dtype=torch.uint8))
    picture = overlay(gray, 0).astype(int)
    warm, cold = picture[2, 2], picture[28, 28]
    assert warm[0] > warm[2] + 60
    assert cold[0] == cold[2] < 120
    plain = dataclasses.replace(gray, heat=None)
    assert (overlay(plain, 0) == 120).all()


@pytest.mark.parametrize("name", ["why.png", "why.gif"])
def test_pictures(explanation, tmp_path, name):
    draw_explanation(explanation, tmp_path / name, "clip.mp4")
    with Image.open(tmp_path / name) as image:
        assert image.width > 500
        assert getattr(image, "n_frames", 1) == (4 if name.endswith("gif") else 1)


def test_frames_are_in_the_picture(explanation, tmp_path):
    """A bright and a dark clip give pictures of different brightness."""
    means = []
    for level in (10, 245):
        frames = torch.full((4, 32, 32, 3), level, dtype=torch.uint8)
        draw_explanation(dataclasses.replace(explanation, frames=frames, heat=None), tmp_path / "x.png")
        with Image.open(tmp_path / "x.png") as image:
            means.append(sum(image.convert("L").getdata()) / (image.width * image.height))
    assert means[1] > means[0] + 40


def test_command(folder, video, tmp_path, capsys):
    arguments = ["classify", str(video), "--labels", *LABELS, "--model", str(folder)]
    assert main([*arguments, "--explain", str(tmp_path / "why.png")]) == 0
    with Image.open(tmp_path / "why.png") as image:
        assert image.width > 500
