#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: a certificate for PostgreSQL, by an authority that lives on the same host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pg_certificate
short_description: Make a certificate for PostgreSQL, by an authority on the same host
description:
  - Makes an authority where there is none, and by it a certificate of the server. Both keep until they are about to
    run out or the names change, so that clients which know the authority go on trusting the server.
  - Keys never leave the host.
options:
  directory:
    description: Folder for C(ca.crt), C(ca.key), C(server.crt) and C(server.key).
    type: path
    required: true
  names:
    description: Names and addresses by which clients reach the server; the first is the common name.
    type: list
    elements: str
    required: true
  owner: {description: User that the server runs as; reads its key., type: str, default: postgres}
  days: {description: Days that a new certificate is good for., type: int, default: 3650}
  renew_days: {description: Days left below which the server's certificate is made anew., type: int, default: 365}
attributes:
  check_mode: {support: full, description: Says whether a certificate is due.}
  diff_mode: {support: none, description: There is nothing to show.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Make the server's certificate
  turnout.ops.pg_certificate:
    directory: /etc/turnout-postgres
    names: [data1, 10.0.0.31]
"""

RETURN = r"""
reason: {description: Why a certificate was made; empty where none was., returned: always, type: str}
ca_file: {description: The authority's certificate., returned: always, type: str}
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.authority import (
    CertificateError,
    alternative_names,
    make,
    openssl,
)


def why(directory, names, renew_days):
    """Return why the certificate must be made, in words; empty where it is good."""
    server, authority = os.path.join(directory, "server.crt"), os.path.join(directory, "ca.crt")
    files = [server, authority, os.path.join(directory, "server.key"), os.path.join(directory, "ca.key")]
    if not all(os.path.exists(path) for path in files):
        return "there is none"
    try:
        openssl("verify", "-CAfile", authority, server)
        openssl("x509", "-in", server, "-noout", "-checkend", str(renew_days * 86400))
        of_key = openssl("pkey", "-in", os.path.join(directory, "server.key"), "-pubout")
        if of_key != openssl("x509", "-in", server, "-noout", "-pubkey"):
            return "its key is another's"  # a run ended between the two files
    except CertificateError:
        return f"it is broken, not by this authority, or runs out within {renew_days} days"
    if note(directory) != alternative_names(names):
        return "the server's names changed"
    return ""


def note(directory):
    """Return the names that the certificate was made for."""
    try:
        with open(os.path.join(directory, "names"), encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def main():
    """Make the certificate where it is due."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
            "owner": {"type": "str", "default": "postgres"},
            "days": {"type": "int", "default": 3650},
            "renew_days": {"type": "int", "default": 365},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        reason = why(params["directory"], params["names"], params["renew_days"])
        if reason and not module.check_mode:
            make(params["directory"], params["names"], params["owner"], params["days"])
    except (CertificateError, OSError, KeyError) as error:
        module.fail_json(msg=f"the certificate of PostgreSQL could not be made: {error}")
    module.exit_json(changed=bool(reason), reason=reason, ca_file=os.path.join(params["directory"], "ca.crt"))


if __name__ == "__main__":
    main()
