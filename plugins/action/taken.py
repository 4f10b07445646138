"""Action plugin: see that the workers of a release take jobs, once the old ones were told to take none."""

from __future__ import annotations

import json
import time

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.turnout.ops.plugins.action.look import situation_of
from turnout.checklist.checks import redis
from turnout.checklist.taken import Watched, idle_s_of, kinds_of
from turnout.errors import TurnoutError

PAUSE_S = 1.0  # between two looks, beside the time that each takes


class ActionModule(ActionBase):
    """Look at the queues from this host until jobs are seen taken from each, or time is up."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"service", "checklist", "manifest", "groups", "inventory_dir", "first"})

    def run(self, tmp=None, task_vars=None):
        """Return what was seen of each queue; failed where jobs wait and none was taken for `idle_s` of its workers."""
        result = super().run(tmp, task_vars)
        args = self._task.args
        if self._play_context.check_mode:
            return {**result, "changed": False, "skipped": True, "msg": "no workers to look at in check mode"}
        try:
            config, situation = situation_of(args)
        except TurnoutError as error:
            raise AnsibleActionFail(str(error)) from None
        limits_s = {
            redis.queue_probe(queue): idle_s_of(queue, situation.service, first=boolean(args["first"]))
            for queue in config.queues
        }
        probes = [probe for _, probe in redis.probes(config, situation) if limits_s.get(probe.id) is not None]
        kinds = {queue.name: kinds_of(queue, situation.service) for queue in config.queues}
        watched = Watched()
        began = time.monotonic()
        while probes:
            answers = self._execute_module(
                module_name="turnout.ops.probe",
                module_args={"probes": json.dumps([probe.as_dict() for probe in probes])},
                task_vars=task_vars,
            ).get("answers", {})
            looks = {probe.id.partition(":")[2]: (answers.get(probe.id) or {}).get("data") for probe in probes}
            waiting = watched.add(looks)
            probes = [probe for probe in probes if probe.id.partition(":")[2] in waiting]
            over = [probe.id for probe in probes if time.monotonic() - began >= limits_s[probe.id]]
            if over:
                waiting = [probe.partition(":")[2] for probe in over]
                limit_s = max(limits_s[probe] for probe in over)
                named = tuple(dict.fromkeys(kind for name in waiting for kind in kinds[name]))
                told = watched.fault(waiting, limit_s, named)
                return {**result, "failed": True, "changed": False, "msg": told}
            time.sleep(PAUSE_S if probes else 0)
        return {**result, "changed": False, "queues": watched.told}
