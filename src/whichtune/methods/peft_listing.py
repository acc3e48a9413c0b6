"""The printed table of PEFT's tuners."""

from __future__ import annotations

from whichtune.methods.peft_config import load_peft
from whichtune.methods.peft_table import KNOWN, reason_against
from whichtune.spec.peft import STARTS


def describe_tuners() -> str:
    """Return a Markdown table of all tuners the installed PEFT has: what each adapts, its starting rate, or why not."""
    peft = load_peft()
    names = sorted(kind.value.lower() for kind in peft.PeftType)
    lines = ["| tuner | runs | adapts by default | learning rate | remark |", "|---|---|---|---|---|"]
    lines += [_row(name) for name in names]
    running = sum(not reason_against(name) for name in names)
    return f"PEFT {peft.__version__}: {running} of {len(names)} tuners run.\n\n" + "\n".join(lines) + "\n"


def _row(name: str) -> str:
    notes = KNOWN.get(name)
    if notes is None or notes.cannot:
        return f"| `{name}` | no | | | {str(reason_against(name)).removeprefix(f'{name}: ')} |"
    start = STARTS[name]
    rate = f"{start.learning_rate:g}"
    if start.head_learning_rate is not None:
        rate += f", head {start.head_learning_rate:g}"
    adapts = {"rows": "rows in front of the text", "keys": "keys and values of every block"}.get(notes.place)
    return f"| `{name}` | yes | {adapts or ', '.join(notes.targets)} | {rate} | {notes.remark} |"
