"""Memory of a LoRA step on SmolLM2, summaries of docstrings, against Hugging Face Trainer + PEFT.

    python benchmarks/adapter_memory.py [--length 512] [--batch 4] [--targets all-linear] [--dropouts 0 0.1]

The row `memory` of `whichtune bench` with options of its own, and without its target: exits with 1 when ours keeps as
much or more for the backward pass, or when, without dropout, losses or gradients differ.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from whichtune.bench.memory import Step, compare_memory

OUT = Path("benchmarks/out/adapter_memory.json")


def main() -> int:
    step = Step()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=step.length, help="most tokens of a row")
    parser.add_argument("--batch", type=int, default=step.batch)
    parser.add_argument("--rows", type=int, default=step.rows, help="docstrings among which the longest are sought")
    parser.add_argument("--targets", nargs="+", default=list(step.targets), help="as `targets` of the method `lora`")
    parser.add_argument("--dropouts", type=float, nargs="+", default=[0.0, 0.1])
    asked = parser.parse_args()
    step = Step(asked.length, asked.batch, asked.rows, tuple(asked.targets))
    found = compare_memory(print, step, asked.dropouts)
    print(f"rows of {', '.join(map(str, found.lengths))} tokens", *found.told, sep="\n")
    faults = [*found.faults, *(["ours keeps as much or more"] if found.ratio >= 1 else [])]
    for fault in faults:
        print(f"WRONG: {fault}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"asked": vars(asked), **asdict(found)}, indent=1) + "\n", encoding="utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
