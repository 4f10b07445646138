"""How other release tools judge, on the same traffic as ours.

Each is given what it is given in practice: ratios over its window, at its interval. All arrays have a row
for ten seconds and a column for a release; results are the second of the rollback, infinite where there is
none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from turnout.judge.simulation.traffic import Bools, Floats

BIN_S = 10


@dataclass(frozen=True, slots=True)
class Windows:
    """All and bad requests of stable (b) and the candidate (g) in each ten seconds."""

    n_b: Floats
    e_b: Floats
    n_g: Floats
    e_g: Floats

    def over(self, seconds: int) -> Windows:
        """Return the same counts over longer windows."""
        bins = seconds // BIN_S

        def fold(counts: Floats) -> Floats:
            whole = counts[: len(counts) // bins * bins]
            return np.asarray(np.add.reduceat(whole, np.arange(0, len(whole), bins)), dtype=np.float64)

        return Windows(fold(self.n_b), fold(self.e_b), fold(self.n_g), fold(self.e_g))


def _ratio(bad: Floats, total: Floats) -> Floats:
    """Return bad/total, NaN without requests."""
    return np.where(total > 0.0, bad / np.maximum(total, 1.0), np.nan)


def _first(hit: Bools, interval_s: int) -> Floats:
    """Return the end of the first window that hit."""
    at: Floats = np.where(hit.any(axis=0), (hit.argmax(axis=0) + 1.0) * interval_s, np.inf)
    return at


def argo(windows: Windows, p0: float, *, interval_s: int, failure_limit: int) -> Floats:
    """Argo Rollouts' AnalysisTemplate: a measurement an interval, rolled back at more failures than
    `failureLimit`.

    The measurement is the candidate's success ratio over the interval, its condition that it is at least the
    objective. A window without requests is no failure here.
    """
    counts = windows.over(interval_s)
    failed = _ratio(counts.e_g, counts.n_g) > p0
    return _first(failed.cumsum(axis=0) > failure_limit, interval_s)


def flagger(windows: Windows, p0: float, *, interval_s: int = 60, threshold: int = 5) -> Floats:
    """Flagger's analysis: a check an interval, rolled back when `threshold` checks have failed."""
    counts = windows.over(interval_s)
    failed = _ratio(counts.e_g, counts.n_g) > p0
    return _first(failed.cumsum(axis=0) >= threshold, interval_s)


def _equal_counts(a: Floats, b: Floats) -> Floats:
    """Return for each value of a how many values of b equal it; rows are releases."""
    counts: Floats = (a[:, :, None] == b[:, None, :]).sum(axis=2).astype(np.float64)
    return counts


def mann_whitney_high(experiment: Floats, control: Floats, *, tolerance: float, z: float) -> Bools:
    """Return where Kayenta's classifier says High: its interval lies above tolerance x |estimate|.

    The estimate is the Hodges-Lehmann shift, and the interval's lower end the shift at which the
    standardized rank sum (with tie and continuity correction) is `z`. The sum falls as the shift grows, so
    the lower end is above a limit exactly where the sum at that limit is above z. Rows are releases,
    columns samples.
    """
    pairs = experiment[:, :, None] - control[:, None, :]
    flat = pairs.reshape(len(experiment), -1)
    limit = tolerance * np.abs(np.median(flat, axis=1))
    n, m = experiment.shape[1], control.shape[1]
    above = (flat > limit[:, None]).sum(axis=1) + 0.5 * (flat == limit[:, None]).sum(axis=1)
    centred = above - n * m / 2.0
    shifted = experiment - limit[:, None]
    in_x = _equal_counts(shifted, shifted) + _equal_counts(shifted, control)
    in_y = _equal_counts(control, control) + _equal_counts(control, shifted)
    # The sum over tie groups of t^3 - t is the sum over values of t^2 - 1.
    ties = (in_x**2 - 1.0).sum(axis=1) + (in_y**2 - 1.0).sum(axis=1)
    variance = n * m / 12.0 * (n + m + 1.0 - ties / ((n + m) * (n + m - 1.0)))
    spread = np.sqrt(np.maximum(variance, 0.0))
    score = np.divide(centred - 0.5 * np.sign(centred), spread, out=np.zeros_like(spread), where=spread > 0.0)
    high: Bools = score > z
    return high


def kayenta(windows: Windows, *, look_s: int = 600, chunk: int = 250) -> Floats:
    """Kayenta's Mann-Whitney judge (confidence 0.98, tolerance 0.25) on the error ratios of each minute.

    Looked at every ten minutes over all that has been seen so far, as its canary analysis does with a growing
    look-back; the classification High fails the release. A minute without requests is left at 0.
    """
    counts = windows.over(60)
    ratios = {
        "g": np.nan_to_num(_ratio(counts.e_g, counts.n_g)).T,
        "b": np.nan_to_num(_ratio(counts.e_b, counts.n_b)).T,
    }
    result = np.full(len(ratios["g"]), np.inf)
    for minutes in range(look_s // 60, ratios["g"].shape[1] + 1, look_s // 60):
        for start in range(0, len(result), chunk):
            part = slice(start, start + chunk)
            high = mann_whitney_high(ratios["g"][part, :minutes], ratios["b"][part, :minutes], tolerance=0.25, z=Z_98)
            result[part] = np.where(high & np.isinf(result[part]), minutes * 60.0, result[part])
    return result


Z_98 = 2.3263478740408408
"""The quantile of a two-sided interval at 98 %."""

RIVALS: dict[str, Callable[[Windows, float], Floats]] = {
    "argo60/0": lambda w, p0: argo(w, p0, interval_s=60, failure_limit=0),
    "argo60/1": lambda w, p0: argo(w, p0, interval_s=60, failure_limit=1),
    "argo60/3": lambda w, p0: argo(w, p0, interval_s=60, failure_limit=3),
    "argo10/0": lambda w, p0: argo(w, p0, interval_s=10, failure_limit=0),
    "argo10/1": lambda w, p0: argo(w, p0, interval_s=10, failure_limit=1),
    "argo10/3": lambda w, p0: argo(w, p0, interval_s=10, failure_limit=3),
    "flagger": flagger,
    "kayenta": lambda w, _p0: kayenta(w),
}
"""By the name in the table: Argo's interval and failureLimit stand in its name."""
