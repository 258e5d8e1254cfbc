"""A pipeline whose model knows the truth: it reads the number that `tests.joined_clips` paints over pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F

from hf_zsar.modeling.outputs import VideoFeatures
from tests.joined_clips import BITS, FPS, SIZE, Clip, paint, read
from tests.tiny_models import tiny_model, tiny_processor


NUM_FRAMES = 8
MARGIN = 30.0  # of the right label's logit over others


def oracle(clips: Sequence[Clip], pools: bool = True) -> Any:
    """A pipeline whose features are one-hot for the true clip; of the clips without a label nothing is said.

    Args:
        pools: whether the feature of a clip is the mean over its frames, or only known for a clip as a whole.
    """
    from hf_zsar import ZeroShotVideoClassificationPipeline

    pipe = ZeroShotVideoClassificationPipeline(
        model=tiny_model("video_text"), processor=tiny_processor("video_text"), device="cpu"
    )
    video = pipe.processor.video_processor
    video.num_frames, video.size, video.do_center_crop = NUM_FRAMES, {"height": SIZE, "width": SIZE}, False
    pipe.frames_encoded = 0

    def encode_videos(pixels: torch.Tensor) -> VideoFeatures:
        pipe.frames_encoded += pixels.shape[0] * pixels.shape[1]
        if not pools and pixels.shape[1] != NUM_FRAMES:
            raise ValueError(f"clips have {NUM_FRAMES} frames")
        frames = F.one_hot(read(pixels), 2**BITS).float()
        return VideoFeatures(F.normalize(frames.mean(dim=1), dim=-1), frame_embeds=frames[:, None])

    def score_features(features: VideoFeatures, candidate_labels: Any = (), label_bank: Any = None) -> dict[str, Any]:
        labels = list(candidate_labels if label_bank is None else label_bank.labels)
        true = {clip.label for clip in clips}
        logits = torch.zeros(len(features.video_embeds), len(labels))
        for clip in clips:
            if clip.label in labels:
                logits[:, labels.index(clip.label)] += MARGIN * features.video_embeds[:, clip.number]
        logits[:, [label not in true for label in labels]] = MARGIN / 2  # of the background
        return {"labels": labels, "logits": logits}

    pipe.encode_videos, pipe.score_features = encode_videos, score_features
    return pipe


def made_clips(folder: Path, lengths: Sequence[float]) -> list[Clip]:
    """Short clips, `lengths` in seconds, in which a square moves before scenes that differ; most labels have two."""
    draw = np.random.default_rng(0)
    clips = []
    for number, seconds in enumerate(lengths, start=1):
        path = folder / f"{number}.mp4"
        scene = (draw.random((4, 4, 3)) * 200).repeat(SIZE // 4, axis=0).repeat(SIZE // 4, axis=1).astype(np.uint8)
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
            stream.width = stream.height = SIZE
            stream.pix_fmt = "yuv420p"
            for place in range(round(seconds * FPS)):
                picture = scene.copy()
                left = 4 * place % (SIZE - 24)
                picture[60:84, left : left + 24] = 255
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode(None))
        clips.append(Clip(path, f"label {number // 2}", number))
    return clips


def as_found(truth: Sequence[dict[str, Any]], video: str = "v", **more: Any) -> list[dict[str, Any]]:
    """Segments for `localization_map`."""
    return [{"video": video, **each, **more} for each in truth]


def still(number: int, seconds: float) -> np.ndarray:
    """A still picture with a number on it, `[T, H, W, 3]` at a frame a second."""
    picture = np.full((SIZE, SIZE, 3), 60 + 40 * (number % 3), np.uint8)
    paint(picture, number)
    return np.repeat(picture[None], round(seconds), axis=0)
