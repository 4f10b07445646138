"""Action plugin: dead letters of the service's queues, asked of the host that this task runs on."""

from __future__ import annotations

import json

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.turnout.ops.plugins.action.look import situation_of
from turnout import dead_letters
from turnout.controller_action import plain
from turnout.errors import TurnoutError


class ActionModule(ActionBase):
    """Make the question of a playbook's variables, have it asked, and say what came of it."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"service", "checklist", "groups", "inventory_dir", "given", "act", "format"})

    def run(self, tmp=None, task_vars=None):
        """Return `told` of each queue, the ledger's `entry`, and a `report` where it is to be shown."""
        result = super().run(tmp, task_vars)
        args = self._task.args
        looks, check = not boolean(args.get("act", False)), self._play_context.check_mode
        try:
            config, _ = situation_of({**args, "manifest": {}})
            question = dead_letters.question(plain(args["given"]), config, check=check)
        except TurnoutError as error:
            return {**result, "failed": True, "msg": str(error), **error.as_dict()}
        do = question["do"]
        changes = do in dead_letters.CHANGES
        # The look before a change counts what it would meet: what is refused there has changed nothing.
        for queue in question["queues"]:
            queue["arguments"]["check"] = check or looks
        answer = self._execute_module(
            module_name="turnout.ops.dead_letters_here",
            module_args={"question": json.dumps(question)},
            task_vars=task_vars,
        )
        if "told" not in answer:
            raise AnsibleActionFail(answer.get("msg") or "the host gave no answer")
        told = answer["told"]
        state = "begun" if looks else "ended"
        result |= {"changed": answer["changed"], "do": do, "told": told, "changes": changes and not check}
        result["entry"] = dead_letters.entry(do, question["reason"], told, state=state)
        faults = dead_letters.faults(told)
        nothing = changes and not any(one.get("selected") for one in told.values())
        if not (changes and looks and not check and not faults and not nothing):
            as_json = args.get("format") == "json"
            result["report"] = dead_letters.as_json(do, told) if as_json else dead_letters.render(do, told, check=check)
        if faults or nothing:
            result |= {"failed": True, "msg": dead_letters.failure(do, faults)}
        return result
