"""Prove that an export works elsewhere: load it in a process that cannot import this package, and compare scores.

The probe is made of noise: a few short videos and labels that no processor treats specially. Both sides run on the CPU
in float32, so that they must agree to rounding.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_zsar.files import scratch_folder
from hf_zsar.processing.text_files import read_json

from .code import ExportError
from .loading import load


if TYPE_CHECKING:
    from transformers import ProcessorMixin

    from hf_zsar.modeling.modeling_zsar import ZSARPreTrainedModel

PROBE_LABELS = ("riding a bike", "playing guitar", "walking a dog", "cooking an egg", "reading a book")
TOLERANCE = 1e-5
TIMEOUT = 600.0

# Standard input ends when the process that asked does, however it ends: nobody waits for the answer then.
_UNTIL_INPUT_ENDS = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
"""

# Runs where `hf_zsar` cannot be imported: what somebody without the package would do with a folder or repository.
CLEAN_SCRIPT = """
import json, sys
sys.modules["hf_zsar"] = None   # importing it now raises ModuleNotFoundError
import numpy, torch
from transformers import AutoModel, AutoProcessor, pipeline

def scores(source):
    model = AutoModel.from_pretrained(source, trust_remote_code=True, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(source, trust_remote_code=True)
    with torch.inference_mode():
        features = model.encode_videos(**processor(videos=videos))
        bank = model.build_label_bank(processor, labels)
        probabilities = model.score(features, bank).softmax(-1)
    classify = pipeline(task, model=source, trust_remote_code=True, dtype=torch.float32, device="cpu")
    ranked = {entry["label"]: entry["score"] for entry in classify(videos[0], candidate_labels=labels)}
    modules = [type(part).__module__ for part in (model, processor, classify)]
    return {"scores": probabilities.tolist(), "pipeline": [ranked[label] for label in labels], "modules": modules}

probe, task, answer, *sources = sys.argv[1:]
given = numpy.load(probe)
videos, labels = list(given["videos"]), [str(label) for label in given["labels"]]
answers = {source: scores(source) for source in sources}
with open(answer, "w") as file:
    json.dump(answers, file)
"""


def probe_videos(seed: int = 0, count: int = 2, frames: int = 24, size: int = 48) -> np.ndarray:
    """Moving noise, uint8 `[count, frames, size, size, 3]`; the same on every machine."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 256, (count, 1, size, size, 3))
    drift = rng.integers(-12, 13, (count, frames, size, size, 3)).cumsum(axis=1)
    return ((start + drift) % 256).astype(np.uint8)


def scores_of(
    model: ZSARPreTrainedModel, processor: ProcessorMixin, videos: np.ndarray, labels: Sequence[str]
) -> np.ndarray:
    """Probabilities `[videos, labels]` of the model as it stands, float32 on its device."""
    import torch

    with model.evaluating(), torch.inference_mode():
        pixels = {name: value.to(model.device) for name, value in processor(videos=list(videos)).items()}
        bank = model.build_label_bank(processor, labels)
        return model.score(model.encode_videos(**pixels), bank).float().softmax(-1).cpu().numpy()


def verify_export(
    folder: str | os.PathLike,
    model: ZSARPreTrainedModel | None = None,
    processor: ProcessorMixin | None = None,
    *,
    labels: Sequence[str] = PROBE_LABELS,
    timeout: float = TIMEOUT,
) -> float:
    """Load an export in a clean process without `hf_zsar` and compare its scores with the model's.

    Args:
        folder: what `export` wrote.
        model, processor: what it was made from. Read from the folder with the installed classes when left out, and
            when the model does not stand on the CPU in float32 (other devices round differently).
        labels: class names for the probe.
        timeout: seconds that the clean process may take.

    Returns:
        The largest difference between two probabilities.

    Raises:
        ExportError: the clean process fails, or a difference is above 1e-5.
    """
    import torch

    folder = Path(folder)
    if model is None or processor is None or model.device.type != "cpu" or model.dtype != torch.float32:
        model, processor = _load_installed(folder)
    videos = probe_videos()
    expected = scores_of(model, processor, videos, labels)
    answer = run_clean([str(folder.resolve())], videos, labels, timeout=timeout, HF_HUB_OFFLINE="1")[0]
    difference = float(np.abs(np.array(answer["scores"]) - expected).max())
    difference = max(difference, float(np.abs(np.array(answer["pipeline"]) - expected[0]).max()))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"The export in {folder} gives other scores than its model when it runs without this package (largest "
            f"difference {difference:.2e}, allowed {TOLERANCE:.0e}). Nothing was uploaded."
        )
    return difference


def _load_installed(folder: Path) -> tuple[ZSARPreTrainedModel, ProcessorMixin]:
    model, processor = load(folder)
    return model.float(), processor


def run_clean(
    sources: Sequence[str], videos: np.ndarray, labels: Sequence[str], *, timeout: float = TIMEOUT, **variables: str
) -> list[dict[str, list]]:
    """Score the videos with models loaded from folders or repositories, in a process without this package.

    Args:
        sources: folders or repository ids.
        videos, labels: what to score, see `probe_videos`.
        timeout: seconds for all of them.
        variables: environment of the process, e.g. `HF_ENDPOINT`.

    Returns:
        Per source `scores [videos, labels]`, `pipeline [labels]` (of the first video) and `modules`, where the classes
        of model, processor and pipeline come from.

    Raises:
        ExportError: a source does not load.
    """
    from hf_zsar.registration import TASK

    with scratch_folder() as scratch:
        probe, answer = scratch / "probe.npz", scratch / "answer.json"
        np.savez(probe, videos=videos, labels=np.array(labels))
        command = [sys.executable, "-c", _UNTIL_INPUT_ENDS + CLEAN_SCRIPT, str(probe), TASK, str(answer), *sources]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"HF_HOME": str(scratch), "HF_MODULES_CACHE": str(scratch / "modules"), **variables}
        options: dict[str, Any] = dict(cwd=scratch, env=environment, capture_output=True, text=True, timeout=timeout)
        until_we_end, ours = os.pipe()
        try:
            done = subprocess.run(command, stdin=until_we_end, check=False, **options)  # noqa: S603 - our script, no shell
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"{', '.join(sources)} did not load within {timeout:.0f} s.") from error
        finally:
            os.close(until_we_end)
            os.close(ours)
        if done.returncode != 0 or not answer.is_file():
            last = "\n".join(done.stderr.strip().splitlines()[-15:])
            raise ExportError(f"{', '.join(sources)} does not load without this package:\n{last}")
        answers = read_json(answer)
        return [answers[source] for source in sources]
