#!/usr/bin/python
"""Hold a step: watch the candidate by HAProxy's own counters and health, and go back at once when it fails."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guard
short_description: Watch the candidate on this edge while a step is held
description:
  - Looks at HAProxy's health checks and per-color response counters through C(turnout-edge show).
  - When a server of the candidate is down, or its 5xx responses of this step exceed both limits, this edge goes
    back to the stable color at once, before the controller has even heard of it, with the release in quarantine in
    the edge's ledger, and the task fails.
  - An outage that stable has too is not blamed on the candidate. A server counts as down only where stable's server of
    the same name is up, and the ratio of 5xx must also be more than twice that of stable in the same time.
  - With O(share_bp) it ends before its time when the judge's verdict on that share is in the journal, and fails when
    somebody else has moved the traffic.
extends_documentation_fragment:
  - turnout.ops.run
  - turnout.ops.run.actor
options:
  color: {description: The candidate's color., type: str, choices: [blue, green], required: true}
  hold_s: {description: Seconds to watch., type: float, required: true}
  poll_s: {description: Seconds between two looks., type: float, default: 0.5}
  max_5xx_ratio:
    description: Share of 5xx among the responses of this step that is still accepted, 0 to 1.
    type: float
    required: true
  min_5xx: {description: Fewer 5xx than this never go back., type: int, required: true}
  share_bp: {description: "The candidate's share, in a judged step.", type: int}
author: [The Turnout authors (!UNKNOWN)]
attributes:
  check_mode: {support: full, description: Looks once and moves nothing.}
  diff_mode: {support: none, description: It has no state of its own.}
"""

EXAMPLES = r"""
- name: Guard green for 5 s
  turnout.ops.guard:
    run: "{{ run_id }}"
    actor: "{{ run_actor }}"
    color: green
    hold_s: 5
    max_5xx_ratio: 0.02
    min_5xx: 3
"""

RETURN = r"""
requests: {description: Responses of the candidate on this edge while the step was held., returned: always, type: int}
errors: {description: 5xx responses among them., returned: always, type: int}
bad: {description: The candidate failed., returned: failure, type: bool}
quarantined: {description: Its release is in quarantine on this edge., returned: failure, type: bool}
"""

import sys
import time

from ansible.module_utils.basic import AnsibleModule

LIBRARY = "/usr/local/lib/turnout-edge"
NOTHING = (0, 0)
AS_BAD = 2  # up to so many times stable's ratio of 5xx a candidate is as bad as stable
QUARANTINED = "; this one is quarantined, and deploying it again needs -e 'again=\"the reason\"'"
RESPONSES = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")


class GuardError(Exception):
    """The edge could not be asked; carries the message for a person."""


def ask(*words):
    """Ask turnout-edge, in this process: a look every half second must cost next to nothing.

    Return exit code, answer and words.
    """
    if LIBRARY not in sys.path:
        sys.path.insert(0, LIBRARY)
    try:
        from turnout_edge.cli import answer_to  # noqa: PLC0415 - found only by the path above
    except ImportError as fault:
        raise GuardError(f"turnout-edge is not installed here: {fault}") from fault
    return answer_to(list(words))


def edge(*words):
    """Ask turnout-edge; return its answer. Raises GuardError where it gave none."""
    code, answer, text = ask(*words)
    if not answer.get("ok") and "backends" not in answer:
        raise GuardError(f"turnout-edge {words[0]} gave no answer (exit {code}): {text[-300:]}")
    return answer


def look(color):
    """Return what turnout-edge shows, a health fault or None, and the counts of (candidate, stable) since the start.

    Counts are those of `parts`; None where HAProxy does not answer.
    """
    shown = edge("show")
    backends = shown.get("backends") or {}
    if not backends.get(color):
        return shown, "HAProxy does not answer for it", None
    stable = shown.get("stable")
    other = (backends.get(stable) if stable != color else None) or {"servers": []}
    excused = {server["name"] for server in other["servers"] if not server["up"]}
    down = [s["name"] for s in backends[color]["servers"] if not s["up"] and s["name"] not in excused]
    fault = f"HAProxy finds it down on {', '.join(down)}" if down else None
    return shown, fault, (parts(backends[color]), parts(other))


def parts(backend):
    """Return the counts of a color, under "", and of each of its processes by itself where it has several.

    A panel that few people use could fail for all of them, and hardly be seen among the answers of the API.
    """
    whole = counts(backend)
    webs = {f"web-{name}": counts(web) for name, web in (backend.get("web") or {}).items()}
    api = {"api": tuple(whole[index] - sum(one[index] for one in webs.values()) for index in (0, 1))} if webs else {}
    return {"": whole, **api, **webs}


