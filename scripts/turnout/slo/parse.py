"""OpenSLO v1 files into `Slo` values; every fault is reported with its file, line, field and remedy.

What is read is `kind: SLO` with one objective and an inline `ratioMetric` of `total` and either `good` or
`bad`. Everything else that OpenSLO v1 allows at these places is accepted and not used; what it does not
allow is a fault. Source: the OpenSLO v1 specification (github.com/OpenSLO/OpenSLO).

Our own settings are annotations, so that a file stays OpenSLO:

- `turnout.dev/type`: availability (default), latency, success or delay.
- `turnout.dev/weight`: part in the mean of the rollback values, default 1.
- `turnout.dev/warm-up` and `turnout.dev/warm-up-allowance`: for latency, how long a cold candidate is
  excused and how large a part of its requests may be slow beyond the objective meanwhile (`60s`, `0.2`).
- `turnout.dev/gates-promotion`: `false` where there is too little traffic to wait for.
- `turnout.dev/largest-user`: the events are requests that the edges share out, and no user sends more than this part of
  them (`0.001`): a candidate that gets far from its share is held. Not declared, it is not looked for.

Inside `metricSource.spec`, beside `query`: `colorLabel`, `colorValue`, `sumOver`, `absentIsZero` (see
`model.Source`).
"""

from __future__ import annotations

import re
from pathlib import Path

from turnout.counts import counted
from turnout.errors import TurnoutError
from turnout.slo import selector
from turnout.slo.model import SELECTOR_FORM, Kind, Place, Slo, Source
from turnout.slo.yamlmarks import LineFault, LineFaults, Marked, documents

