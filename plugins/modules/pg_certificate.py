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

import ipaddress
import os
import pwd
import shutil
import subprocess
import tempfile

from ansible.module_utils.basic import AnsibleModule

CA_DAYS = 7300
OPENSSL_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class CertificateError(Exception):
    """It could not be made; the message is for a person."""


def openssl(*words):
    """Run openssl; return what it printed. Raises CertificateError."""
    try:
        done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False, env=OPENSSL_ENV)
    except FileNotFoundError:
        raise CertificateError("there is no program openssl here: apt-get install openssl") from None
    if done.returncode:
        raise CertificateError(f"openssl {words[0]}: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    return done.stdout


def alternative_names(names):
    """Return the names as openssl writes them in a certificate."""
    words = []
    for name in names:
        try:
            words.append(f"IP:{ipaddress.ip_address(name.strip('[]'))}")
        except ValueError:
            words.append(f"DNS:{name}")
    return ",".join(dict.fromkeys(words))


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


def make(directory, names, owner, days):
    """Make the certificate, and the authority where there is none; each file is whole or not there."""
    account = pwd.getpwnam(owner)
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o755)  # noqa: S103 - the server passes through it; each key has a mode of its own
    with tempfile.TemporaryDirectory(dir=directory, prefix=".new-") as new:
        authority = make_authority(directory, new)
        key, request, certificate = (os.path.join(new, name) for name in ("server.key", "server.csr", "server.crt"))
        extensions = os.path.join(new, "extensions")
        with open(extensions, "w", encoding="utf-8") as file:
            file.write(
                f"subjectAltName={alternative_names(names)}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n"
            )
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-new", *curve, "-keyout", key, "-subj", f"/CN={names[0]}", "-out", request)
        openssl(
            "x509", "-req", "-in", request, "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-days", str(days),
            "-set_serial", f"0x{os.urandom(16).hex()}", "-extfile", extensions, "-out", certificate,
        )  # fmt: skip
        names_file = os.path.join(new, "names")
        with open(names_file, "w", encoding="utf-8") as file:
            file.write(alternative_names(names) + "\n")
        # The certificate last: it is what a reload of the server is about.
        for path, mode, user, group in (
            (names_file, 0o644, 0, 0),
            (key, 0o600, account.pw_uid, account.pw_gid),
            (certificate, 0o644, 0, 0),
        ):
            place(path, directory, mode, user, group)


def make_authority(directory, new):
    """Return the path of the authority without its endings, made where there is none."""
    kept = os.path.join(directory, "ca")
    if os.path.exists(f"{kept}.crt") and os.path.exists(f"{kept}.key"):
        return kept
    made = os.path.join(new, "ca")
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{made}.key",
        "-out", f"{made}.crt", "-days", str(CA_DAYS), "-subj", "/CN=Turnout PostgreSQL",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    place(f"{made}.key", directory, 0o600, 0, 0)
    place(f"{made}.crt", directory, 0o644, 0, 0)
    return kept


def place(path, directory, mode, user, group):
    """Move a new file to its place, with its owner and mode from the first moment."""
    os.chmod(path, mode)
    if os.geteuid() == 0:
        os.chown(path, user, group)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    shutil.move(path, os.path.join(directory, os.path.basename(path)))


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
