"""The words of a command line that goes on to `ansible-playbook`: which are its options, and which are ours."""

from __future__ import annotations

from collections.abc import Sequence

# Options of ansible-playbook that are followed by a value; a test holds this against Ansible's own parser. (To ask
# that parser would take a third of a second of each rollback.)
VALUE_OPTIONS = (
    "-M", "-T", "-c", "-e", "-f", "-i", "-l", "-t", "-u",
    "--become-method", "--become-pass-file", "--become-password-file", "--become-user", "--conn-pass-file",
    "--connection", "--connection-password-file", "--extra-vars", "--forks", "--inventory", "--inventory-file",
    "--key-file", "--limit", "--module-path", "--private-key", "--scp-extra-args", "--sftp-extra-args", "--skip-tags",
    "--ssh-common-args", "--ssh-extra-args", "--start-at-task", "--tags", "--timeout", "--user", "--vault-id",
    "--vault-pass-file", "--vault-password-file",
)  # fmt: skip
FLAGS = (
    "-C", "-D", "-J", "-K", "-b", "-h", "-k", "-v",
    "--ask-become-pass", "--ask-pass", "--ask-vault-pass", "--ask-vault-password", "--become", "--check", "--diff",
    "--flush-cache", "--force-handlers", "--help", "--list-hosts", "--list-tags", "--list-tasks", "--step",
    "--syntax-check", "--verbose", "--version",
)  # fmt: skip
# With these a person is asked something, or wants to see everything that Ansible says.
TALKATIVE = (
    "-J", "-K", "-k", "-v", "--ask-become-pass", "--ask-pass", "--ask-vault-pass", "--ask-vault-password",
    "--list-hosts", "--list-tags", "--list-tasks", "--step", "--syntax-check", "--verbose", "--version",
)  # fmt: skip


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words that are no options and no option's value, and the others; each in the order they were in."""
    ours: list[str] = []
    options: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            ours += left
            break
        if not word.startswith("-") or word == "-":
            ours.append(word)
            continue
        options.append(word)
        if left and _wants_value(word):
            options.append(left.pop(0))
    return ours, options


def _wants_value(word: str) -> bool:
    """Tell whether the value of this option is the next word."""
    if word.startswith("--"):
        return "=" not in word and _long(word) in VALUE_OPTIONS
    for place, letter in enumerate(word[1:], start=1):
        if f"-{letter}" in VALUE_OPTIONS:
            return place == len(word) - 1  # otherwise the rest of the word is the value, as in -vvilab
    return False


def _long(word: str) -> str:
    """Return the option that a shortened one stands for, itself where that is not clear."""
    if word in VALUE_OPTIONS or word in FLAGS:
        return word
    meant = [option for option in (*VALUE_OPTIONS, *FLAGS) if option.startswith(word)]
    # Several may be names of one option: all want a value then, or none does.
    wanting = [option for option in meant if option in VALUE_OPTIONS]
    return wanting[0] if wanting and len(wanting) == len(meant) else word


def values(options: Sequence[str], *names: str) -> list[str]:
    """Return what an option was given, each time; `names` are its forms, such as -e and --extra-vars."""
    found = []
    for place, word in enumerate(options):
        name, equals, value = word.partition("=")
        if word.startswith("--") and equals and name in names:
            found.append(value)
        elif word in names and place + 1 < len(options):
            found.append(options[place + 1])
        elif not word.startswith("--") and len(word) > 2 and word[:2] in names:
            found.append(word[2:])
    return found


def given(options: Sequence[str], *names: str) -> bool:
    """Tell whether one of these options is there, shortened or with others in a word; a long one by its full name."""
    return any(
        form in names
        for word in options
        if word.startswith("-")
        for form in (*_forms(word), _long(word.partition("=")[0]))
    )


def asks_or_tells_all(options: Sequence[str]) -> bool:
    """Tell whether the command line asks a person something, or asks for all of Ansible's own words."""
    if any(name.endswith("@prompt") for name in values(options, "--vault-id")):
        return True
    return any(form in TALKATIVE for word in options for form in _forms(word))


def _forms(word: str) -> list[str]:
    """Return the options that one word holds: `-bK` are two."""
    if word.startswith("--"):
        return [word]
    found = []
    for letter in word[1:] if word.startswith("-") else "":
        found.append(f"-{letter}")
        if found[-1] in VALUE_OPTIONS:
            break
    return found
