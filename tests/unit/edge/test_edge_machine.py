"""Any sequence of commands, faults and crashes keeps the promises of the edge (hypothesis)."""

from __future__ import annotations

import contextlib
import json

import hypothesis.strategies as st
from edge_model import Crash, ModelEdge, release, state_of
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from turnout_edge.errors import Trouble
from turnout_edge.watch import Watch

RUNS = st.sampled_from(["A", "B"])
COLORS = st.sampled_from(["blue", "green"])
SHARES = st.sampled_from([0, 1, 500, 2500, 9999, 10_000])


class EdgeMachine(RuleBasedStateMachine):
    """Two runs, a person, a watchdog, failing servers and crashes, all on one edge."""

    def __init__(self) -> None:
        super().__init__()
        self.edge = ModelEdge()
        self.watch = Watch(self.edge)
        self.versions = 0
        self.fence = 0

    @initialize(confirmed=st.booleans())
    def begin(self, confirmed: bool) -> None:
        if confirmed:
            self.edge.run("adopt --color blue", release=release("1.0.0"))

    def attempt(self, words: str, **named: object) -> Trouble | None:
        """Run a command; a refusal must have changed nothing."""
        edge = self.edge
        before = dict(edge.disk.data), edge.proxy.green
        try:
            edge.run(words, **named)  # type: ignore[arg-type]
        except Trouble as fault:
            if fault.exit_code in (2, 3, 4):
                assert (dict(edge.disk.data), edge.proxy.green) == before
            return fault
        return None

    @rule(run=RUNS, ttl=st.sampled_from([5, 60]), force=st.booleans())
    def take_lock(self, run: str, ttl: int, force: bool) -> None:
        holder, fence = self.edge.load_lock()["holder"], self.fence
        fault = self.attempt(f"lock take --run {run} --ttl-s {ttl}" + (" --break" if force else ""))
        if fault is None:
            assert self.edge.load_lock()["holder"]["run"] == run
            own = holder is not None and holder["run"] == run
            assert self.edge.load_lock()["fence"] == fence + (0 if own else 1)
        else:
            assert fault.exit_code == 4
            assert self.edge.load_lock()["holder"] == holder

    @rule(run=RUNS)
    def beat(self, run: str) -> None:
        holder = self.edge.load_lock()["holder"]
        fault = self.attempt(f"beat --run {run}")
        assert (fault is None) == (holder is not None and holder["run"] == run)

    @rule(run=RUNS)
    def release_lock(self, run: str) -> None:
        self.attempt(f"lock release --run {run}")
        holder = self.edge.load_lock()["holder"]
        assert holder is None or holder["run"] != run

    @rule(run=RUNS, color=COLORS, complete=st.booleans())
    def prepare(self, run: str, color: str, complete: bool) -> None:
        self.versions += 1
        before = state_of(self.edge)
        record = release(f"1.{self.versions}", complete=complete)
        if self.attempt(f"prepare --run {run} --color {color}", release=record) is None:
            assert color != before.stable, "a color that serves is never prepared"
            assert before.candidate in (None, color)

    @rule(run=RUNS, share=SHARES, lease=st.sampled_from([None, 5]))
    def move(self, run: str, share: int, lease: int | None) -> None:
        before = state_of(self.edge)
        words = f"move --run {run} --share-bp {share}" + (f" --lease-s {lease}" if lease else "")
        fault = self.attempt_move(words)
        holder = self.edge.load_lock()["holder"]
        if fault is None:
            assert holder is not None
            assert holder["run"] == run, "only the lock's holder moves traffic"
            if share > before.share_bp:
                record = before.releases[str(before.candidate)]
                assert record is not None
                assert record["complete"] is True
                up = self.edge.proxy.statuses[f"sample-{before.candidate}"].values()
                assert set(up) == {"UP"}

    def attempt_move(self, words: str) -> Trouble | None:
        """Move; whatever comes of it, the share is the old or the new one."""
        before = self.edge.proxy.green
        try:
            self.edge.run(words)
        except Trouble as fault:
            assert self.edge.proxy.green == before
            return fault
        return None

    @rule(run=RUNS)
    def confirm(self, run: str) -> None:
        before = state_of(self.edge)
        if self.attempt(f"confirm --run {run}") is None:
            assert before.share_bp == 10_000
            assert before.word(run).stage == "ready"
            assert state_of(self.edge).stable == before.candidate

    @rule(run=RUNS, color=COLORS)
    def ready(self, run: str, color: str) -> None:
        if self.attempt(f"ready --run {run} --color {color}") is None:
            stage = state_of(self.edge).word(run).stage
            assert stage in ("ready", "confirmed", "committed")
            assert self.edge.load_lease()["armed"] or stage != "ready", "what is between the words has a lease"

    @rule(run=RUNS)
    def commit(self, run: str) -> None:
        before = state_of(self.edge)
        if self.attempt(f"commit --run {run}") is None:
            assert before.word(run).stage in ("confirmed", "committed")
            assert not self.edge.load_lease()["armed"]

    @rule(color=COLORS, run=RUNS)
    def hand_over(self, color: str, run: str) -> None:
        """Take a release all of the way: chance alone hardly ever finds it."""
        with contextlib.suppress(Trouble):
            self.edge.run(f"lock take --run {run}")
            self.edge.run(f"prepare --run {run} --color {color}", release=release("2.0"))
            self.edge.run(f"move --run {run} --share-bp 10000 --lease-s 5")
            self.edge.run(f"ready --run {run} --color {color}")
            self.edge.run(f"confirm --run {run}")

    @rule(run=RUNS, restored=st.booleans())
    def settle(self, run: str, restored: bool) -> None:
        live = self.edge.shares()
        had_stable = state_of(self.edge).stable is not None
        if self.attempt(f"settle --run {run}" + (" --previous-restored" if restored else "")) is None and had_stable:
            assert self.edge.shares() == live, "settling moves nobody"

    @rule(run=st.sampled_from([None, "A", "R"]), further=st.booleans())
    def rollback(self, run: str | None, further: bool) -> None:
        words = "rollback" + (f" --run {run}" if run else "") + (" --further" if further else "")
        fault = self.attempt(words)
        if fault is not None and fault.exit_code != 6:
            assert fault.exit_code == 3
            return
        state = state_of(self.edge)
        if state.stable is not None:
            assert state.share_bp == 0
            assert self.edge.disk_bp() == state.green_bp
        if fault is None and not further:
            before = dict(self.edge.disk.data), self.edge.proxy.green
            again = self.edge.run(words)
            assert again["changed"] is False
            assert (dict(self.edge.disk.data), self.edge.proxy.green) == before

    @rule(run=RUNS, keep=st.booleans())
    def put_back(self, run: str, keep: bool) -> None:
        before = state_of(self.edge)
        self.attempt(f"rollback --put-back --run {run}" + (" --keep-confirmed" if keep else ""))
        after = state_of(self.edge)
        if after != before:
            assert run in (before.declared_by if before.candidate else before.confirmed_by,)
            assert after.stable == before.stable or not (before.word().stage == "committed" and before.word().sure)

    @rule(seconds=st.sampled_from([0.5, 4, 30, 70]), ticks=st.integers(0, 4))
    def time_passes(self, seconds: float, ticks: int) -> None:
        self.edge.time.advance(seconds)
        for _ in range(ticks):
            self.watch.tick()

    @rule(jump=st.sampled_from([-86_400.0, 86_400.0]))
    def wall_clock_jumps(self, jump: float) -> None:
        holder = self.edge.load_lock()["holder"]
        # After a reboot the wall clock is all there is to measure by; before one it must not matter.
        same_boot = holder is not None and holder["beat"]["boot_id"] == self.edge.time.boot_id
        before_s = self.edge.run("show")["lock"]["age_s"] if same_boot else None
        self.edge.time.wall += jump
        if before_s is not None:
            assert abs(self.edge.run("show")["lock"]["age_s"] - before_s) < abs(jump) / 2

    @rule(color=COLORS, server=st.sampled_from(["app1", "app2"]), status=st.sampled_from(["UP", "DOWN", "MAINT"]))
    def server_changes(self, color: str, server: str, status: str) -> None:
        self.edge.proxy.statuses[f"sample-{color}"][server] = status

    @rule()
    def haproxy_stops(self) -> None:
        self.edge.proxy.running = False

    @precondition(lambda self: not self.edge.proxy.running)
    @rule()
    def haproxy_starts(self) -> None:
        self.edge.proxy.restart()

    @rule(green=st.integers(0, 10_000))
    def somebody_meddles(self, green: int) -> None:
        if self.edge.proxy.running:
            self.edge.proxy.green = green
            for _ in range(4):
                self.watch.tick()
            if self.edge.has_state():
                assert self.edge.agrees()
            else:
                self.edge.proxy.green = 0

    @rule(
        words=st.sampled_from(
            [
                *("rollback", "rollback --run A", "rollback --put-back --run A", "move --run A --share-bp 2500"),
                *("ready --run A --color green", "confirm --run A", "commit --run A"),
            ]
        ),
        step=st.integers(1, 8),
        when=st.sampled_from(["before", "after", "torn"]),
        cut=st.booleans(),
    )
    def crash(self, words: str, step: int, when: str, cut: bool) -> None:
        self.edge.fuse.set(step, when)
        with contextlib.suppress(Crash, Trouble):
            self.edge.run(words)
        self.edge.fuse.set(None)
        if cut:
            self.edge.power_cut()
        if self.edge.proxy.running:
            for _ in range(4):
                self.watch.tick()
            assert not self.edge.has_state() or self.edge.agrees()

    @rule(name=st.sampled_from(["lock.json", "fence"]), rubbish=st.sampled_from([None, b"", b"{", b"-1"]))
    def lock_is_damaged(self, name: str, rubbish: bytes | None) -> None:
        path = f"/state/{name}"
        try:
            kept = [json.loads(self.edge.disk.data.get(f"/state/{each}") or b"0") for each in ("lock.json", "fence")]
        except ValueError:
            return  # one of the two is damaged already
        if not isinstance(kept[0], dict) or kept[0].get("fence") != kept[1]:
            return  # a crash before the number was given to anybody left one copy of it: that is one damage already
        if rubbish is None or path not in self.edge.disk.data:
            self.edge.disk.data.pop(path, None)
        else:
            self.edge.disk.data[path] = rubbish

    @invariant()
    def fence_never_falls(self) -> None:
        lock = self.edge.load_lock()
        assert lock["fence"] >= self.fence
        self.fence = lock["fence"]
        assert lock["holder"] is None or lock["holder"]["fence"] <= self.fence

    @invariant()
    def state_is_sound(self) -> None:
        state = state_of(self.edge)
        assert state.faults() == []
        assert sum(state.serving_bp().values()) == 10_000

    @invariant()
    def one_truth(self) -> None:
        if self.edge.proxy.running and self.edge.has_state():
            assert self.edge.agrees()

    @invariant()
    def show_works(self) -> None:
        self.edge.run("show")

    @invariant()
    def users_are_where_the_state_says(self) -> None:
        state = state_of(self.edge)
        if state.stable is None:
            return
        for color, share in state.serving_bp().items():
            assert share == 0 or color in (state.stable, state.candidate)

    @invariant()
    def journal_is_whole(self) -> None:
        numbers = [line["seq"] for line in self.edge.journal.tail(100_000)]
        assert numbers == sorted(set(numbers))


EdgeMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestEdgeMachine = EdgeMachine.TestCase
