"""Holds the house to one name for one thing: no public class or function is defined twice under the same name."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path

FOLDERS = ("front", "ingest", "aggregators", "storage", "api", "jobs")
SHARED = {"routes", "main"}
"""Names that recur on purpose: every area has its `routes`."""


def definitions(folder: Path) -> dict[str, list[str]]:
    """Where each public class and function is defined at the top of a module."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in FOLDERS:
        for path in sorted((folder / name).rglob("*.py")):
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                    found[node.name].append(f"{path.relative_to(folder)}:{node.lineno}")
    return found


def main() -> int:
    """Prints every name that stands for two things; returns how many there are, at most 1."""
    twice = {n: at for n, at in definitions(Path(__file__).parents[1]).items() if len(at) > 1 and n not in SHARED}
    for name, places in sorted(twice.items()):
        print(f"{name} is defined {len(places)} times: {', '.join(places)}")
    print(f"names: {len(twice)} defined twice")
    return min(1, len(twice))


if __name__ == "__main__":
    sys.exit(main())
