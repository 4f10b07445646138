"""Draw releases whose users stay on one color, and check what is promised of the test of the candidate's share.

Prints how many of healthy releases are said to be far from their share within an hour (0.1 % at most), and how fast
candidates are found that get none, half or twice of it; then one JSON object. Exit code 1 where the promise is not
kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from math import log

import numpy as np
from turnout.judge import share

RATE = 200.0
PROMISED = share.ALPHA
LOG_E = np.frompyfunc(share.log_evidence, 4, 1)


@dataclass(frozen=True)
class Kind:
    """Requests of `users` who send alike (0: each request is a user's of its own), `size` at a time.

    `heavy` of them send half of all requests: the largest user then has 1/(2 heavy). The candidate gets `kept` times
    what users would send it.
    """

    name: str
    share_bp: int
    users: int
    size: float = 1.0
    heavy: int = 0
    kept: float = 1.0

    @property
    def largest(self) -> float:
        """The largest user's part of the requests, as it is declared."""
        return 1.0 / (2.0 * self.heavy) if self.heavy else 1.0 / (self.users or 1000)


HEALTHY = (
    Kind("5 %, each request by itself", 500, 0),
    Kind("5 %, 400 users", 500, 400),
    Kind("5 %, 1000 users", 500, 1000),
    Kind("1 %, 2000 users", 100, 2000),
    Kind("25 %, 80 users", 2500, 80),
    Kind("50 %, 40 users", 5000, 40),
    Kind("5 %, 1000 users, pages of 20 requests", 500, 1000, size=20.0),
    Kind("25 %, 100 users, pages of 20 requests", 2500, 100, size=20.0),
    Kind("5 %, 5000 users, of whom 250 send half", 500, 5000, heavy=250),
)
FAR = tuple(
    Kind(f"{part:g} %, {users} users, {word}", round(part * 100), users, kept=kept)
    for kept, word in ((0.0, "none of it"), (0.5, "half of it"), (2.0, "twice of it"))
    for part, users in ((5, 1000), (5, 10_000), (25, 1000))
)


def found_s(kind: Kind, releases: int, seconds: int, step_s: int, rng: np.random.Generator) -> np.ndarray:
    """Return the second at which each release is said to be far from its share, infinite where never."""
    part = kind.share_bp / 10_000
    if kind.heavy:
        of_candidate = rng.binomial(kind.heavy, part, releases) / kind.heavy / 2
        of_candidate += rng.binomial(kind.users - kind.heavy, part, releases) / (kind.users - kind.heavy) / 2
    elif kind.users:
        of_candidate = rng.binomial(kind.users, part, releases) / kind.users
    else:
        of_candidate = np.full(releases, part)
    found = np.full(releases, np.inf)
    counted = np.zeros((2, releases))
    number = 1
    for t in range(step_s, seconds + 1, step_s):
        if (t - step_s) % share.RESTART_S == 0 and t > step_s:
            counted[:], number = 0.0, number + 1
        pages = RATE * step_s / kind.size
        counted += rng.poisson([pages * (1 - of_candidate), pages * of_candidate * kind.kept]) * kind.size
        odds = counted[1] * (1 - part), counted[0] * part
        far = (odds[0] >= share.FAR * odds[1]) | (share.FAR * odds[0] <= odds[1])
        look = far & np.isinf(found)
        if look.any():
            evidence = LOG_E(counted[1][look] / kind.size, counted[0][look] / kind.size, part, kind.largest)
            said = evidence.astype(float) >= log(number * (number + 1) / share.ALPHA)
            found[np.flatnonzero(look)[said]] = t
    return found


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=10_000, help="healthy releases of each kind (%(default)s)")
    options = parser.parse_args()
    started = time.monotonic()
    healthy, far, broken = [], [], []
    print(f"Healthy, an hour at {RATE:g} requests/s: said to be far from their share")
    for index, kind in enumerate(HEALTHY):
        found = found_s(kind, options.releases, 3600, 5, np.random.default_rng((1, index)))
        false = float(np.isfinite(found).mean())
        print(f"  {kind.name:45} {100 * false:.3f} %", flush=True)
        healthy.append({"name": kind.name, "false": false, "users_declared": 1 / kind.largest})
        # A rate of 0.1 % shows as up to 0.15 % in 10,000 releases once in twenty.
        if false > PROMISED + 1.65 * (PROMISED / options.releases) ** 0.5:
            broken.append(kind.name)
    print("Far from it: found within ten minutes, and the median seconds of counting")
    for index, kind in enumerate(FAR):
        found = found_s(kind, max(1, options.releases // 10), 600, 1, np.random.default_rng((2, index)))
        part, middle = float(np.isfinite(found).mean()), float(np.median(found))
        shown = f"{middle:.0f} s" if np.isfinite(middle) else "-"
        print(f"  {kind.name:45} {100 * part:.0f} % {shown}", flush=True)
        far.append({"name": kind.name, "found": part, "median_s": middle if np.isfinite(middle) else None})
    seconds = time.monotonic() - started
    print(f"{len(HEALTHY) - len(broken)} of {len(HEALTHY)} kinds within {100 * PROMISED:g} %, in {seconds:.0f} s")
    result = {"releases": options.releases, "seconds": round(seconds), "healthy": healthy, "far": far}
    print(json.dumps({"bench": "share", "not_kept": broken, **result}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