API_VERSION = "openslo/v1"
SYSTEM = "Prometheus"
PREFIX = "turnout.dev/"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_DURATION = re.compile(r"(\d+)([smhdwMQY])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DAYS = {"M": 30, "Q": 90, "Y": 365}
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ANNOTATIONS = ("type", "weight", "warm-up", "warm-up-allowance", "gates-promotion", "largest-user")
_SOURCE_KEYS = ("query", "colorLabel", "colorValue", "sumOver", "absentIsZero")
MOST_OF_ONE_USER = 0.025
"""With fewer than forty equal users even half of the traffic is a matter of luck (`judge.share`)."""
_REMEDY_FILE = "mend the lines named above; turnout slo check DIR looks again"


def _duration_s(value: Marked) -> float | None:
    text = value.text()
    match = _DURATION.fullmatch(text or "")
    if match is None or match.group(2) not in _SECONDS or int(match.group(1)) == 0:
        if text is not None:
            value.fault(f"{value.shown()} is not a duration", "write a whole number and s, m or h, e.g. 60s")
        return None
    return float(int(match.group(1)) * _SECONDS[match.group(2)])


def _fraction(target: Marked, *, percent: bool) -> float | None:
    """Return an objective as a number above 0 and below 1."""
    number = target.number()
    if number is None:
        return None
    shown = target.shown().strip("'")
    scale, example = (100.0, "targetPercent: 99.9") if percent else (1.0, "target: 0.999")
    if number >= scale:
        meant = f", or targetPercent: {shown}" if not percent and 1.0 < number < 100.0 else ""
        target.fault(
            f"{shown} is an objective of 100 % or above, which leaves nothing that may fail",
            f"write an objective below 100 %, e.g. {example}{meant}",
        )
    elif number <= 0.0:
        target.fault(
            f"{shown} is an objective of 0 % or below, which anything meets",
            f"write an objective above 0 %, e.g. {example}",
        )
    else:
        return number / scale
    return None


class _Document:
    """Reads one document; what is wrong goes to its faults, and what cannot be read is left at a default."""

    def __init__(self, root: Marked) -> None:
        self.root = root

    def _place(self, value: Marked) -> Place:
        return Place(value.file, value.line, value.name)

    def slo(self) -> Slo | None:
        """Return the document's SLO, None where its faults leave nothing to return."""
        before = len(self.root.faults.found)
        top = self.root.keys(("apiVersion", "kind", "metadata", "spec"), required=("apiVersion", "kind"))
        if (version := top.get("apiVersion")) is not None and version.text() not in (API_VERSION, None):
            version.fault(f"{version.shown()} is not known", f"write apiVersion: {API_VERSION}")
        if (kind := top.get("kind")) is not None and kind.text() not in ("SLO", None):
            kind.fault(f"{kind.shown()} is not a kind that is known here", "write kind: SLO, its indicator inline")
            return None
        for key in ("metadata", "spec"):
            if key not in top and isinstance(kind, Marked):
                self.root.fault(f"has no {key}", f"add {key}")
        if "metadata" not in top or "spec" not in top:
            return None
        name, title, notes = self._metadata(top["metadata"])
        spec = top["spec"].keys(
            (
                "description",
                "service",
                "indicator",
                "indicatorRef",
                "timeWindow",
                "budgetingMethod",
                "objectives",
                "alertPolicies",
            ),
            required=("objectives",),
        )
        objective = self._objective(spec.get("objectives"))
        total, good, bad = self._indicator(top["spec"], spec)
        method = spec.get("budgetingMethod")
        if method is not None and method.choice(("Occurrences", "Timeslices", "RatioTimeslices")) not in (
            "Occurrences",
            None,
        ):
            method.fault("counts time slices; the judge counts events", "write budgetingMethod: Occurrences")
        window = self._window(spec.get("timeWindow"))
        service = self._optional_text(spec.get("service"))
        description = self._optional_text(spec.get("description"))
        settings = self._settings(notes)
        if len(self.root.faults.found) > before or objective is None or total is None:
            return None
        kind_of, weight, warm_up_s, allowance, gates = settings
        largest_user = self._largest_user(notes.get("largest-user"), kind_of)
        if len(self.root.faults.found) > before:
            return None
        return Slo(
            place=self._place(self.root),
            name=name,
            title=title or name,
            description=description,
            service=service,
            kind=kind_of,
            objective=objective,
            window=window,
            total=total,
            good=good,
            bad=bad,
            weight=weight,
            warm_up_s=warm_up_s,
            warm_up_allowance=allowance,
            gates_promotion=gates,
            largest_user=largest_user,
        )

    def _optional_text(self, value: Marked | None) -> str:
        return "" if value is None else (value.text() or "")

    def _metadata(self, metadata: Marked) -> tuple[str, str, dict[str, Marked]]:
        entries = metadata.keys(("name", "displayName", "labels", "annotations"), required=("name",))
        name = self._optional_text(entries.get("name"))
        if name and not _NAME.fullmatch(name):
            entries["name"].fault(
                f"{name!r} is not a name",
                "write at most 63 of a-z, 0-9, - and ., beginning and ending with a letter or digit",
            )
        if "labels" in entries:
            entries["labels"].entries()
        notes: dict[str, Marked] = {}
        if "annotations" in entries:
            for key, value in entries["annotations"].entries().items():
                if not key.startswith(PREFIX):
                    continue
                setting = key.removeprefix(PREFIX)
                if setting in _ANNOTATIONS:
                    notes[setting] = value
                else:
                    known = ", ".join(PREFIX + known for known in _ANNOTATIONS)
                    value.fault("is not an annotation of turnout.dev", f"known are {known}")
        return name, self._optional_text(entries.get("displayName")), notes

    def _settings(self, notes: dict[str, Marked]) -> tuple[Kind, float, float, float, bool]:
        kind, weight, gates = Kind.AVAILABILITY, 1.0, True
        if "type" in notes:
            kind = Kind(notes["type"].choice([k.value for k in Kind]) or kind)
        if "weight" in notes and (number := notes["weight"].number()) is not None:
            weight = number
            if number <= 0.0:
                notes["weight"].fault(f"{notes['weight'].shown()} is not above 0", 'write a weight above 0, e.g. "1"')
        if "gates-promotion" in notes:
            gates = notes["gates-promotion"].boolean() is not False
        warm_up_s, allowance = 0.0, 0.0
        given = [notes[key] for key in ("warm-up", "warm-up-allowance") if key in notes]
        if len(given) == 1:
            given[0].fault("stands alone", f"give both {PREFIX}warm-up and {PREFIX}warm-up-allowance, or neither")
        elif given:
            warm_up_s = _duration_s(given[0]) or 0.0
            allowance = given[1].number() or 0.0
            if not 0.0 < allowance < 1.0:
                given[1].fault(
                    f"{given[1].shown()} is not a part of the requests",
                    'write a number between 0 and 1, e.g. "0.2"',
                )
            if kind is not Kind.LATENCY:
                given[0].fault(
                    f"a cold start excuses slowness, not a kind of {kind.value}",
                    f"remove it, or set {PREFIX}type: latency where that is what this measures",
                )
        return kind, weight, warm_up_s, allowance, gates

    @staticmethod
    def _largest_user(value: Marked | None, kind: Kind) -> float | None:
        """Return the part of the requests that no user exceeds, None where it is not declared."""
        if value is None:
            return None
        if kind in (Kind.SUCCESS, Kind.DELAY):
            value.fault(
                f"the edges share out requests, not what an SLO of type {kind.value} counts",
                f"remove it, or set {PREFIX}type: availability where that is what this measures",
            )
        number = value.number()
        if number is not None and not 0.0 < number <= MOST_OF_ONE_USER:
            value.fault(
                f"{value.shown()} is not a small part of the requests",
                f'write the part that no user exceeds, above 0 and at most {MOST_OF_ONE_USER:g}, e.g. "0.001"; where a '
                "user may send more, no share can be told from luck: remove it",
            )
        return number

    def _objective(self, objectives: Marked | None) -> float | None:
        if objectives is None:
            return None
        listed = list(objectives.items())
        if len(listed) != 1:
            objectives.fault(
                f"holds {counted(len(listed), 'objective')}", "write exactly one; a second objective is a second SLO"
            )
            return None
        entries = listed[0].keys(
            (
                "displayName",
                "op",
                "value",
                "target",
                "targetPercent",
                "timeSliceTarget",
                "timeSliceWindow",
                "indicator",
                "indicatorRef",
                "compositeWeight",
            )
        )
        given = [entries[key] for key in ("target", "targetPercent") if key in entries]
        if len(given) != 1:
            seen = "has both target and targetPercent" if given else "has no target"
            listed[0].fault(seen, "write one of target: 0.999 and targetPercent: 99.9")
            return None
        for key in ("indicator", "indicatorRef"):
            if key in entries:
                entries[key].fault("makes a composite SLO", "write one SLO for each indicator")
        return _fraction(given[0], percent="targetPercent" in entries)

    def _window(self, window: Marked | None) -> str:
        """Return the SLO's period as a Prometheus duration; 30 days where none is given."""
        if window is None:
            return "30d"
        listed = list(window.items())
        if len(listed) != 1:
            window.fault(f"holds {counted(len(listed), 'window')}", "write exactly one")
            return "30d"
        entries = listed[0].keys(("duration", "isRolling", "calendar"), required=("duration",))
        if "isRolling" in entries:
            entries["isRolling"].boolean()
        duration = entries.get("duration")
        text = duration.text() if duration is not None else None
        if duration is None or text is None:
            return "30d"
        match = _DURATION.fullmatch(text)
        if match is None or int(match.group(1)) == 0 or match.group(2) == "s":
            duration.fault(
                f"{duration.shown()} is not a duration of OpenSLO",
                "write a whole number and m, h, d, w, M, Q or Y, e.g. 30d",
            )
            return "30d"
        number, unit = int(match.group(1)), match.group(2)
        return f"{number * _DAYS[unit]}d" if unit in _DAYS else f"{number}{unit}"

    def _indicator(
        self, spec_node: Marked, spec: dict[str, Marked]
    ) -> tuple[Source | None, Source | None, Source | None]:
        if "indicatorRef" in spec:
            spec["indicatorRef"].fault(
                "refers to an indicator elsewhere", "write the indicator inline, under spec.indicator"
            )
        if "indicator" not in spec:
            if "indicatorRef" not in spec:
                spec_node.fault("has no indicator", "add indicator, with a ratioMetric of total and good or bad")
            return None, None, None
        indicator = spec["indicator"].keys(("metadata", "spec"), required=("spec",))
        if "metadata" in indicator:
            indicator["metadata"].keys(("name", "displayName", "labels", "annotations"))
        if "spec" not in indicator:
            return None, None, None
        metrics = indicator["spec"].keys(("description", "thresholdMetric", "ratioMetric"))
        if "ratioMetric" not in metrics:
            indicator["spec"].fault(
                "has no ratioMetric",
                "write a ratioMetric; a threshold becomes one as events under it over all events",
            )
            return None, None, None
        ratio = metrics["ratioMetric"].keys(("counter", "good", "bad", "total", "raw", "rawType"))
        for key in ("raw", "rawType"):
            if key in ratio:
                ratio[key].fault("is a ratio that was already divided", "write total and good or bad, as counters")
        if "counter" in ratio and ratio["counter"].boolean() is False:
            ratio["counter"].fault("says that these are no counters", "write counter: true and name counters")
        parts = [key for key in ("good", "bad") if key in ratio]
        if len(parts) != 1:
            metrics["ratioMetric"].fault(
                "has both good and bad" if parts else "has neither good nor bad", "write exactly one of them"
            )
        if "total" not in ratio:
            metrics["ratioMetric"].fault("has no total query", "add total, the counter of all events")
        sources = {key: self._source(ratio[key], key) for key in ("total", "good", "bad") if key in ratio}
        return sources.get("total"), sources.get("good"), sources.get("bad")

    def _source(self, metric: Marked, role: str) -> Source | None:
        entries = metric.keys(("metricSource",))
        outer = entries.get("metricSource")
        inner = outer.keys(("metricSourceRef", "type", "spec")) if outer is not None else {}
        settings = inner["spec"].entries() if "spec" in inner else {}
        query = settings.get("query")
        if query is None:
            metric.fault(f"has no {role} query", "add metricSource.spec.query, a counter's selector")
            return None
        text = query.text()
        if text is None:
            return None
        label = self._optional_text(settings.get("colorLabel")) or "color"
        if not _LABEL.fullmatch(label):
            settings["colorLabel"].fault(f"{label!r} is not a label's name", "write a label, e.g. color or proxy")
        of_color = self._optional_text(settings.get("colorValue")) or "{color}"
        if "{color}" not in of_color:
            settings["colorValue"].fault(
                f"{of_color!r} is the same for both colors",
                "write {color} where blue or green belongs, e.g. 'api-{color}'",
            )
        sum_over: list[str] = []
        for item in settings["sumOver"].items() if "sumOver" in settings else ():
            name = item.text() or ""
            if name and not _LABEL.fullmatch(name):
                item.fault(f"{name!r} is not a label's name", "write labels, e.g. [method, code]")
            sum_over.append(name)
        zero = "absentIsZero" in settings and settings["absentIsZero"].boolean() is True
        if zero and role == "total":
            settings["absentIsZero"].fault(
                "would make missing traffic look like none", "remove it: only good and bad may be absent"
            )
        return Source(
            place=Place(query.file, query.line, query.name),
            query=text,
            system=self._optional_text(inner.get("type")) or SYSTEM,
            color_label=label,
            color_value=of_color,
            sum_over=tuple(sum_over),
            absent_is_zero=zero,
            unknown_keys=tuple(key for key in settings if key not in _SOURCE_KEYS),
        )


def _files(where: Path) -> list[Path]:
    if where.is_file():
        return [where]
    if not where.is_dir():
        raise TurnoutError(
            "slo-missing",
            observed=f"{where}: no such file or folder",
            expected="a folder of OpenSLO files (*.yml), or one such file",
            remedy="name the folder that holds them: slos beside the inventory's hosts",
        )
    found = sorted(p for p in where.iterdir() if p.suffix in (".yml", ".yaml") and p.is_file())
    if not found:
        raise TurnoutError(
            "slo-missing",
            observed=f"{where}: no *.yml file in it",
            expected="at least one OpenSLO file of kind SLO",
            remedy=f"write one, e.g. {where / 'api-availability.yml'} (docs/judge.md shows one)",
        )
    return found


def load(where: Path) -> dict[str, Slo]:
    """Return the SLOs of a folder (or of one file) by name, in the order of the files' names.

    Raises one `TurnoutError` that lists every fault. The queries are read only when they are used
    (`check`), so a recorded release can be judged with SLOs whose queries belong to another system.
    """
    faults = LineFaults()
    slos: dict[str, Slo] = {}
    for path in _files(where):
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            faults.found.append(LineFault(str(path), 1, "(file)", str(error), "make it a readable UTF-8 file"))
            continue
        roots = documents(content, str(path), faults)
        if not roots and not faults.found:
            faults.found.append(LineFault(str(path), 1, "(file)", "is empty", "write an SLO in it, or remove it"))
        for root in roots:
            slo = _Document(root).slo()
            if slo is None:
                continue
            if slo.name in slos:
                root.fault(
                    f"metadata.name {slo.name} is also at {slos[slo.name].place}",
                    "give each SLO its own name",
                )
            slos[slo.name] = slo
    faults.raise_any("slo-invalid", expected="OpenSLO v1, kind SLO, one objective, a ratioMetric", remedy=_REMEDY_FILE)
    return slos


def _check_source(source: Source, faults: LineFaults) -> None:
    place = source.place
    if source.system.lower() != SYSTEM.lower():
        seen = f"its metricSource is of type {source.system!r}, which is not known here"
        faults.found.append(LineFault(place.file, place.line, place.field, seen, f"write type: {SYSTEM}"))
        return
    for key in source.unknown_keys:
        field = f"{place.field.removesuffix('.query')}.{key}"
        known = f"known are {', '.join(_SOURCE_KEYS)}"
        faults.found.append(LineFault(place.file, place.line, field, "is not a key that is known here", known))
    try:
        selector.parse(source.query)
    except selector.SelectorError as error:
        seen = f"{source.query!r} {error}"
        faults.found.append(LineFault(place.file, place.line, place.field, seen, f"write {SELECTOR_FORM}"))


def check(slos: dict[str, Slo]) -> None:
    """Raise one `TurnoutError` for everything that reading counters or writing rules would stumble over."""
    faults = LineFaults()
    for slo in slos.values():
        for source in slo.sources:
            _check_source(source, faults)
        if not slo.service:
            place = slo.place
            faults.found.append(
                LineFault(place.file, place.line, "spec.service", "is not there", "add the service's name")
            )
    faults.raise_any("slo-invalid", expected="queries that the judge and the rules can use", remedy=_REMEDY_FILE)
