"""An upload ends in success or in one clear error, and a repository holds all of it or nothing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hf_zsar.hub.transfer import ATTEMPTS, PushError, Target, files_to_push, upload
from tests.hub.server import LoopbackHub


REPO = "user/model"
COMMIT, LFS = "POST /api/models/.*/commit/", "PUT /cdn/"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / ".eval_results").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "x"}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 1000)
    (folder / "modeling_x.py").write_text("x = 1\n")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# x\n")
    (folder / ".eval_results" / "ucf101.yaml").write_text("[]\n")
    return folder


@pytest.fixture
def send(api: HfApi, folder: Path, waits: list[float]) -> Callable[..., Any]:
    """Push the folder; the client's own waits are recorded in `waits`."""

    def send(**target: Any) -> Any:
        return upload(api, files_to_push(folder), Target(REPO, **target), "a push")

    return send


def contents(folder: Path) -> dict[str, bytes]:
    return {name: file.read_bytes() for name, file in files_to_push(folder).items()}


def remote(hub: LoopbackHub, revision: str = "main") -> dict[str, bytes]:
    return {name: data for name, data in hub.files(REPO, revision).items() if name != ".gitattributes"}


def commits(hub: LoopbackHub, revision: str = "main") -> list[str]:
    return [commit.title for commit in hub.repo(REPO).history(revision)]


def test_one_commit_holds_everything(hub: LoopbackHub, send: Callable[..., Any], folder: Path) -> None:
    commit = send(private=True)
    assert remote(hub) == contents(folder)
    assert commits(hub) == ["a push", "initial commit"]
    assert hub.repo(REPO).private
    assert commit.oid == hub.repo(REPO).branches["main"]
    assert not hub.unknown


def test_only_what_belongs_into_a_model_repository_goes(folder: Path) -> None:
    expected = set(files_to_push(folder))
    for name in ("training_args.bin", "optimizer.pt", "weights.pkl", "clip.mp4", "checkpoint-1/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    for name in ("._config.json", "._model.safetensors"):  # what macOS leaves on other disks
        (folder / name).write_bytes(b"x")
    (folder / "secret.json").symlink_to("/etc/hostname")
    assert set(files_to_push(folder)) == expected


def test_a_second_push_sends_changes_only_and_removes_what_is_gone(
    hub: LoopbackHub, send: Callable[..., Any], folder: Path, api: HfApi
) -> None:
    send()
    api.create_commit(REPO, [CommitOperationAdd("notes.md", b"by hand")], commit_message="notes")
    (folder / "modeling_x.py").rename(folder / "modeling_y.py")
    send()
    assert remote(hub) == {**contents(folder), "notes.md": b"by hand"}
    assert len(hub.requests(LFS)) == 1
    before = hub.repo(REPO).branches["main"]
    assert send().oid == before, "nothing changed, hence no new commit"
    assert len(commits(hub)) == 4


def test_branches_and_pull_requests(hub: LoopbackHub, send: Callable[..., Any], folder: Path) -> None:
    send(revision="next")
    assert remote(hub) == {}
    assert remote(hub, "next") == contents(folder)
    pull = send(create_pr=True)
    assert pull.pr_url.endswith(f"{REPO}/discussions/1")
    assert remote(hub) == {}
    assert remote(hub, "refs/pr/1") == contents(folder)


FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "rate limit when asking how to upload": ("preupload", dict(status=429, headers={"Retry-After": "7"})),
    "rate limit at the commit": (COMMIT, dict(status=429, headers={"Retry-After": "7"})),
    "overload at the commit": (COMMIT, dict(status=503, times=2)),
    "overload when creating": ("POST /api/repos/create", dict(status=502)),
    "overload when checking the card": ("validate-yaml", dict(status=500)),
    "overload of the storage": (LFS, dict(status=500, times=2)),
    "upload cut in the middle": (LFS, dict(cut_upload=10_000)),
    "answer of the upload lost": (LFS, dict(lose_answer=True)),
    "answer of the creation lost": ("POST /api/repos/create", dict(lose_answer=True)),
    "answer of the commit lost": (COMMIT, dict(lose_answer=True)),
    "overload after the commit": ("GET .*/tree/", dict(status=503, skip=1)),
}