def counts(backend):
    """Return a backend's responses and 5xx since HAProxy's start."""
    return sum(int(backend.get(key) or 0) for key in RESPONSES), int(backend.get("hrsp_5xx") or 0)


def decided(shown, params):
    """Tell whether the judge's verdict on this step is in the journal; raises GuardError where traffic was moved."""
    if params["share_bp"] is None:
        return False
    verdict = ("verdict", params["run"], params["share_bp"])
    for line in shown.get("journal") or []:
        if (line.get("action"), line.get("run"), (line.get("detail") or {}).get("share_bp")) == verdict:
            return True
    if shown.get("candidate") != params["color"] or shown.get("share_bp") != params["share_bp"]:
        raise GuardError(
            f"{params['color']} no longer has {params['share_bp'] / 100:g} % on this edge: somebody else moved the "
            "traffic, or a lease ran out; see: ansible-playbook turnout.ops.status"
        )
    return False


def since(now, before):
    """Return the growth of a counter; after a reset (HAProxy was restarted) it is the new value."""
    return now - before if now >= before else now


class Tally:
    """Responses and 5xx of one color while a step is held."""

    def __init__(self, before):
        self.before = before
        self.requests = self.errors = 0

    def add(self, now):
        """Take a new look at the counters."""
        self.requests += since(now[0], self.before[0])
        self.errors += since(now[1], self.before[1])
        self.before = now

    @property
    def ratio(self):
        """5xx per response, 0 without any."""
        return self.errors / self.requests if self.requests else 0.0


def watch(params):
    """Watch for hold_s seconds; return (fault or None, requests, errors)."""
    shown, fault, seen = look(params["color"])
    if fault:
        return fault, 0, 0
    tallies = {name: (Tally(seen[0][name]), Tally(seen[1].get(name, NOTHING))) for name in seen[0]}
    deadline = time.monotonic() + params["hold_s"]
    while fault is None and time.monotonic() < deadline and not decided(shown, params):
        time.sleep(min(params["poll_s"], max(0.0, deadline - time.monotonic())))
        shown, fault, seen = look(params["color"])
        if fault:
            break
        for name, (candidate, stable) in tallies.items():
            candidate.add(seen[0].get(name, NOTHING))
            stable.add(seen[1].get(name, NOTHING))
            bad = candidate.errors >= params["min_5xx"] and candidate.ratio > params["max_5xx_ratio"]
            # The process by itself, looked at after all of them together, names what fails.
            if bad and candidate.ratio > AS_BAD * stable.ratio:
                whose = (
                    f"the {candidate.requests} responses of {name}" if name else f"its {candidate.requests} responses"
                )
                fault = (
                    f"{candidate.errors} of {whose} "
                    f"in this step were 5xx ({candidate.ratio:.1%}), of stable's {stable.ratio:.1%}; expected at most "
                    f"{params['max_5xx_ratio']:.1%} (service.guard.max_5xx_ratio)"
                )
    return fault, tallies[""][0].requests, tallies[""][0].errors


def go_back(params, fault):
    """Take this edge's users off the candidate, its release in quarantine; return what turnout-edge said."""
    names = ("--run", params["run"], "--actor", params["actor"])
    return ask("rollback", "--put-back", f"--quarantine={fault}", *names)[1]


def main():
    """Watch; on a fault go back and fail."""
    module = AnsibleModule(
        argument_spec={
            "run": {"type": "str", "required": True},
            "actor": {"type": "str", "required": True},
            "color": {"type": "str", "required": True, "choices": ["blue", "green"]},
            "hold_s": {"type": "float", "required": True},
            "poll_s": {"type": "float", "default": 0.5},
            "max_5xx_ratio": {"type": "float", "required": True},
            "min_5xx": {"type": "int", "required": True},
            "share_bp": {"type": "int"},
        },
        supports_check_mode=True,
    )
    params = dict(module.params)
    if module.check_mode:
        params["hold_s"] = 0
    try:
        fault, requests, errors = watch(params)
        if fault and not module.check_mode:
            back = go_back(params, fault)
            said = back.get("message") or (back.get("error") or {}).get("observed") or "no answer"
            module.fail_json(
                msg=f"observed: {params['color']} fails on this edge: {fault}; this edge went back at once: {said}; "
                "to mend: release a version without the fault"
                + (QUARANTINED if back.get("quarantined") else "; IT IS NOT IN QUARANTINE on this edge"),
                bad=True,
                quarantined=bool(back.get("quarantined")),
                requests=requests,
                errors=errors,
                changed=bool(back.get("changed")),
            )
    except GuardError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=False, requests=requests, errors=errors, message=f"{requests} responses, {errors} of them 5xx"
    )


if __name__ == "__main__":
    main()
