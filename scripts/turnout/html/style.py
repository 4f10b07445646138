"""How the pages look. One style sheet for all, with light and dark, from 320 pixels up."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --bg: #f7f8fa; --card: #ffffff; --ink: #1b2230; --soft: #5a6475; --edge: #dde2ea; --grid: #e6e9ef;
  --good: #14713d; --good-bg: #e6f5ec; --bad: #b3261e; --bad-bg: #fdebe9;
  --warn: #8a5300; --warn-bg: #fff3dc; --info: #2c5aa0; --info-bg: #e9f0fb;
  --c0: #78828f; --c1: #1f6fc4; --c2: #d1541f; --c3: #148568; --c4: #8a55c8; --c5: #a77a00; --c6: #c03a74;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #12151b; --card: #1b2029; --ink: #e7ebf2; --soft: #a3adbd; --edge: #313947; --grid: #2a313d;
    --good: #67d391; --good-bg: #14301f; --bad: #ff958a; --bad-bg: #3d1a18;
    --warn: #f2bd62; --warn-bg: #372812; --info: #93bbf7; --info-bg: #1a2a45;
    --c0: #98a3b3; --c1: #62a8f0; --c2: #f58a55; --c3: #43c29b; --c4: #bb94f0; --c5: #d9ac3a; --c6: #f07aab;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; overflow-wrap: break-word; }
.long { overflow-wrap: anywhere; }
main { max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 .25rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 0 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
p { margin: .35rem 0; max-width: 46rem; }
.sub, .note { color: var(--soft); font-size: .9rem; }
code { font: .9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
section { background: var(--card); border: 1px solid var(--edge); border-radius: .6rem; padding: 1rem; margin: 1rem 0; }
.banner { display: flex; gap: .9rem; border-width: 1px 1px 1px .4rem; }
.banner p { font-size: 1.02rem; }
.banner .sign { flex: none; width: 2rem; height: 2rem; border-radius: 50%; display: grid; place-items: center;
  font-weight: 700; color: var(--card); }
.banner > div { min-width: 0; }
.banner.good { background: var(--good-bg); border-color: var(--good); } .banner.good .sign { background: var(--good); }
.banner.bad { background: var(--bad-bg); border-color: var(--bad); } .banner.bad .sign { background: var(--bad); }
.banner.warn { background: var(--warn-bg); border-color: var(--warn); } .banner.warn .sign { background: var(--warn); }
.banner.info { background: var(--info-bg); border-color: var(--info); } .banner.info .sign { background: var(--info); }
.chip { font-weight: 600; }
.chip.good { color: var(--good); } .chip.bad { color: var(--bad); }
.chip.warn { color: var(--warn); } .chip.info { color: var(--info); }
.facts { display: grid; grid-template-columns: fit-content(40%) minmax(0, 1fr); gap: .25rem 1rem; margin: .5rem 0; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; min-width: 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; }
th, td { padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--edge); vertical-align: top; }
tr:last-child > td { border-bottom: 0; }
.number { text-align: right; }
.tight { white-space: nowrap; }
a { color: var(--info); }
summary { cursor: pointer; color: var(--soft); }
.chart { margin: 1rem 0 0; }
.chart + .chart { border-top: 1px solid var(--edge); padding-top: 1rem; }
figcaption b { display: block; } figcaption .note { display: block; }
.empty { color: var(--soft); font-style: italic; }
.legend span { min-width: 0; }
.legend { display: flex; flex-wrap: wrap; gap: .15rem 1rem; font-size: .85rem; margin: .4rem 0 .2rem; }
.key { display: inline-block; width: 1.4rem; height: 0; border-top: 3px solid; margin-right: .4rem;
  vertical-align: middle; }
.key.dashed { border-top-style: dashed; }
.key.area { height: .8rem; border: 0; opacity: .3; background: currentColor; }
.key.good { color: var(--good); } .key.bad { color: var(--bad); } .key.warn { color: var(--warn); }
.key.info { color: var(--info); }
.key.c0 { border-color: var(--c0); } .key.c1 { border-color: var(--c1); } .key.c2 { border-color: var(--c2); }
.key.c3 { border-color: var(--c3); } .key.c4 { border-color: var(--c4); } .key.c5 { border-color: var(--c5); }
.key.c6 { border-color: var(--c6); }
.y-label, .x-label { color: var(--soft); font-size: .8rem; }
.x-label { text-align: right; }
.plot { display: grid; grid-template-columns: 3.6rem minmax(0, 1fr); grid-template-rows: 13rem 1.3rem;
  margin-top: .7rem; }
.y-ticks, .x-ticks, .frame { position: relative; font-size: .78rem; line-height: 1; }
.y-ticks span { position: absolute; right: .4rem; transform: translateY(-50%); color: var(--soft);
  white-space: nowrap; }
.x-ticks { grid-column: 2; }
.x-ticks span { position: absolute; top: .35rem; color: var(--soft); white-space: nowrap; }
.start { transform: none; } .middle { transform: translateX(-50%); } .end { transform: translateX(-100%); }
.frame { border-left: 1px solid var(--edge); border-bottom: 1px solid var(--edge); overflow: hidden; }
.frame svg { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
.frame span { position: absolute; padding: 0 .3rem; max-width: 100%; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; background: color-mix(in srgb, var(--card) 75%, transparent); }
.frame span.level { right: 0; transform: translateY(-110%); color: var(--bad); }
.frame span.mark { top: .3rem; color: var(--ink); font-weight: 600; }
svg * { vector-effect: non-scaling-stroke; }
.line { fill: none; stroke-width: 2px; stroke-linejoin: round; stroke-linecap: round; }
.line.dashed { stroke-dasharray: 6 5; } .line.dots { stroke-width: 7px; }
.grid { stroke: var(--grid); stroke-width: 1px; }
.frame line.level { stroke: var(--bad); stroke-width: 1.5px; stroke-dasharray: 3 4; }
.frame line.mark { stroke: var(--soft); stroke-width: 1px; stroke-dasharray: 2 3; }
.frame line.mark.bad { stroke: var(--bad); stroke-width: 2px; stroke-dasharray: none; }
.frame line.mark.good { stroke: var(--good); } .frame line.mark.warn { stroke: var(--warn); }
.band { stroke: none; opacity: .2; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); }
.line.c3 { stroke: var(--c3); } .line.c4 { stroke: var(--c4); } .line.c5 { stroke: var(--c5); }
.line.c6 { stroke: var(--c6); }
.band.c0 { fill: var(--c0); } .band.c1 { fill: var(--c1); } .band.c2 { fill: var(--c2); } .band.c3 { fill: var(--c3); }
.band.c4 { fill: var(--c4); } .band.c5 { fill: var(--c5); } .band.c6 { fill: var(--c6); }
.span { opacity: .16; }
.span.good { fill: var(--good); } .span.bad { fill: var(--bad); } .span.warn { fill: var(--warn); }
.span.info { fill: var(--info); }
.waterfall { list-style: none; margin: .6rem 0; padding: 0; }
.waterfall li { margin: .35rem 0; }
.waterfall .words { display: flex; justify-content: space-between; gap: 1rem; font-size: .9rem; }
.waterfall .words span { min-width: 0; }
.waterfall .words span + span { color: var(--soft); text-align: right; font-variant-numeric: tabular-nums; }
.track { position: relative; height: .8rem; background: var(--grid); border-radius: .2rem; overflow: hidden; }
.bar { position: absolute; top: 0; bottom: 0; min-width: 2px; background: var(--c1); border-radius: .2rem; }
.bar.good { background: var(--good); } .bar.bad { background: var(--bad); } .bar.warn { background: var(--warn); }
@media (max-width: 60rem) {
  thead { display: none; }
  table, tbody, tr, td { display: block; }
  tr { padding: .5rem 0; border-bottom: 1px solid var(--edge); } tr:last-child { border-bottom: 0; }
  .tight { white-space: normal; }
  td { border: 0; padding: .1rem 0; display: flex; gap: .8rem; justify-content: space-between; text-align: right; }
  td[data-empty] { display: none; }
  td::before { content: attr(data-label); color: var(--soft); text-align: left; flex: none; max-width: 50%; }
}
@media (max-width: 40rem) {
  main { padding: .6rem; }
  section { padding: .8rem; }
  .banner { gap: .6rem; }
  .plot { grid-template-columns: 3rem minmax(0, 1fr); grid-template-rows: 11rem 1.3rem; }
}
@media print { section { break-inside: avoid; } }
"""
