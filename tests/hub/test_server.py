"""The loopback Hub speaks to the real client as the Hub does: what other tests rely on."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub.server import LoopbackHub


REPO = "user/model"
WEIGHTS = os.urandom(200_000)
FILES = {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS, "sub/notes.txt": b"notes"}


def push(api: HfApi, files: dict[str, bytes] = FILES, **options: object) -> object:
    api.create_repo(REPO, exist_ok=True)
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return api.create_commit(REPO, operations, commit_message="files", **options)


def leftovers(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.name.endswith(".incomplete")]


def test_what_is_pushed_comes_back_and_a_second_push_changes_nothing(
    hub: LoopbackHub, api: HfApi, cache: Path
) -> None:
    commit = push(api)
    folder = Path(snapshot_download(REPO, endpoint=hub.url, token=hub.token, cache_dir=cache))
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert [len(hub.requests("PUT /cdn/")), len(hub.requests("/commit/"))] == [1, 1]
    assert push(api).oid == commit.oid, "an unchanged tree is not a new commit"
    assert [len(hub.requests("PUT /cdn/")), len(hub.requests("POST .*/commit/"))] == [1, 1]
    assert not hub.unknown


def test_listing_reading_and_history(hub: LoopbackHub, api: HfApi) -> None:
    push(api)
    assert set(api.list_repo_files(REPO)) == {*FILES, ".gitattributes"}
    tree = {entry.path: entry for entry in api.list_repo_tree(REPO)}
    assert set(tree) == {"config.json", "model.safetensors", "sub", ".gitattributes"}
    assert tree["model.safetensors"].lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert [info.size for info in api.get_paths_info(REPO, ["config.json", "nowhere"])] == [8]
    assert [commit.title for commit in api.list_repo_commits(REPO)] == ["files", "initial commit"]
    assert api.model_info(REPO).sha == hub.repo(REPO).branches["main"]
    assert api.whoami()["name"] == "user"


def test_branches_tags_pull_requests_and_deletion(hub: LoopbackHub, api: HfApi, cache: Path) -> None:
    push(api)
    api.create_tag(REPO, tag="v1")
    api.create_branch(REPO, branch="next")
    push(api, {"config.json": b"{}"}, revision="next")
    pull = push(api, {"config.json": b"[]"}, create_pr=True)
    assert pull.pr_revision == "refs/pr/1"
    contents = {revision: hub.files(REPO, revision)["config.json"] for revision in ("main", "v1", "next", "refs/pr/1")}
    assert contents == {"main": b'{"a": 1}', "v1": b'{"a": 1}', "next": b"{}", "refs/pr/1": b"[]"}
    path = hf_hub_download(REPO, "config.json", revision="refs/pr/1", endpoint=hub.url, cache_dir=cache)
    assert Path(path).read_bytes() == b"[]"
    refs = api.list_repo_refs(REPO, include_pull_requests=True)
    assert [[ref.name for ref in kind] for kind in (refs.branches, refs.tags, refs.pull_requests)] == [
        ["main", "next"],
        ["v1"],
        ["refs/pr/1"],
    ]
    api.merge_pull_request(REPO, 1)
    assert hub.files(REPO)["config.json"] == b"[]"
    api.create_commit(REPO, [CommitOperationDelete("sub/")], commit_message="without notes")
    assert "sub/notes.txt" not in hub.files(REPO)
    api.delete_repo(REPO)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(REPO)


def test_refusals(hub: LoopbackHub, api: HfApi, cache: Path) -> None:
    api.create_repo(REPO, private=True)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(REPO)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("elsewhere/model")
    stranger = HfApi(endpoint=hub.url, token=hub.other_token)
    with pytest.raises(RepositoryNotFoundError):
        stranger.model_info(REPO)
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(REPO, "nothing.json", endpoint=hub.url, token=hub.token, cache_dir=cache)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "x", revision="v9", endpoint=hub.url, token=hub.token, cache_dir=cache)
    stale = hub.repo(REPO).branches["main"]
    push(api)
    with pytest.raises(HfHubHTTPError, match="412"):
        push(api, {"config.json": b"{}"}, parent_commit=stale)
    with pytest.raises(ValueError, match="Invalid metadata"):
        push(api, {"README.md": b"---\nlicense: [1\n---\n"})
    assert hub.files(REPO)["config.json"] == FILES["config.json"]


def test_a_download_cut_in_the_middle_resumes_where_it_stopped(
    hub: LoopbackHub, api: HfApi, cache: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    push(api)
    fault = hub.fail("GET /cdn/", cut_after=70_000, times=2)
    path = hf_hub_download(REPO, "model.safetensors", endpoint=hub.url, token=hub.token, cache_dir=cache)
    assert Path(path).read_bytes() == WEIGHTS
    assert fault.hits == 3
    assert [status for _, status in hub.requests("GET /cdn/")] == [200, 206, 206], "the rest is asked for by range"
    assert waits and not leftovers(cache)


def test_a_stale_entity_tag_is_one_error_and_leaves_nothing_in_the_cache(
    hub: LoopbackHub, api: HfApi, cache: Path, waits: list[float]
) -> None:
    push(api)
    hub.fail("HEAD .*/resolve/main/config.json", rewrite={"ETag": '"0123"', "Content-Length": "3"})
    options = {"endpoint": hub.url, "token": hub.token, "cache_dir": cache}
    with pytest.raises(OSError, match="should be of size 3"):
        hf_hub_download(REPO, "config.json", **options)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.parent.name == "blobs"]
    assert Path(hf_hub_download(REPO, "config.json", **options)).read_bytes() == FILES["config.json"]


def test_a_server_that_is_down_for_good_is_one_error(
    hub: LoopbackHub, api: HfApi, cache: Path, waits: list[float]
) -> None:
    push(api)
    hub.fail("HEAD ", status=503, times=100)
    with pytest.raises(LocalEntryNotFoundError, match="check your connection"):
        hf_hub_download(REPO, "config.json", endpoint=hub.url, token=hub.token, cache_dir=cache)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
