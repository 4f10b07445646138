# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""An authority in a folder of this host, and a server's certificate by it."""

from __future__ import annotations

import ipaddress
import os
import pwd
import shutil
import subprocess
import tempfile

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
