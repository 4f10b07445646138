"""The interval around an observed rate, for people; no decision is taken from it."""

from __future__ import annotations

from math import sqrt

Z_95 = 1.959963984540054


def wilson(bad: float, total: float, *, phi: float = 1.0, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a ratio, widened for overdispersion.

    With k = bad/phi, n = total/phi and p = k/n: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
    Dividing both counts by phi leaves the ratio as it is and counts a burst of phi events as one.
    Fixed-time: it holds at a moment chosen beforehand, unlike the E-values. Without events it is (0, 1).
    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if total <= 0.0:
        return 0.0, 1.0
    n = total / phi
    p = bad / total
    z2 = z * z
    centre = p + z2 / (2.0 * n)
    spread = z * sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n))
    scale = 1.0 + z2 / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
