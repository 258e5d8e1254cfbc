"""Videos from the network, and streams that can be read only once.

A URL may come from anybody, so a request goes to no address that only this machine can reach: every host, also of
every redirect, is resolved here, all its addresses must be public, and the connection is made to a checked address
itself, not to the name again. Proxies of the environment are not used for the same reason.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import ipaddress
import os
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from .video_sources import MediaSource, VideoReadError


MAX_BYTES = 2 * 2**30
MAX_REDIRECTS = 5
CHUNK = 256 * 1024
# Bytes a second below which a download counts as stuck.
MIN_RATE = 1024
REDIRECTS = {301, 302, 303, 307, 308}


def download(url: str, timeout: float, max_bytes: int, allow_private: bool = False) -> MediaSource:
    """Fetch `url` into a temporary file, which closing the source removes.

    Raises:
        VideoReadError: not http(s), a refused address or redirect, too large, too slow, or an answer that is no video.
    """
    with open_stream(url, timeout, allow_private) as body:
        if body.length is not None and body.length > max_bytes:
            raise VideoReadError(f"{url}: {body.length} bytes, more than the {max_bytes} allowed (max_bytes).")
        source = spool(body, url, max_bytes)
        if body.length is not None and body.received != body.length:
            source.close()
            raise VideoReadError(f"{url}: the server stopped after {body.received} of {body.length} bytes.")
    return source


def spool(file: Any, name: str, max_bytes: int) -> MediaSource:
    """Copy a stream into a temporary file, which closing the source removes."""
    folder = tempfile.TemporaryDirectory(prefix="hf-zsar-")
    path = os.path.join(folder.name, "video")
    total, head = 0, b""
    try:
        with open(path, "wb") as copy:
            while chunk := file.read(CHUNK):
                total += len(chunk)
                if total > max_bytes:
                    raise VideoReadError(f"{name}: more than the {max_bytes} bytes allowed (max_bytes).")
                head = head or bytes(chunk[:512])
                copy.write(chunk)
        if not total:
            raise VideoReadError(f"{name}: empty (0 bytes).")
        if is_text(head):
            raise VideoReadError(f"{name}: text, not a video (it starts with {head[:40].decode(errors='replace')!r}).")
    except OSError as error:
        folder.cleanup()
        raise VideoReadError(f"{name}: reading failed ({error}).") from error
    except VideoReadError:
        folder.cleanup()
        raise
    return MediaSource(name, path=path, on_close=[folder.cleanup])


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are plain text: a web page, an error message, a playlist."""
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character may be cut in two at the end.
        return control == 0 and error.start >= len(head) - 3
    return control == 0


