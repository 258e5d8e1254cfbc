"""The demo as a Space, and the commands `hf-zsar push` and `hf-zsar push-space`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from huggingface_hub import HfApi, SpaceCardData, snapshot_download

from hf_zsar import cli
from hf_zsar.hub import PushError, push, push_space
from tests.hub.server import LoopbackHub
from tests.tiny_models import tiny_folder, tiny_model, tiny_processor
from tests.videos import write_video


gradio = pytest.importorskip("gradio", reason="Spaces need Gradio (pip install 'hf-zsar[demo]')")

MODEL, SPACE = "user/model", "user/try-it"


@pytest.fixture
def pushed(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """A Hub with a model on it, the one that this process talks to."""
    hub.become_default(monkeypatch, cache)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    push(tiny_model("rest"), MODEL, processor=tiny_processor("rest"), verify=False)
    return hub


def test_a_space_is_complete_and_pinned(pushed: LoopbackHub) -> None:
    push_space(SPACE, MODEL, title="Try it")
    files = pushed.files(SPACE, kind="space")
    assert {"README.md", "app.py", "requirements.txt", "zsar_demo/app.py", "zsar_demo/answers.py"} <= set(files)
    metadata = yaml.safe_load(files["README.md"].decode().split("---")[1])
    card = SpaceCardData(**metadata)
    assert (card.title, card.sdk, card.app_file, card.models) == ("Try it", "gradio", "app.py", [MODEL])
    assert pushed.repo(MODEL).branches["main"].encode() in files["app.py"]
    assert pushed.repo(SPACE, "space").sdk == "gradio"
    assert b"+cpu" not in files["requirements.txt"]
    assert not [name for name, data in files.items() if name.endswith(".py") and b"\nimport hf_zsar" in data]


def test_a_space_is_updated_in_place(pushed: LoopbackHub, api: HfApi) -> None:
    push_space(SPACE, MODEL)
    first = pushed.repo(SPACE, "space").branches["main"]
    push_space(SPACE, MODEL)
    assert pushed.repo(SPACE, "space").branches["main"] == first
    push(tiny_model("rest", seed=1), MODEL, processor=tiny_processor("rest"), verify=False)
    push_space(SPACE, MODEL)
    assert len(list(pushed.repo(SPACE, "space").history("main"))) == 3


def test_a_model_that_is_not_there_or_has_no_code_is_refused(pushed: LoopbackHub, api: HfApi) -> None:
    with pytest.raises(PushError, match="user/nothing: it does not exist"):
        push_space(SPACE, "user/nothing")
    api.create_repo("user/plain")
    with pytest.raises(PushError, match="carries no code"):
        push_space(SPACE, "user/plain")
    assert ("space", SPACE) not in pushed.store.repos


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_out_of_reach_is_one_line(
    offline: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Switched off by the user, or a port where nobody listens."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    huggingface_hub.close_session()
    assert cli.main(["push-space", SPACE, "--model", MODEL]) == 2
    err = capsys.readouterr().err
    assert f"Cannot make a Space for {MODEL}: " in err and len(err.splitlines()) == 1
    assert ("offline mode" in err) == offline
    huggingface_hub.close_session()


# What a Space runs, except that the server is replaced by one question to the page's own function.
RUN_SPACE = """
import json, sys
sys.modules["hf_zsar"] = None
sys.path.insert(0, ".")
import zsar_demo.app
from zsar_demo.answers import answers, ask, has_whole_code

def one_question(pipe, **options):
    zsar_demo.app.lower_limits(pipe)
    assert not has_whole_code(pipe)
    zsar_demo.app.build_app(pipe)
    [answer] = answers(pipe, ask(pipe, sys.argv[1], "riding a bike\\ncooking"))
    print("ANSWER", json.dumps(answer.scores), options["title"])

zsar_demo.app.launch = one_question
exec(compile(open("app.py").read(), "app.py", "exec"), {})
"""


@pytest.mark.slow
def test_a_space_answers_without_this_package(pushed: LoopbackHub, tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", 30, height=48, width=64)
    push_space(SPACE, MODEL, title="It's a “title”")
    folder = snapshot_download(SPACE, repo_type="space", local_dir=tmp_path / "space")
    done = subprocess.run(
        [sys.executable, "-c", RUN_SPACE, str(video)],
        cwd=folder,
        env={**os.environ, **pushed.environment(str(tmp_path / "home"))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("ANSWER"))
    scores, title = line.removeprefix("ANSWER ").split("} ")
    assert title == "It's a “title”"
    assert sum(json.loads(scores + "}").values()) == pytest.approx(1, abs=1e-5)


# -------------------------------------------------------------------------------------------------------- commands
def test_push_command(pushed: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = str(tiny_folder("rest", tmp_path / "model"))
    assert cli.main(["push", folder, "org/cli", "--private", "--no-verify", "--message", "From the shell"]) == 0
    assert capsys.readouterr().out.strip().startswith(f"{pushed.url}/org/cli/commit/")
    assert pushed.repo("org/cli").private
    assert next(pushed.repo("org/cli").history("main")).title == "From the shell"
    (tmp_path / "model" / "README.md").write_text("---\nlicense: mit\n---\n# new\n")
    assert cli.main(["push", folder, "org/cli", "--no-verify", "--pull-request"]) == 0
    assert capsys.readouterr().out.strip() == f"{pushed.url}/org/cli/discussions/1"


def test_push_command_refuses_in_one_sentence(
    pushed: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["push", str(tmp_path), "org/cli"]) == 2
    assert "no config.json" in capsys.readouterr().err
    restricted = tiny_folder("stdd", tmp_path / "restricted", source_license="none")
    assert cli.main(["push", str(restricted), "org/cli", "--no-verify"]) == 2
    assert "--allow-restricted" in capsys.readouterr().err
    assert cli.main(["push", str(restricted), "elsewhere/cli", "--no-verify", "--allow-restricted"]) == 2
    assert "may not write there" in capsys.readouterr().err


def test_push_space_command(pushed: LoopbackHub, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["push-space", "org/try", "--model", MODEL]) == 0
    assert capsys.readouterr().out.strip() == f"{pushed.url}/spaces/org/try"
    assert cli.main(["push-space", "org/try", "--model", "user/nothing"]) == 2
    assert "user/nothing" in capsys.readouterr().err


def test_commands_use_a_pushed_model_without_trust(
    pushed: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = snapshot_download(MODEL, endpoint=pushed.url, local_dir=tmp_path / "model")
    video = write_video(tmp_path / "clip.mp4", 30, height=48, width=64)
    assert (
        cli.main(["classify", str(video), "--labels", "a", "b", "--model", folder, "--device", "cpu", "--json"]) == 0
    )
    assert {entry["label"] for entry in json.loads(capsys.readouterr().out)[0]["scores"]} == {"a", "b"}


def test_demo_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_zsar.demo import app

    started = {}
    monkeypatch.setattr(app, "launch", lambda pipe, **options: started.update(options, pipe=pipe))
    folder = str(tiny_folder("rest", tmp_path / "model"))
    assert cli.main(["demo", "--model", folder, "--device", "cpu", "--port", "7999", "--max-mb", "5"]) == 0
    assert (started["port"], started["max_mb"], started["host"]) == (7999, 5, "127.0.0.1")
    assert type(started["pipe"].model).__name__ == "ResTModel"
