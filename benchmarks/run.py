"""Run every benchmark, one after another: `make bench`."""

import subprocess
import sys
from pathlib import Path

BENCHES = (
    "calibration.py",
    "rules.py",
    "start_up.py",
    "duplicates.py",
    "report_time.py",
    "against_trainer.py",
    "adapter_memory.py",
    "engine_switches.py",
    "workers.py",
    "against_itself.py",
    "few_shot.py",
    "frozen_head.py",
    "embedding_rate.py",
    "image_stream.py",
    "advise.py",
)


def main() -> int:
    folder = Path(__file__).parent
    codes = []
    for name in BENCHES:
        print(f"\n== {name}", flush=True)
        codes.append(subprocess.run([sys.executable, str(folder / name)], check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
