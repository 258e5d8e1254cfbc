"""Videos from the network, and streams that can be read only once.

A URL may come from anybody and lead to anybody. So a request goes to no address that only this machine can reach:
every host, also of every redirect, is resolved here, all its addresses must be public, and the connection is made to a
checked address itself, not to the name again. And every phase ends, whatever the server does: see [`Wire`].

Proxies of the environment (`HTTP_PROXY` and the like) are not used: a proxy resolves names by itself and may reach
what must not be reached. Where only a proxy leads out, fetch the file first.
"""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import ssl
import tempfile
import threading
import time
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from .limits import limits
from .public_addresses import is_public
from .urls import redacted
from .video_sources import MediaSource, VideoReadError


MAX_REDIRECTS = 5
CHUNK = 256 * 1024
_OPEN_FILES = "/proc/self/fd"
# Bytes a second below which a download counts as stuck, framing and headers included.
MIN_RATE = 1024
# Bytes on the wire for each of the file, at most: chunks may be small and trailers long, but somewhere that ends.
_OVERHEAD = 4
REDIRECTS = {301, 302, 303, 307, 308}
_HEADERS = "User-Agent: hf-zsar\r\nAccept: video/*, */*;q=0.5\r\nAccept-Encoding: identity\r\nConnection: close\r\n"
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")
# What may stand in a request as it is: the reserved characters and "%" of what is quoted already.
_SAFE = "/%:=&?~+!$,;'@()*[]"


def download(url: str, timeout: float, max_bytes: int | None = None, allow_private: bool = False) -> MediaSource:
    """Fetch `url` into a temporary file, which closing the source removes.

    Args:
        timeout: seconds of silence, in any phase, after which it is given up.
        max_bytes: of the file; default: the limit `download_bytes`.

    Raises:
        VideoReadError: not http(s), a refused address or redirect, too large, too slow, longer than the limit
            `download_seconds`, or an answer that is not a video.
    """
    name = redacted(url)
    max_bytes = limits().download_bytes if max_bytes is None else max_bytes
    with open_stream(url, timeout, allow_private, limits().download_seconds, _OVERHEAD * max_bytes + CHUNK) as body:
        if body.length is not None and body.length > max_bytes:
            raise VideoReadError(f"{name}: {body.length} bytes, more than the {max_bytes} allowed (max_bytes).")
        source = spool(body, name, max_bytes)
        if body.length is not None and body.received != body.length:
            source.close()
            raise VideoReadError(f"{name}: the server stopped after {body.received} of {body.length} bytes.")
    return source


def spool(file: Any, name: str, max_bytes: int) -> MediaSource:
    """Copy a stream into a temporary file, which closing the source removes, and on Linux any end of the process."""
    copy, path = _temporary_file()
    total, head = 0, b""
    try:
        while chunk := file.read(CHUNK):
            total += len(chunk)
            if total > max_bytes:
                raise VideoReadError(f"{name}: more than the {max_bytes} bytes allowed (max_bytes).")
            head = head or bytes(chunk[:512])
            copy.write(chunk)
        copy.flush()
        if not total:
            raise VideoReadError(f"{name}: empty (0 bytes).")
        if is_text(head):
            raise VideoReadError(f"{name}: text, not a video (it starts with {head[:40].decode(errors='replace')!r}).")
    except OSError as error:
        copy.close()
        raise VideoReadError(f"{name}: reading failed ({error}).") from error
    except VideoReadError:
        copy.close()
        raise
    return MediaSource(name, path=path, on_close=[copy.close])


