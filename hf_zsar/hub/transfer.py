"""Upload a folder as one commit, so that a repository holds either all of it or nothing of it.

Large files go up first and are kept by the Hub even when something fails later, so a push that is started again sends
only what is missing. The commit itself is retried with the state of the branch read anew: if the first attempt arrived
and only its answer was lost, the second finds nothing left to do. `HfApi.upload_folder` is not used: with hf_xet
it makes several commits of a large folder, between which a repository holds neither the old model nor the new one.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hf_zsar.files import file_sha256


logger = logging.getLogger(__name__)

ATTEMPTS = 5
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
# httpx's (or its successor's) base of all errors: those with an answer and those of the connection.
_HTTPError: type[Exception] = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
# All that a call of the client may raise because of the Hub or the way there.
HUB_ERRORS = (_HTTPError, OSError, ValueError)

# What belongs into a model repository. Trainer states, optimizer files and pickles of any kind do not.
MODEL_FILES = (
    "*.json", "*.safetensors", "*.py", "*.md", "*.txt", "*.model", "*.jinja", "*.svg", "LICENSE*", "NOTICE*",
    ".eval_results/*.yaml", "figures/*.png",
)  # fmt: skip
# Remote files that this upload replaces: when they are gone from the folder, they go from the repository too.
OWNED_FILES = ("*.py", "*.safetensors", "*.safetensors.index.json", ".eval_results/*.yaml")

T = TypeVar("T")


class PushError(RuntimeError):
    """A push that did not happen. The repository is as it was."""


@dataclass(frozen=True)
class Target:
    """Where an upload goes."""

    repo_id: str
    repo_type: str = "model"
    revision: str | None = None
    create_pr: bool = False
    private: bool | None = None
    space_sdk: str | None = None

    @property
    def branch(self) -> str:
        return self.revision or "main"


def files_to_push(folder: Path, patterns: tuple[str, ...] = MODEL_FILES) -> dict[str, Path]:
    """Path in the repository -> file, for all files of a folder that belong there. Links are not followed."""
    files = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        # macOS leaves `._model.safetensors` beside files on other disks.
        if file.name.startswith("._") or file.is_symlink():
            continue
        if file.is_file() and any(_matches(name, pattern) for pattern in patterns):
            files[name] = file
    return files


def _matches(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern)


def content_digest(files: dict[str, Path]) -> str:
    """SHA-256 over names and contents."""
    lines = (f"{name}\0{file_sha256(file)}\0" for name, file in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def upload(
    api: HfApi, files: dict[str, Path], target: Target, message: str, *, owned: tuple[str, ...] = OWNED_FILES
) -> CommitInfo:
    """Create the repository if needed and put the files into it with one commit.

    Args:
        api: client with endpoint and token.
        files: path in the repository -> local file.
        target: repository, branch, pull request or not.
        message: title of the commit.
        owned: patterns of remote files that are deleted when they are not among `files`.

    Returns:
        The commit; the current one when nothing differs.

    Raises:
        PushError: the Hub refuses, or does not answer properly after several attempts.
    """
    description = f"Content {content_digest(files)}"
    attempt = _Attempt(api, files, target, message, description, owned)
    commit = _patiently(attempt.run, target.repo_id)
    _compare(api, files, target, commit)
    return commit


@dataclass
class _Attempt:
    api: HfApi
    files: dict[str, Path]
    target: Target
    message: str
    description: str
    owned: tuple[str, ...]
    sent_pr: bool = False

    def run(self) -> CommitInfo:
        target = self.target
        head = self._head()
        if self.sent_pr and (found := self._lost_pull_request()) is not None:
            return found
        place: dict[str, Any] = dict(repo_type=target.repo_type, revision=target.branch)
        known = self.api.list_repo_files(target.repo_id, repo_type=target.repo_type, revision=head)
        gone = [name for name in known if name not in self.files and any(_matches(name, p) for p in self.owned)]
        operations: list[Any] = [CommitOperationAdd(name, file) for name, file in self.files.items()]
        self.api.preupload_lfs_files(
            target.repo_id, list(operations), create_pr=target.create_pr, free_memory=False, **place
        )
        operations += [CommitOperationDelete(name, is_folder=False) for name in gone]
        self.sent_pr = target.create_pr
        return self.api.create_commit(
            target.repo_id,
            operations,
            commit_message=self.message,
            commit_description=self.description,
            create_pr=target.create_pr,
            parent_commit=head,
            **place,
        )

    def _head(self) -> str | None:
        """The commit to build on; repository and branch are made when there are none."""
        target = self.target
        try:
            return self.api.repo_info(target.repo_id, repo_type=target.repo_type, revision=target.branch).sha
        except RevisionNotFoundError:
            pass
        except RepositoryNotFoundError:
            self.api.create_repo(
                target.repo_id,
                repo_type=target.repo_type,
                private=target.private,
                exist_ok=True,
                space_sdk=target.space_sdk,
            )
        if target.branch != "main":
            self.api.create_branch(target.repo_id, branch=target.branch, repo_type=target.repo_type, exist_ok=True)
        return self.api.repo_info(target.repo_id, repo_type=target.repo_type, revision=target.branch).sha

    def _lost_pull_request(self) -> CommitInfo | None:
        """The pull request that an earlier attempt opened although its answer never came back."""
        target = self.target
        refs = self.api.list_repo_refs(target.repo_id, repo_type=target.repo_type, include_pull_requests=True)
        for ref in refs.pull_requests or []:
            last = self.api.list_repo_commits(target.repo_id, repo_type=target.repo_type, revision=ref.ref)[0]
            if last.message == self.description:
                prefix = "" if target.repo_type == "model" else f"{target.repo_type}s/"
                page = f"{self.api.endpoint}/{prefix}{target.repo_id}"
                return CommitInfo(
                    commit_url=f"{page}/commit/{last.commit_id}",
                    commit_message=self.message,
                    commit_description=self.description,
                    oid=last.commit_id,
                    _endpoint=self.api.endpoint,
                    pr_url=f"{page}/discussions/{ref.ref.rsplit('/', 1)[-1]}",
                )
        return None


def _patiently(run: Callable[[], T], repo_id: str) -> T:
    """Call again after transient errors, with growing waits or the one that the Hub asks for."""
    wait = FIRST_WAIT
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return run()
        except (_HTTPError, OSError, RuntimeError, ValueError) as error:
            cause = _transient_cause(error)
            if cause is None:
                raise PushError(
                    f"Could not push to {repo_id}: {reason(error)}. The repository is as it was."
                ) from error
            if attempt == ATTEMPTS:
                raise PushError(
                    f"Could not push to {repo_id}: {cause}, {ATTEMPTS} times in a row. The repository is as it was. "
                    "Start the push again later: files that arrived are not sent twice."
                ) from error
            pause = min(max(wait, _retry_after(error)), LONGEST_WAIT)
            logger.warning(
                "Pushing to %s: %s. Trying again in %.0f s (%d/%d).", repo_id, cause, pause, attempt, ATTEMPTS
            )
            sleep(pause)
            wait *= 2
    raise AssertionError("unreachable")


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error and what it was raised from (the client wraps errors of single files)."""
    found = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _transient_cause(error: Exception) -> str | None:
    """What may pass by itself, in words; None for everything that will not."""
    for part in _chain(error):
        status = getattr(getattr(part, "response", None), "status_code", None)
        if status is not None:
            return f"the Hub answered {status}" if status in TRANSIENT else None
        if isinstance(part, OfflineModeIsEnabled):
            return None
        if isinstance(part, (_HTTPError, ConnectionError, TimeoutError)):
            return f"the connection failed ({part})"
        if isinstance(part, json.JSONDecodeError):
            return "the Hub gave an unreadable answer"
    return None


