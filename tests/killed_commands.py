"""Commands killed at random moments, in processes forked from one that has imported everything: a run then costs what
it does, not what importing costs. A script, because it must not share a process with pytest:

    python -m tests.killed_commands WORK --kills 100 --seed 0 [COMMAND ...]

prints a line of JSON for each command. A command is killed by SIGKILL, its whole run long, again and again on what the
kill before has left; now and then it runs to its end. Looked for are: a run that fails where another was killed, one
that does not end, results unlike those of a run that was let alone, files that nobody will use, processes that live
on. Moments are drawn evenly over the time that a run takes; a drawn moment that comes after the end is not kill.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import yaml


AT_ONCE = 4  # kills in a row before a run that is let alone
SURVIVAL_SECONDS = 15.0  # a worker may look for its parent every few seconds only


@dataclass(frozen=True)
class Command:
    """A command, and what its results are.

    Args:
        run: writes into `out`, given the folder of inputs.
        result: what counts of what is in `out`.
        redo: a finished result must be taken away before the command runs again.
    """

    run: Callable[[Path, Path], int]
    result: Callable[[Path], Any]
    redo: bool = False


def cli(*words: str) -> Callable[[Path, Path], int]:
    """`hf-zsar` with these words, in which INPUT and OUT stand for folders."""

    def run(inputs: Path, out: Path) -> int:
        from hf_zsar.cli import main

        return main([word.replace("INPUT", str(inputs)).replace("OUT", str(out)) for word in words])

    return run


def export(inputs: Path, out: Path) -> int:
    """`hf_zsar.hub.export`, which has no command of its own; checked as by default, but in a forked process."""
    from hf_zsar.hub import export as export_model
    from hf_zsar.hub import verification
    from hf_zsar.hub.loading import load

    verification.subprocess = SimpleNamespace(run=run_forked, TimeoutExpired=subprocess.TimeoutExpired)
    export_model(*load(inputs / "model"), out / "export")
    return 0


def run_forked(command: list[str], *, stdin: int, cwd: Path, env: dict[str, str], **options: Any) -> Any:
    """`subprocess.run` of a script of Python, which finds imported what is imported here."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.dup2(stdin, 0)
            os.closerange(3, 256)  # the other end of standard input, for one
            os.chdir(cwd)
            from transformers import dynamic_module_utils

            dynamic_module_utils.HF_MODULES_CACHE = env["HF_MODULES_CACHE"]
            sys.argv = ["-c", *command[3:]]
            exec(compile(command[2], "-c", "exec"), {})
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return subprocess.CompletedProcess(command, status, "", "see above")


def train(inputs: Path, out: Path) -> int:
    """`hf-zsar train --resume`, with a checkpoint after every update."""
    return cli("train", str(inputs / "recipe.yaml"), "--resume", "--set", f"output={out}/run")(inputs, out)


