"""Signatures by OpenSSH's own `ssh-keygen -Y`, namespace `turnout-release`, and an allowed-signers file.

A team manages release keys as it manages SSH keys: an agent, a hardware key or a certificate work as well.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from turnout.errors import TurnoutError

NAMESPACE = "turnout-release"
REBUILD = (
    "turnout release build FOLDER --name NAME --version VERSION --key KEY --out build; "
    "turnout release publish build/NAME-VERSION.release.yml --to STORE"
)
_TIMEOUT_S = 120  # a hardware key waits for a touch
_FINGERPRINT = re.compile(r"\bSHA256:[A-Za-z0-9+/]+")
_PUBLIC_KEY = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[A-Za-z0-9@.-]+ [A-Za-z0-9+/]+=*( |$)")
# The base point of Ed25519 as a public key: to ask a revocation list about a key that nobody signs with.
_NOBODYS_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFhmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZm nobody\n"
_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,126}")


@dataclass(frozen=True)
class Signer:
    """Who signed: the name in the allowed-signers file, and the key's fingerprint."""

    principal: str
    fingerprint: str

    def as_dict(self) -> dict[str, str]:
        """Return the signer as JSON output carries it."""
        return {"principal": self.principal, "fingerprint": self.fingerprint}


def keygen(key: Path, principal: str, *, passphrase: bool = False) -> str:
    """Make an ed25519 key at `key` and `key.pub`; return the line for the allowed-signers file.

    With `passphrase`, ssh-keygen itself asks for one in the terminal. An existing key is never overwritten.
    """
    check_principal(principal)
    if os.path.exists(key):  # noqa: PTH110 - a folder that may not be looked into is told below
        raise TurnoutError(
            "key-exists",
            observed=f"{key} is there already",
            expected="a new file: a release key is never overwritten",
            remedy=f"choose another --key, or use this one: turnout release build --key {key}",
        )
    try:
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _not_made(key, f"{error.filename}: {error.strerror}") from None
    arguments = ["-q", "-t", "ed25519", "-C", principal, "-f", str(key), *([] if passphrase else ["-N", ""])]
    result = _ssh_keygen(arguments, interactive=passphrase)
    if result.returncode != 0:
        raise _not_made(key, f"ssh-keygen: {_message(result.stderr)}")
    return allowed_signers_line(Path(f"{key}.pub"), principal)


def _not_made(key: Path, observed: str) -> TurnoutError:
    return TurnoutError(
        "key-not-made",
        observed=observed,
        expected=f"a new key at {key}",
        remedy="choose a --key in a folder that you may write to",
    )


def check_principal(principal: str) -> None:
    """Raise `TurnoutError` unless `principal` can stand in an allowed-signers file as one plain name."""
    if not _PRINCIPAL.fullmatch(principal):
        raise TurnoutError(
            "signer-name",
            observed=f"the signer's name {principal!r}",
            expected="letters, digits and @._+-, such as alice@example.com",
            remedy="give --principal alice@example.com",
        )


def allowed_signers_line(public_key: Path, principal: str) -> str:
    """Return the line that lets this key sign releases, and nothing else."""
    kind, key = public_key.read_text().split()[:2]
    return f'{principal} namespaces="{NAMESPACE}" {kind} {key}'


