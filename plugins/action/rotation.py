"""Read and write the file of rotated logins on the controller, and decide what a rotation does next."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import ClassVar

from ansible.parsing.vault import is_encrypted, match_encrypt_secret, parse_vaulttext_envelope
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import write_file
from turnout import rotated_file
from turnout.checklist.config import load as load_checklist
from turnout.controller_action import ControllerAction, plain
from turnout.errors import TurnoutError
from turnout.faults import FaultsError
from turnout.rotation import BEGIN, plan, told
from turnout.rotation_trial import trials
from turnout.service import load, read_json


def by_credential(looked):
    """Return what the servers said by credential and host, from the results of the loop that asked each host."""
    found = {}
    for host, said in looked.items():
        for one in said.get("results") or ():
            if not one.get("skipped"):
                found.setdefault(one["item"]["key"], {})[host] = one
    return found


_STATES = ("read", "secrets", "trials", "plan", "begun", "adopted")


class ActionModule(ControllerAction):
    """Each state is one step; see the documentation."""

    spec: ClassVar = {
        "state": {"type": "str", "required": True, "choices": list(_STATES)},
        "service": {"type": "str", "no_log": True},
        "inventory_dir": {"type": "path"},
        "file": {"type": "path", "required": True},
        "credentials": {"type": "dict", "default": {}},
        "users": {"type": "dict", "default": {}},
        "checklist": {"type": "dict", "default": {}, "no_log": True},
        "edges": {"type": "dict", "default": {}},
        "hosts": {"type": "dict", "default": {}},
        "servers": {"type": "dict", "default": {}},
        "closing": {"type": "bool", "default": False},
        "warm_s": {"type": "float", "default": 0},
    }

    def perform(self, params):
        """Do what the state says."""
        return getattr(self, f"_{params['state']}")(params)

    def _read(self, params):
        service = load(read_json(params["service"]), base_dir=Path(params["inventory_dir"]))
        if not service.rotation:
            raise TurnoutError(
                "rotate-undeclared",
                observed="service.rotation declares no credential",
                expected="a credential with its two logins",
                remedy="write rotation: {database: {postgres: [shop_a, shop_b], environment: [DATABASE_URL]}}; "
                "docs/rotation.md",
            )
        content = self._content(params["file"], service.rotation)
        return {
            "credentials": {
                name: {
                    "kind": "postgres" if one.postgres else "redis",
                    "pair": list(one.pair),
                    "rules": one.rules or "",
                    "environment": list(one.environment),
                    "users": list(dict.fromkeys([*one.pair, *rotated_file.users(content["rotated"][name])])),
                    "current": content["rotated"][name]["user"],
                    "next": (content["rotated"][name].get("next") or {}).get("user"),
                }
                for name, one in service.rotation.items()
            },
            "warm_s": service.warm_s,
        }

    def _secrets(self, params):
        """HOLDS SECRETS: its task has no_log."""
        rotated = self._content(params["file"], params["credentials"])["rotated"]
        found = {}
        for name in params["credentials"]:
            current = {key: rotated[name][key] for key in ("user", "password")}
            following = rotated[name].get("next")
            found[name] = {"current": current, **({"next": following} if following else {})}
        trial = {name: one.get("next") or one for name, one in rotated.items()}
        return {
            "secrets": found,
            "trial": {**rotated, **trial},
            "begun": [name for name in found if "next" in found[name]],
        }

    def _trials(self, params):
        """HOLDS SECRETS: its task has no_log. `service` is as it would be with the logins that are tried."""
        base_dir = Path(params["inventory_dir"])
        service = load(read_json(params["service"]), base_dir=base_dir)
        checklist = load_checklist(params["checklist"], service=service, base_dir=base_dir)
        return {"probes": json.dumps(trials(service, checklist, params["credentials"]))}

    def _plan(self, params):
        decided = plan(
            params["credentials"], params["edges"], params["hosts"], by_credential(params["servers"]),
            closing=params["closing"], warm_s=params["warm_s"], now_s=time.time(),
        )  # fmt: skip
        if decided.faults:
            raise FaultsError("rotate-refused", "a rotation of these credentials", list(decided.faults))
        return {
            "steps": {name: {"kind": one.kind, "user": one.user} for name, one in decided.steps.items()},
            "back": list(decided.back),
            "version": decided.version,
            "begins": {name: one.user for name, one in decided.steps.items() if one.kind == BEGIN},
            "words": told(decided),
        }

    def _begun(self, params):
        content = self._content(params["file"], params["users"])
        return self._write(params, rotated_file.begun(content, params["users"]))

    def _adopted(self, params):
        content = self._content(params["file"], params["users"])
        return self._write(params, rotated_file.adopted(content, params["users"]))

    def _content(self, file, names):
        path = Path(file)
        if not path.exists():
            raise TurnoutError(
                "rotate-file",
                observed=f"there is no {path}",
                expected="the logins in service, encrypted by Ansible Vault",
                remedy=f"ansible-vault create {path}, with: rotated: {{database: {{user: ..., password: ...}}}}",
            )
        if not is_encrypted(path.read_bytes()):
            raise TurnoutError(
                "rotate-file",
                observed=f"{path} is not encrypted",
                expected="a file of Ansible Vault: it holds passwords",
                remedy=f"ansible-vault encrypt {path}",
            )
        content = plain(self._loader.load_from_file(str(path), cache="none"))
        faults = rotated_file.faults_in(content, names, str(path))
        if faults:
            raise FaultsError("rotate-file", "the file of the rotated logins", faults)
        return content

    def _write(self, params, text):
        """Replace the file as a whole, encrypted by the secret that opened it; on the disk before anything else."""
        if self._play_context.check_mode:
            return {"changed": True}
        path = Path(params["file"])
        vault = self._loader._vault
        vault_id = parse_vaulttext_envelope(path.read_bytes())[3]
        named = vault_id if any(one == vault_id for one, _ in vault.secrets) else None
        _, secret = match_encrypt_secret(vault.secrets, encrypt_vault_id=named)
        encrypted = vault.encrypt(text, secret=secret, vault_id=None if vault_id == "default" else vault_id)
        write_file(path, encrypted, path.stat().st_mode & 0o777)
        return {"changed": True}
