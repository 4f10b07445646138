"""Judge a recorded release again, from a fresh start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from turnout.errors import TurnoutError
from turnout.judge.constants import DEFAULT, Constants
from turnout.judge.core import Judge
from turnout.judge.counters import Counter
from turnout.judge.dispersion import Dispersion, overdispersion
from turnout.judge.model import Judgement, Pair, Scrape
from turnout.judge.records import Recording
from turnout.slo.model import Objective


def history_dispersion(history: Sequence[Scrape], objectives: Sequence[Objective]) -> dict[str, Dispersion]:
    """Return phi per SLO from the scrapes before the release."""
    return {
        each.name: overdispersion(
            [(s.t_s, s.slos[each.name].stable if each.name in s.slos else None) for s in history],
            counts_good=each.counts_good,
        )
        for each in objectives
    }


def last_readings(history: Sequence[Scrape], names: Sequence[str]) -> dict[str, Pair]:
    """Return each color's last usable reading before the release."""
    stable: dict[str, Counter] = {}
    candidate: dict[str, Counter] = {}
    for scrape in history:
        for name, pair in scrape.slos.items():
            if pair.stable is not None and pair.stable.possible:
                stable[name] = pair.stable
            if pair.candidate is not None and pair.candidate.possible:
                candidate[name] = pair.candidate
    return {name: Pair(stable.get(name), candidate.get(name)) for name in names}


def objectives_of(recording: Recording, declared: Mapping[str, Objective]) -> list[Objective]:
    """Return the objectives that a recording is judged by: those of the SLOs that it names.

    A name that no SLO declares is an error. A declared SLO that the recording never names was no part of that
    release and has no part in its mean; one that is named and null was, and is judged as missing.
    """
    unknown = [name for name in recording.names if name not in declared]
    if unknown:
        raise TurnoutError(
            "record-slo-unknown",
            observed=f"{recording.path}: line {recording.names[unknown[0]]}: field slos: "
            f"no SLO is declared for {', '.join(unknown)}",
            expected=f"only declared SLOs: {', '.join(declared) or '(none)'}",
            remedy="give --slos the folder that declares them; an SLO's name is its metadata.name",
        )
    chosen = [declared[name] for name in declared if name in recording.names]
    if not chosen:
        raise TurnoutError(
            "record-slo-none",
            observed=f"{recording.path}: field slos: no line names an SLO",
            expected="at least one SLO's counters",
            remedy="record the release with its SLOs, or leave the file out",
        )
    return chosen


def replay(
    recording: Recording, declared: Mapping[str, Objective], constants: Constants = DEFAULT
) -> Iterator[Judgement]:
    """Yield the judgement after every scrape of a recording, oldest first."""
    objectives = objectives_of(recording, declared)
    names = [o.name for o in objectives]
    judge = Judge(objectives, history_dispersion(recording.history, objectives), constants)
    state = judge.begin(last_readings(recording.history, names))
    for scrape in recording.scrapes:
        state, judgement = judge.observe(state, scrape)
        yield judgement
