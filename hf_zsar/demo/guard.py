"""What a public server lets in: only what the page needs, so much of it at a time, and no path of this machine out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from .answers import Refusal


try:
    import fcntl
except ImportError:  # Windows: what a killed server left stays there
    fcntl = None


logger = logging.getLogger(__name__)

ALIAS = "/uploads"  # what the page knows the folder of uploads as
MOST_UPLOADS = 32  # at once, of one address, behind which there may be many people
UPLOAD_SECONDS = 300.0
MOST_BODY = 1_000_000  # bytes of a request that is not an upload
KEEP_FOR, CLEAN_EVERY = 3600.0, 300.0  # seconds: how long an upload is kept, and how often that is looked at
REWRITTEN = ("application/json", "text/html", "text/event-stream", "text/plain")
# Gradio serves more than the page uses, such as recordings cut by FFmpeg and requests passed on.
PAGE = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt")
FILES = ("/assets/", "/static/", "/svelte/", "/pwa_icon")
API = (
    "info app_id startup-events heartbeat/ queue/join queue/data queue/status upload upload_progress file=/uploads/ "
    "cancel reset run/ user login_check token theme.css"
).split()

_PREFIX = "hf-zsar-demo-"

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Guard:
    """An ASGI application around Gradio's.

    Args:
        app: Gradio's.
        uploads: the folder where it keeps them, of this server alone.
        most_bytes: of one upload.
        most_stored: of all uploads that are kept.
        admit: called with visitor, address and inputs of each question; raises `Refusal` where there is no place.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        uploads: Path,
        most_bytes: int,
        most_stored: int,
        admit: Callable[[str, str, list[Any]], None],
    ) -> None:
        self.app = app
        self.uploads = uploads
        self.most_bytes = most_bytes
        self.most_stored = most_stored
        self.admit = admit
        self._uploading: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["path"]
        if not is_served(path):
            return await respond(send, 404, "There is no such page here.")
        scope = {**scope, "path": self._real(path)}
        send = self._hiding(send)
        if path.rstrip("/").endswith("/gradio_api/upload"):
            return await self._upload(scope, receive, send)
        if scope["method"] == "POST":
            return await self._question(scope, receive, send)
        return await self.app(scope, receive, send)

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = address_of(scope)
        size = dict(scope["headers"]).get(b"content-length", b"")
        if not size.isdigit():
            return await respond(send, 411, "An upload must say how long it is.")
        if int(size) > self.most_bytes + MOST_BODY:
            return await respond(send, 413, f"A video may have at most {self.most_bytes // 1024**2} MB here.")
        if stored(self.uploads) + int(size) > self.most_stored or self._uploading[address] >= MOST_UPLOADS:
            return await respond(send, 503, "There are too many uploads just now. Please try again later.")
        self._uploading[address] += 1
        try:
            await asyncio.wait_for(self.app(scope, receive, send), UPLOAD_SECONDS)
        except asyncio.TimeoutError:
            return  # nobody hears an answer in the middle of a request; the connection is closed
        except OSError as error:  # a full disk
            logger.warning("an upload could not be kept: %s", error)
            await respond(send, 507, "There is no room for uploads just now. Please try again later.")
        finally:
            self._uploading[address] -= 1
            self._uploading += Counter()  # forgets those at zero

    async def _question(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await whole_body(receive)
        if body is None:
            return await respond(send, 413, "This request is too large.")
        try:
            # As it is: the length is bounded above, too deep a nesting is caught below.
            content = self._admitted(scope, json.loads(body)) if body else None
        except Refusal as refusal:
            return await respond(send, 429, str(refusal))
        except (ValueError, RecursionError):
            return await respond(send, 400, "This is not a request of the page.")
        body = json.dumps(content).encode() if content is not None else b""
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        scope = {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> dict[str, Any]:
            return next(messages, None) or await receive()

        await self.app(scope, replay, send)

    def _admitted(self, scope: Scope, content: Any) -> Any:
        """The request with real paths of uploads, and no other path or URL."""
        for mapping in mappings(content):
            mapping.pop("url", None)
            path = mapping.get("path")
            if isinstance(path, str):
                parts = path.split("/")
                if not path.startswith(f"{ALIAS}/") or ".." in parts:
                    raise ValueError(f"not an upload: {path}")
                mapping["path"] = self._real(path)
        if scope["path"].rstrip("/").endswith("/queue/join"):
            inputs = content.get("data") if isinstance(content, dict) else None
            if not isinstance(inputs, list) or not inputs:
                raise ValueError("a question without inputs")
            self.admit(str(content.get("session_hash")), address_of(scope), inputs)
        return content

    def _real(self, text: str) -> str:
        return text.replace(f"{ALIAS}/", f"{self.uploads.as_posix()}/", 1)

    def _hiding(self, send: Send) -> Send:
        """`send`, except that texts name the folder of uploads by its alias."""
        rewriting = False
        hidden, alias = self.uploads.as_posix().encode(), ALIAS.encode()

        async def hide(message: dict[str, Any]) -> None:
            nonlocal rewriting
            if message["type"] == "http.response.start":
                kind = dict(message["headers"]).get(b"content-type", b"").decode("latin-1")
                rewriting = kind.startswith(REWRITTEN)
                headers = [
                    (name, value) for name, value in message["headers"] if not rewriting or name != b"content-length"
                ]
                message = {**message, "headers": headers}
            elif rewriting and message.get("body"):
                message = {**message, "body": message["body"].replace(hidden, alias)}
            await send(message)

        return hide


def is_served(path: str) -> bool:
    """Whether the page needs this path."""
    if path in PAGE or path.startswith(FILES):
        return ".." not in path
    _, _, rest = path.partition("/gradio_api/")
    return path.startswith("/gradio_api/") and ".." not in path and rest.startswith(tuple(API))


def address_of(scope: Scope) -> str:
    """The visitor's address."""
    client = scope.get("client")
    return client[0] if client else ""


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """All JSON objects in a JSON value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from mappings(each)


async def whole_body(receive: Receive) -> bytes | None:
    """The body of a request, or None when it is larger than `MOST_BODY`."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BODY:
            return None
        if message["type"] != "http.request" or not message.get("more_body"):
            return body


async def respond(send: Send, status: int, sentence: str) -> None:
    """An answer of one sentence, in the form that Gradio's page shows."""
    body = json.dumps({"detail": sentence, "error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def upload_folder() -> tuple[Path, Callable[[], None]]:
    """A folder for uploads, removed when the process ends, and what removes it sooner. What killed servers have left
    goes first: they held a lock, which the system frees, whereas that of a living one cannot be taken."""
    for rest in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else's, or gone by now
            if fcntl and not rest.is_symlink() and rest.stat().st_uid == os.getuid():
                with (rest / "lock").open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(rest)
    made = tempfile.TemporaryDirectory(prefix=_PREFIX)
    lock = Path(made.name, "lock").open("wb")  # noqa: SIM115 - held as long as the folder
    if fcntl:
        fcntl.flock(lock, fcntl.LOCK_EX)
    folder = Path(made.name, "uploads").resolve()
    folder.mkdir()

    def remove() -> None:
        lock.close()
        made.cleanup()

    return folder, remove


def stored(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(size for _, size, _ in _files(folder))


def _files(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Path, bytes and time of last change of every file; others may come and go meanwhile."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(OSError):
                state = path.stat()
                yield path, state.st_size, state.st_mtime


def sweep(folder: Path, keep_for: float) -> None:
    """Remove what was uploaded longer than `keep_for` seconds ago, also parts of uploads that broke off."""
    for path, _, changed in _files(folder):
        if time.time() - changed > keep_for:
            path.unlink(missing_ok=True)
            if path.parent != folder:
                with contextlib.suppress(OSError):  # not empty
                    path.parent.rmdir()


def keep_clean(folder: Path, over: threading.Event) -> None:
    """Sweep now and then, in a thread of its own, until `over`."""

    def work() -> None:
        while not over.wait(CLEAN_EVERY):
            sweep(folder, KEEP_FOR)

    threading.Thread(target=work, name="zsar-demo-sweep", daemon=True).start()
