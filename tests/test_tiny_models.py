"""The tiny models that other tests stand on: every method has one, it is tiny, and it is the same everywhere."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from hf_zsar import METHODS
from tests.conftest import REPO_ROOT
from tests.tiny_models import LABELS, TINY, tiny_bert_tokenizer, tiny_clip_tokenizer, tiny_inputs, tiny_model


def test_every_method_has_a_tiny_model():
    assert set(TINY) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_tiny_model_runs_is_small_and_leaves_the_random_state_alone(method):
    state = torch.random.get_rng_state()
    model = tiny_model(method)
    inputs = tiny_inputs(method, batch=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.num_parameters() < 1_000_000
    with torch.no_grad():
        logits = model(**inputs).logits_per_video
    assert logits.shape == (2, len(LABELS))
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("method", METHODS)
def test_seed_decides_the_weights(method):
    first, same, other = (tiny_model(method, seed=seed).weights_fingerprint() for seed in (0, 0, 1))
    assert first == same != other


@pytest.mark.parametrize("build", [tiny_clip_tokenizer, tiny_bert_tokenizer])
def test_tiny_tokenizers_spell_any_word_and_survive_saving(build, tmp_path):
    tokenizer = build()
    texts = ["a video of a person riding a bike", "zebra-crossing, 42!"]
    ids = tokenizer(texts)["input_ids"]
    unknown = tokenizer.unk_token_id if tokenizer.unk_token_id != tokenizer.eos_token_id else None
    assert all(unknown not in row for row in ids)
    assert [tokenizer.decode(row, skip_special_tokens=True).replace(" ", "") for row in ids] == [
        text.replace(" ", "") for text in texts
    ]
    tokenizer.save_pretrained(tmp_path)
    assert type(tokenizer).from_pretrained(tmp_path)(texts)["input_ids"] == ids


def test_tiny_tokenizers_are_equal_in_every_process():
    code = (
        "from tests.tiny_models import tiny_clip_tokenizer, tiny_bert_tokenizer\n"
        "print([sorted(build().get_vocab().items()) for build in (tiny_clip_tokenizer, tiny_bert_tokenizer)])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=REPO_ROOT, check=True
        )
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
