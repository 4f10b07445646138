"""Filters that read `backup_repositories`."""

from __future__ import annotations


def repositories_of(repositories, host, primary, only=0):
    """Return the numbers of the repositories whose backups are taken on `host`; of these `only` one, where not 0.

    A repository on a host of its own is backed up there, any other by the database's host `primary`.
    """
    return [
        number
        for number, repository in enumerate(repositories, start=1)
        if repository.get("host", primary) == host and int(only) in (0, number)
    ]


def unencrypted(repositories):
    """Return the numbers of the repositories that pgBackRest does not encrypt."""
    return [
        number
        for number, repository in enumerate(repositories, start=1)
        if repository["options"].get("cipher-type", "none") == "none" or not repository["options"].get("cipher-pass")
    ]


class FilterModule:
    """What Ansible asks for."""

    def filters(self):
        """Return the filters by name."""
        return {
            "repositories_of": repositories_of,
            "unencrypted": unencrypted,
        }
