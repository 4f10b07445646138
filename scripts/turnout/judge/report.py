"""A judgement as JSON, back again, and as a line of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from turnout.judge.model import Evidence, Judgement, Rate, Sight, Verdict
from turnout.judge.promotion import FULL_SHARE_BP
from turnout.judge.share import Share

NO_SHARE = "- (not configured: no SLO has turnout.dev/largest-user)"


def _rate_json(rate: Rate) -> dict[str, float | None]:
    return {
        "total": rate.total,
        "bad": rate.bad,
        "rate": rate.ratio,
        "low": rate.low,
        "high": rate.high,
    }


def _share_json(share: Share | None) -> dict[str, object] | None:
    if share is None:
        return None
    return {
        "expected": share.expected,
        "candidate": share.candidate,
        "total": share.total,
        "E": share.e,
        "threshold": share.threshold,
        "off": share.off,
        "why": share.why,
    }


def _share_from(raw: Mapping[str, Any] | None) -> Share | None:
    if raw is None:
        return None
    expected, candidate, total, e, threshold = (
        float(raw[key]) for key in ("expected", "candidate", "total", "E", "threshold")
    )
    return Share(expected, candidate, total, e, threshold, str(raw["why"]))


def evidence_json(evidence: Evidence) -> dict[str, object]:
    """Return one SLO's evidence; `low` and `high` are the 95 % Wilson interval of the rate since the
    start."""
    return {
        "E_abs": evidence.e_abs,
        "E_rel": evidence.e_rel,
        "phi": evidence.phi,
        "p0": evidence.p0,
        "sight": evidence.sight.value,
        "promotion": evidence.promotion,
        "blocks_promotion": evidence.blocks_promotion,
        "stable": _rate_json(evidence.stable),
        "candidate": _rate_json(evidence.candidate),
        "share": _share_json(evidence.share),
    }


def judgement_json(judgement: Judgement, file: str | None = None) -> dict[str, object]:
    """Return a judgement as one JSON object; `file` names the recording that it is of."""
    head: dict[str, object] = {} if file is None else {"file": file}
    return head | {
        "t": judgement.t_s,
        "verdict": judgement.verdict.value,
        "share_bp": judgement.share_bp,
        "next_share_bp": judgement.next_share_bp,
        "watching": judgement.watching,
        "value": judgement.value,
        "threshold": judgement.threshold,
        "blind_for_s": judgement.blind_for_s,
        "promotion_eta_s": judgement.promotion_eta_s,
        "rolled_back_at": judgement.rolled_back_at_s,
        "slos": {e.name: evidence_json(e) for e in judgement.slos},
    }


def _rate_from(raw: Mapping[str, Any]) -> Rate:
    return Rate(*(float(raw[key]) for key in ("total", "bad", "low", "high")))


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def judgement_from(raw: Mapping[str, Any]) -> Judgement:
    """Return the judgement that `judgement_json` wrote; further keys are let be.

    Raises KeyError, TypeError or ValueError where it is none.
    """
    slos = tuple(
        Evidence(
            name=name,
            sight=Sight(slo["sight"]),
            e_abs=float(slo["E_abs"]),
            e_rel=_optional(slo["E_rel"]),
            phi=float(slo["phi"]),
            p0=float(slo["p0"]),
            stable=_rate_from(slo["stable"]),
            candidate=_rate_from(slo["candidate"]),
            promotion=_optional(slo["promotion"]),
            blocks_promotion=bool(slo["blocks_promotion"]),
            share=_share_from(slo.get("share")),
        )
        for name, slo in raw["slos"].items()
    )
    return Judgement(
        t_s=float(raw["t"]),
        share_bp=int(raw["share_bp"]),
        next_share_bp=None if raw["next_share_bp"] is None else int(raw["next_share_bp"]),
        verdict=Verdict(raw["verdict"]),
        value=float(raw["value"]),
        threshold=float(raw["threshold"]),
        watching=bool(raw["watching"]),
        blind_for_s=float(raw["blind_for_s"]),
        promotion_eta_s=_optional(raw["promotion_eta_s"]),
        rolled_back_at_s=_optional(raw["rolled_back_at"]),
        slos=slos,
    )


def percent(ratio: float) -> str:
    """Return a ratio as a person reads it: 0.00123 as 0.12 %."""
    return f"{100 * ratio:.3g} %"


def amount(value: float) -> str:
    """Return an evidence value as a person reads it: three digits, and no more than 'over 1e6'."""
    return "over 1e6" if value > 1e6 else f"{value:.3g}"


def _rate_text(rate: Rate) -> str:
    return f"{rate.bad:.0f} of {rate.total:.0f}" + ("" if rate.ratio is None else f" ({percent(rate.ratio)})")


def share_seen(share: Share) -> str:
    """Return which part of the requests the candidate got, and what its share is."""
    if share.why:
        return f"- (its share of {percent(share.expected)} is not judged: {share.why})"
    part = "" if share.total <= 0.0 else f" ({percent(share.candidate / share.total)})"
    return f"{share.candidate:.0f} of {share.total:.0f} requests{part} where its share is {percent(share.expected)}"


def share_line(judgements: Iterable[Judgement]) -> str:
    """Return what a release's requests said of the candidate's share, in one line.

    It has the last word of each SLO that asks for it, and of a mismatch the last moment at which it stood.
    """
    said: dict[str, tuple[bool, str]] = {}
    for judgement in judgements:
        for e in judgement.slos:
            if e.share is not None and (e.share.off or not said.get(e.name, (False, ""))[0]):
                words = f"MISMATCH at {judgement.t_s:.0f} s: " if e.share.off else ""
                said[e.name] = (e.share.off, words + share_seen(e.share))
    return "; ".join(f"{name}: {words}" for name, (_, words) in said.items()) or NO_SHARE


def _share_text(name: str, share: Share) -> str:
    share_bp = round(share.expected * FULL_SHARE_BP)
    return (
        f"sample-ratio mismatch in {name}: observed: the candidate got {share_seen(share)} (E {amount(share.e)} of "
        f"{share.threshold:.0f}); expected: a part near its share, as far as users of the declared size allow; to "
        f"mend: turnout-edge show on every edge must say share_bp {share_bp}; then look for what loses or repeats the "
        "candidate's requests (redirects, retries, caches, a lost cookie), or for health checks among what is counted; "
        f"where one user sends more than turnout.dev/largest-user of {name} says, declare it there"
    )


def evidence_text(evidence: Evidence) -> str:
    """Return what one SLO says: both colors' bad events, and the evidence."""
    values = f"E_abs {amount(evidence.e_abs)}"
    if evidence.e_rel is not None:
        values += f", E_rel {amount(evidence.e_rel)}"
    return (
        f"{evidence.name}: candidate {_rate_text(evidence.candidate)} bad, "
        f"stable {_rate_text(evidence.stable)}, allowed {percent(evidence.p0)}; {values}"
    )


