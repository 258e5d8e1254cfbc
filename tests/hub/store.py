"""What the loopback Hub remembers: users, repositories, commits and large files, all in memory.

Nothing here speaks HTTP (that is `server.py`). Every change of a repository is one commit: a new tree is built beside
the old one and the branch is moved last, under a lock, so that a refused commit leaves no trace.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any


LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".npy", ".mp4", ".png", ".jpg")
LFS_SIZE = 10_000_000


class HubError(Exception):
    """A refusal, as the Hub words it: status line, `X-Error-Code` and `X-Error-Message` headers."""

    def __init__(self, status: int, message: str, code: str | None = None, commit: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.commit = status, message, code, commit


def git_blob_id(data: bytes) -> str:
    """Git's name for a file's content (SHA-1 over a small header and the bytes)."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Blob:
    """One file of one commit. `sha256` is set for large files only; `oid` is then the pointer's."""

    data: bytes
    oid: str
    sha256: str | None = None

    @classmethod
    def regular(cls, data: bytes) -> Blob:
        return cls(data, git_blob_id(data))

    @classmethod
    def large(cls, data: bytes) -> Blob:
        sha256 = hashlib.sha256(data).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n"
        return cls(data, git_blob_id(pointer.encode()), sha256)

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid

    def describe(self, path: str) -> dict[str, Any]:
        info: dict[str, Any] = {"type": "file", "oid": self.oid, "size": len(self.data), "path": path}
        if self.sha256 is not None:
            info["lfs"] = {"oid": self.sha256, "size": len(self.data), "pointerSize": 134}
        return info


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    description: str
    tree: dict[str, Blob]
    author: str
    date: str


@dataclass
class Repo:
    """One repository: its commits, and the names (branches, tags, `refs/pr/N`) that point at them."""

    kind: str
    name: str
    private: bool
    sdk: str | None = None
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> Commit:
        for names in (self.branches, self.tags, self.pulls):
            if revision in names:
                return self.commits[names[revision]]
        matches = [oid for oid in self.commits if len(revision) >= 7 and oid.startswith(revision)]
        if len(matches) != 1:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[matches[0]]

    def history(self, revision: str) -> Iterator[Commit]:
        commit: Commit | None = self.resolve(revision)
        while commit is not None:
            yield commit
            commit = self.commits[commit.parent] if commit.parent else None

    def add_commit(
        self, parent: Commit | None, title: str, description: str, tree: dict[str, Blob], author: str
    ) -> Commit:
        date = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        names = "".join(f"{path}:{blob.oid}\n" for path, blob in sorted(tree.items()))
        parent_oid = parent.oid if parent else None
        text = f"{parent_oid}\n{len(self.commits)}\n{title}\n{description}\n{date}\n{names}"
        commit = Commit(hashlib.sha1(text.encode()).hexdigest(), parent_oid, title, description, tree, author, date)
        self.commits[commit.oid] = commit
        return commit


class HubStore:
    """The whole Hub: `users` maps an access token to its user's name; every user may write to `orgs` too."""

    def __init__(self, users: dict[str, str], orgs: Iterable[str] = ("org",)) -> None:
        self.users, self.orgs = dict(users), tuple(orgs)
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.lock = threading.RLock()

    # ------------------------------------------------------------------------------------------------ access
    def user(self, authorization: str | None) -> str | None:
        if not authorization:
            return None
        token = authorization.removeprefix("Bearer ").strip()
        if token not in self.users:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.users[token]

    def readable(self, kind: str, name: str, user: str | None) -> Repo:
        repo = self.repos.get((kind, name))
        if repo is None or (repo.private and not self.may_write(name, user)):
            raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
        if repo.gated and not self.may_write(name, user):
            raise HubError(403, f"Access to model {name} is restricted.", "GatedRepo")
        return repo

    def writable(self, kind: str, name: str, user: str | None) -> Repo:
        repo = self.readable(kind, name, user)
        if not self.may_write(name, user):
            raise HubError(403, "Forbidden: you don't have the rights to write to this repository")
        return repo

    def may_write(self, name: str, user: str | None) -> bool:
        return user is not None and name.split("/")[0] in (user, *self.orgs)

    # --------------------------------------------------------------------------------------------- repositories
    def create(self, kind: str, name: str, user: str | None, private: bool, sdk: str | None) -> Repo:
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if not self.may_write(name, user):
            raise HubError(
                403, f"You don't have the rights to create a {kind} under the namespace {name.split('/')[0]!r}"
            )
        with self.lock:
            if (kind, name) in self.repos:
                raise HubError(409, f"You already created this {kind} repo")
            repo = Repo(kind, name, private, sdk)
            attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
            first = repo.add_commit(
                None, "initial commit", "", {".gitattributes": Blob.regular(attributes.encode())}, user
            )
            repo.branches["main"] = first.oid
            self.repos[kind, name] = repo
            return repo

    def delete(self, kind: str, name: str, user: str | None) -> None:
        with self.lock:
            self.writable(kind, name, user)
            del self.repos[kind, name]

    # ------------------------------------------------------------------------------------------------- commits
    def commit(
        self, repo: Repo, revision: str, lines: list[dict[str, Any]], user: str, create_pr: bool
    ) -> tuple[Commit, str | None]:
        """Apply one NDJSON commit. Returns it and, for a pull request, the name of the new reference."""
        header = next(line["value"] for line in lines if line["key"] == "header")
        with self.lock:
            head = repo.resolve(revision)
            parent = header.get("parentCommit")
            if parent is not None and not head.oid.startswith(parent):
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            tree = dict(head.tree)
            for line in lines:
                if line["key"] != "header":
                    self._apply(tree, line["key"], line["value"])
            if not create_pr and revision not in repo.branches and revision not in repo.pulls:
                raise HubError(400, f"Can only commit to a branch, not to {revision}")
            commit = repo.add_commit(head, header["summary"], header.get("description", ""), tree, user)
            if create_pr:
                name = f"refs/pr/{len(repo.pulls) + 1}"
                repo.pulls[name] = commit.oid
                return commit, name
            (repo.branches if revision in repo.branches else repo.pulls)[revision] = commit.oid
            return commit, None

    def _apply(self, tree: dict[str, Blob], key: str, value: dict[str, Any]) -> None:
        path = value["path"]
        if key == "file":
            tree[path] = Blob.regular(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            if value["oid"] not in self.objects:
                raise HubError(400, f"LFS pointer pointed to a file that does not exist: {path}")
            tree[path] = Blob.large(self.objects[value["oid"]])
        elif key == "deletedFile":
            if tree.pop(path, None) is None:
                raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        elif key == "deletedFolder":
            for name in [name for name in tree if name.startswith(path.rstrip("/") + "/")]:
                del tree[name]
        else:
            raise HubError(400, f"Unknown commit operation {key!r}")

    def upload_mode(self, path: str, size: int) -> str:
        return "lfs" if path.endswith(LFS_SUFFIXES) or size > LFS_SIZE else "regular"

    def put_object(self, sha256: str, data: bytes) -> None:
        """Keep a large file, but only the one that was announced: a body cut short never gets in."""
        if hashlib.sha256(data).hexdigest() != sha256:
            raise HubError(400, "The content does not match the announced SHA-256")
        with self.lock:
            self.objects[sha256] = data
