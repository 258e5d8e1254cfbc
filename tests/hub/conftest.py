"""The loopback Hub and a client for it; waits of the client's retries are recorded instead of slept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import HfApi, file_download
from huggingface_hub.utils import _http

from hf_zsar.hub import transfer
from tests.hub.server import LoopbackHub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """An empty Hub of one test. Large files go by plain LFS (Xet has its own servers)."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with LoopbackHub() as running:
        yield running
    huggingface_hub.close_session()


@pytest.fixture
def api(hub: LoopbackHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The download cache of one test."""
    return tmp_path / "cache"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the client would have slept between retries."""
    slept: list[float] = []
    clock = SimpleNamespace(**{name: getattr(time, name) for name in ("time", "monotonic", "perf_counter")})
    clock.sleep = slept.append
    for module in (_http, file_download):
        monkeypatch.setattr(module, "time", clock)
    return slept


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a push would have waited between its attempts."""
    slept: list[float] = []
    monkeypatch.setattr(transfer, "sleep", slept.append)
    return slept
