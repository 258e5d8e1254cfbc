"""ONNX export of the towers of every method."""

from __future__ import annotations

import pytest
import torch

from hf_zsar import METHODS, onnx
from hf_zsar.cli import main
from tests.tiny_models import tiny_folder, tiny_model, tiny_processor, tiny_videos


onnxruntime = pytest.importorskip("onnxruntime", reason="the extra hf-zsar[export] is not installed")
pytest.importorskip("onnxscript", reason="the extra hf-zsar[export] is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(METHODS))
def test_towers_equal_pytorch_for_other_batches(method, tmp_path):
    model, processor = tiny_model(method), tiny_processor(method)
    differences = onnx.export_onnx(model, processor, tmp_path / "out")
    assert max(differences.values()) < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "out" / "video.onnx")
    videos = tiny_videos(batch=3, seed=5)
    with torch.no_grad():
        expected = model.encode_videos(videos).video_embeds
    found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: videos.numpy()})[0])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_wrong_export_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.onnx, "export", lambda tower, args, path, **kwargs: path.write_bytes(b""))
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *args, **kwargs: None)
    monkeypatch.setattr(onnx, "_difference", lambda *args: 0.5)
    with pytest.raises(onnx.OnnxExportError, match="video.onnx is off by 0.5"):
        onnx.export_onnx(tiny_model("rest"), tiny_processor("rest"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path, capsys):
    folder = tiny_folder("rest", tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    assert main(["export-onnx", str(folder), str(tmp_path / "out")]) == 2
    assert "not empty" in capsys.readouterr().err
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
