"""`hf-zsar convert`."""

from __future__ import annotations

import subprocess
import sys

import pytest
from transformers import AutoModel

from hf_zsar.cli import main
from hf_zsar.cli.convert import assignment
from hf_zsar.conversion import SOURCES
from tests.conversion.official_files import official_file, transformer_head
from tests.tiny_models import tiny_clip_tokenizer


def test_writes_a_folder_and_a_summary(tmp_path, capsys):
    path = official_file(tmp_path / "last_model.pt", head=transformer_head())
    tiny_clip_tokenizer().save_pretrained(tmp_path / "tokenizer")
    out = tmp_path / "out"
    arguments = ["convert", path, str(out), "--from", "actionclip", "--num-frames", "4"]
    arguments += ["--tokenizer", str(tmp_path / "tokenizer"), "--template", "a video of {}", "--set", "loss_type=ce"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "official ActionCLIP, Transf" in printed and path in printed and "float32" in printed
    assert "no tokenizer" not in printed
    assert AutoModel.from_pretrained(out).config.loss_type == "ce"
    assert main(arguments) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_a_failure_leaves_nothing(tmp_path, capsys):
    path = official_file(tmp_path / "last_model.pt", head=transformer_head())
    before = set(tmp_path.iterdir())
    assert main(["convert", path, str(tmp_path / "out"), "--from", "actionclip"]) == 2
    assert "--num-frames" in capsys.readouterr().err
    assert main(["convert", path, str(tmp_path / "out"), "--from", "openai-clip"]) == 2
    assert "is not an OpenAI CLIP" in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


def test_assignments():
    assert assignment("num_frames=8") == ("num_frames", 8)
    assert assignment("conv1d_legacy_view=false") == ("conv1d_legacy_view", False)
    assert assignment("loss_type=ce") == ("loss_type", "ce")
    with pytest.raises(Exception, match="is not FIELD=VALUE"):
        assignment("loss_type")


def test_help_names_every_source_without_importing_torch():
    code = (
        "import sys\n"
        "from hf_zsar.cli import main\n"
        "try:\n    main(['convert', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'heavy imports'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert all(name in done.stdout for name in SOURCES)


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
def test_every_source_has_its_converter(source):
    assert callable(source.load())
