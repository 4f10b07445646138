"""pgBackRest, behind the few things that a restore needs of it."""

from __future__ import annotations

import contextlib
import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .denial import could_not_be_asked, is_denial, is_of_a_file_system
from .errors import BrokenOff
from .place import Place
from .shell import ProgramError, run, systemctl, transient
from .wal import Chain, Span, chain, lineage, newest_timeline, segment_number

CANARY = "turnout-canary"
"""What playbooks/backup.yml lays beside archive and backups: nothing is lost where somebody can delete it."""
_CANARY_TEXT = b"A drill tries to delete this, and must not be able to.\n"

# PostgreSQL's restore_command, inside the isolation: it has no network, and asks the script below through two pipes.
_GET_SEGMENT = """\
#!/bin/sh
# Its first argument is the segment's or history file's name, its second where to put it.
echo "$1 $2" >'{folder}/wanted' && read -r code <'{folder}/got' && exit "$code"
exit 1
"""
_FETCH_SEGMENTS = """\
#!/bin/sh
# Gives PostgreSQL the WAL that the repository held when the failure was declared, and no other.
while :; do
  read -r name to <'{folder}/wanted' || continue
  code=1
  case "$to" in
    pg_wal/RECOVERYXLOG | pg_wal/RECOVERYHISTORY)
      if grep -qxF -- "$name" '{folder}/allowed'; then
        pgbackrest --config='{folder}/pgbackrest.conf' --stanza='{stanza}' --repo={repo} \\
          archive-get "$name" "{folder}/pgdata/$to" 2>>'{folder}/archive-get.log'
        code=$?
        # Zeros are where PostgreSQL ends a replay.
        if [ "$name:$code" = '{cut_name}:0' ]; then
          truncate -s {cut_bytes} "{folder}/pgdata/$to" && truncate -s {segment_bytes} "{folder}/pgdata/$to"
          code=$?
        fi
      fi ;;
  esac
  echo "$code" >'{folder}/got'
done
"""


def fetch_segments(folder: Path, stanza: str, repo: int, allowed: Chain) -> str:
    """Return the script that gives a replay the WAL of a chain, its last segment cut where the chain says so."""
    cut = allowed.cut
    return _FETCH_SEGMENTS.format(
        folder=folder,
        stanza=stanza,
        repo=repo,
        cut_name="" if cut is None else allowed.name_at(cut - 1),
        cut_bytes=0 if cut is None else cut % allowed.segment_bytes,
        segment_bytes=allowed.segment_bytes,
    )


@dataclass(frozen=True)
class Refusals:
    """What became of trying to write: what the storage let happen, and what it did not clearly deny."""

    allowed: tuple[str, ...]
    unclear: tuple[str, ...]


