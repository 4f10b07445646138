"""YAML whose values remember the line that they stand on, and a reader of them that collects faults.

A plain `yaml.safe_load` forgets lines and lets a key be given twice, of which the last one silently wins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from math import isfinite

import yaml

from turnout.errors import TurnoutError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same reader in C where PyYAML was built with it."""


@dataclass(frozen=True, slots=True)
class LineFault:
    """One thing that is wrong: where it stands, what is there, and what to write instead."""

    file: str
    line: int
    field: str
    seen: str
    remedy: str

    def __str__(self) -> str:
        """Return the fault on one line."""
        return f"{self.file}:{self.line}: {self.field}: {self.seen}; {self.remedy}"


@dataclass(slots=True)
class LineFaults:
    """The faults found so far, so that one run shows all of them."""

    found: list[LineFault] = field(default_factory=list)

    def raise_any(self, code: str, *, expected: str, remedy: str) -> None:
        """Raise one `TurnoutError` that lists every fault, if there are any."""
        if not self.found:
            return
        listed = [str(fault) for fault in self.found]
        observed = listed[0] if len(listed) == 1 else f"{len(listed)} faults\n  " + "\n  ".join(listed)
        raise TurnoutError(code, observed=observed, expected=expected, remedy=remedy)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


@dataclass(frozen=True, slots=True)
class Marked:
    """A YAML node with its file and its path from the document's root (`spec.objectives[0].target`).

    `line` is that of the value's key, or of the value where it has none, counted from 1.
    """

    node: yaml.Node
    file: str
    path: str
    faults: LineFaults
    line: int

    @property
    def name(self) -> str:
        """The path as an error names it."""
        return self.path or "(document)"

    def fault(self, seen: str, remedy: str) -> None:
        """Note that this value is wrong."""
        self.faults.found.append(LineFault(self.file, self.line, self.name, seen, remedy))

    def shown(self) -> str:
        """Return the value as it was written, cut to one short line."""
        if isinstance(self.node, yaml.ScalarNode):
            text = " ".join(str(self.node.value).split())
            return repr(text if len(text) <= 60 else text[:57] + "...")
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "a mapping"

    def _child(self, node: yaml.Node, path: str, at: yaml.Node) -> Marked:
        return Marked(node, self.file, path, self.faults, _line(at))

    def entries(self) -> dict[str, Marked]:
        """Return a mapping's values by key; a key given twice is a fault, and so is anything but a
        mapping."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fault(f"{self.shown()} is not a mapping", "write keys and values here")
            return {}
        found: dict[str, Marked] = {}
        for key_node, value_node in self.node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            path = f"{self.path}.{key}" if self.path else key
            if key in found:
                self._child(key_node, path, key_node).fault("is given twice", "keep one of them")
            found[key] = self._child(value_node, path, key_node)
        return found

    def keys(self, allowed: Collection[str], *, required: Collection[str] = ()) -> dict[str, Marked]:
        """Return a mapping's values; unknown and missing keys are faults."""
        entries = self.entries()
        for key, value in entries.items():
            if key not in allowed:
                value.fault("is not a key that is known here", f"known are {', '.join(sorted(allowed))}")
        if isinstance(self.node, yaml.MappingNode):
            for key in required:
                if key not in entries:
                    self.fault(f"has no {key}", f"add {key}")
        return {key: value for key, value in entries.items() if key in allowed}

    def items(self) -> Iterator[Marked]:
        """Yield a list's values; anything but a list is a fault."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fault(f"{self.shown()} is not a list", "write a list (- ...)")
            return
        for index, node in enumerate(self.node.value):
            yield self._child(node, f"{self.path}[{index}]", node)

    def text(self) -> str | None:
        """Return a scalar as it was written, None (and a fault) for anything else or for nothing at all."""
        if isinstance(self.node, yaml.ScalarNode) and self.node.tag != "tag:yaml.org,2002:null":
            text = str(self.node.value).strip()
            if text:
                return text
        self.fault(
            "is empty" if isinstance(self.node, yaml.ScalarNode) else f"is {self.shown()}",
            "write a text here",
        )
        return None

    def number(self) -> float | None:
        """Return a finite number, None (and a fault) for anything else."""
        text = self.text()
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not isfinite(number):
            self.fault(f"{self.shown()} is not a number", "write a finite number")
            return None
        return number

    def boolean(self) -> bool | None:
        """Return true or false, None (and a fault) for anything else."""
        text = self.text()
        if text is None:
            return None
        if text not in ("true", "false"):
            self.fault(f"{self.shown()} is neither true nor false", "write true or false")
            return None
        return text == "true"

    def choice(self, allowed: Collection[str]) -> str | None:
        """Return one of the allowed words, None (and a fault) for anything else."""
        text = self.text()
        if text is not None and text not in allowed:
            self.fault(f"{self.shown()} is not known", f"write one of {', '.join(sorted(allowed))}")
            return None
        return text


def documents(content: str, file: str, faults: LineFaults) -> list[Marked]:
    """Return the documents of a YAML file; one that is no YAML is a fault that says where it ends to be."""
    try:
        nodes = [node for node in yaml.compose_all(content, Loader=LOADER) if node is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = int(mark.line) + 1 if mark is not None else 1
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        faults.found.append(LineFault(file, line, "(document)", f"not YAML: {problem}", "mend the syntax on this line"))
        return []
    return [Marked(node, file, "", faults, _line(node)) for node in nodes]
