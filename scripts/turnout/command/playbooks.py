"""The commands that run playbooks, one for each that people run: what they are called, and what they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click
from click.shell_completion import CompletionItem

from turnout.command.words import FLAGS, VALUE_OPTIONS, split, values
from turnout.errors import TurnoutError

COLLECTION = "turnout.ops"
PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["-h", "--help"]}


@dataclass(frozen=True)
class Entry:
    """One command: its playbook, one line for a list, what `-e` takes, and the variable that its own word sets."""

    playbook: str
    what: str
    variables: tuple[tuple[str, str], ...] = ()
    word: str = ""  # the variable that `turnout COMMAND WORD` sets

    @property
    def full_name(self) -> str:
        """Return the playbook's name as ansible-playbook takes it."""
        return f"{COLLECTION}.{self.playbook}"


ENTRIES = {
    "alert-drill": Entry("alert_drill", "Make alerts fire, and follow each to its receiver; not in production.", (
        ("alert=NAME,NAME", "by default every alert that Prometheus has"), ("format=json", "one JSON object"))),
    "acceptance": Entry("acceptance", "Ask a candidate what its release declares, before users meet it.", (
        ("drill_host=NAME", "by default the first host of the group drill"),
        ("keep_s=600", "so long the cage stays after a finding, for its commands"),
        ("packs=FOLDER", "the folder with acceptance/ of a release that is an image"),
        ("stable_document=FILE", "where the release in service carries no document")), "release"),
    "backup": Entry("backup", "Take a backup of PostgreSQL and Redis.", (
        ("type=full|diff|incr", "by default incr"), ("repository=2", "into that one alone"))),
    "check": Entry("check", "Check service file, objectives and inventory; ask no host."),
    "checklist": Entry("checklist", "Look at everything that must hold before a release; change nothing.", (
        ("format=json", "one JSON object"),), "release"),
    "dead-letters": Entry("dead_letters", "List, show, replay or drop jobs that were given up.", (
        ("queue=NAME", "of checklist.queues; by default all"),
        ("group=ID", "or ids=ID,ID, older_s=SECONDS, newer_s=SECONDS, everything=true: which of them"),
        ("'reason=\"why\"'", "for the ledger: a replay or a drop needs it"),
        ("rate=10", "jobs/s of a replay at most; batch=50, stop_at=0.1, settle_s=120, max_delay_s=SECONDS as well"),
        ("format=json", "one JSON object")), "letters"),
    "deploy": Entry("deploy", "Release a version.", (
        ("canary=off", "no judge: steps by the clock"),
        ("'again=\"a reason\"'", "a release that was rolled back by itself before, once more"),
        ("resume=true", "go on with the release where an earlier run died")), "release"),
    "doors": Entry("doors", "Print who may reach which port of which host."),
    "drill": Entry("restore_drill", "Prove the backups by a restore drill; and report, gate, metrics of drills.", (
        ("mode=latest|random|longest_chain|disaster", "where to recover to"),
        ("release=1.4.2", "what to start on the restored data; by default what is in service"),
        ("drill_host=NAME", "by default the first host of the group drill"))),
    "exposure": Entry("exposure", "Print how exposed each unit is that Turnout laid."),
    "forge-policy": Entry("forge_policy", "Protect the branches of the service's repository as the checklist wants."),
    "logs": Entry("logs_scan", "Look for secrets and personal data in what the service writes.", (
        ("hours=72", "how far back, by default 24"),
        ("limit_s=300", "seconds for one host, by default 60; most_mb=1000: MB, by default 200"),
        ("format=json", "one JSON object")), "logs"),
    "migration-check": Entry("migration_check", "Rehearse a release's pending migrations on a database of their own.", (
        ("copy=true", "on a copy restored from the latest backup"),
        ("migration_check_host=NAME", "by default the first host of the group drill")), "release"),
    "recovery-report": Entry("recovery_report", "Collect what restore drills measured, and lay their metrics."),
    "rehearse-rollback": Entry("rehearse_rollback", "Rehearse the way back; not in production.", (
        ("failing=VERSION", "published, built to fail"), ("good=VERSION", "published, good, not in service"))),
    "restore": Entry("restore", "Restore PostgreSQL for real.", (
        ("target=latest|time|point|release", "with at=, point= or before="),
        ("restore_host=NAME", "by default the host of the group postgres"),
        ("confirm=SERVICE", "cut over; without it the restore stays beside, validated"),
        ("restored=ID", "with confirm=: cut over to one that stayed beside"))),
    "restore-redis": Entry("restore_redis", "Restore Redis for real.", (
        ("target=latest|time", "with at="), ("confirm=SERVICE", "cut over"),
        ("restored=ID", "of one that stayed beside"))),
    "rotate": Entry("rotate", "Rotate the service's credentials by a release.", (
        ("close=true", "let the old logins in no more"),
        ("end_sessions=true", "with close: end their last sessions"))),
    "rollback": Entry("rollback", "Bring the old version back.", (
        ("further=true", "one release further back, where it is still warm"),
        ("'break_glass=\"a reason\"'", "although the target is refused; journalled"),
        ("scheduler_home=HOST", "with break_glass: start the scheduler there"))),
    "run": Entry("run", "Run a command of the service in the color in service."),
    "schedule": Entry("schedule", "Let backups, drills and checks run by themselves.", (
        ("schedule_with=cron", "/etc/cron.d instead of systemd timers"),)),
    "site": Entry("site", "Install and configure what a release stands on; --tags for one part of it."),
    "status": Entry("status", "Show how the service stands.", (("format=json", "one JSON object"),)),
    "trace": Entry("trace", "Find one request in the journals of edges, API and workers.", (
        ("hours=72", "how far back, by default 24"), ("format=json", "one JSON object")), "id"),
    "unlock": Entry("unlock", "Release a lock that outlived its run.", (
        ("'break_glass=\"a reason\"'", "one whose run still beats"),)),
    "watch": Entry("watch", "Lay the guard of the release in service between deploys, or remove it."),
}  # fmt: skip