def sign(data: bytes, key: Path) -> bytes:
    """Return the signature over `data` by the private key (or by the agent's, when `key` is a `.pub` file)."""
    _check_key(key)
    result = _ssh_keygen(["-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key)], data)
    if result.returncode == 0 and result.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        return result.stdout
    raise TurnoutError(
        "sign-failed",
        observed=f"ssh-keygen could not sign with {key}: {_message(result.stderr)}",
        expected="an SSH private key, or the .pub file of a key that ssh-agent holds",
        remedy=f"try: echo test | ssh-keygen -Y sign -n {NAMESPACE} -f {key}",
    )


def _check_key(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except FileNotFoundError:
        raise TurnoutError(
            "key-missing",
            observed=f"there is no file {key}",
            expected="the private key that signs releases",
            remedy=f"make one: turnout release keygen --key {key} --principal YOU@EXAMPLE.COM",
        ) from None
    except OSError as error:
        raise TurnoutError(
            "key-missing",
            observed=f"{key} cannot be read: {error.strerror}",
            expected="the private key that signs releases",
            remedy="give --key the path of a key that you may read",
        ) from None
    if not stat.S_ISREG(mode):
        raise TurnoutError(
            "key-missing",
            observed=f"{key} is no file",
            expected="a private key",
            remedy="give --key the key's path",
        )
    if key.suffix != ".pub" and stat.S_IMODE(mode) & 0o077:
        raise TurnoutError(
            "key-permissions",
            observed=f"{key} has mode {stat.S_IMODE(mode):04o}: others may read it",
            expected="mode 0600",
            remedy=f"chmod 600 {key}",
        )


def verify(
    data: bytes,
    signature: bytes,
    allowed_signers: Path,
    *,
    what: str,
    namespace: str = NAMESPACE,
    revoked_signers: Path | None = None,
) -> Signer:
    """Return who signed `data` (a manifest's bytes; `what` names it), or raise `TurnoutError`.

    `revoked_signers` is a key revocation list, or a file of public keys, one a line, whose signatures never count.

    Codes: `signers-missing`, `signers-permissions`, `signers-malformed`, `signature-malformed`, `signer-unknown` (a key
    that the file does not list), `signer-revoked`, `revoked-missing`, `revoked-permissions`, `revoked-malformed`,
    `signature-wrong` (the content or the namespace is another).
    """
    _check_allowed_signers(allowed_signers)
    if revoked_signers is not None:
        _check_revoked_signers(revoked_signers)
    with tempfile.TemporaryDirectory(prefix="turnout-sig-") as folder:
        file = Path(folder) / "signature"
        file.write_bytes(signature)
        principals = _principals(data, file, allowed_signers, what, namespace)
        for principal in principals:
            arguments = ["-Y", "verify", "-n", namespace, "-f", str(allowed_signers), "-I", principal, "-s", str(file)]
            revocation = [] if revoked_signers is None else ["-r", str(revoked_signers)]
            result = _ssh_keygen([*arguments, *revocation], data)
            found = _FINGERPRINT.search(result.stdout.decode(errors="replace"))
            if result.returncode == 0:
                return Signer(principal, found[0] if found else "")
            if revoked_signers is not None:
                # It does not say why it refuses: what it takes without the list is on the list.
                without = _ssh_keygen(arguments, data)
                if without.returncode == 0:
                    raise _revoked(what, principal, without.stdout, revoked_signers)
    raise TurnoutError(
        "signature-wrong",
        observed=f"the signature of {what}, by the key of {principals[0]}, does not fit: {_message(result.stderr)}",
        expected=f"{what} as it was signed, in namespace {namespace}",
        remedy="do not deploy it; fetch it again, or build and publish the release under a new version",
    )


def _revoked(what: str, principal: str, said: bytes, revoked_signers: Path) -> TurnoutError:
    found = _FINGERPRINT.search(said.decode(errors="replace"))
    return TurnoutError(
        "signer-revoked",
        observed=f"{what} is signed by {principal}, whose key {found[0] if found else '?'} {revoked_signers} revokes",
        expected="a signature by a key that is not revoked",
        remedy="do not deploy it: whoever has that key may have made it. Where it is sound, build and publish it again "
        "under a new version, signed with another key: turnout release build --key KEY",
    )


def _check_revoked_signers(path: Path) -> None:
    """Raise `TurnoutError` unless ssh-keygen can read the file: a list that cannot be read must refuse everything."""
    try:
        mode = path.stat().st_mode
        readable = stat.S_ISREG(mode) and path.read_bytes() is not None
    except OSError as error:
        raise _revoked_missing(path, error.strerror or "no reason") from None
    if not readable:
        raise _revoked_missing(path, "it is no file")
    if stat.S_IMODE(mode) & stat.S_IWOTH:
        raise TurnoutError(
            "revoked-permissions",
            observed=f"{path} has mode {stat.S_IMODE(mode):04o}: anybody may take a key off it",
            expected="a file that others cannot write",
            remedy=f"chmod o-w {path}, after reading it",
        )
    # Asked about a key that nobody has: 0 when it is not revoked. Without a readable list ssh-keygen says so.
    with tempfile.TemporaryDirectory(prefix="turnout-sig-") as folder:
        probe = Path(folder) / "probe.pub"
        probe.write_text(_NOBODYS_KEY)
        result = _ssh_keygen(["-Q", "-f", str(path), str(probe)])
    if result.returncode != 0 and _holds_keys_one_a_line(path):
        return
    if result.returncode != 0:
        raise TurnoutError(
            "revoked-malformed",
            observed=f"ssh-keygen cannot read {path}: {_message(result.stderr or result.stdout)}",
            expected="a key revocation list, or public keys, one a line (releases.revoked_signers)",
            remedy=f"make it: ssh-keygen -k -f {path} KEY.pub",
        )


def _holds_keys_one_a_line(path: Path) -> bool:
    """Tell whether each line is a public key in OpenSSH's form, empty, or a comment."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="ascii").splitlines()]
    except UnicodeDecodeError:
        return False
    return all(not line or line.startswith("#") or _PUBLIC_KEY.match(line) for line in lines)


def _revoked_missing(path: Path, why: str) -> TurnoutError:
    return TurnoutError(
        "revoked-missing",
        observed=f"{path} cannot be read: {why}",
        expected="the file of revoked keys (releases.revoked_signers in the service file)",
        remedy=f"make one: ssh-keygen -k -f {path} KEY.pub (or an empty list: ssh-keygen -k -f {path}), or remove the "
        "key from the service file",
    )


def _principals(data: bytes, signature: Path, allowed_signers: Path, what: str, namespace: str) -> list[str]:
    """Return the names under which the allowed-signers file lists the signature's key."""
    result = _ssh_keygen(["-Y", "find-principals", "-s", str(signature), "-f", str(allowed_signers)])
    # A line may list several names ("alice@x,alice@y"); each of them is verified as one name.
    names = [name for name in re.split(r"[\s,]+", result.stdout.decode(errors="replace")) if name.strip("!")]
    if result.returncode == 0 and names:
        return names
    message = _message(result.stderr)
    checked = _ssh_keygen(["-Y", "check-novalidate", "-n", namespace, "-s", str(signature)], data)
    if message.lower().startswith("no principal matched"):
        found = _FINGERPRINT.search((checked.stdout + checked.stderr).decode(errors="replace"))
        key = f" {found[0]}" if found else ""
        raise TurnoutError(
            "signer-unknown",
            observed=f"{what} is signed by a key{key} that {allowed_signers} does not list (or no longer)",
            expected=f"a signature by one of the keys in {allowed_signers}",
            remedy=f'if you trust it, add a line to {allowed_signers}: NAME namespaces="{namespace}" ssh-ed25519 KEY',
        )
    if checked.returncode == 0 and str(allowed_signers) in message:
        # The signature can be read, and ssh-keygen names a line of the other file.
        raise TurnoutError(
            "signers-malformed",
            observed=f"ssh-keygen cannot read a line of the allowed-signers file: {message}",
            expected=f'one signer a line: NAME namespaces="{namespace}" ssh-ed25519 KEY',
            remedy=f"correct that line of {allowed_signers}; `turnout release keygen` prints such lines",
        )
    raise TurnoutError(
        "signature-malformed",
        observed=f"the signature of {what} cannot be read: {message}",
        expected="a file that `ssh-keygen -Y sign` wrote, and a readable allowed-signers file",
        remedy=f"build it again, which signs it: {REBUILD}",
    )


def _check_allowed_signers(path: Path) -> None:
    remedy = f"write one line a signer (turnout release keygen prints it) to {path}"
    try:
        mode = path.stat().st_mode
        content = path.read_text(errors="replace")
    except OSError as error:
        raise TurnoutError(
            "signers-missing",
            observed=f"{path} cannot be read: {error.strerror}",
            expected="the allowed-signers file (releases.allowed_signers in the service file)",
            remedy=remedy,
        ) from None
    if stat.S_IMODE(mode) & stat.S_IWOTH:
        raise TurnoutError(
            "signers-permissions",
            observed=f"{path} has mode {stat.S_IMODE(mode):04o}: anybody may add a signer",
            expected="a file that others cannot write",
            remedy=f"chmod o-w {path}, after reading it",
        )
    if not any(line.strip() and not line.lstrip().startswith("#") for line in content.splitlines()):
        raise TurnoutError(
            "signers-missing",
            observed=f"{path} lists nobody",
            expected="at least one signer",
            remedy=remedy,
        )


def _ssh_keygen(
    arguments: list[str], data: bytes = b"", *, interactive: bool = False
) -> subprocess.CompletedProcess[bytes]:
    try:
        if interactive:
            return subprocess.run(["ssh-keygen", *arguments], check=False, stderr=None, stdout=subprocess.PIPE)
        return subprocess.run(
            ["ssh-keygen", *arguments],
            input=data,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise TurnoutError(
            "ssh-keygen-missing",
            observed="there is no program ssh-keygen on PATH",
            expected="OpenSSH 8.9 or newer",
            remedy="apt-get install openssh-client",
        ) from None
    except subprocess.TimeoutExpired:
        raise TurnoutError(
            "sign-failed",
            observed=f"ssh-keygen did not end within {_TIMEOUT_S} s",
            expected="a signature",
            remedy="load the key into ssh-agent (ssh-add), or touch the hardware key in time",
        ) from None


def _message(output: bytes | None) -> str:
    """Return what ssh-keygen said, on one line: its last line alone is often only "Could not verify signature"."""
    lines = [line.strip() for line in (output or b"").decode(errors="replace").splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line)) or "no message"