def _temporary_file() -> tuple[Any, str]:
    """A file to write that closing removes, and where it can be read. Linux gives a path to files without a name."""
    if os.path.isdir(_OPEN_FILES):
        nameless = tempfile.TemporaryFile()  # noqa: SIM115 - whoever gets it closes it
        return nameless, f"{_OPEN_FILES}/{nameless.fileno()}"
    copy = tempfile.NamedTemporaryFile(prefix="hf-zsar-")  # noqa: SIM115
    return copy, copy.name


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are plain text: a web page, an error message, a playlist."""
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character may be cut in two at the end.
        return control == 0 and error.start >= len(head) - 3
    return control == 0


class Wire(io.RawIOBase):
    """The bytes of a server, by the clock: whatever they are part of (TLS, headers, sizes of chunks, body, trailers),
    waiting for them ends.

    Args:
        connection: a connected socket.
        timeout: seconds without a byte after which reading fails; over as many seconds at least `MIN_RATE` bytes a
            second must come. Only time spent waiting here counts, so a slow reader is nobody's fault.
        deadline: when the phase under way must be over, by `time.monotonic`.
        max_bytes: of all that comes.
    """

    def __init__(self, connection: socket.socket, timeout: float, deadline: float, max_bytes: float) -> None:
        self._socket = connection
        self._timeout = timeout
        self.deadline = deadline
        self._waited, self._bytes, self._bytes_left = 0.0, 0, max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        start = time.monotonic()
        self._socket.settimeout(self._left(start))
        try:
            count = self._socket.recv_into(buffer)
        except TimeoutError:
            self._left(time.monotonic())
            raise TimeoutError(f"nothing came for {self._timeout:g} seconds") from None
        self._waited, self._bytes = self._waited + time.monotonic() - start, self._bytes + count
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise ConnectionError("far more bytes came than the file may have")
        if count and self._waited > self._timeout:
            if self._bytes < MIN_RATE * self._waited:
                raise TimeoutError(f"too slow, under {MIN_RATE} bytes a second")
            self._waited, self._bytes = 0.0, 0
        return count

    def _left(self, now: float) -> float:
        if now >= self.deadline:
            raise TimeoutError("too slow, not done in the time allowed")
        return min(self._timeout, self.deadline - now)

    def send(self, data: bytes) -> None:
        self._socket.settimeout(self._left(time.monotonic()))
        self._socket.sendall(data)

    def secure(self, host: str) -> None:
        """Speak TLS from here on. One call of the handshake ends in the time-out of the socket, however many bytes."""
        self._socket.settimeout(self._left(time.monotonic()))
        self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=host)

    def close(self) -> None:
        if not self.closed:
            self._socket.close()
            super().close()

    def makefile(self, mode: str) -> io.BufferedReader:
        """What [`http.client.HTTPResponse`] reads from."""
        return io.BufferedReader(self, CHUNK)


class StreamBody:
    """The body of an answer as a file that reads forward only.

    Attributes:
        length: announced bytes, None when the server does not say.
        received: bytes read so far.
    """

    def __init__(self, name: str, response: http.client.HTTPResponse, wire: Wire) -> None:
        self.name = name
        self._response = response
        self._wire = wire
        self.length = response.length
        self.received = 0

    def __enter__(self) -> StreamBody:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, as soon as there are some.

        Raises:
            VideoReadError: nothing, or next to nothing, came in time, or the connection broke.
        """
        try:
            data = self._response.read1(size if size > 0 else CHUNK)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise VideoReadError(f"{self.name}: the download broke off ({_words(error)}).") from error
        self.received += len(data)
        return data

    def close(self) -> None:
        self._response.close()
        self._wire.close()


def open_stream(
    url: str,
    timeout: float,
    allow_private: bool = False,
    seconds: float = float("inf"),
    max_bytes: float = float("inf"),
) -> StreamBody:
    """Request `url` and follow up to five redirects.

    Args:
        timeout: seconds of silence, and for each answer up to its headers.
        seconds, max_bytes: for all of it, headers and framing included.

    Raises:
        VideoReadError: see [`download`].
    """
    name, place, end = redacted(url), url, time.monotonic() + seconds
    for _ in range(MAX_REDIRECTS + 1):
        response, wire = _request(name, place, timeout, end, max_bytes, allow_private)
        location = response.getheader("Location")
        if response.status in REDIRECTS and location:
            wire.close()
            place = _joined(name, place, location)
            continue
        if response.status != 200:
            wire.close()
            raise VideoReadError(f"{name}: the server answered {response.status} {response.reason}.".rstrip())
        return StreamBody(name, response, wire)
    raise VideoReadError(f"{name}: more than {MAX_REDIRECTS} redirects.")


