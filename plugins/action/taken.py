"""Action plugin: see that the workers of a release take jobs, once the old ones were told to take none."""

from __future__ import annotations

import json
import time

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.turnout.ops.plugins.action.look import situation_of
from turnout.checklist.checks import redis
from turnout.checklist.taken import Watched
from turnout.errors import TurnoutError

PAUSE_S = 1.0  # between two looks, beside the time that each takes


class ActionModule(ActionBase):
    """Look at the queues of the checklist from this host until jobs are seen taken from each, or time is up."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"service", "checklist", "manifest", "groups", "inventory_dir", "idle_s"})

    def run(self, tmp=None, task_vars=None):
        """Return what was seen of each queue; failed where jobs wait and none was taken for `idle_s` seconds."""
        result = super().run(tmp, task_vars)
        args = self._task.args
        if self._play_context.check_mode:
            return {**result, "changed": False, "skipped": True, "msg": "no workers to look at in check mode"}
        try:
            config, situation = situation_of(args)
        except TurnoutError as error:
            raise AnsibleActionFail(str(error)) from None
        probes = [probe for _, probe in redis.probes(config, situation) if probe.kind == "queue"]
        watched, idle_s = Watched(), float(args["idle_s"])
        began = time.monotonic()
        waiting = []
        while probes:
            answers = self._execute_module(
                module_name="turnout.ops.probe",
                module_args={"probes": json.dumps([probe.as_dict() for probe in probes])},
                task_vars=task_vars,
            ).get("answers", {})
            looks = {probe.id.partition(":")[2]: (answers.get(probe.id) or {}).get("data") for probe in probes}
            waiting = watched.add(looks)
            probes = [probe for probe in probes if probe.id.partition(":")[2] in waiting]
            if time.monotonic() - began >= idle_s:
                break
            time.sleep(PAUSE_S if probes else 0)
        if waiting:
            return {**result, "failed": True, "changed": False, "msg": watched.fault(waiting, idle_s)}
        return {**result, "changed": False, "queues": watched.told}