def files(out: Path) -> dict[str, str]:
    """Name and digest of every file."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def trained(out: Path) -> Any:
    """The files of the trained model; what else the output folder holds, by name."""
    found = files(out / "run")
    top = {name: digest for name, digest in found.items() if "/" not in name and name != "history.json"}
    return [top, sorted(found)]


def cached(out: Path) -> Any:
    """The rows of the frame cache, and the names of its files."""
    import pyarrow.parquet as pq

    tables = [pq.read_table(path).to_pylist() for path in sorted((out / "cache").glob("*.parquet"))]
    return [hashlib.sha256(repr(tables).encode()).hexdigest(), sorted(files(out / "cache"))]


def stored(out: Path) -> Any:
    """The rows of the feature stores, whatever shards they are in, and the other files."""
    from tests.evaluation.forked_runs import contents

    named = {name: digest for name, digest in files(out).items() if not name.endswith((".parquet", "record.json"))}
    record = out / "record.json"
    scores = json.loads(record.read_text()) if record.is_file() else {}
    scores = {name: value for name, value in scores.items() if name not in ("created", "seconds")}
    return [named, contents(out), scores]


def graphs(out: Path) -> Any:
    """The files of an ONNX export."""
    return files(out)


COMMANDS: dict[str, Command] = {
    "train": Command(train, trained, redo=True),
    "cache": Command(
        cli("cache", "INPUT/videos", "OUT/cache", "--shard-size", "2", "--num-frames", "4", "--workers", "2"), cached
    ),
    "embed": Command(
        cli("embed", "INPUT/videos", "--model", "INPUT/model", "--batch-size", "1", "--out", "OUT/store",
            "--labels", "a, b", "--label-bank", "OUT/bank.safetensors"),
        stored,
    ),
    "evaluate": Command(
        cli("evaluate", "--manifest", "INPUT/videos", "--model", "INPUT/model", "--batch-size", "1",
            "--store", "OUT/store", "--json", "OUT/record.json"),
        stored,
    ),
    "export": Command(export, files, redo=True),
    "convert": Command(
        cli("convert", "INPUT/checkpoint.pt", "OUT/model", "--from", "actionclip", "--num-frames", "4",
            "--tokenizer", "INPUT/model"),
        files,
        redo=True,
    ),
    "export-onnx": Command(cli("export-onnx", "INPUT/model", "OUT/onnx"), graphs, redo=True),
}  # fmt: skip


def make_inputs(folder: Path) -> None:
    """Videos, a model, a recipe and a checkpoint, all tiny."""
    from tests.conversion.official_files import official_file, transformer_head
    from tests.tiny_models import tiny_folder
    from tests.training.runs import write_rendered

    write_rendered(folder / "videos", clips=2)
    tiny_folder("actionclip", folder / "model")
    official_file(folder / "checkpoint.pt", head=transformer_head())
    recipe = {
        "method": "actionclip",
        "output": "",
        "model": {"pretrained": str(folder / "model")},
        "data": {"source": str(folder / "videos")},
        "optimization": {"learning_rates": {"default": 1e-3}, "epochs": 2, "batch_size": 2, "warmup_epochs": 0.5},
        "augmentation": {"size": 32, "cropping": "short_side", "short_side": [32, 36], "flip": 0.5},
        "save_steps": 1,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


class Child:
    """A forked process that leads a session of its own, so that what it leaves behind can be found."""

    def __init__(self, work: Callable[[], int], scratch: Path, log: Path) -> None:
        self.pid = os.fork()
        if self.pid:
            return
        status = 99
        try:
            os.setsid()
            with log.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
            status = work()
        except BaseException:  # noqa: BLE001 - told to the parent by the status, and in the log
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def end(self, seconds: float) -> int | None:
        """Exit status, minus the signal of a killed one; None where it does not end in time, so that it is killed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        os.kill(self.pid, signal.SIGKILL)
        return None if os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) == -signal.SIGKILL else 0