@pytest.mark.parametrize("create_pr", [False, True], ids=["branch", "pull_request"])
@pytest.mark.parametrize("name", FAULTS)
def test_trouble_that_passes_ends_in_exactly_one_commit(
    name: str, create_pr: bool, hub: LoopbackHub, send: Callable[..., Any], folder: Path, waits: list, no_waiting: list
) -> None:
    pattern, what = FAULTS[name]
    fault = hub.fail(pattern, **what)
    commit = send(create_pr=create_pr)
    assert fault.hits > fault.skip, "the fault never struck"
    assert remote(hub, "refs/pr/1" if create_pr else "main") == contents(folder)
    assert len(hub.repo(REPO).commits) == 2
    assert len(hub.repo(REPO).pulls) == create_pr
    assert bool(commit.pr_url) == create_pr
    if "Retry-After" in what.get("headers", {}):
        assert max([*waits, *no_waiting]) >= 7, "the wait that the Hub asks for is kept"


def test_trouble_that_stays_is_one_error_and_the_next_push_continues(
    hub: LoopbackHub, send: Callable[..., Any], folder: Path, no_waiting: list[float]
) -> None:
    fault = hub.fail(COMMIT, status=503, times=1000)
    with pytest.raises(PushError, match="answered 503, 5 times in a row. The repository is as it was"):
        send()
    assert fault.hits == ATTEMPTS
    assert no_waiting == [1, 2, 4, 8]
    assert remote(hub) == {}
    hub.faults.clear()
    send()
    assert remote(hub) == contents(folder)
    assert len(hub.requests(LFS)) == 1, "the large file was there already"


@pytest.mark.parametrize(
    ("pattern", "status", "message"),
    [
        ("POST /api/repos/create", 401, "not logged in"),
        ("POST /api/repos/create", 403, "may not write there"),
        (COMMIT, 412, "somebody else committed at the same time"),
        (LFS, 403, "may not write there"),
    ],
)
def test_a_refusal_is_one_error_at_once(
    pattern: str, status: int, message: str, hub: LoopbackHub, send: Callable[..., Any], no_waiting: list[float]
) -> None:
    fault = hub.fail(pattern, status=status, body=b'{"error": "no"}', times=1000)
    with pytest.raises(PushError, match=f"Could not push to {REPO}.*{message}"):
        send()
    assert fault.hits == 1
    assert not no_waiting
    assert (("model", REPO) not in hub.store.repos) or remote(hub) == {}


def test_a_commit_that_comes_in_between_is_not_overwritten(
    hub: LoopbackHub, send: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send()
    (folder / "modeling_x.py").write_text("x = 2\n")
    create_commit = HfApi.create_commit

    def interrupted(api: HfApi, *args: Any, **options: Any) -> Any:
        monkeypatch.setattr(HfApi, "create_commit", create_commit)
        theirs = CommitOperationAdd("modeling_x.py", b"x = 3\n")
        HfApi(endpoint=hub.url, token=hub.token).create_commit(REPO, [theirs], commit_message="theirs")
        return create_commit(api, *args, **options)

    monkeypatch.setattr(HfApi, "create_commit", interrupted)
    with pytest.raises(PushError, match="somebody else committed"):
        send()
    assert commits(hub)[0] == "theirs"
    assert remote(hub)["modeling_x.py"] == b"x = 3\n"


def test_a_namespace_of_somebody_else_is_refused(hub: LoopbackHub, api: HfApi, folder: Path) -> None:
    with pytest.raises(PushError, match="may not write there"):
        upload(api, files_to_push(folder), Target("elsewhere/model"), "a push")


def test_a_wrong_name_is_refused_in_one_sentence(api: HfApi, folder: Path) -> None:
    with pytest.raises(PushError, match="no/such/name"):
        upload(api, files_to_push(folder), Target("no/such/name"), "a push")


def test_a_repository_that_does_not_hold_what_was_pushed_is_noticed(
    hub: LoopbackHub, send: Callable[..., Any], folder: Path
) -> None:
    other = [{"type": "file", "oid": "0" * 40, "size": 3, "path": name} for name in files_to_push(folder)]
    hub.fail("GET .*/tree/", status=200, body=json.dumps(other).encode(), skip=1)
    with pytest.raises(PushError, match="does not hold what was pushed"):
        send()
