"""Commands killed at random moments: nothing crashes or hangs after it, results are the same, nothing is left behind.

`HF_ZSAR_KILLS=20 pytest -m slow tests/test_killed_commands.py` kills each command so often instead of 100 times.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from hf_zsar.files import replacing_folder
from tests.killed_commands import COMMANDS


ROOT = Path(__file__).resolve().parent.parent


def killed(work: Path, kills: int, *commands: str) -> list[dict]:
    """Figures of the script."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.killed_commands", str(work), *commands, "--kills", str(kills)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(figures: dict, kills: int) -> None:
    assert figures["faults"] == [] and figures["living on"] == []
    assert figures["kills"] == kills and figures["runs to the end"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_hundred_kills(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kills = int(os.environ.get("HF_ZSAR_KILLS", "100"))
    (figures,) = killed(tmp_path, kills, command)
    with capsys.disabled():
        print(json.dumps(figures))
    check(figures, kills)


def write_plainly(inputs: Path, out: Path) -> int:
    """Writes as this package must not: a file that grows in its place, another that stays."""
    if (out / "result").exists() and "end" not in (out / "result").read_text():
        return 3
    (out / "rest.tmp").write_text("x")
    (out / "result").write_text("begin")
    time.sleep(0.2)
    (out / "result").write_text("end")
    (out / "rest.tmp").unlink()
    return 0


def write_whole(inputs: Path, out: Path) -> int:
    """Writes a folder as this package does, slowly."""
    with replacing_folder(out / "folder") as folder:
        (folder / "first").write_text("begin")
        time.sleep(0.2)
        (folder / "last").write_text("end")
    return 0


SCRIPT = """
import json, random, sys
from pathlib import Path
from tests import killed_commands, test_killed_commands
work = Path(sys.argv[1])
killed_commands.COMMANDS["it"] = killed_commands.Command(
    getattr(test_killed_commands, work.name), killed_commands.files, redo=True
)
print(json.dumps(killed_commands.Trial("it", work, work).run(4, random.Random(0))))
"""


@pytest.mark.parametrize("writer", [write_plainly, write_whole])
def test_a_writer_that_is_killed(writer: Callable[[Path, Path], int], tmp_path: Path) -> None:
    (work := tmp_path / writer.__name__).mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(work)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    if writer is write_plainly:
        assert any("ended with 3" in fault for fault in figures["faults"])
    else:
        check(figures, 4)


def test_a_check_of_an_export_ends_with_who_asked_for_it(tmp_path: Path) -> None:
    code = (
        "import numpy as np\nfrom hf_zsar.hub import verification\n"
        "verification.CLEAN_SCRIPT = 'import time; time.sleep(60)'\n"
        "verification.run_clean(['x'], np.zeros(1), ['a'])"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    asking = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment)
    deadline = time.monotonic() + 60
    while not (checks := psutil.Process(asking.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    _, alive = psutil.wait_procs(checks, timeout=10)
    for process in alive:
        process.kill()
    assert len(checks) == 1 and alive == []
