"""What is laid is what a process gets, and what is read back of it: by systemd's own parser."""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path

import pytest
from ansible_collections.turnout.ops.plugins.module_utils.laid_release import environment_of
from hypothesis import given, settings
from hypothesis import strategies as st
from turnout.service.environment import render, value_fault

LIBRARY = sorted(Path("/usr/lib").glob("*/systemd/libsystemd-shared-*.so"))
pytestmark = pytest.mark.skipif(not LIBRARY, reason="systemd's library is not here to be asked")
names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
# A comment that ends with a backslash goes on in the next line, or does not, by systemd's version: none is made here.
raw = st.text(alphabet="\"'\\`$ =\tab\r\n", max_size=10) | st.text(alphabet="\"'\\`$ #;=\tab", max_size=10)
tricky = st.text(alphabet="\"'\\`$ #;=\t%anu{}", max_size=12)


def by_systemd(text: str) -> dict[str, str]:
    """Return what systemd's own code reads in an environment file, before names that are none are left out."""
    library = ctypes.CDLL(str(LIBRARY[-1]))
    found = ctypes.POINTER(ctypes.c_char_p)()
    library.load_env_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.POINTER(ctypes.c_char_p))]
    with tempfile.NamedTemporaryFile("wb") as file:
        file.write(text.encode())
        file.flush()
        assert library.load_env_file(None, file.name.encode(), ctypes.byref(found)) == 0
    lines: list[str] = []
    while found and found[len(lines)] is not None:
        lines.append(found[len(lines)].decode())
    return dict(line.partition("=")[::2] for line in lines)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(names, (st.text() | tricky).filter(lambda one: value_fault(one) is None), max_size=5))
def test_every_value_that_is_laid_reaches_the_process_and_the_digest_unchanged(variables: dict[str, str]) -> None:
    text = render(variables)
    assert by_systemd(text) == variables
    assert environment_of(text) == variables


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(names, raw), max_size=4))
def test_a_file_that_somebody_changed_by_hand_is_read_as_systemd_does(pairs: list[tuple[str, str]]) -> None:
    text = "".join(f"{name}={raw}\n" for name, raw in pairs)
    plain = {key: value for key, value in by_systemd(text).items() if key.replace("_", "a").isalnum()}
    found = {key: value for key, value in environment_of(text).items() if key.replace("_", "a").isalnum()}
    assert found == plain


@pytest.mark.parametrize("value", ["a\x1bb", "a\x7fb", "\x01"])
def test_a_control_character_with_which_systemd_drops_the_variable_is_refused(value: str) -> None:
    assert "control character" in str(value_fault(value))