def _joined(name: str, place: str, location: str) -> str:
    try:
        return urljoin(place, location)
    except ValueError:
        raise VideoReadError(f"{name}: the server redirects to what is not a URL.") from None


def _request(
    name: str, place: str, timeout: float, end: float, max_bytes: float, allow_private: bool
) -> tuple[http.client.HTTPResponse, Wire]:
    """The answer of `place`, read up to the headers, all within `timeout` seconds."""
    parts, port = _split(name, place)
    deadline = min(end, time.monotonic() + timeout)
    addresses = _checked_addresses(name, parts.hostname or "", port, deadline, allow_private)
    wire = None
    try:
        wire = Wire(_connect(addresses, port, deadline), timeout, deadline, max_bytes)
        response = _exchange(wire, parts)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if wire is not None:
            wire.close()
        late = time.monotonic() >= deadline
        what = f"no answer within {timeout:g} seconds" if late else f"no connection ({_words(error)})"
        raise VideoReadError(f"{name}: {what}.") from error
    wire.deadline = end
    return response, wire


def _split(name: str, place: str) -> tuple[SplitResult, int]:
    """The parts of a URL and its port. Python's own messages repeat parts of the URL, so they are left out."""
    after = "" if redacted(place) == name else " (after a redirect)"
    try:
        parts = urlsplit(place)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = (parts.hostname or "").encode("ascii" if (parts.hostname or "").isascii() else "idna").decode()
    except ValueError:
        raise VideoReadError(f"{name}: not a valid URL{after}.") from None
    if parts.scheme not in ("http", "https"):
        raise VideoReadError(f"{name}: only http and https are read, not {parts.scheme}{after}.")
    if not _HOST.fullmatch(host):
        raise VideoReadError(f"{name}: not a valid URL (no host){after}.")
    return parts, port


def _exchange(wire: Wire, parts: SplitResult) -> http.client.HTTPResponse:
    if parts.scheme == "https":
        wire.secure(parts.hostname or "")
    target = quote(parts.path or "/", _SAFE) + (f"?{quote(parts.query, _SAFE)}" if parts.query else "")
    host = parts.netloc.rpartition("@")[2]
    host = host if host.isascii() else host.encode("idna").decode()
    wire.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{_HEADERS}\r\n".encode("ascii"))
    response = http.client.HTTPResponse(wire, method="GET")  # type: ignore[arg-type]  # it only calls makefile
    response.begin()
    return response


def _checked_addresses(name: str, host: str, port: int, deadline: float, allow_private: bool) -> list[str]:
    try:
        found = _resolve(host, port, deadline)
    except (OSError, UnicodeError) as error:
        raise VideoReadError(f"{name}: the host {host} was not found ({_words(error)}).") from error
    addresses = list(dict.fromkeys(entry[4][0] for entry in found))
    refused = [address for address in addresses if not (allow_private or is_public(address))]
    if refused or not addresses:
        raise VideoReadError(
            f"{name}: {host} is at {', '.join(refused)}, which is not a public address; "
            "pass allow_private_urls=True if you trust this URL."
        )
    return addresses


def _resolve(host: str, port: int, deadline: float) -> list[tuple]:
    """What the system's resolver says. It knows no time-out, so it is asked in a thread that may be left behind."""
    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    asking = threading.Thread(target=ask, name="hf-zsar-resolver", daemon=True)
    asking.start()
    asking.join(max(0.0, deadline - time.monotonic()))
    if not answer:
        raise TimeoutError("timed out")
    if isinstance(answer[0], Exception):
        raise answer[0]
    return answer[0]


def _connect(addresses: list[str], port: int, deadline: float) -> socket.socket:
    error: OSError = TimeoutError("timed out")
    for address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            return socket.create_connection((address, port), timeout=left)
        except OSError as problem:
            error = problem
    raise error


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


__all__ = ["StreamBody", "download", "is_public", "open_stream", "spool"]
