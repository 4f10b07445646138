from __future__ import annotations

import base64
import hmac

import pytest
from ansible_collections.turnout.ops.plugins.module_utils.psql import (
    _first_error,
    quote_identifier,
    quote_literal,
    scram_matches,
    scram_verifier,
)
from hypothesis import given, settings
from hypothesis import strategies as st

PASSWORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)
WITHOUT_NUL = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]))


def unquote(literal: str) -> str:
    """Read an SQL string literal the way PostgreSQL's scanner does."""
    escapes = literal.startswith(" E'")
    body = literal.removeprefix(" E")
    assert body[0] == body[-1] == "'"
    out, rest = [], body[1:-1]
    while rest:
        pair = rest[:2]
        if pair == "''" or (escapes and pair == "\\\\"):
            out.append(rest[1])
            rest = rest[2:]
        else:
            assert rest[0] != "'", "the string would end here"
            assert not (escapes and rest[0] == "\\"), "an escape that was not meant"
            out.append(rest[0])
            rest = rest[1:]
    return "".join(out)


@given(WITHOUT_NUL)
def test_a_quoted_string_says_what_was_given(text: str) -> None:
    assert unquote(quote_literal(text)) == text


@given(WITHOUT_NUL.filter(bool))
def test_a_quoted_name_cannot_end_early(name: str) -> None:
    quoted = quote_identifier(name)
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('""', "") == name.replace('"', "")


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_a_name_that_cannot_be_quoted_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="identifier"):
        quote_identifier(text)


@settings(max_examples=10, deadline=None)
@given(PASSWORDS, PASSWORDS)
def test_a_verifier_matches_its_password_and_no_other(password: str, other: str) -> None:
    verifier = scram_verifier(password)
    assert scram_matches(password, verifier)
    assert scram_matches(other, verifier) == (other == password)


def test_two_verifiers_of_a_password_differ_and_hide_it() -> None:
    first, second = scram_verifier("correct horse battery"), scram_verifier("correct horse battery")
    assert first != second
    assert "horse" not in first


