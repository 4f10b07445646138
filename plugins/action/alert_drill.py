"""Action plugin: a fire alarm for alerts, on the monitoring host that this task runs on."""

from __future__ import annotations

import json

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from turnout import alert_drill
from turnout.controller_action import plain
from turnout.errors import TurnoutError


class ActionModule(ActionBase):
    """Make the question of a playbook's variables, have it drilled, and say what came of it."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({*alert_drill.GIVEN, "rules_dir", "reload", "format"})

    def run(self, tmp=None, task_vars=None):
        """Return `alerts`, the ledger's `entry`, and a `report`."""
        result = super().run(tmp, task_vars)
        args, check = plain(self._task.args), self._play_context.check_mode
        try:
            question = alert_drill.question(args, check=check)
        except TurnoutError as error:
            return {**result, "failed": True, "msg": str(error), **error.as_dict()}
        own = {name: args[name] for name in ("rules_dir", "reload") if name in args}
        answer = self._execute_module(
            module_name="turnout.ops.alert_drill_here",
            module_args={"question": json.dumps(question), **own},
            task_vars=task_vars,
        )
        if "alerts" not in answer:
            raise AnsibleActionFail(answer.get("msg") or "the host gave no answer")
        seen, problem = answer["alerts"], answer.get("problem")
        result |= {"changed": answer["changed"], "alerts": seen}
        if not problem:
            as_json = args.get("format") == "json"
            result["report"] = alert_drill.as_json(seen) if as_json else alert_drill.render(seen, check=check)
        if not (problem or check):
            result["entry"] = alert_drill.entry(question["id"], seen)
        msg = alert_drill.failure(seen, problem, check=check)
        return {**result, "failed": True, "msg": msg} if msg else result
