"""All benchmarks, one after another: `python -m tests.benchmarks [FOLDER]` (what `make bench` calls).

Each is a process of its own and writes `<name>.json` into the folder, by default `hf_zsar-benchmarks` among the
temporary files. One that fails is named at the end and makes the exit status 1; the others still run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    default = Path(tempfile.gettempdir()) / "hf_zsar-benchmarks"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        print(f"== {path.stem}", flush=True)
        target = folder / f"{path.stem}.json"
        command = [sys.executable, "-m", f"tests.benchmarks.{path.stem}", "--json", str(target)]
        if subprocess.run(command).returncode:
            failed.append(path.stem)
    print(f"results: {folder}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