class StreamBody:
    """The body of an answer as a file that reads forward only.

    Attributes:
        length: announced bytes, None when the server does not say.
        received: bytes read so far.
    """

    def __init__(self, name: str, connection: http.client.HTTPConnection, timeout: float) -> None:
        self.name = name
        self._connection = connection
        self._timeout = timeout
        self._response = connection.response
        length = self._response.getheader("Content-Length", "")
        self.length = int(length) if length.isdigit() else None
        self.received = 0
        self._checked_at, self._checked_bytes = time.monotonic(), 0

    def __enter__(self) -> StreamBody:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, as soon as there are some.

        Raises:
            VideoReadError: nothing, or next to nothing, came for `timeout` seconds, or the connection broke.
        """
        try:
            data = self._response.read1(size if size > 0 else CHUNK)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise VideoReadError(f"{self.name}: the download broke off ({_words(error)}).") from error
        self.received += len(data)
        elapsed = time.monotonic() - self._checked_at
        if data and elapsed > self._timeout:
            if self.received - self._checked_bytes < MIN_RATE * elapsed:
                raise VideoReadError(f"{self.name}: the download is too slow (under {MIN_RATE} bytes a second).")
            self._checked_at, self._checked_bytes = time.monotonic(), self.received
        return data

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def open_stream(url: str, timeout: float, allow_private: bool = False) -> StreamBody:
    """Request `url` and follow up to five redirects.

    Raises:
        VideoReadError: see [`download`].
    """
    place = url
    for _ in range(MAX_REDIRECTS + 1):
        connection = _request(url, place, timeout, allow_private)
        status = connection.response.status
        location = connection.response.getheader("Location")
        if status in REDIRECTS and location:
            connection.close()
            place = urljoin(place, location)
            continue
        if status != 200:
            connection.close()
            raise VideoReadError(f"{url}: the server answered {status} {connection.response.reason}.".rstrip())
        return StreamBody(url, connection, timeout)
    raise VideoReadError(f"{url}: more than {MAX_REDIRECTS} redirects.")


def _request(url: str, place: str, timeout: float, allow_private: bool) -> http.client.HTTPConnection:
    """The connection to `place`, with its `response` read up to the headers, all within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    try:
        parts = urlsplit(place)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise VideoReadError(f"{url}: not a valid URL ({error}).") from error
    if parts.scheme not in ("http", "https"):
        redirect = "" if place == url else " (after a redirect)"
        raise VideoReadError(f"{url}: only http and https are read, not {parts.scheme}{redirect}.")
    if not parts.hostname:
        raise VideoReadError(f"{url}: not a valid URL (no host).")
    addresses = _checked_addresses(url, parts.hostname, port, deadline, allow_private)
    try:
        return _exchange(parts, port, addresses, deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = time.monotonic() >= deadline
        what = f"no answer within {timeout:g} seconds" if late else f"no connection ({_words(error)})"
        raise VideoReadError(f"{url}: {what}.") from error


def _checked_addresses(url: str, host: str, port: int, deadline: float, allow_private: bool) -> list[str]:
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        # The resolver knows no time-out of its own.
        answer = pool.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = answer.result(timeout=max(0.0, deadline - time.monotonic()))
    except (OSError, UnicodeError, concurrent.futures.TimeoutError) as error:
        raise VideoReadError(f"{url}: the host {host} was not found ({_words(error)}).") from error
    finally:
        pool.shutdown(wait=False)
    addresses = list(dict.fromkeys(entry[4][0] for entry in found))
    refused = [address for address in addresses if not (allow_private or is_public(address))]
    if refused or not addresses:
        raise VideoReadError(
            f"{url}: {host} is at {', '.join(refused)}, which is not a public address; "
            "pass allow_private_urls=True if you trust this URL."
        )
    return addresses


def is_public(address: str) -> bool:
    """Whether an address is reachable for everybody; addresses that wrap an IPv4 one are judged by that, too."""
    parsed = ipaddress.ip_address(address.split("%")[0])
    inner: list[Any] = [parsed]
    if isinstance(parsed, ipaddress.IPv6Address):
        inner += [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if parsed in ipaddress.ip_network("64:ff9b::/96") or parsed in ipaddress.ip_network("::/96"):
            inner.append(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
    return all(each.is_global and not each.is_multicast for each in inner if each is not None)


def _exchange(parts: SplitResult, port: int, addresses: list[str], deadline: float) -> http.client.HTTPConnection:
    raw = _connect(addresses, port, deadline)
    # A server that sends its headers byte by byte never runs into the time-out of a single read.
    guard = threading.Timer(max(0.0, deadline - time.monotonic()), _hang_up, [raw])
    guard.daemon = True
    guard.start()
    try:
        secure = parts.scheme == "https"
        make: Callable = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = make(parts.hostname, port)
        context = ssl.create_default_context() if secure else None
        connection.sock = context.wrap_socket(raw, server_hostname=parts.hostname) if context else raw
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": "hf-zsar", "Accept": "video/*, */*;q=0.5", "Accept-Encoding": "identity"}
        connection.request("GET", target, headers=headers)
        connection.response = connection.getresponse()
        if time.monotonic() >= deadline:
            raise TimeoutError("timed out")  # the guard cut the headers short
        return connection
    except BaseException:
        raw.close()
        raise
    finally:
        guard.cancel()


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


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        connection.close()


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


__all__ = ["MAX_BYTES", "StreamBody", "download", "is_public", "open_stream", "spool"]
