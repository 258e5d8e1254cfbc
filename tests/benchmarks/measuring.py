"""How the benchmarks measure: sides take turns in one run, medians, and a bootstrap interval of their ratio."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


def take_turns(
    sides: Mapping[str, Callable[[], Any]],
    rounds: int,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every call of every side; each round calls all of them, in another order."""
    for side in sides.values():
        for _ in range(warm_up):
            side()
    times: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = clock()
            sides[name]()
            times[name].append(clock() - start)
    return times


def ratio(peer: list[float], ours: list[float], draws: int = 2000) -> dict[str, float]:
    """Median of the peer over our median, with a 95 % bootstrap interval over rounds."""
    generator = np.random.default_rng(0)
    rows = generator.integers(len(ours), size=(draws, len(ours)))
    drawn = np.median(np.asarray(peer)[rows], axis=1) / np.median(np.asarray(ours)[rows], axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"ratio": float(np.median(peer) / np.median(ours)), "low": float(low), "high": float(high)}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    names = ("avx512_bf16", "amx_bf16")
    return {
        "cpu": capabilities.get("cpu_name") or platform.processor(),
        "features": [name for name in names if capabilities.get(name)],
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def report(title: str, rows: list[dict[str, Any]], path: str | None) -> None:
    """Print `peer / ours` lines and, if asked, write them as JSON."""
    print(title)
    for row in rows:
        interval = f"[{row['low']:.2f}, {row['high']:.2f}]" if "low" in row else ""
        print(f"  {row['name']:<52} {row['ratio']:>9.2f}x  {interval}")
    if path:
        Path(path).write_text(json.dumps({"title": title, "machine": machine(), "rows": rows}, indent=1) + "\n")