class Trial:
    """One command under fire.

    Args:
        name: in `COMMANDS`.
        work: an empty folder.
        inputs: see [`make_inputs`].
    """

    def __init__(self, name: str, work: Path, inputs: Path) -> None:
        self.command, self.work, self.inputs = COMMANDS[name], work, inputs
        self.faults: list[str] = []
        self.sessions: list[int] = []
        self.killed = self.ended = 0

    def start(self, place: str) -> tuple[Child, Path]:
        """Start the command; its results go into a folder of `work`."""
        out, scratch = self.work / place, self.work / f"{place}-scratch"
        for each in (out, scratch):
            each.mkdir(exist_ok=True)
        return Child(lambda: self.command.run(self.inputs, out), scratch, self.work / f"{place}.log"), out

    def reference(self) -> None:
        """A run that is let alone, twice: what it gives, and how long it takes."""
        taken = []
        for place in ("whole", "again"):
            began = time.monotonic()
            child, out = self.start(place)
            if status := child.end(600):
                raise RuntimeError(f"exit status {status}: {(self.work / f'{place}.log').read_text()[-2000:]}")
            taken.append(time.monotonic() - began)
        self.seconds = min(taken)
        self.names = sorted(path.name for path in out.iterdir())
        self.expected = in_child(lambda: self.command.result(self.work / "whole"))
        if in_child(lambda: self.command.result(out)) != self.expected:
            raise RuntimeError("two runs that are let alone give different results")

    def kill(self, delay: float) -> None:
        """Start the command and kill it after so many seconds."""
        child, _ = self.start("killed")
        self.sessions.append(child.pid)
        status = child.end(delay)
        if status is None:
            self.killed += 1
        elif status and not self._finished_before():
            self.fault(f"the run after a kill ended with {status}")

    def check(self) -> None:
        """Run to the end, and look at what is there."""
        child, out = self.start("killed")
        status = child.end(60 + 20 * self.seconds)
        if status is None:
            return self.fault("a run after a kill did not end")
        if status and not self._finished_before():
            return self.fault(f"the last run ended with {status}")
        self.ended += 1
        found = in_child(lambda: self.command.result(out))
        if found != self.expected:
            return self.fault(f"other results than of a run that was let alone: {found!r:.300}")
        litter = [str(path.relative_to(self.work)) for path in (self.work / "killed-scratch").iterdir()]
        litter += [str(path.relative_to(self.work)) for path in out.rglob(".*")]
        litter += sorted({path.name for path in out.iterdir()} - set(self.names))
        if litter:
            return self.fault(f"left behind: {litter[:5]}")
        if self.command.redo or self.ended % 2:
            remove(out)

    def _finished_before(self) -> bool:
        """Whether the run only refused to overwrite what one before it, killed a moment too late, had finished."""
        log = (self.work / "killed.log").read_text(errors="replace")
        return self.command.redo and re.search("not empty|exists already|has checkpoints", log) is not None

    def fault(self, what: str) -> None:
        """Note a fault, with the last words of the run, and begin anew."""
        log = (self.work / "killed.log").read_text(errors="replace").strip()
        self.faults.append(f"{what} | {log[-600:]}")
        for place in ("killed", "killed-scratch"):
            remove(self.work / place)

    def survivors(self) -> list[str]:
        """Processes of killed runs that live on."""
        deadline = time.monotonic() + SURVIVAL_SECONDS
        while True:
            left = []
            for process in psutil.process_iter(["cmdline", "status"]):
                try:
                    if os.getsid(process.pid) in self.sessions and process.info["status"] != psutil.STATUS_ZOMBIE:
                        left.append(process)
                except ProcessLookupError:
                    continue
            if not left or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        for process in left:
            process.kill()
        return [" ".join(process.info["cmdline"] or [])[:120] for process in left]

    def run(self, kills: int, rng: random.Random) -> dict[str, Any]:
        """Figures of so many kills."""
        self.reference()
        began = time.monotonic()
        while self.killed < kills and len(self.faults) < 10:
            for _ in range(min(AT_ONCE, kills - self.killed)):
                self.kill(rng.uniform(0, self.seconds))
            self.check()
        figures = {"kills": self.killed, "runs to the end": self.ended, "seconds of a run": round(self.seconds, 2)}
        living = self.survivors()
        return {**figures, "living on": living, "faults": self.faults, "took": round(time.monotonic() - began)}


def remove(folder: Path) -> None:
    """Delete a folder."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` gives, as JSON, from a forked process: this one stays as it is."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(theirs, b"")
            with os.fdopen(theirs, "w") as file:
                json.dump(work(), file)
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def warm_up(names: list[str], work: Path, inputs: Path) -> None:
    """Import what the commands import, as a run of each tells; nothing else happens in this process."""
    found: list[str] = []
    for name in names:
        out = work / f"warm-{name}"
        out.mkdir()
        tempfile.tempdir = str(out)
        before = set(sys.modules)

        def imported(name: str = name, out: Path = out, before: set[str] = before) -> list[str]:
            with (out / "log").open("w") as log:
                os.dup2(log.fileno(), 1), os.dup2(log.fileno(), 2)
            status = COMMANDS[name].run(inputs, out)
            assert status == 0, (out / "log").read_text()[-2000:]
            return [each for each in sys.modules if each not in before and "." not in each.partition(".")[0]]

        found += in_child(imported)
        for module in found:
            if module in sys.modules:
                continue
            try:
                importlib.import_module(module)
            except Exception:  # noqa: BLE001 - made by a library for itself; the children do without
                continue
    tempfile.tempdir = None


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help="default: all")
    parser.add_argument("--kills", type=int, default=100, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_intermixed_args()
    names = args.commands or list(COMMANDS)
    inputs = args.work.resolve() / "inputs"
    inputs.mkdir(parents=True)
    in_child(lambda: make_inputs(inputs))
    warm_up(names, args.work.resolve(), inputs)
    for name in names:
        work = args.work.resolve() / name
        work.mkdir()
        figures = Trial(name, work, inputs).run(args.kills, random.Random(f"{args.seed} {name}"))
        print(json.dumps({"command": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
