"""One file with the way there and the way back, files of equal content, and where a file lies in the repository."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from turnout.migrations import files, lint
from turnout.migrations.review import paths_in_repository
from turnout.migrations.sections import up_part
from turnout.release.schema import Migration

UP, DOWN = "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (x);", "DROP INDEX i;"


def artifact(folder: Path, contents: dict[str, str]) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    packed = folder / "shop-1.tar.zst"
    subprocess.run(["zstd", "-q", "-f", "-", "-o", str(packed)], input=buffer.getvalue(), check=True)
    return packed


def listed(text: str, name: str, version: int = 1) -> Migration:
    return Migration(version, name, "expand", hashlib.sha256(text.encode()).hexdigest())


@pytest.mark.parametrize(
    ("text", "back", "in_transaction"),
    [
        (f"-- +goose Up\n{UP}\n\n-- +goose Down\n{DOWN}\n", True, True),
        (f"-- +goose NO TRANSACTION\n-- +goose Up\n{UP}\n-- +goose Down\n{DOWN}\n", True, False),
        (f"-- +goose Up\n-- +goose StatementBegin\n{UP}\n-- +goose StatementEnd\n-- +goose Down\n{DOWN}\n", True, True),
        (f"-- +goose Up\n{UP}\n-- +goose Down\n-- nothing undoes it\n", False, True),
        (f"-- migrate:up transaction:false\n{UP}\n-- migrate:down\n{DOWN}\n", True, False),
        (f"-- migrate:up\n{UP}\n\n-- migrate:down transaction:false\n{DOWN}\n", True, True),
        (f"-- migrate:up\n{UP}\n\n-- migrate:down\n", False, True),
        (f"-- +migrate Up notransaction\n{UP}\n-- +migrate Down\n{DOWN}\n", True, False),
        (f"-- rambler up\n{UP}\n-- rambler down\n{DOWN}\n", True, True),
        (f"-- Up Migration\n{UP}\n-- Down Migration\n{DOWN}\n", True, True),
        (f"{UP}\n---- create above / drop below ----\n{DOWN}\n", True, True),
        (f"# --- !Ups\n{UP}\n# --- !Downs\n{DOWN}\n", True, True),
        (f"-- !Ups\n{UP}\n\n-- !Downs\n{DOWN}\n", True, True),
        (f"-- // adds an index\n{UP}\n\n-- //@UNDO\n{DOWN}\n", True, True),
        (f"-- Up\n{UP}\n--- Down ---\n{DOWN}\n", True, True),
        (f"{UP}\n-- what goes up comes down\n-- down below is more\n", False, True),
        (
            f"--liquibase formatted sql\n--changeset me:1 runInTransaction:false\n{UP}\n--rollback drop index i\n",
            True,
            False,
        ),
        (f"--liquibase formatted sql\n--changeset me:1\n{UP}\n--rollback\n", False, True),
        (f"-- no-transaction\n{UP}\n", False, False),
        (f"-- transactional: false\n{UP}\n", False, False),
        (f"{UP}\n", False, True),
    ],
)
def test_only_the_way_there_is_what_a_file_applies(text: str, back: bool, in_transaction: bool) -> None:
    part = up_part(text)
    assert UP in part.text
    assert DOWN not in part.text
    assert part.text.split("\n").index(UP) == text.split("\n").index(UP), "findings name the lines of the file"
    assert (part.has_down, part.in_transaction) == (back, in_transaction)


def test_the_way_back_is_not_linted_and_the_lack_of_a_transaction_is_heard() -> None:
    text = f"-- +goose NO TRANSACTION\n-- +goose Up\n{UP}\n-- +goose Down\nDROP TABLE a;\n"
    part = up_part(text)
    assert lint.findings(part.text, allowed=(), in_transaction=part.in_transaction) == []
    assert "ban-drop-table" in str(lint.findings(text, allowed=()))


ALEMBIC = "def upgrade():\n    pass\n\n\ndef downgrade():\n    %s\n"
DJANGO = "class Migration(migrations.Migration):\n    operations = [%s]\n"


@pytest.mark.parametrize(
    ("text", "suffix", "back"),
    [
        (ALEMBIC % 'op.drop_table("a")', ".py", True),
        (ALEMBIC % "pass", ".py", False),
        (ALEMBIC % "raise NotImplementedError", ".py", False),
        (DJANGO % "migrations.RemoveField('a', 'x')", ".py", True),
        (DJANGO % "migrations.RunSQL('x', 'y')", ".py", True),
        (DJANGO % "migrations.RunSQL('x')", ".py", False),
        (DJANGO % "migrations.RunPython(f, reverse_code=g)", ".py", True),
        ('steps = [step("a", "b")]', ".py", True),
        ('steps = [step("a")]', ".py", False),
        ("class A < ActiveRecord::Migration[7.0]\n  def change\n  end\nend", ".rb", True),
        ("class A < ActiveRecord::Migration[7.0]\n  def up\n  end\nend", ".rb", False),
        ("public function down(): void\n{\n    Schema::dropIfExists('a');\n}", ".php", True),
        ("public function down()\n{\n    // nothing\n}", ".php", False),
        ("public function up() { down(); }", ".php", False),
        ("exports.up = k => k.x();\nexports.down = function (knex) {\n  return knex.x();\n};", ".js", True),
        ("exports.down = async (knex) => knex.schema.dropTable('a');", ".cjs", True),
        ("exports.down = async () => {};", ".js", False),
        ("exports.down = false;", ".js", False),
        ("module.exports = {\n  async down(queryInterface) {\n    await queryInterface.x();\n  },\n};", ".js", True),
        ("module.exports = {\n  down: (queryInterface) => queryInterface.x(),\n};", ".js", True),
        ("export async function down(knex: Knex): Promise<void> {\n  await knex.x();\n}", ".ts", True),
        ("public async down(q: QueryRunner): Promise<void> {\n  await q.query(`x`);\n}", ".ts", True),
        ("public async down(q: QueryRunner): Promise<void> {}", ".ts", False),
        ("export const up = 1; // down(x) { y }", ".mjs", False),
        ("func init() { goose.AddMigrationContext(upA, downA) }", ".go", True),
        ("func init() { goose.AddMigrationNoTxContext(upA, nil) }", ".go", False),
        ("def change do\n  create table(:a)\nend", ".exs", True),
        ("def up, do: execute(x)\ndef down, do: execute(y)", ".exs", True),
        ("def up do\nend", ".exs", False),
        ('protected override void Down(MigrationBuilder b)\n{\n    b.DropTable(name: "a");\n}', ".cs", True),
        ("protected override void Down(MigrationBuilder b)\n{\n}", ".cs", False),
    ],
)
def test_a_file_of_code_tells_whether_it_can_be_undone(text: str, suffix: str, back: bool) -> None:
    assert up_part(text, suffix).has_down is back


def test_migrations_of_equal_text_are_each_found(tmp_path: Path) -> None:
    text = "SELECT 1;\n"
    held = {f"m/{name}.sql": text for name in ("0001_a", "0002_b")} | {"m/0002_b.down.sql": "x"}
    apps = {f"{app}/migrations/0001_initial.py": "same" for app in ("shop", "users")}
    wanted = [listed(text, "0001_a"), listed(text, "0002_b", 2)]
    wanted += [listed("same", "shop.0001_initial", 3), listed("same", "users.0001_initial", 4)]
    found = files.read(artifact(tmp_path, held | apps), wanted)
    assert {name: one.path for name, one in found.items()} == {
        "0001_a": "m/0001_a.sql", "0002_b": "m/0002_b.sql", "shop.0001_initial": "shop/migrations/0001_initial.py",
        "users.0001_initial": "users/migrations/0001_initial.py",
    }  # fmt: skip
    assert (found["0001_a"].down, found["0002_b"].down) == (None, "m/0002_b.down.sql")


@pytest.mark.parametrize(
    ("path", "down"),
    [
        ("m/2019-02-26-002946_x/up.sql", "m/2019-02-26-002946_x/down.sql"),
        ("m/20210501_01_AbCdE-x.sql", "m/20210501_01_AbCdE-x.rollback.sql"),
        ("m/V1.2__x.sql", "m/U1.2__y.sql"),
        ("m/20190226002946-x.up.sql", "m/20190226002946-x.down.sql"),
    ],
)
def test_the_way_back_lies_beside_it(path: str, down: str) -> None:
    others = ["m/20190227002946-x.down.sql", "m/20210501_02_AbCdE-x.rollback.sql", "m/U1__x.sql"]
    assert files.way_back(path, [path, down, *others]) == down
    assert files.way_back(path, [path, *others]) is None


@pytest.mark.parametrize(
    ("path", "folder", "first"),
    [
        ("migrations/0001_a.sql", "migrations", "migrations/0001_a.sql"),
        ("migrations/postgres/0001_a.up.sql", "migrations/postgres", "migrations/postgres/0001_a.up.sql"),
        ("migrations/postgres/0001_a.up.sql", "migrations", "migrations/postgres/0001_a.up.sql"),
        ("db/migrations/postgres/0001_a.sql", "services/shop/db/migrations/postgres",
         "services/shop/db/migrations/postgres/0001_a.sql"),
        ("opt/app/db/migrate/0001_a.rb", "db/migrate", "db/migrate/0001_a.rb"),
        ("m/0001_a/up.sql", "migrations", "migrations/0001_a/up.sql"),
        ("m/0001_a.sql", "db/schema", "db/schema/0001_a.sql"),
        ("shop/migrations/0001_a.py", "", "0001_a.py"),
    ],
)  # fmt: skip
def test_a_file_is_looked_for_where_the_folder_says_and_where_the_artifact_has_it(
    path: str, folder: str, first: str
) -> None:
    file = files.MigrationFile(listed("x", "a"), path, "x", None)
    found = paths_in_repository(file, folder)
    assert found[0] == first
    assert path in found
