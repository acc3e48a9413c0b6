"""How long `import whichtune.cli` takes against `import typer`, in fresh interpreters, alternating.

    python benchmarks/start_up.py [--rounds 15]

Exits with 1 when the median ratio is above the limit: every `--help` and every shell completion pays for this import.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial

from whichtune.bench.alternate import alternate

OURS, REFERENCE = "whichtune.cli", "typer"
LIMIT = 2.5
CODE = "import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"


def time_import(module: str) -> float:
    """Import a module in a fresh interpreter and return the seconds it took, the interpreter's own start apart."""
    code = CODE.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="fresh interpreters a side")
    asked = parser.parse_args()
    for module in (OURS, REFERENCE):
        time_import(module)  # writes the byte code and warms the disk cache
    comparison = alternate({f"import {name}": partial(time_import, name) for name in (OURS, REFERENCE)}, asked.rounds)
    ratio = comparison.ratio(f"import {OURS}")
    print(comparison)
    print(f"ratio {ratio:.2f}, limit {LIMIT}: {'within' if ratio <= LIMIT else 'ABOVE'} the limit")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
