"""Fuzz targets for a given time: `python -m tests.fuzz --seconds 600 [TARGET ...]`; needs the extra `fuzz`.

Each target runs in a process of its own. Each kind of finding is written once to `--out`; the exit status says whether
there are any. An input that shall be read again by `tests/fuzz/test_corpus.py` is copied to `corpus/TARGET`.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path


CORPUS = Path(__file__).with_name("corpus")
SLOW_SECONDS, MOST_MB, MOST_BYTES = 30, 4096, 500_000


def main() -> int:
    """Fuzz; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=600, help="for each target (600)")
    parser.add_argument("--out", type=Path, default=Path("out", "fuzz"), help="folder of what is found (out/fuzz)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return fuzz(args.targets[0], args.seconds, args.out)
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("Fuzzing needs atheris: pip install 'hf-zsar[fuzz]'", file=sys.stderr)
        return 2
    from tests.fuzz.targets import TARGETS

    found = False
    for name in args.targets or TARGETS:
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.fuzz", "--inside", name, "--out", str(folder)]
        end, runs = time.monotonic() + args.seconds, 0
        with (folder / "log").open("w") as log:
            while (left := int(end - time.monotonic())) > 0 and runs < 50:  # again, after a crash of the process
                subprocess.run([*command, "--seconds", str(left)], stderr=log, check=False)
                runs += 1
        findings = sorted(path.name for path in folder.iterdir() if path.name.startswith("found-"))
        counted = [line for line in (folder / "log").read_text(errors="replace").splitlines() if "DONE" in line]
        print(f"{name}: {len(findings)} findings {findings}, {' '.join(counted[-1:])}", flush=True)
        found = found or bool(findings)
    return int(found)


def fuzz(name: str, seconds: int, folder: Path) -> int:
    """One target in this process. What crashes it is written by the fuzzer, with the name `found-crash-...`."""
    import atheris

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.disable(logging.ERROR)
    with atheris.instrument_imports(include=["hf_zsar"]):
        from tests.fuzz import targets
    from tests.fuzz.folders import mutated

    target = targets.TARGETS[name]
    seeds = folder / "seeds"
    seeds.mkdir(exist_ok=True)
    for data in target.seeds():
        (seeds / hashlib.sha1(data).hexdigest()).write_bytes(data)

    def check(data: bytes) -> None:
        try:
            target.check(data)
        except Exception as error:  # noqa: BLE001 - whatever there is, is what is looked for
            place = traceback.extract_tb(error.__traceback__)[-1]
            ours = [each for each in traceback.extract_tb(error.__traceback__) if str(targets.ROOT) in each.filename]
            place = ours[-1] if ours else place
            kind = f"{type(error).__name__}-{Path(place.filename).stem}-{place.name}-{place.lineno}"
            if not (path := folder / f"found-{kind}").exists():
                path.write_bytes(data)
                path.with_suffix(".txt").with_stem(f"why-{kind}").write_text(traceback.format_exc(), errors="replace")

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if target.mutate is not None:
            return target.mutate(data, rng)
        bent = mutated(data, rng, lambda part: atheris.Mutate(part, len(part) + 64), list(target.names))
        return bent if len(bent) <= most else data

    options = [
        f"-max_total_time={seconds}",
        f"-timeout={SLOW_SECONDS}",
        f"-rss_limit_mb={MOST_MB}",
        f"-artifact_prefix={folder}/found-",
        f"-max_len={MOST_BYTES}",
        "-len_control=0",
        "-reduce_inputs=0",  # what is shorter is mostly what has lost its form
        "-cross_over=0",
        "-print_final_stats=1",
    ]
    corpus = [str(each) for each in (folder / "corpus", CORPUS / name, seeds)]
    for each in corpus:
        Path(each).mkdir(exist_ok=True)
    atheris.Setup([sys.argv[0], *options, *corpus], check, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
