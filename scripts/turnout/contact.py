"""What is in the way where nobody gets into a host: SSH, sudo or Python, and the variable that mends it.

Words are those of OpenSSH (sshconnect.c, sshconnect2.c, authfile.c), sudo, sudo-rs and Ansible's connection plugins.
The first row that fits counts: what SSH says last may only follow from what it said before.
"""

from __future__ import annotations

import re

_KEY = "a private key that SSH can read and that the host accepts"
_LOGIN = "a login by SSH that the host accepts"
_ADDRESS = "an address at which the host's SSH answers"
_ROOT = "a user who may become root"
_PYTHON = "Python 3.9 or newer on the host"
_SUDO = "ansible_become_password for {host} (in vault.yml), or --become-password-file, or a sudoers rule with NOPASSWD"
_ADDRESS_SET = "set ansible_host and ansible_port for {host} {where}, start SSH there, or open its port to this machine"
# What it says (a regular expression), what is expected, what mends it.
_ROWS = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", "the host key that this machine knows",
     "compare the key on the host's console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub); where the host was "
     "made anew: ssh-keygen -R its address, then log in once by hand"),
    (r"Host key verification failed|No \S+ host key is known", "a host key that this machine knows",
     "compare it, and log in once by hand: ssh the user and address of {host}"),
    (r"UNPROTECTED PRIVATE KEY FILE|Load key .*: bad permissions", _KEY, "chmod 600 the file of "
     "ansible_ssh_private_key_file of {host}"),
    (r"Load key |no such identity|Identity file .* not accessible", _KEY,
     "set ansible_ssh_private_key_file for {host} {where} to a key that is there, without passphrase or in ssh-agent"),
    (r"Too many authentication failures", _KEY, "set ansible_ssh_private_key_file for {host} {where}, and "
     "ansible_ssh_common_args: -o IdentitiesOnly=yes"),
    (r"install the sshpass program", _LOGIN, "log in by a key (ansible_ssh_private_key_file), or install sshpass on "
     "this machine for ansible_password"),
    (r"Permission denied \(|Permission denied, please try again|Invalid/incorrect password", _LOGIN,
     "set ansible_user and ansible_ssh_private_key_file for {host} {where} (or -u, --private-key), or put the key into "
     "that user's authorized_keys there"),
    (r"Could not resolve hostname", "a name that this machine can resolve, or an address",
     "set ansible_host for {host} {where}"),
    (r"connect to host .* port|timed out during banner exchange|Operation timed out|timed out waiting for SSH",
     _ADDRESS, _ADDRESS_SET),
    (r"Unable to negotiate with", "a key type and ciphers that both ends know", "bring the host's OpenSSH up to date, "
     "or set ansible_ssh_common_args for {host} {where} to what it offers"),
    (r"kex_exchange_identification|Connection (closed|reset) by .*port", "SSH that lets this machine in",
     "see journalctl -u ssh on {host} (MaxStartups, a ban of this address), and ansible_port for it {where}"),
    (r"Bad configuration option|Bad owner or permissions on .*config", "an SSH configuration that ssh reads",
     "mend that file of this machine's SSH configuration, or set ansible_ssh_common_args: -F none"),
    (r"account is currently not available|account is locked|password has expired|required to change your password",
     "a user with a login shell, who may log in", "set ansible_user for {host} {where} to another user, or give this "
     "one a login shell (usermod -s /bin/sh, passwd)"),
    (r"Missing \w+ password|a password is required|interactive authentication is required", "a password for sudo, or "
     "none that it asks for", "set " + _SUDO),
    (r"Incorrect \w+ password|incorrect password attempt|Sorry, try again", "the password of ansible_user on that host",
     "set " + _SUDO),
    (r"not in the sudoers file|is not allowed to (execute|run)|may not run sudo|I'm afraid I can't do that", _ROOT,
     "a sudoers rule for ansible_user on {host} (usermod -aG sudo USER), or another ansible_user {where}"),
    (r"sudo: unknown user|sudo: user '.*' not found", "a user that is on the host", "take ansible_become_user of "
     "{host} away {where} (root), or add that user there"),
    (r"sudo: (command )?not found|sudo: No such file", "sudo on the host", "apt-get install sudo on {host}, or "
     "ansible_user: root for it {where}"),
    (r"must have a tty to run sudo", "sudo without a terminal", "take requiretty out of the sudoers of {host}"),
    (r"waiting for privilege escalation prompt", "an answer of sudo in time", "log in to {host} and try: sudo -v (a "
     "name service that hangs?); or set " + _SUDO),
    (r"interpreter '.*' was not found|python[\d.]*: (command )?not found|No python interpreters found", _PYTHON,
     "apt-get install python3 on {host}, or set ansible_python_interpreter for it {where}"),
    (r"requires a minimum of Python version|SyntaxError: .*\bf'", _PYTHON, "set ansible_python_interpreter for {host} "
     "{where} to a newer Python"),
    (r"Failed to create temporary directory", "a folder that ansible_user can write to", "look for room and rights in "
     "the home of that user on {host} (df -h; ls -ld ~), or set ansible_remote_tmp for it {where}"),
)  # fmt: skip


def advice(text: str, host: str, inventory: str) -> tuple[str, str] | None:
    """Return what is expected and what mends it, for words that SSH, sudo or Python said of `host`; None for others.

    `inventory` is the folder of the inventory, where variables are set.
    """
    for pattern, expected, remedy in _ROWS:
        if re.search(pattern, text):
            try_it = f" (try: ansible {host} -m ping -b)"
            return expected, remedy.format(host=host, where=f"in {inventory}") + try_it
    return None
