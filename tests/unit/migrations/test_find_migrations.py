"""Which migrations a folder holds, in which order and of which kind: names and files as their tools write them."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from turnout.errors import TurnoutError
from turnout.migrations.find import find, number_of
from turnout.migrations.kinds import kind_of


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("0001_init.up.sql", 1),
        ("2019-02-26-002946_create_posts", 20190226002946),  # Diesel
        ("2014_10_12_000000_create_users_table.php", 20141012000000),  # Laravel
        ("2014_10_12_100000_create_password_resets_table.php", 20141012100000),
        ("0001_01_01_000000_create_users_table.php", 10101000000),  # Laravel 11 and later
        ("0001_01_01_000001_create_cache_table.php", 10101000001),
        ("20190226002946-add-users.js", 20190226002946),  # Sequelize
        ("20190226_002946_add_users.sql", 20190226002946),
        ("2019-02-26T00-29-46_x.sql", 20190226002946),
        ("2019-02-26_x.sql", 20190226),
        ("2019-02-26T00:29:46_x.sql", 20190226002946),
        ("2019-02_x.sql", 201902),
        ("2019_12_report.sql", 201912),
        ("2019_13_report.sql", 2019),
        ("20260102_b", 20260102),
        ("20210501_02_AbCdE-add-users.py", 20210501000002),  # yoyo
        ("0003_2019_report.sql", 3),
        ("0003_12_10_x.sql", 3),
        ("0004_2fa.sql", 4),
        ("2019_report.sql", 2019),
        ("20190226002946_2fa.sql", 20190226002946),
        ("1551142186.sql", 1551142186),
        ("readme.md", None),
    ],
)
def test_a_date_and_what_follows_it_is_one_number(name: str, number: int | None) -> None:
    assert number_of(name) == number


def test_migrations_of_one_day_or_one_year_are_each_found(tmp_path: Path) -> None:
    write(tmp_path, {
        "2014_10_12_000000_create_users_table.php": "<?php", "2014_10_12_100000_create_resets.php": "<?php",
        "2019-02-26-002946_posts/up.sql": "SELECT 1;", "2019-02-26-002946_posts/down.sql": "SELECT 2;",
        "2019-02-26-002947_more/up.sql": "SELECT 1;",
    })  # fmt: skip
    found = find(tmp_path)
    assert [(one.version, one.id) for one in found.migrations] == [
        (20141012000000, "2014_10_12_000000_create_users_table"), (20141012100000, "2014_10_12_100000_create_resets"),
        (20190226002946, "2019-02-26-002946_posts"), (20190226002947, "2019-02-26-002947_more"),
    ]  # fmt: skip
    assert found.order == "number"
    assert [one.kind for one in found.migrations] == ["contract", "contract", "expand", "expand"]


def test_what_a_compiler_lays_beside_a_migration_is_none(tmp_path: Path) -> None:
    written = "1700000000000-CreateUsers"
    laid = (f"{written}.js", f"{written}.js.map", f"{written}.d.ts", f"{written}.d.ts.map", f"{written}.d.mts")
    write(tmp_path, dict.fromkeys(laid, "// turnout: kind=expand"))
    assert [(one.version, one.id) for one in find(tmp_path).migrations] == [(1700000000000, written)]


ALEMBIC = """
    from alembic import op
    import sqlalchemy as sa
    revision: str = {revision!r}
    down_revision = {down!r}
    def upgrade() -> None:
        {up}
    def downgrade() -> None:
        op.drop_column("users", "x")
"""


def alembic(revision: str, down: object, up: str = "pass") -> str:
    return textwrap.dedent(ALEMBIC).format(revision=revision, down=down, up=up)


def test_alembic_is_ordered_by_what_its_files_revise(tmp_path: Path) -> None:
    write(tmp_path, {
        "versions/ff01_one.py": alembic("ff01", None), "versions/aa02_two.py": alembic("aa02", "ff01"),
        "versions/cc03_side.py": alembic("cc03", "ff01"), "versions/bb04_join.py": alembic("bb04", ("aa02", "cc03")),
        "env.py": "from alembic import context",
    })  # fmt: skip
    found = find(tmp_path)
    assert [(one.version, one.id, one.after) for one in found.migrations] == [
        (1, "ff01", ()), (2, "aa02", ()), (3, "cc03", ("ff01",)), (4, "bb04", ("aa02", "cc03"))
    ]  # fmt: skip
    assert found.order == "list"


DJANGO = """
    from django.db import migrations, models
    class Migration(migrations.Migration):
        dependencies = {dependencies}
        operations = [{operations}]