class Engine:
    """The repository as this place sees it, with read-only credentials."""

    def __init__(self, place: Place, plan: dict[str, Any]) -> None:
        self.place = place
        self.stanza: str = plan["stanza"]
        self.repo: int = plan["repository"]
        self.segment_bytes: int = plan.get("segment_bytes") or 16 * 1024 * 1024
        self.archive_id = ""

    def lay(self, options: dict[str, Any], ca: str, process_max: int) -> None:
        """Write pgBackRest's configuration, which holds the credentials."""
        place, key = self.place, f"repo{self.repo}-"
        lines = ["[global]", *(f"{key}{name}={value}" for name, value in sorted(options.items()))]
        if ca:
            # Not ca.crt: that is the authority of what is restored.
            place.write("repository-ca.crt", ca, 0o640)
            lines.append(f"{key}storage-ca-file={place.folder}/repository-ca.crt")
        lines += [
            f"lock-path={place.folder}/lock",
            f"spool-path={place.folder}/spool",
            "log-level-file=off",
            "log-level-console=off",
            "log-level-stderr=error",
            f"process-max={process_max}",
            # WAL is fetched ahead of the replay.
            "archive-async=y",
            f"[{self.stanza}]",
            f"pg1-path={place.data}",
            f"pg1-socket-path={place.sockets}",
        ]
        place.write("pgbackrest.conf", "\n".join(lines) + "\n", 0o640)

    def call(self, *words: str, stdin: bytes | None = None, timeout_s: float | None = None) -> bytes:
        """Run pgBackRest as the user postgres. Raises ProgramError."""
        # With --config, nothing below /etc/pgbackrest is read.
        argv = ["pgbackrest", f"--config={self.place.config}", f"--stanza={self.stanza}"]
        # `info` and `restore` take --repo too, so that no other repository is ever asked.
        return run([*argv, f"--repo={self.repo}", *words], user="postgres", stdin=stdin, timeout_s=timeout_s)

    def refusals(self) -> Refusals:
        """Try to write beside archive and backups, and to delete there. A clear denial alone counts as one."""
        allowed: list[str] = []
        unclear: list[str] = []
        for area in ("archive", "backup"):
            folder = f"{area}/{self.stanza}"
            said = self._try_to_write(f"{folder}/turnout-probe-{secrets.token_hex(8)}", allowed, unclear)
            self._try_to_delete(folder, said, allowed, unclear)
        return Refusals(tuple(allowed), tuple(unclear))

    def _try_to_write(self, probe: str, allowed: list[str], unclear: list[str]) -> str:
        """Try it; return what was said against it."""
        try:
            self.call("--raw", "repo-put", probe, stdin=b"a drill must not be able to write this\n", timeout_s=60)
        except ProgramError as error:
            if not is_denial(error.said):
                unclear.append(f"writing {probe}: {error}")
            return error.said
        allowed.append(f"write {probe}")
        try:
            self.call("repo-rm", probe, timeout_s=60)
        except ProgramError as error:
            unclear.append(f"{probe} was written and could not be removed, remove it by hand: {error}")
        return ""

    def _try_to_delete(self, folder: str, said_to_writing: str, allowed: list[str], unclear: list[str]) -> None:
        # pgBackRest sends no deletion for what is not there: it must be something real, and of no worth.
        canary = f"{folder}/{CANARY}"
        try:
            if CANARY not in self.list_names(folder):
                unclear.append(f"deleting {canary}: it is not there; ansible-playbook turnout.ops.backup lays it")
                return
            self.call("repo-rm", canary, timeout_s=60)
        except ProgramError as error:
            implied = could_not_be_asked(error.said) and is_of_a_file_system(said_to_writing)
            if not implied and not is_denial(error.said):
                unclear.append(f"deleting {canary}: {error}")
            return
        allowed.append(f"delete {canary}")
        with contextlib.suppress(ProgramError):
            self.call("--raw", "repo-put", canary, stdin=_CANARY_TEXT, timeout_s=60)

    def backups(self) -> list[dict[str, Any]]:
        """Return the backups of the repository, the oldest first. Raises BrokenOff."""
        try:
            found = json.loads(self.call("--output=json", "info", timeout_s=120))
        except ProgramError as error:
            raise BrokenOff(f"the repository cannot be read: {error}") from None
        status = found[0]["status"] if found else {"code": 1, "message": "missing stanza path"}
        if status["code"] not in (0, 2) or not found[0].get("db"):
            raise BrokenOff(f"the repository cannot be read: {status['message']} (stanza {self.stanza})")
        newest = found[0]["db"][-1]
        self.archive_id = f"{newest['version']}-{newest['id']}"
        backups = [
            {**backup, "version": newest["version"]}
            for backup in found[0]["backup"]
            if backup["database"]["repo-key"] == self.repo and backup["database"]["id"] == newest["id"]
        ]
        return sorted(backups, key=lambda backup: backup["timestamp"]["stop"])

    def list_names(self, path: str) -> dict[str, dict[str, Any]]:
        """Return what lies below a path of the repository. Raises ProgramError."""
        found = json.loads(self.call("--output=json", "repo-ls", path, timeout_s=300))
        return {name: entry for name, entry in found.items() if name != "."}

    def histories(self) -> list[str]:
        """Return the timelines' history files in the archive."""
        top = self.list_names(f"archive/{self.stanza}/{self.archive_id}")
        return sorted(name for name in top if name.endswith(".history"))

    def held(self, first: str, until: float | None) -> list[str]:
        """Return the names of WAL files from the segment `first` on, held at the time `until` of the storage's clock.

        Storages keep whole seconds; the second of `until` counts as held.
        """
        top = self.list_names(f"archive/{self.stanza}/{self.archive_id}")
        names = {name: entry for name, entry in top.items() if entry["type"] == "file"}
        for folder in sorted(name for name, entry in top.items() if entry["type"] == "path"):
            if folder[8:16] >= first[8:16]:
                names.update(self.list_names(f"archive/{self.stanza}/{self.archive_id}/{folder}"))
        return [name for name, entry in names.items() if until is None or float(entry.get("time", 0)) <= until + 1]

    def chain_from(self, backup: dict[str, Any], until: float | None, before: int | None) -> Chain:
        """Return the WAL that follows a backup. A segment with the position `before` was not complete."""
        names = self.held(backup["archive"]["start"], until)
        if before is not None:
            limit = before // self.segment_bytes
            names = [name for name in names if name.endswith(".history") or self._number(name) < limit]
        first = backup["archive"]["start"]
        return chain(first, names, self.segment_bytes, self._spans(int(first[:8], 16), names))

    def _spans(self, timeline: int, names: list[str]) -> tuple[Span, ...]:
        """Return which timeline each stretch of the WAL belongs to, as PostgreSQL will follow them from a backup's."""
        newest = newest_timeline(timeline, names)
        if newest == 1:  # the first has no history
            return lineage(newest, "")
        path = f"archive/{self.stanza}/{self.archive_id}/{newest:08X}.history"
        try:
            return lineage(newest, self.call("repo-get", path, timeout_s=60).decode())
        except (ProgramError, ValueError, IndexError) as error:
            raise BrokenOff(f"the history of timeline {newest} cannot be read: {error}", "wal_chain") from None

    def _number(self, name: str) -> int:
        try:
            return segment_number(name, self.segment_bytes)
        except ValueError:
            return -1

    def restore(self, backup: dict[str, Any], target: dict[str, str] | None, allowed: Chain) -> None:
        """Restore a backup into the place, ready to replay. Raises BrokenOff with pgBackRest's own words."""
        place = self.place
        place.write("allowed", "".join(f"{name}\n" for name in sorted(allowed.names)), 0o640)
        place.write("archive-get.log", "", 0o640, user="postgres")
        script = place.write("get-segment", _GET_SEGMENT.format(folder=place.folder), 0o750)
        place.write(
            "fetch-segments",
            fetch_segments(place.folder, self.stanza, self.repo, allowed), 0o750,
        )  # fmt: skip
        place.pipe("wanted", "postgres")
        place.pipe("got", "postgres")
        words = [
            f"--set={backup['label']}", "--archive-mode=off", f"--recovery-option=restore_command={script} %f %p",
            f"--tablespace-map-all={place.folder}/tablespaces",
        ]  # fmt: skip
        if target is not None:
            words += [f"--type={target['type']}", f"--target={target['value']}", "--target-action=promote"]
            if target["type"] == "time":
                words.append("--target-exclusive")
        try:
            self.call(*words, "restore")
        except ProgramError as error:
            raise BrokenOff(f"the backup {backup['label']} cannot be restored: {error}", "restore") from None

    def fetch(self) -> None:
        """Start what fetches WAL for the restored PostgreSQL, which has no network. Raises BrokenOff."""
        try:
            transient(self.place.unit("fetch"), [str(self.place.folder / "fetch-segments")], {"User": "postgres"})
        except ProgramError as error:
            raise BrokenOff(f"WAL cannot be fetched: {error}") from None

    def fetched(self) -> None:
        """End it: recovery is over."""
        systemctl("stop", self.place.unit("fetch"))

    def said_of_wal(self) -> str:
        """Return what archive-get complained of, in a line."""
        try:
            text = (self.place.folder / "archive-get.log").read_text(errors="replace")
        except OSError:
            return ""
        return " ".join(text.split())[-400:]

    def get(self, path: str) -> bytes:
        """Return a file of the repository as it lies there. Raises ProgramError."""
        return self.call("--raw", "repo-get", path, timeout_s=3600)


def when(epoch_s: float) -> str:
    """Return a time as UTC text."""
    return datetime.fromtimestamp(epoch_s, timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")  # noqa: UP017 - Python 3.11 is Debian 12's; the alias is new there