def reason(judgement: Judgement) -> str:
    """Return why the verdict is what it is, for a person."""
    worst = max(judgement.slos, key=lambda e: e.value)
    if judgement.verdict is Verdict.ROLLBACK:
        return evidence_text(worst)
    shares = "; ".join(_share_text(e.name, e.share) for e in judgement.slos if e.share is not None and e.share.off)
    if judgement.verdict is Verdict.BLIND:
        sights = sorted({e.sight.value for e in judgement.slos if e.sight is not Sight.JUDGED})
        return f"nothing to judge: {', '.join(sights)}" + (f"; {shares}" if shares else "")
    if judgement.verdict is Verdict.HOLD:
        return shares or evidence_text(max(judgement.slos, key=lambda e: e.e_abs if e.e_rel is None else e.e_rel))
    if judgement.verdict is Verdict.PROMOTE:
        return f"every SLO shows enough for {(judgement.next_share_bp or 0) / 100:g} %"
    if judgement.next_share_bp is None:
        return "watching" if judgement.watching else "last step"
    return f"more evidence wanted from {', '.join(e.name for e in judgement.slos if e.blocks_promotion)}"


def status_line(judgement: Judgement) -> str:
    """Return the one line a scrape that a person watches: share, requests, bad, E, time to promotion."""
    # Of one SLO, the one with the most bad events: figures of several are no ratio.
    total, bad = max(
        ((e.candidate.total, e.candidate.bad) for e in judgement.slos), key=lambda n: n[::-1], default=(0.0, 0.0)
    )
    eta_s = judgement.promotion_eta_s
    eta = "" if eta_s is None else f"  promotion in about {eta_s:.0f} s"
    return (
        f"{judgement.t_s:7.1f} s  {judgement.share_bp / 100:6.2f} %  {judgement.verdict.value:8}  "
        f"{total:8.0f} events {bad:6.0f} bad  "
        f"E {amount(judgement.value):>8} of {judgement.threshold:.0f}{eta}"
    )
