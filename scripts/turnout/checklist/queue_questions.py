"""What a host asks Redis, again and again, to see how the queues of the checklist stand, and what they are held to."""

from __future__ import annotations

from typing import Any

from turnout.checklist.config import Checklist

_SAMPLE_S = 0.2
"""Between the two looks that tell which jobs are lost; rates are not kept."""

_LIMITS = {"jobs": "max_depth", "oldest": "max_oldest_s", "retry": "max_retry", "dead": "max_dead"}


def questions(config: Checklist) -> dict[str, dict[str, Any]]:
    """Return for each queue in Redis, by name, the arguments of the look and its limits (jobs, or seconds).

    The arguments hold Redis's address, a secret. There are none where no address is known.
    """
    if config.redis.url is None:
        return {}
    ca_file = config.redis.ca_file
    access = {"url": config.redis.look_url, "ca_file": None if ca_file is None else str(ca_file)}
    return {
        queue.name: {
            "arguments": {**access, **queue.arguments, "layout": queue.layout, "sample_s": _SAMPLE_S},
            "limits": {of: bound for of, name in _LIMITS.items() if (bound := queue.bound(name)) is not None},
        }
        for queue in config.queues
        if queue.layout != "prometheus"
    }
