"""The page of a migration test: its form and its looks; `report.py` puts the words in."""

from __future__ import annotations

from typing import Final

PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{agent}}: migration test {{verdict}}</title>
<style>
:root {
  --paper: #fbfaf7; --ink: #1d2329; --soft: #5d6670; --line: #e2dfd7; --card: #fff;
  --good: #17703f; --good-tint: #e3f3e9; --bad: #b3261e; --bad-tint: #fbe6e4;
  --unseen: #7a5c00; --unseen-tint: #fbf1d3;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --ink: #e8e6e1; --soft: #9aa3ab; --line: #2c3238; --card: #1b1f23;
    --good: #6fd198; --good-tint: #17311f; --bad: #ff9a90; --bad-tint: #3d1c1a;
    --unseen: #e8c766; --unseen-tint: #372d10;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -.02em; overflow-wrap: anywhere; }
h2 { margin: 3rem 0 .75rem; font-size: 1.1rem; }
.lead { margin: .5rem 0 0; font-size: 1.15rem; color: var(--soft); max-width: 48rem; text-wrap: balance; }
.badge, .mark { display: inline-block; border-radius: 99px; font-weight: 600; }
.badge { padding: .2rem .8rem; margin-bottom: 1rem; letter-spacing: .02em; }
.good .mark, .badge.good { color: var(--good); background: var(--good-tint); }
.bad .mark, .badge.bad { color: var(--bad); background: var(--bad-tint); }
.unseen .mark { color: var(--unseen); background: var(--unseen-tint); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .75rem;
  margin: 2rem 0 0; }
.figures div { display: flex; flex-direction: column; justify-content: space-between; padding: .9rem 1rem;
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.figures dt { color: var(--soft); font-size: .85rem; }
.figures dd { margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
ol { list-style: none; margin: 0; padding: 0; }
ol li { display: grid; grid-template-columns: 11.5rem 1fr 4rem; gap: .1rem 1rem; align-items: center;
  padding: .6rem 0; border-top: 1px solid var(--line); }
ol li span:last-of-type { text-align: right; font-variant-numeric: tabular-nums; color: var(--soft); }
ol p { grid-column: 2 / 4; margin: 0; color: var(--soft); font-size: .92rem; overflow-wrap: anywhere; }
.bar { height: .5rem; border-radius: 99px; background: var(--line); overflow: hidden; }
.bar i { display: block; height: 100%; min-width: 2px; background: var(--soft); border-radius: 99px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
td, th { text-align: left; vertical-align: top; padding: .65rem .75rem .65rem 0;
  border-top: 1px solid var(--line); }
th { font-weight: 600; }
tbody th { min-width: 10rem; }
td:first-child { width: 6rem; }
td { overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 500; font-size: .85rem; border-top: 0; }
.mark { font-size: .8rem; padding: .1rem .6rem; white-space: nowrap; }
.bad td:last-child { color: var(--bad); }
ul { padding-left: 1.2rem; color: var(--soft); }
code { font: .9em ui-monospace, monospace; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 40rem) { ol li { grid-template-columns: 1fr 4rem; } .bar { grid-column: 1 / 3; grid-row: 2; }
  ol p { grid-column: 1 / 3; } main { padding-top: 1.5rem; }
  tbody th { min-width: 7rem; } }
@media print { body { background: #fff; } .figures div, tr, li { break-inside: avoid; } }
</style>
<main>
<span class="badge {{class}}">migration test {{verdict}}</span>
<h1>{{agent}}</h1>
<p class="lead">{{lead}}</p>
<dl class="figures">
<div><dt>proofs that hold</dt><dd>{{held}}</dd></div>
<div><dt>back at work after (RTO)</dt><dd>{{rto}}</dd></div>
<div><dt>lost since the backup (RPO)</dt><dd>{{rpo}}</dd></div>
<div><dt>entries lost</dt><dd>{{lost}}</dd></div>
<div><dt>files</dt><dd>{{files}}</dd></div>
</dl>
<h2>What was proven</h2>
<div class="wide"><table>
<thead><tr><th scope=col></th><th scope=col>claim</th><th scope=col>evidence</th></tr></thead>
<tbody>{{proofs}}</tbody>
</table></div>
<h2>What was done</h2>
<ol>{{steps}}</ol>
<h2>Two machines</h2>
<div class="wide"><table>
<thead><tr><th scope=col></th><th scope=col>old</th><th scope=col>new</th></tr></thead>
<tbody>{{machines}}</tbody>
</table></div>
<h2>What this test does not show</h2>
<ul>{{unproven}}</ul>
<footer>{{time}} · target {{target}} · antsmem {{version}} · antsmem migrate-test</footer>
</main>
</html>
"""