def _retry_after(error: Exception) -> float:
    for part in _chain(error):
        value = getattr(getattr(part, "response", None), "headers", {}).get("Retry-After", "")
        if value.isdigit():
            return float(value)
    return 0.0


def reason(error: Exception) -> str:
    """What a refusal of the Hub means, and what to do about it."""
    responses = [response for part in _chain(error) if (response := getattr(part, "response", None)) is not None]
    status = responses[0].status_code if responses else None
    advice = {
        401: "you are not logged in, or the token is wrong: run `hf auth login` or set HF_TOKEN",
        403: "your token may not write there: use one with write access to the namespace",
        404: "it does not exist, or your token may not see it",
        412: "somebody else committed at the same time: look at the change, then push again",
    }
    return advice.get(status or 0, str(error).strip())


def _compare(api: HfApi, files: dict[str, Path], target: Target, commit: CommitInfo) -> None:
    """Check that the commit holds the very bytes of the folder."""

    def listed() -> dict[str, Any]:
        tree = api.list_repo_tree(target.repo_id, recursive=True, repo_type=target.repo_type, revision=commit.oid)
        return {entry.path: entry for entry in tree}

    remote = _patiently(listed, target.repo_id)
    wrong = [name for name, file in files.items() if name not in remote or not _same(remote[name], file)]
    if wrong:
        raise PushError(
            f"{target.repo_id} at commit {commit.oid} does not hold what was pushed: {', '.join(wrong)} differ. "
            "Look at the repository before you use it."
        )


def _same(entry: Any, file: Path) -> bool:
    if entry.lfs is None:
        data = file.read_bytes()
        return entry.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return entry.lfs.sha256 == file_sha256(file)
