"""Hold the source to the house's form: short files, functions and classes, typed signatures, no shelves.

Run by `make lint`; prints what outgrew the form and ends with exit code 1.
"""

import ast
import sys
from pathlib import Path
from statistics import median

FILE_LINES, FUNCTION_LINES, CLASS_LINES, PARAMETERS, MEDIAN_LINES = 400, 50, 250, 6, 12
SHELVES = {"utils", "helpers", "misc", "common"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def main() -> int:
    faults, lengths = [], []
    for path in sorted(Path("src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if text.count("\n") + 1 > FILE_LINES:
            faults.append(f"{path}: more than {FILE_LINES} lines")
        if path.stem in SHELVES:
            faults.append(f"{path}: a shelf, not a name")
        for node in ast.walk(ast.parse(text)):
            faults += [f"{path}:{node.lineno} {fault}" for fault in check(node, path)]
            if isinstance(node, FUNCTIONS):
                lengths.append(length(node))
    if median(lengths) > MEDIAN_LINES:
        faults.append(f"the median function has {median(lengths):g} lines, more than {MEDIAN_LINES}")
    print(f"{len(lengths)} functions, median {median(lengths):g} lines, {len(faults)} faults", *faults, sep="\n")
    return 1 if faults else 0


def check(node: ast.AST, path: Path) -> list[str]:
    faults = []
    if isinstance(node, ast.ClassDef) and length(node) > CLASS_LINES:
        faults.append(f"class {node.name}: more than {CLASS_LINES} lines")
    if isinstance(node, FUNCTIONS):
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        own = [argument for argument in given if argument.arg not in ("self", "cls")]
        if length(node) > FUNCTION_LINES:
            faults.append(f"{node.name}: {length(node)} lines, more than {FUNCTION_LINES}")
        if len(own) > PARAMETERS and "cli" not in path.parts:
            faults.append(f"{node.name}: {len(own)} parameters, more than {PARAMETERS}")
        if any(argument.annotation is None for argument in own) or (node.returns is None and node.name != "__init__"):
            faults.append(f"{node.name}: a signature without types")
    return faults


def length(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1


if __name__ == "__main__":
    sys.exit(main())
