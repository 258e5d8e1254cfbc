"""A small Hugging Face Hub on loopback, so that the real client pushes and pulls in tests.

It answers the endpoints that huggingface_hub 2.x and transformers use for repositories, commits, large files (LFS,
basic transfer) and downloads, with their status codes, error headers, entity tags, redirects and ranges. `fail(...)`
makes chosen requests go wrong: an error status, a connection cut in the middle of a file, a lost answer, a stale tag.

    with LoopbackHub() as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import huggingface_hub
import transformers
import yaml
from huggingface_hub import constants

from tests.hub.store import Blob, Commit, HubError, HubStore, Repo


KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
NAME = r"[\w.-]+/[\w.-]+"


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body or b"{}")

    def flag(self, name: str) -> bool:
        return self.query.get(name, ["0"])[0].lower() in ("1", "true")


@dataclass
class Response:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


@dataclass
class Fault:
    """What goes wrong with requests whose "METHOD /path" matches `pattern`: `times` of them, after the first `skip`.

    status: answer so instead of doing what is asked.      cut_after: send this many bytes of the body, then hang up.
    lose_answer: do what is asked, then hang up.           cut_upload: hang up after this many bytes of the upload.
    rewrite: replace these headers of the true answer (a stale entity tag).
    """

    pattern: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"upstream trouble"
    cut_after: int | None = None
    cut_upload: int | None = None
    lose_answer: bool = False
    rewrite: dict[str, str] = field(default_factory=dict)
    times: int = 1
    skip: int = 0
    hits: int = 0

    def strikes(self, line: str) -> bool:
        if not re.search(self.pattern, line):
            return False
        self.hits += 1
        return self.skip < self.hits <= self.skip + self.times


class LoopbackHub:
    """The running server. `token` may write to `user/...` and `org/...`; `other_token` belongs to somebody else."""

    token, other_token = "hf_loopback", "hf_somebody"

    def __init__(self) -> None:
        self.store = HubStore({self.token: "user", self.other_token: "somebody"})
        self.faults: list[Fault] = []
        self.log: list[tuple[str, int]] = []
        self.unknown: list[str] = []  # requests about repositories that no endpoint here answers
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> LoopbackHub:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cdn(self) -> str:
        """Where large files lie: to the client another host, which must not see the access token."""
        return f"http://localhost:{self.port}/cdn"

    def environment(self, home: str) -> dict[str, str]:
        """Variables for a process that shall use this Hub and keep everything under `home`."""
        return {"HF_ENDPOINT": self.url, "HF_TOKEN": self.token, "HF_HOME": home, "HF_HUB_DISABLE_XET": "1"}

    def become_default(self, patch: Any, cache: Path) -> None:
        """Let every library of this process talk to this Hub, with its own cache; `patch` undoes it."""
        template = self.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "ENDPOINT", self.url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        # Clients that were made before and have kept the address.
        patch.setattr(huggingface_hub.hf_api.api, "endpoint", self.url)
        patch.setattr(transformers.utils.hub, "_hf_api", None)

    def fail(self, pattern: str, **what: Any) -> Fault:
        fault = Fault(pattern, **what)
        self.faults.append(fault)
        return fault

    def requests(self, pattern: str) -> list[tuple[str, int]]:
        return [(line, status) for line, status in self.log if re.search(pattern, line)]

    def repo(self, name: str, kind: str = "model") -> Repo:
        return self.store.repos[kind, name]

    def files(self, name: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        return {path: blob.data for path, blob in self.repo(name, kind).resolve(revision).tree.items()}

    # ------------------------------------------------------------------------------------------------ answering
    def answer(self, request: Request) -> Response:
        for method, pattern, endpoint in _ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and request.method in method:
                try:
                    found = {key: unquote(value) for key, value in match.groupdict().items() if value is not None}
                    return endpoint(self, request, **found)
                except HubError as error:
                    return _refusal(error)
        if re.search(r"/(models|datasets|spaces|repos|resolve|info)/", request.path):
            self.unknown.append(f"{request.method} {request.path}")
        return Response.json({"error": "No such endpoint"}, 404)

    def reader(self, request: Request, kinds: str, name: str) -> Repo:
        return self.store.readable(KINDS[kinds], name, self.store.user(request.headers.get("authorization")))

    def writer(self, request: Request, kinds: str, name: str) -> tuple[Repo, str]:
        user = self.store.user(request.headers.get("authorization"))
        return self.store.writable(KINDS[kinds], name, user), str(user)

    def page(self, repo: Repo) -> str:
        return f"{self.url}/{'' if repo.kind == 'model' else repo.kind + 's/'}{repo.name}"


def _refusal(error: HubError) -> Response:
    headers = {"X-Error-Message": error.message}
    if error.code:
        headers["X-Error-Code"] = error.code
    if error.commit:
        headers["X-Repo-Commit"] = error.commit
    return Response.json({"error": error.message}, error.status, headers)


# ------------------------------------------------------------------------------------------------------- endpoints
def _whoami(hub: LoopbackHub, request: Request) -> Response:
    user = hub.store.user(request.headers.get("authorization"))
    if user is None:
        raise HubError(401, "Invalid username or password.")
    orgs = [{"type": "org", "name": name} for name in hub.store.orgs]
    token = {"type": "access_token", "accessToken": {"role": "write", "displayName": "test"}}
    return Response.json({"type": "user", "name": user, "fullname": user, "orgs": orgs, "auth": token})


def _create(hub: LoopbackHub, request: Request) -> Response:
    wanted, user = request.json(), hub.store.user(request.headers.get("authorization"))
    name = f"{wanted.get('organization') or user}/{wanted['name']}"
    kind, private = wanted.get("type", "model"), wanted.get("visibility") == "private" or wanted.get("private", False)
    try:
        repo = hub.store.create(kind, name, user, bool(private), wanted.get("sdk"))
    except HubError as error:
        if error.status != 409:
            raise
        url = hub.page(hub.store.repos[kind, name])
        return Response.json({"error": error.message, "url": url}, 409)
    return Response.json({"url": hub.page(repo), "name": name, "id": name})


def _delete(hub: LoopbackHub, request: Request) -> Response:
    wanted, user = request.json(), hub.store.user(request.headers.get("authorization"))
    hub.store.delete(wanted.get("type", "model"), f"{wanted.get('organization') or user}/{wanted['name']}", user)
    return Response.json({})


def _validate_yaml(hub: LoopbackHub, request: Request) -> Response:
    content = request.json()["content"]
    match = re.match(r"---\r?\n(.*?)\r?\n---", content, flags=re.DOTALL)
    if match is None:
        return Response.json({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    try:
        data = yaml.safe_load(match.group(1))
    except yaml.YAMLError as error:
        return Response.json({"errors": [{"message": f"YAML: {error}"}], "warnings": []}, 400)
    strings = ("license", "pipeline_tag", "library_name", "sdk", "title")
    errors = [f'"{key}" must be a string' for key in strings if not isinstance(data.get(key, ""), str)]
    errors += [
        f'"{key}" must be an array' for key in ("tags", "model-index") if not isinstance(data.get(key, []), list)
    ]
    if request.json().get("repoType") == "space" and not {"sdk", "title"} <= data.keys():
        errors.append('"sdk" and "title" are required')
    listed = [{"message": message} for message in errors]
    return Response.json({"errors": listed, "warnings": []}, 400 if errors else 200)


def _info(hub: LoopbackHub, request: Request, kinds: str, name: str, revision: str = "main") -> Response:
    repo = hub.reader(request, kinds, name)
    commit = repo.resolve(revision)
    card = _card_data(commit)
    siblings: list[dict[str, Any]] = []
    for path, blob in sorted(commit.tree.items()):
        size = {"size": len(blob.data), "blobId": blob.oid} if request.flag("blobs") else {}
        siblings.append({"rfilename": path, **size})
    info = {"id": name, "modelId": name, "author": name.split("/")[0], "sha": commit.oid, "private": repo.private}
    info |= {"lastModified": commit.date, "createdAt": commit.date, "gated": repo.gated, "disabled": False}
    info |= {"siblings": siblings, "cardData": card, "tags": card.get("tags", []), "sdk": repo.sdk}
    info |= {key: card[key] for key in ("pipeline_tag", "library_name") if key in card}
    return Response.json(info)


def _card_data(commit: Commit) -> dict[str, Any]:
    readme = commit.tree.get("README.md", Blob.regular(b"")).data.decode()
    match = re.match(r"---\n(.*?)\n---", readme, flags=re.DOTALL)
    return yaml.safe_load(match.group(1)) if match else {}


def _tree(hub: LoopbackHub, request: Request, kinds: str, name: str, revision: str, path: str = "") -> Response:
    commit = hub.reader(request, kinds, name).resolve(revision)
    prefix = path.strip("/") + "/" if path.strip("/") else ""
    entries: dict[str, dict[str, Any]] = {}
    for file, blob in sorted(commit.tree.items()):
        if not file.startswith(prefix):
            continue
        folders = file[len(prefix) :].split("/")[:-1]
        for depth in range(1, len(folders) + 1 if request.flag("recursive") else min(len(folders), 1) + 1):
            folder = prefix + "/".join(folders[:depth])
            entries.setdefault(folder, {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder})
        if request.flag("recursive") or not folders:
            entries[file] = blob.describe(file)
    if prefix and not entries:
        raise HubError(404, f"{path} does not exist on {revision}", "EntryNotFound", commit.oid)
    return Response.json(list(entries.values()))


def _paths_info(hub: LoopbackHub, request: Request, kinds: str, name: str, revision: str) -> Response:
    commit = hub.reader(request, kinds, name).resolve(revision)
    paths = parse_qs(request.body.decode()).get("paths", [])
    return Response.json([commit.tree[path].describe(path) for path in paths if path in commit.tree])


def _refs(hub: LoopbackHub, request: Request, kinds: str, name: str) -> Response:
    repo = hub.reader(request, kinds, name)

    def listed(names: dict[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": key, "ref": prefix + key, "targetCommit": oid} for key, oid in names.items()]

    refs = {"branches": listed(repo.branches, "refs/heads/"), "tags": listed(repo.tags, "refs/tags/"), "converts": []}
    return Response.json(refs | {"pullRequests": listed(repo.pulls, "")})


def _commits(hub: LoopbackHub, request: Request, kinds: str, name: str, revision: str) -> Response:
    history = hub.reader(request, kinds, name).history(revision)
    keys = [
        {"id": c.oid, "title": c.title, "message": c.description, "date": c.date, "user": c.author} for c in history
    ]
    return Response.json([key | {"authors": [{"user": key["user"]}]} for key in keys])


def _branch(hub: LoopbackHub, request: Request, kinds: str, name: str, branch: str) -> Response:
    repo, _ = hub.writer(request, kinds, name)
    if request.method == "DELETE":
        del repo.branches[branch]
        return Response.json({})
    if branch in repo.branches:
        raise HubError(409, f"Reference already exists: {branch}")
    repo.branches[branch] = repo.resolve(request.json().get("startingPoint", "main")).oid
    return Response.json({}, 201)


def _tag(hub: LoopbackHub, request: Request, kinds: str, name: str, revision: str) -> Response:
    repo, _ = hub.writer(request, kinds, name)
    tag = request.json()["tag"]
    if tag in repo.tags:
        raise HubError(409, f"Tag reference exists already: {tag}")
    repo.tags[tag] = repo.resolve(revision).oid
    return Response.json({}, 201)


def _merge(hub: LoopbackHub, request: Request, kinds: str, name: str, number: str) -> Response:
    repo, user = hub.writer(request, kinds, name)
    pull = repo.resolve(f"refs/pr/{number}")
    merged = repo.add_commit(repo.resolve("main"), pull.title, pull.description, dict(pull.tree), user)
    repo.branches["main"] = merged.oid
    return Response.json({})


def _preupload(hub: LoopbackHub, request: Request, kinds: str, name: str, revision: str) -> Response:
    repo = hub.reader(request, kinds, name)
    tree = repo.resolve(revision).tree
    files = []
    for file in request.json()["files"]:
        known = tree.get(file["path"])
        mode = hub.store.upload_mode(file["path"], file["size"])
        answer = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
        files.append(answer | ({"oid": known.etag} if known else {}))
    return Response.json({"files": files})


def _lfs_batch(hub: LoopbackHub, request: Request, name: str, kinds: str = "models") -> Response:
    hub.writer(request, kinds, name)
    objects = []
    for wanted in request.json()["objects"]:
        answer = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in hub.store.objects:
            upload = {"href": f"{hub.cdn}/{wanted['oid']}"}
            verify = {"href": f"{hub.url}/api/{kinds}/{name}/lfs-verify"}
            answer["actions"] = {"upload": upload, "verify": verify}
        objects.append(answer)
    return Response.json({"transfer": "basic", "objects": objects})


def _lfs_verify(hub: LoopbackHub, request: Request, kinds: str, name: str) -> Response:
    hub.writer(request, kinds, name)
    wanted = request.json()
    if len(hub.store.objects.get(wanted["oid"], b"")) != wanted["size"]:
        raise HubError(404, "The object was not uploaded")
    return Response.json({})


def _commit(hub: LoopbackHub, request: Request, kinds: str, name: str, revision: str) -> Response:
    create_pr = request.flag("create_pr")
    if create_pr:
        repo, user = hub.reader(request, kinds, name), hub.store.user(request.headers.get("authorization"))
        if user is None:
            raise HubError(401, "Invalid username or password.")
    else:
        repo, user = hub.writer(request, kinds, name)
    lines = [json.loads(line) for line in request.body.splitlines() if line]
    commit, pull = hub.store.commit(repo, revision, lines, user, create_pr)
    answer = {"success": True, "commitOid": commit.oid, "commitUrl": f"{hub.page(repo)}/commit/{commit.oid}"}
    if pull is not None:
        answer["pullRequestUrl"] = f"{hub.page(repo)}/discussions/{pull.split('/')[-1]}"
    return Response.json(answer)


def _resolve(
    hub: LoopbackHub, request: Request, name: str, revision: str, path: str, kinds: str = "models"
) -> Response:
    commit = hub.reader(request, kinds, name).resolve(revision)
    blob = commit.tree.get(path)
    if blob is None:
        raise HubError(404, "Entry not found", "EntryNotFound", commit.oid)
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes", "ETag": f'"{blob.oid}"'}
    if blob.sha256 is None:
        return _ranged(request, blob.data, headers)
    headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data))}
    return Response(302, b"", headers | {"Location": f"{hub.cdn}/{blob.sha256}"})


def _cdn(hub: LoopbackHub, request: Request, sha256: str) -> Response:
    if "authorization" in request.headers:
        raise HubError(400, "The storage host was sent an access token")
    if request.method == "PUT":
        hub.store.put_object(sha256, request.body)
        return Response(200, b"", {"ETag": f'"{sha256}"'})
    if sha256 not in hub.store.objects:
        raise HubError(404, "No such object")
    return _ranged(request, hub.store.objects[sha256], {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"})


def _ranged(request: Request, data: bytes, headers: dict[str, str]) -> Response:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if match is None:
        return Response(200, data, headers)
    start, stop = int(match.group(1)), int(match.group(2) or len(data) - 1) + 1
    if start >= len(data):
        return Response(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
    stop = min(stop, len(data))
    return Response(206, data[start:stop], headers | {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})


_REPO = rf"/api/(?P<kinds>models|datasets|spaces)/(?P<name>{NAME})"
_PAGE = rf"/(?:(?P<kinds>datasets|spaces)/)?(?P<name>{NAME})"
_ROUTES: list[tuple[tuple[str, ...], str, Callable[..., Response]]] = [
    (("GET",), "/api/whoami-v2", _whoami),
    (("POST",), "/api/repos/create", _create),
    (("DELETE",), "/api/repos/delete", _delete),
    (("POST",), "/api/validate-yaml", _validate_yaml),
    (("GET",), _REPO, _info),
    (("GET",), rf"{_REPO}/revision/(?P<revision>[^/]+)", _info),
    (("GET",), rf"{_REPO}/tree/(?P<revision>[^/]+)(?P<path>/.*)?", _tree),
    (("POST",), rf"{_REPO}/paths-info/(?P<revision>[^/]+)", _paths_info),
    (("GET",), rf"{_REPO}/refs", _refs),
    (("GET",), rf"{_REPO}/commits/(?P<revision>[^/]+)", _commits),
    (("POST", "DELETE"), rf"{_REPO}/branch/(?P<branch>[^/]+)", _branch),
    (("POST",), rf"{_REPO}/tag/(?P<revision>[^/]+)", _tag),
    (("POST",), rf"{_REPO}/discussions/(?P<number>\d+)/merge", _merge),
    (("POST",), rf"{_REPO}/preupload/(?P<revision>[^/]+)", _preupload),
    (("POST",), rf"{_REPO}/commit/(?P<revision>[^/]+)", _commit),
    (("POST",), rf"{_REPO}/lfs-verify", _lfs_verify),
    (("POST",), rf"{_PAGE}\.git/info/lfs/objects/batch", _lfs_batch),
    (("GET", "HEAD"), rf"{_PAGE}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _resolve),
    (("GET", "HEAD", "PUT"), "/cdn/(?P<sha256>[0-9a-f]{64})", _cdn),
]


class _Handler(BaseHTTPRequestHandler):
    """Turns bytes into `Request`, asks the Hub, and carries out the faults on the way."""

    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    timeout = 30
    # One packet per answer: small writes would wait 40 ms each for an acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        line = f"{self.command} {url.path}"
        fault = next((fault for fault in self.hub.faults if fault.strikes(line)), None)
        if fault is not None and fault.cut_upload is not None:
            self.rfile.read(fault.cut_upload)
            return self._hang_up(line)
        body = self._read_body()
        headers = {key.lower(): value for key, value in self.headers.items()}
        if fault is not None and fault.status is not None:
            response = Response(fault.status, fault.body, fault.headers)
        else:
            response = self.hub.answer(Request(self.command, url.path, parse_qs(url.query), headers, body))
        if fault is not None and fault.lose_answer:
            return self._hang_up(line)
        if fault is not None:
            response.headers |= fault.rewrite
        self.hub.log.append((line, response.status))
        self._send(response, fault.cut_after if fault is not None else None)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, response: Response, cut_after: int | None) -> None:
        self.send_response(response.status)
        for key, value in ({"Content-Length": str(len(response.body))} | response.headers).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(response.body[:cut_after])
        if cut_after is not None and cut_after < len(response.body):
            self.wfile.flush()
            self.close_connection = True

    def _hang_up(self, line: str) -> None:
        self.hub.log.append((line, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: `LoopbackHub.log` keeps what tests ask for."""
