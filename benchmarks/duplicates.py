"""Time and memory of finding duplicates: half a million synthetic rows, one in twenty a copy.

    python benchmarks/duplicates.py [rows]

Prints the seconds, the resident memory before and its peak, and how many of the planted copies were found. The texts
are short reviews of words drawn with a natural (1/rank) frequency; half of the copies are exact, half have one changed
word.
"""

import random
import resource
import sys
import time
from itertools import accumulate

from whichtune.data.duplicates import find_families
from whichtune.data.examples import Example

VOCABULARY = 20_000
PLANTED = 20


def make_rows(count: int) -> tuple[list[Example], int, int]:
    draw = random.Random(0)
    letters = "etaoinshrdlucmfwyp"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(VOCABULARY)]
    weights = list(accumulate(1 / (rank + 10) for rank in range(VOCABULARY)))
    texts: list[str] = []
    exact = near = 0
    for number in range(count):
        if texts and number % PLANTED == 0:
            copy = draw.choice(texts).split()
            if number % (2 * PLANTED):
                copy[draw.randrange(len(copy))] = draw.choice(words)
                near += 1
            else:
                exact += 1
            texts.append(" ".join(copy))
        else:
            texts.append(" ".join(draw.choices(words, cum_weights=weights, k=draw.randint(25, 50))))
    return [Example(f"all:{n}", "train", text, "a", f"made:{n}") for n, text in enumerate(texts)], exact, near


def peak_bytes() -> int:
    """Peak resident bytes so far (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    rows, exact, near = make_rows(count)
    cut = count * 6 // 10, count * 75 // 100
    splits = {"train": rows[: cut[0]], "validation": rows[cut[0] : cut[1]], "test": rows[cut[1] :]}
    before = peak_bytes()
    start = time.perf_counter()
    found = find_families(splits, 0.8)
    seconds = time.perf_counter() - start
    after = peak_bytes()
    print(f"{count:,} rows of {sum(len(row.text) for row in rows) / count:.0f} characters: {seconds:.1f} s")
    more = f"{(after - before) / 1e6:.0f} MB more"
    print(f"memory: {before / 1e6:.0f} MB with the rows alone, peak {after / 1e6:.0f} MB: {more}")
    families = {number for own in found.families.values() for number in own.tolist()}
    print(f"planted: {exact} exact, {near} near copies; rows that repeat an earlier one: {count - len(families)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
