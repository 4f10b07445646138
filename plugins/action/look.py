"""Action plugin: one look at everything, hosts and controller at the same time, for the checklist.

On a host it asks the module `turnout.ops.probe` all questions of that host in one call. On the controller (localhost)
it runs the controller's own checks meanwhile, in threads. So the whole takes as long as the slowest.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from turnout.checklist import config as checklist_config
from turnout.checklist import engine, plan
from turnout.checklist.model import Situation
from turnout.errors import TurnoutError
from turnout.service import load

CLOCK_TRIES = 4
CLOCK_ENOUGH_S = 0.2  # between two looks at the controller's clock


def situation_of(args):
    """Return (configuration, situation) from a task's arguments. Raises TurnoutError with every fault."""
    base_dir = Path(args["inventory_dir"])
    service = load(json.loads(args["service"]), base_dir=base_dir)
    config = checklist_config.load(json.loads(args["checklist"]), service=service, base_dir=base_dir)
    groups = {name: list(hosts) for name, hosts in args["groups"].items()}
    return config, Situation(service=service, manifest=args["manifest"], groups=groups, now_s=time.time())


class ActionModule(ActionBase):
    """Ask this host, or (on localhost) run the controller's own checks."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(
        {"service", "checklist", "manifest", "groups", "inventory_dir", "salt", "artifact", "extra_probes"}
    )

    def run(self, tmp=None, task_vars=None):
        """Return `answers` of a host, or `results` of the controller's own checks, with the clock around them."""
        result = super().run(tmp, task_vars)
        args = self._task.args
        try:
            config, situation = situation_of(args)
        except TurnoutError as error:
            raise AnsibleActionFail(str(error)) from None
        asked_s = time.time()
        if task_vars["inventory_hostname"] == "localhost":
            found = engine.run(plan.tasks(config, situation, Path(args["artifact"]) if args.get("artifact") else None))
            own = [plan.as_plain(one) for one in found]
            return {**result, "changed": False, "asked_s": asked_s, "answered_s": time.time(), "own": own}
        probes = plan.probes(config, situation, args["salt"]).get(task_vars["inventory_hostname"], [])
        listed = [probe.as_dict() for probe in probes] + list(args.get("extra_probes") or [])
        try:
            clock = self._clock()
            answer = self._execute_module(
                module_name="turnout.ops.probe", module_args={"probes": json.dumps(listed)}, task_vars=task_vars
            )
        except AnsibleConnectionFailure as error:
            # A host that is away is a row of the table. As Ansible's own "unreachable" it would end a play whose errors
            # are fatal, without a word of judgement.
            return {**result, "changed": False, "away": str(error), "asked_s": asked_s, "answered_s": time.time()}
        return {**result, **answer, "asked_s": asked_s, "answered_s": time.time(), "clock": clock}

    def _clock(self):
        """Return the host's clock between two looks at the controller's, the narrowest of a few tries; None without.

        The module itself starts too slowly to tell a second.
        """
        best = None
        for _ in range(CLOCK_TRIES):
            before_s = time.time()
            said = self._low_level_execute_command("date +%s.%N")
            after_s = time.time()
            try:
                wall_s = float(said["stdout"].strip())
            except (KeyError, ValueError):
                return best
            if best is None or after_s - before_s < best["after_s"] - best["before_s"]:
                best = {"before_s": before_s, "wall_s": wall_s, "after_s": after_s}
            if after_s - before_s < CLOCK_ENOUGH_S:
                break
        return best