def options_for(name: str, words: Sequence[str]) -> list[str]:
    """Return the options that ansible-playbook gets for `turnout NAME WORDS`. Raises TurnoutError for a stray word."""
    entry = ENTRIES[name]
    ours, options = split(words)
    if not ours:
        return options
    if len(ours) > 1 or not entry.word:
        raise TurnoutError(
            "command-words",
            observed=f"turnout {name}: {' '.join(ours)!r}",
            expected=f"one {entry.word.upper()}, and options of ansible-playbook" if entry.word
            else "options of ansible-playbook alone",
            remedy=f"turnout {name} --help",
        )  # fmt: skip
    version = ours[0]
    if any(sign.isspace() or sign in "'\"{}=" for sign in version):
        raise TurnoutError(
            "command-release",
            observed=f"turnout {name}: the {entry.word} {version!r}",
            expected="a version, such as 1.4.2" if entry.word == "release" else "one word, without quotes and signs",
            remedy=f"turnout {name} {entry.word.upper()} [OPTIONS OF ansible-playbook]",
        )
    if any(_sets(given, entry.word) for given in values(options, "-e", "--extra-vars")):
        raise TurnoutError(
            "command-release",
            observed=f"turnout {name}: the {entry.word} is given twice, as {version!r} and by -e {entry.word}=",
            expected=f"one {entry.word}",
            remedy=f"take -e {entry.word}= away",
        )
    return [*options, "-e", f"{entry.word}={version}"]


def _sets(given: str, variable: str) -> bool:
    return any(part.partition("=")[0] == variable for part in given.split())


class PlaybookCommand(click.Command):
    """A command that runs a playbook with whatever options ansible-playbook takes."""

    def __init__(self, command: str, *, called: str = "") -> None:
        self.command = command
        self.entry = ENTRIES[command]
        super().__init__(
            called or command, context_settings=PASSED_ON, short_help=self.entry.what, add_help_option=True
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take all words as they are, but for --help."""
        if any(word in ctx.help_option_names for word in split(args)[1]):
            click.echo(ctx.get_help())
            ctx.exit()
        ctx.args = list(args)
        return ctx.args

    def invoke(self, ctx: click.Context) -> None:
        """Run the playbook; this command's exit code is ansible-playbook's."""
        from turnout.command.run import playbook  # noqa: PLC0415 - --help and completion start nothing

        ctx.exit(playbook(self.entry.full_name, options_for(self.command, ctx.args)))

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return what stands behind the command's name."""
        return [*([f"[{self.entry.word.upper()}]"] if self.entry.word else []), "[OPTIONS OF ansible-playbook]"]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Tell what it does, and the playbook behind it."""
        entry = self.entry
        variable = f" -e {entry.word}={entry.word.upper()}" if entry.word else ""
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(entry.what)
            formatter.write_paragraph()
            formatter.write_text(f"The same as: ansible-playbook {entry.full_name}{variable}")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Tell the variables of the playbook, and the options most used."""
        if self.entry.variables:
            with formatter.section("Variables"):
                formatter.write_dl([(f"-e {name}", what) for name, what in self.entry.variables])
        with formatter.section("Options"):
            formatter.write_dl([
                ("-i INVENTORY", "by default that of ansible.cfg"),
                ("--check", "change nothing; tell what would change"),
                ("-v", "all results of the tasks"),
                ("-h, --help", "this; ansible-playbook --help lists all other options"),
            ])  # fmt: skip

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Complete the options of ansible-playbook."""
        options = sorted(option for option in (*VALUE_OPTIONS, *FLAGS) if option.startswith("--"))
        return [CompletionItem(option) for option in options if incomplete and option.startswith(incomplete)]


class PlaybookGroup(click.Group):
    """A group of commands that runs a playbook where its first word is none of them.

    `own` is the name by which the playbook's command is one of the group.
    """

    own = "run"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the playbook's command before words that name no other."""
        named = args and (args[0] in self.commands or args[0] == "--help")
        if not named and (args or not ctx.resilient_parsing):  # not where the shell asks for the names
            args = [self.own, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of its commands, and the options of the playbook that is run without one."""
        run = self.commands[self.own].shell_complete(ctx, incomplete) if incomplete.startswith("-") else []
        return [*super().shell_complete(ctx, incomplete), *run]
