"""Where in an inventory's files a fault stands: file and line, which Ansible's variables no longer know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from turnout.faults import Fault

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def placed(faults: Sequence[Fault], inventory: Path) -> list[Fault]:
    """Return the faults, each with its file and line where exactly one file of all hosts declares the variable."""
    variables = {fault.path.partition(".")[0].partition("[")[0] for fault in faults}
    declared = {name: found for name in variables if (found := _declared(name, inventory)) is not None}
    return [_placed(fault, declared, inventory) for fault in faults]


def _placed(fault: Fault, declared: dict[str, tuple[Path, yaml.Node]], inventory: Path) -> Fault:
    variable, *steps = [name or int(index) for name, index in _STEP.findall(fault.path)]
    if variable not in declared or fault.place:
        return fault
    file, node = declared[str(variable)]
    return replace(fault, place=f"{file.relative_to(inventory)}:{_line(node, steps)}")


def _declared(variable: str, inventory: Path) -> tuple[Path, yaml.Node] | None:
    folder = inventory / "group_vars"
    files = [path for path in (*folder.glob("all/**/*"), *folder.glob("all*")) if path.suffix in (".yml", ".yaml", "")]
    found = [(path, node) for path in files if path.is_file() and (node := _variable(path, variable)) is not None]
    return found[0] if len(found) == 1 else None


def _variable(path: Path, variable: str) -> yaml.Node | None:
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return None  # one that is encrypted as a whole, for example
    return next((pair for pair in _pairs(root) if pair.value[0].value == variable), None)


def _pairs(node: yaml.Node | None) -> Iterable[yaml.Node]:
    """Return key and value of each entry of a mapping, as one node."""
    entries = node.value if isinstance(node, yaml.MappingNode) else ()
    return [yaml.SequenceNode("pair", list(entry), entry[0].start_mark) for entry in entries]


def _line(pair: yaml.Node, steps: Sequence[str | int]) -> int:
    """Return the line of what the steps lead to, or of the last of them that the file has."""
    line, value = pair.start_mark.line + 1, pair.value[1]
    for step in steps:
        if isinstance(step, int) and isinstance(value, yaml.SequenceNode) and step < len(value.value):
            value = value.value[step]
            line = value.start_mark.line + 1
            continue
        inner = next((one for one in _pairs(value) if one.value[0].value == step), None)
        if inner is None:
            break
        line, value = inner.start_mark.line + 1, inner.value[1]
    return line
