"""What recovery is held to: the variable `recovery` of an inventory, `group_vars/all/recovery.yml`.

    recovery:
      rpo_s: 300         # at most so much may be lost
      rto_s: 3600        # at most so long until the service answers again, detect and decide included
      max_age_s: 172800  # the last proof (a drill that passed) may be so old before a release is refused
      detect_s: 120      # declared: from the failure until somebody or something has noticed
      decide_s: 600      # declared: from then until somebody has decided to restore

Plain numbers of seconds, no templates: the file is read by playbooks and by `turnout drill` alike.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from turnout.counts import counted
from turnout.errors import TurnoutError
from turnout.slo.yamlmarks import LineFaults, Marked, documents

FILE = Path("group_vars") / "all" / "recovery.yml"
FORM = "recovery: {rpo_s: 300, rto_s: 3600, max_age_s: 172800, detect_s: 120, decide_s: 600}"


@dataclass(frozen=True, slots=True)
class Objectives:
    """Targets and declared times, all in seconds and above 0."""

    rpo_s: float
    rto_s: float
    max_age_s: float
    detect_s: float
    decide_s: float

    def as_dict(self) -> dict[str, float]:
        """Return the values by name."""
        return asdict(self)


_KEYS = tuple(field.name for field in fields(Objectives))


def parse(content: str, file: str) -> Objectives:
    """Return the objectives in a file's content. Raises TurnoutError `recovery-invalid` with every fault: file, line,
    field, what is there, and what to write instead."""
    faults = LineFaults()
    found = documents(content, file, faults)
    values: dict[str, float] = {}
    if len(found) == 1:
        values = _values(found[0])
    elif not faults.found:
        raise _invalid(f"{file} holds {counted(len(found), 'document')}", file)
    faults.raise_any("recovery-invalid", expected=FORM, remedy=f"mend {file}")
    return Objectives(**values)


def _values(document: Marked) -> dict[str, float]:
    entries = document.keys({"recovery"}, required={"recovery"})
    if "recovery" not in entries:
        return {}
    keys = entries["recovery"].keys(set(_KEYS), required=_KEYS)
    values: dict[str, float] = {}
    for name in _KEYS:
        value = keys[name].number() if name in keys else None
        if value is None:
            continue
        if value <= 0.0:
            why = "nobody notices or decides in no time" if name in ("detect_s", "decide_s") else "a target of nothing"
            keys[name].fault(f"{keys[name].shown()} is not above 0 ({why})", "write seconds above 0")
        values[name] = value
    if len(values) == len(_KEYS) and values["detect_s"] + values["decide_s"] >= values["rto_s"]:
        keys["rto_s"].fault(
            f"{values['rto_s']:g} s leave no time to restore: detect_s and decide_s take "
            f"{values['detect_s'] + values['decide_s']:g} s of them",
            "raise rto_s, or get quicker at detect_s and decide_s",
        )
    return values


def _invalid(observed: str, file: str) -> TurnoutError:
    return TurnoutError("recovery-invalid", observed=observed, expected=FORM, remedy=f"mend {file}")


def load(inventory: Path) -> Objectives:
    """Return the objectives of an inventory: its folder, its hosts file, or a file as above itself."""
    place = inventory if inventory.is_dir() else inventory.parent
    path = place / FILE
    if inventory.is_file() and not path.exists():
        path = inventory
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TurnoutError(
            "recovery-unreadable",
            observed=f"{path}: {error}",
            expected=f"the targets of recovery: {FORM}",
            remedy=f"write {path}, or name another inventory with --inventory",
        ) from error
    return parse(content, str(path))
