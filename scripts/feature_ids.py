"""The ids of the statements that must work, and where tests claim to prove them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

LIST = Path(__file__).with_name("feature-ids.txt")


def known_ids() -> dict[str, bool]:
    """Every id, in order, and whether it is a behaviour that a test can prove."""
    ids: dict[str, bool] = {}
    for line in LIST.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words and words[0] != "#":
            ids[words[0]] = words[1:] != ["not", "a", "behaviour"]
    return ids


def marked_ids(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and id of every `mark.feature(…)` in a test file; one mark may hold several ids."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        holder = node.func.value
        if node.func.attr == "feature" and isinstance(holder, ast.Attribute) and holder.attr == "mark":
            for argument in node.args:
                text = argument.value if isinstance(argument, ast.Constant) else ast.unparse(argument)
                yield argument.lineno, str(text)