"""


def django(dependencies: object = (), operations: str = "") -> str:
    return textwrap.dedent(DJANGO).format(dependencies=list(dependencies), operations=operations)  # type: ignore[call-overload]


def test_django_is_ordered_over_its_applications(tmp_path: Path) -> None:
    write(tmp_path, {
        "users/migrations/__init__.py": "", "users/migrations/0001_initial.py": django(),
        "users/migrations/0002_more.py": django([("users", "0001_initial"), ("shop", "0001_initial")]),
        "web/shop/migrations/0001_initial.py": django([("users", "__first__")]),
        "web/shop/apps.py": "class C(AppConfig):\n    name = 'web.shop'\n",
        "old/migrations/0001_initial.py": django(), "old/apps.py": "class C(AppConfig):\n    label = 'billing'\n",
    })  # fmt: skip
    found = find(tmp_path)
    assert [one.id for one in found.migrations] == [
        "billing.0001_initial", "users.0001_initial", "shop.0001_initial", "users.0002_more"
    ]  # fmt: skip
    assert found.order == "list"
    assert [one.id for one in find(tmp_path / "web/shop/migrations").migrations] == ["shop.0001_initial"]


def test_flyway_is_ordered_by_the_parts_of_its_versions(tmp_path: Path) -> None:
    names = ["V2__b.sql", "V10__d.sql", "V2.1__c.sql", "V1__a.sql", "R__view.sql", "U2__b.sql", "deep/V2_1_5__e.sql"]
    write(tmp_path, dict.fromkeys(names, "SELECT 1;"))
    assert [one.id for one in find(tmp_path).migrations] == ["V1__a", "V2__b", "V2.1__c", "V2_1_5__e", "V10__d"]


def test_yoyo_is_ordered_by_what_its_files_depend_on(tmp_path: Path) -> None:
    step = 'from yoyo import step\n__depends__ = {%s}\nsteps = [step("create table x(y int)", "drop table x")]\n'
    write(tmp_path, {
        "20210501_01_AbCdE-first.py": step % "", "20210501_02_aaaaa-second.py": step % '"20210501_01_AbCdE-first"',
        "20210501_03_bbbbb-third.sql": "-- depends: 20210501_02_aaaaa-second\nSELECT 1;",
        "20210501_03_bbbbb-third.rollback.sql": "SELECT 2;",
    })  # fmt: skip
    names = ["20210501_01_AbCdE-first", "20210501_02_aaaaa-second", "20210501_03_bbbbb-third"]
    assert [one.id for one in find(tmp_path).migrations] == names


def test_a_circle_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": alembic("a1", "b2"), "b.py": alembic("b2", "a1")})
    with pytest.raises(TurnoutError) as caught:
        find(tmp_path)
    assert "circle" in str(caught.value)


EXPAND, CONTRACT = "expand", "contract"


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("", EXPAND),
        ("migrations.CreateModel(name='A', fields=[('id', models.AutoField(primary_key=True))])", EXPAND),
        ("migrations.AddField('a', 'x', models.IntegerField(null=True))", EXPAND),
        ("migrations.AddField(model_name='a', name='x', field=models.IntegerField(db_default=0))", EXPAND),
        # Django drops the default from the database: the release before it cannot write rows any more.
        ("migrations.AddField(model_name='a', name='x', field=models.IntegerField(default=0))", CONTRACT),
        ("migrations.AddField('a', 'x', models.AutoField(primary_key=True, null=True))", CONTRACT),
        ("migrations.AddField(model_name='a', name='x', field=models.ManyToManyField(to='b'))", EXPAND),
        ("migrations.AddIndex('a', models.Index(fields=['x'], name='i'))", EXPAND),
        ("AddIndexConcurrently('a', models.Index(fields=['x'], name='i'))", EXPAND),
        ("TrigramExtension()", EXPAND),
        ("migrations.AddConstraint('a', models.UniqueConstraint(fields=['x'], name='u'))", CONTRACT),
        ("migrations.RemoveField('a', 'x')", CONTRACT),
        ("migrations.DeleteModel('A')", CONTRACT),
        ("migrations.RenameField('a', 'x', 'y')", CONTRACT),
        ("migrations.RenameModel('A', 'B')", CONTRACT),
        ("migrations.AlterField('a', 'x', models.IntegerField())", CONTRACT),
        ("migrations.AlterModelTable('a', 'b')", CONTRACT),
        ("migrations.RunSQL('DROP TABLE a')", CONTRACT),
        ("migrations.RunPython(fill)", CONTRACT),
        ("migrations.RunPython(migrations.RunPython.noop)", EXPAND),
        ("teams.OwnOperation()", CONTRACT),
        ("*more", CONTRACT),
        ("migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel('A')])", EXPAND),
        ("migrations.SeparateDatabaseAndState(database_operations=[migrations.RunSQL('x')])", CONTRACT),
        ("migrations.CreateModel(name='A', fields=[]), migrations.RemoveField('a', 'x')", CONTRACT),
    ],
)
def test_what_a_django_migration_does_tells_its_kind(operation: str, kind: str) -> None:
    assert kind_of(".py", django(operations=operation)) == kind


def test_a_django_migration_whose_operations_are_computed_is_contract() -> None:
    head = "from django.db import migrations\nclass Migration(migrations.Migration):\n"
    assert kind_of(".py", head + "    operations = make()\n") == CONTRACT
    assert kind_of(".py", head + "    operations = []\n    operations += more\n") == CONTRACT
    assert kind_of(".py", head + "    def apply(self, *args):\n        pass\n") == CONTRACT
    assert kind_of(".py", "no python at all (") == CONTRACT


@pytest.mark.parametrize(
    ("up", "kind"),
    [
        ("pass", EXPAND),
        ('op.create_table("a", sa.Column("id", sa.Integer(), nullable=False), sa.PrimaryKeyConstraint("id"))', EXPAND),
        ('op.create_index(op.f("ix"), "a", ["x"], unique=False)', EXPAND),
        ('op.create_index("ix", "a", ["x"], unique=True)', CONTRACT),
        ('op.add_column("a", sa.Column("x", sa.Integer()))', EXPAND),
        ('op.add_column("a", sa.Column("x", sa.Integer(), nullable=False, server_default=sa.text("0")))', EXPAND),
        ('op.add_column("a", sa.Column("x", sa.Integer(), nullable=False))', CONTRACT),
        ('op.add_column("a", sa.Column("x", sa.Enum("a", name="e").with_variant(sa.String(9), "x")))', EXPAND),
        ('op.add_column("a", sa.Column("x", GUID(), server_default=func.now()))', EXPAND),
        ('op.add_column("a", sa.Column("x", sa.Integer(), unique=wanted))', CONTRACT),
        ('op.add_column("a", sa.Column("x", sa.Integer(), **more))', CONTRACT),
        ('op.create_index("ix", "a", ["x"], **more)', CONTRACT),
        ('op.create_table("a", *columns())', CONTRACT),
        ('op.create_table(helpers.emptied("b"))', CONTRACT),
        ('op.drop_column("a", "x")', CONTRACT),
        ('op.alter_column("a", "x", new_column_name="y")', CONTRACT),
        ('op.rename_table("a", "b")', CONTRACT),
        ('op.execute("UPDATE a SET x = 1")', CONTRACT),
        ('op.get_bind().execute("DROP TABLE a")', CONTRACT),
        ("connection = op.get_bind()", CONTRACT),
        ("helper()", CONTRACT),
        ('with op.batch_alter_table("a") as batch:\n        batch.add_column(sa.Column("x", sa.Integer()))', EXPAND),
        ('with op.batch_alter_table("a") as batch:\n        batch.drop_column("x")', CONTRACT),
        ('with op.get_context().autocommit_block():\n        op.create_index("i", "a", ["x"])', EXPAND),
        ('if True:\n        op.drop_table("a")', CONTRACT),
        ('op.create_table("a"); op.drop_table("b")', CONTRACT),
    ],
)
def test_what_an_alembic_migration_does_tells_its_kind(up: str, kind: str) -> None:
    assert kind_of(".py", alembic("a1", None, up)) == kind


RAILS = "class AddThings < ActiveRecord::Migration[7.1]\n  %s\nend\n"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (
            "def change\n  create_table :a do |t|\n    t.string :x, null: false\n    t.timestamps\n  end\nend",
            EXPAND,
        ),
        ("def change\n    create_table(:a) { |t| t.string :x }\n  end", EXPAND),
        ("def change\n  create_table :a, force: :cascade do |t|\n    t.string :x\n  end\nend", CONTRACT),
        ("def change\n    add_column :a, :x, :jsonb, default: {}\n    add_index :a, :x\n  end", EXPAND),
        ("def change\n    add_column :a, :x, :string, null: false\n  end", CONTRACT),
        (
            "def change\n    add_column :a,\n      :x, :string,\n      null: false, default: ''\n  end",
            EXPAND,
        ),
        ("disable_ddl_transaction!\n\n  def change\n    add_index :a, :x\n  end", EXPAND),
        ("def change\n    add_index :a, :x, unique: true\n  end", CONTRACT),
        ("def change\n    add_index :a, :x, unique: wanted\n  end", CONTRACT),
        ("def change\n    add_column :a, :x, :string, null: false, default: nil\n  end", CONTRACT),
        ("def change\n    add_column :a, :x, :string, null: wanted\n  end", CONTRACT),
        ("def change\n    add_column :a, :x, :string, null: !true\n  end", CONTRACT),
        ("def change\n    add_column :a, :x, :string, null: true, unique: false\n  end", EXPAND),
        ("def change\n    add_column :a, :x, :string, **more\n  end", CONTRACT),
        ("def change\n    create_table :b do |t|\n      t.string :x\n    end if drop_table(:a)\n  end", CONTRACT),
        ("def change\n    create_table :b do |t|\n      t.string :x\n    end unless table_exists?(:b)\n  end", EXPAND),
        ("def change\n    add_reference :a, :b, foreign_key: true\n  end", EXPAND),
        ("def change\n    remove_column :a, :x, :string\n  end", CONTRACT),
        ("def change\n    rename_column :a, :x, :y\n  end", CONTRACT),
        ("def change\n    drop_table :a\n  end", CONTRACT),
        ("def change\n    change_column_null :a, :x, false\n  end", CONTRACT),
        ("def up\n    execute 'DROP TABLE a'\n  end\n  def down\n    create_table :a\n  end", CONTRACT),
        ("def up\n    execute <<~SQL\n      create_table x\n    SQL\n  end", CONTRACT),
        (
            "def up\n  add_column :a, :x, :string # execute later\nend\n\ndef down\n  remove_column :a, :x\nend",
            EXPAND,
        ),
        ("def change\n    change_table :a do |t|\n      t.remove :x\n    end\n  end", CONTRACT),
        ("def change\n    User.update_all(x: 1)\n  end", CONTRACT),
        ("def change\n    add_column :a, :x, :string; drop_table :b\n  end", CONTRACT),
        ("def change\n    add_column :a, :x, :string unless column_exists?(:a, :x)\n  end", EXPAND),
        ("def change\n    unless column_exists?(:a, :x)\n      remove_column :a, :x\n    end\n  end", CONTRACT),
        ("def change\n    reversible do |dir|\n      dir.up { execute 'x' }\n    end\n  end", CONTRACT),
        ("", CONTRACT),
    ],
)
def test_what_a_rails_migration_does_tells_its_kind(body: str, kind: str) -> None:
    assert kind_of(".rb", RAILS % body) == kind


def test_a_comment_says_more_than_the_file_and_an_unknown_language_takes_away(tmp_path: Path) -> None:
    write(tmp_path, {
        "0001_a.py": "# turnout: kind=expand\n" + alembic("0001", None, 'op.execute("x")').replace("down_rev", "rev"),
        "0002_b.rb": "Sequel.migration do\nend\n", "0003_c.js": "exports.up = 1", "0004_d.sql": "SELECT 1;",
    })  # fmt: skip
    assert [one.kind for one in find(tmp_path).migrations] == [EXPAND, CONTRACT, CONTRACT, EXPAND]


def test_djangos_own_class_is_no_migration(tmp_path: Path) -> None:
    write(tmp_path, {
        "lib/django/db/migrations/migration.py": "class Migration:\n    # migrations.Migration\n    replaces = []\n",
        "shop/migrations/0001_initial.py":
            "from django.db import migrations\nclass Migration(migrations.Migration):\n    dependencies = []\n",
    })  # fmt: skip
    assert [one.id for one in find(tmp_path).migrations] == ["shop.0001_initial"]
