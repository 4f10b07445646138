"""Fetch a release from its store and verify it, on the controller."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from turnout.controller_action import ControllerAction
from turnout.faults import FaultsError
from turnout.release.resolve import default_cache_dir, resolve
from turnout.release.store import store_of
from turnout.service import load, read_json


class ActionModule(ControllerAction):
    """Fetch, verify, and see that the release fits the service."""

    spec: ClassVar = {
        "service": {"type": "str", "required": True, "no_log": True},
        "release": {"type": "str", "required": True},
        "inventory_dir": {"type": "path", "required": True},
        "cache_dir": {"type": "path"},
    }

    def perform(self, params):
        """Return the manifest and where the artifact lies here."""
        service = load(read_json(params["service"]), base_dir=Path(params["inventory_dir"]))
        cache_dir = Path(params["cache_dir"]) if params["cache_dir"] else default_cache_dir()
        found = resolve(
            service.name,
            params["release"],
            store_of(service.releases),
            service.releases.allowed_signers,
            cache_dir,
            revoked_signers=service.releases.revoked_signers,
        )
        faults = found.manifest.check_against(service)
        if faults:
            raise FaultsError("release-unfit", f"release {found.manifest.version} for this service", faults)
        return {
            "changed": found.downloaded,
            "manifest": found.manifest.as_dict(),
            "release_id": found.manifest.release_id,
            "artifact": str(found.artifact_path),
            "manifest_path": str(found.manifest_path),
            "signature_path": str(found.signature_path),
            "signer": found.signer.as_dict(),
        }
