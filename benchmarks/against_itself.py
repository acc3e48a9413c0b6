"""Studies of one method entered twice, on the command line: whatever is called different here is called so wrongly.

    python benchmarks/against_itself.py [--studies 20] [--method frozen-features] [--search]

Each study enters the method as `stream: 0` and `stream: 1`, with another split of the reviews, and is run by
`whichtune run` and read by `whichtune report --format json`. At fixed settings the two are one and the same recipe, so
fewer than 5 of 20 pairs may be called different. With `--search` each entry is searched on its own, may end with
another setting, and a difference may then be true: the share of pairs that are further apart than the margin is printed
beside the share that is shown to be. Exits with 1 when too many pairs at fixed settings are called different.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MOST_OF_20 = 4
OUT = Path(__file__).parent / "out"
RATES = {"frozen-features": 3e-3, "lora": 1e-3, "last-layers": 5e-4}
SEARCH = {"trials": 4, "best": 2, "repeats": 1, "own": False}
CALLS = ("better", "better-within-margin")


def make_study(place: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Return a study of one method against itself."""
    entry = {"kind": asked.method, "pooling": "mean", "learning_rate": RATES[asked.method], "on": ["minilm"]}
    return {
        "name": f"itself-{place}",
        "data": {
            "source": {"kind": "movie-reviews"},
            "split": {"seed": place},
            "sizes": {"train": asked.train, "validation": 200, "test": 1000},
        },
        "backbones": {"minilm": {"kind": "minilm"}},
        "methods": {"first": entry, "second": entry | {"stream": 1}},
        "training": {"epochs": 2, "batch_size": 16, "max_length": 64, "order": "by-length"},
        "execution": {"device": "cpu", "threads": 1, "evaluation_batch": 128, "check": False},
        "measure": {"probe": False},
    } | ({"search": SEARCH} if asked.search else {})


def run_study(study: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a study in a process of its own and return the pair of its two entries, and their chosen settings."""
    path = folder / f"{study['name']}.json"
    path.write_text(json.dumps(study), encoding="utf-8")
    command = [sys.executable, "-m", "whichtune"]
    subprocess.run([*command, "run", str(path), "--runs", str(folder)], check=True, stdout=subprocess.DEVNULL)
    told = subprocess.run(
        [*command, "report", str(folder / study["name"]), "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    report = json.loads(told.stdout)
    names = {"first@minilm", "second@minilm"}
    pair = next(one for one in report["pairs"] if {one["first"], one["second"]} == names)
    chosen = {one["candidate"]: one["chosen"] for one in (report["search"] or {"rows": []})["rows"]}
    return pair | {"margin": report["margin_amount"], "chosen": chosen}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--method", choices=sorted(RATES), default="frozen-features")
    parser.add_argument("--train", type=int, default=300, help="training rows of each study")
    parser.add_argument("--search", action="store_true", help="search each entry on its own")
    asked = parser.parse_args()
    start = time.perf_counter()
    pairs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for study in range(asked.studies):
            pair = run_study(make_study(study, asked), Path(place))
            pairs.append(pair)
            interval = f"{100 * pair['low']:+.1f}..{100 * pair['high']:+.1f}"
            print(f"study {study}: {100 * pair['difference']:+.1f} ({interval}) {pair['call']}", flush=True)
    different = sum(pair["call"] in CALLS for pair in pairs)
    beyond = sum(abs(pair["difference"]) > pair["margin"] for pair in pairs)
    other = sum(len({json.dumps(one) for one in pair["chosen"].values()}) > 1 for pair in pairs)
    print(f"{asked.method} against itself, {len(pairs)} studies, {time.perf_counter() - start:.0f} s")
    print(f"called different: {different}")
    print(
        f"further apart than the margin of {100 * pairs[0]['margin']:g} points: {beyond / len(pairs):.0%} (estimates)"
    )
    if asked.search:
        print(f"searches that chose different settings: {other}")
    OUT.mkdir(exist_ok=True)
    name = f"against_itself{'_searched' if asked.search else ''}.json"
    figures = {"method": asked.method, "studies": len(pairs), "different": different, "beyond_margin": beyond}
    (OUT / name).write_text(json.dumps(figures | {"other_settings": other, "pairs": pairs}, indent=1), encoding="utf-8")
    most = math.floor(MOST_OF_20 * len(pairs) / 20)
    return 0 if asked.search or different <= most else 1


if __name__ == "__main__":
    sys.exit(main())
