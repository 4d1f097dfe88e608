"""Holds the house's arrows: who may import whom, and where a platform's name may stand. Run by `make check`.

The picture is in docs/architecture.md. Prints one line for each thing that is wrong and exits with 1 if there is any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scripts.feature_ids import known_ids, marked_ids

# What each part of the house may import of the house; everything else of it is above or beside.
MAY_IMPORT = {
    "app": {"webhooks", "sync", "storage", "connectors", "rewards"},
    "webhooks": {"sync", "storage", "connectors", "rewards"},
    "sync": {"storage", "connectors", "rewards"},
    "storage": {"rewards"},
    "connectors": {"rewards"},
    "rewards": set[str](),
    "sandbox": set[str](),
}
BESIDE = {"benchmarks", "scripts", "tests"}
EVERYTHING = MAY_IMPORT.keys() | BESIDE

# The demo shows the stand-in platforms; nothing else of the app knows them.
DEMO = Path("app/demo.py")
LIMITS = Path("benchmarks/limits")
LONGEST_FUNCTION = 70

# Of the standard library, what reaches out of the process or reads its clock.
IMPURE = set(
    "asyncio http io logging multiprocessing os pathlib random secrets shutil signal smtplib socket sqlite3 ssl "
    "subprocess tempfile threading time urllib uuid".split()
)
IMPURE_CALLS = {"now", "today", "utcnow", "open", "print", "input"}
# Manifests, locks and documents may name platforms.
NOT_CODE = {".md", ".toml", ".txt", ".pyc", ".png", ".svg"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Import:
    """A module that some line brings in, by its full dotted name."""

    line: int
    module: str

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


@dataclass(frozen=True)
class House:
    """The checkout at `root`. `platforms` are the folders of `connectors/`; a platform is named nowhere else."""

    root: Path
    platforms: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        folder = self.root / "connectors"
        found = {p.name for p in folder.iterdir() if p.is_dir()} if folder.is_dir() else set[str]()
        object.__setattr__(self, "platforms", frozenset(n for n in found if not n.startswith(("_", "."))))

    def findings(self) -> list[Finding]:
        """All that is wrong, file by file."""
        found: list[Finding] = []
        for path in self._files(EVERYTHING, ".py"):
            tree = ast.parse((self.root / path).read_text(encoding="utf-8"))
            found += self._bad_imports(path, tree)
            found += _long_functions(path, tree)
            if path.parts[0] == "rewards":
                found += _impurities(path, tree)
        found += self._names_out_of_place()
        found += self._unknown_features()
        return found

    def _files(self, parts: set[str], suffix: str = "") -> Iterator[Path]:
        for part in sorted(parts):
            for path in sorted((self.root / part).rglob(f"*{suffix}")):
                if path.is_file() and "__pycache__" not in path.parts:
                    yield path.relative_to(self.root)

    def _bad_imports(self, path: Path, tree: ast.Module) -> Iterator[Finding]:
        for found in imports(path, tree):
            if message := self.objection(path, found.module):
                yield Finding(path, found.line, message)

    def objection(self, path: Path, module: str) -> str | None:
        """Why this file must not import this module, or None."""
        part, (top, *rest) = path.parts[0], module.split(".")
        if part in BESIDE:
            is_limit = path.is_relative_to(LIMITS) and top in EVERYTHING
            return "a limit program imports nothing of the project" if is_limit else None
        if top not in EVERYTHING:
            is_foreign = part == "rewards" and top not in sys.stdlib_module_names
            return f"rewards/ has the standard library only, not {top}" if is_foreign else None
        if path == DEMO:
            return f"{part}/ does not import {top}/" if top in BESIDE else None
        if top != part and top not in MAY_IMPORT[part]:
            return f"{part}/ does not import {top}/: imports point down only"
        if top == "connectors" and rest and rest[0] in self.platforms:
            return self._platform_objection(path, rest[0])
        return None

    def _platform_objection(self, path: Path, platform: str) -> str | None:
        own = path.parts[1] if path.parts[0] == "connectors" else None
        if own == platform:
            return None
        return "only a platform's own folder imports it; ask connectors/base.py for a capability instead"

    def _names_out_of_place(self) -> Iterator[Finding]:
        if not self.platforms:
            return
        # "striped" is a table, not a platform.
        name = re.compile("(" + "|".join(sorted(self.platforms)) + r")(?!d\b)", re.IGNORECASE)
        for path in self._files((MAY_IMPORT.keys() - {"sandbox"}) | {"scripts"}):
            in_own_folder = path.parts[0] == "connectors" and path.parts[1] in self.platforms
            if in_own_folder or path == DEMO or path.suffix in NOT_CODE:
                continue
            for number, line in enumerate(_text(self.root / path).splitlines(), 1):
                if found := name.search(line):
                    yield Finding(path, number, f"{found[0]} is named outside its own places")

    def _unknown_features(self) -> Iterator[Finding]:
        ids = known_ids()
        for path in self._files({"tests"}, ".py"):
            tree = ast.parse((self.root / path).read_text(encoding="utf-8"))
            for line, feature in marked_ids(tree):
                if feature not in ids:
                    yield Finding(path, line, f"there is no statement {feature}; see scripts/feature-ids.txt")
                elif not ids[feature]:
                    yield Finding(path, line, f"{feature} is not a behaviour, so no test proves it")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def imports(path: Path, tree: ast.Module) -> Iterator[Import]:
    """Every import of a file, also those inside functions, with relative ones made absolute."""
    package = list(path.parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            # `from connectors import base`: the name may be a module itself.
            yield from (Import(node.lineno, f"{module}.{alias.name}") for alias in node.names)


def _impurities(path: Path, tree: ast.Module) -> Iterator[Finding]:
    for found in imports(path, tree):
        if found.top in IMPURE:
            yield Finding(path, found.line, f"rewards/ is pure: no {found.top}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in IMPURE_CALLS:
                yield Finding(path, node.lineno, f"rewards/ is pure: no {name}()")


def _long_functions(path: Path, tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield Finding(
                    path, node.lineno, f"{node.name} has {lines} lines; {LONGEST_FUNCTION} are the most"
                )


def main() -> int:
    """Prints what is wrong in this checkout."""
    findings = House(Path(__file__).parents[1]).findings()
    for finding in findings:
        print(finding)
    print(f"Out of place: {len(findings)}." if findings else "All arrows point down.")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