def test_the_verifier_is_that_of_the_rfc() -> None:
    """The exchange of RFC 7677, section 3: the server signature follows from the verifier's server key."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    server_key = base64.b64decode(scram_verifier("pencil", salt=salt, iterations=4096).rsplit(":", 1)[1])
    message = (
        "n=user,r=rOprNGfwEbeRWgbNEkqO,"
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    signature = base64.b64encode(hmac.digest(server_key, message.encode(), "sha256")).decode()
    assert signature == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize("stored", [None, "", "md5deadbeef", "SCRAM-SHA-256$nonsense"])
def test_what_is_no_verifier_matches_nothing(stored: str | None) -> None:
    assert not scram_matches("anything", stored)


def test_a_password_outside_ascii_is_refused() -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        scram_verifier("pässword")


def test_an_error_is_told_without_the_statement() -> None:
    stderr = "psql:<stdin>:3: ERROR:  role \"x\" exists\nSTATEMENT:  ALTER ROLE x PASSWORD 'SCRAM-SHA-256$...'\n"
    assert _first_error(stderr) == 'ERROR:  role "x" exists'


WANTED = {
    "attributes": {"LOGIN": True, "SUPERUSER": False, "REPLICATION": False},
    "password": "a-long-password-here",
    "member_of": ["pg_read_all_data"],
    "settings": {"statement_timeout": "60s"},
}


def test_a_missing_role_is_made_in_full(pg_role) -> None:
    words, statements = pg_role.plan("shop_app", None, WANTED)
    assert words[0] == "create role shop_app"
    assert statements[0] == 'CREATE ROLE "shop_app" NOLOGIN'
    assert 'GRANT "pg_read_all_data" TO "shop_app"' in statements
    assert 'ALTER ROLE "shop_app" SET "statement_timeout" = \'60s\'' in statements
    assert not any("a-long-password-here" in text for text in words + statements)


def test_a_role_as_wanted_is_left_alone(pg_role) -> None:
    current = dict(WANTED, password=scram_verifier("a-long-password-here"))
    assert pg_role.plan("shop_app", current, WANTED) == ([], [])


def test_what_was_added_by_hand_is_taken_away(pg_role) -> None:
    current = {
        "attributes": {"LOGIN": True, "SUPERUSER": True, "REPLICATION": False},
        "password": scram_verifier("another-password"),
        "member_of": ["pg_read_all_data", "pg_write_all_data"],
        "settings": {"statement_timeout": "60s", "work_mem": "1GB"},
    }
    words, statements = pg_role.plan("shop_app", current, WANTED)
    assert words == [
        "withdraw attribute SUPERUSER",
        "set the password",
        "revoke membership in pg_write_all_data",
        "reset work_mem",
    ]
    assert statements[0] == 'ALTER ROLE "shop_app" NOSUPERUSER'


def test_a_password_that_is_no_longer_wanted_is_removed(pg_role) -> None:
    current = dict(WANTED, password=scram_verifier("a-long-password-here"))
    words, _ = pg_role.plan("shop_app", current, dict(WANTED, password=None))
    assert words == ["remove the password"]


GRANTS = {("app", "CONNECT"), ("app", "TEMPORARY"), ("reader", "CONNECT")}
KNOWN = {"app", "reader", "owner"}


def test_everybody_loses_the_database(pg_database) -> None:
    current = {"owner": "owner", "grants": {("", "CONNECT"), ("", "TEMPORARY")}}
    _, statements = pg_database.plan_database("shop", current, "owner", GRANTS, KNOWN)
    assert 'REVOKE CONNECT ON DATABASE "shop" FROM PUBLIC' in statements
    assert 'GRANT CONNECT ON DATABASE "shop" TO "reader"' in statements
    assert len(statements) == len(GRANTS) + 2


def test_grants_as_wanted_and_those_of_strangers_are_left_alone(pg_database) -> None:
    current = {"owner": "owner", "grants": GRANTS | {("stranger", "CONNECT")}}
    assert pg_database.plan_database("shop", current, "owner", GRANTS, KNOWN) == ([], [])


def test_a_known_role_loses_what_it_shall_not_have(pg_database) -> None:
    current = {"owner": "owner", "grants": GRANTS | {("reader", "CREATE")}}
    words, _ = pg_database.plan_database("shop", current, "owner", GRANTS, KNOWN)
    assert words == ["revoke CREATE from reader"]


def all_defaults(pg_database, role: str) -> set[tuple[str, str, str]]:
    return {
        (pg_database._OBJECT_TYPES[kind], role, right)
        for kind, rights in pg_database.WRITER_DEFAULTS.items()
        for right in rights
    }


def test_the_first_time_what_exists_is_granted_too(pg_database) -> None:
    current = {"defaults": set(), "loose": ["public"], "schemas": ["public"]}
    _, statements = pg_database.plan_inside(current, "owner", ["app"])
    assert 'REVOKE CREATE ON SCHEMA "public" FROM PUBLIC' in statements
    assert 'GRANT DELETE, INSERT, SELECT, UPDATE ON ALL TABLES IN SCHEMA "public" TO "app"' in statements
    assert any(text.startswith('ALTER DEFAULT PRIVILEGES FOR ROLE "owner" GRANT') for text in statements)


def test_later_a_migration_may_withdraw_rights_for_good(pg_database) -> None:
    current = {"defaults": all_defaults(pg_database, "app"), "loose": [], "schemas": ["public"]}
    assert pg_database.plan_inside(current, "owner", ["app"]) == ([], [])


def test_default_rights_beyond_the_declared_are_withdrawn(pg_database) -> None:
    current = {
        "defaults": all_defaults(pg_database, "app") | {("r", "app", "TRUNCATE")},
        "loose": [],
        "schemas": [],
    }
    _, statements = pg_database.plan_inside(current, "owner", ["app"])
    assert statements == ['ALTER DEFAULT PRIVILEGES FOR ROLE "owner" REVOKE TRUNCATE ON TABLES FROM "app"']
