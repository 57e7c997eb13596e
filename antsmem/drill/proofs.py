"""From what was seen to what it proves: each proof is one claim, and the evidence for or against it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping

from antsmem.core.errors import RetiredError
from antsmem.drill.canaries import Searched
from antsmem.drill.machine import Ran
from antsmem.drill.new import Recovered, Returned, Started
from antsmem.drill.old import DECISION, LIVING, OBJECTIVE, REVOKED, Lost, reason
from antsmem.drill.result import Proof
from antsmem.drill.tree import Tree, differences, is_below
from antsmem.drill.work import HAPPENED, HELD, PENDING, WANTED

_CHANGED = (b".antsmem/identity", b".antsmem/keystore", b".antsmem/cache", b".antsmem/heartbeat/locks")
"""What a new host writes itself: its keys, one more entry in the identity log, what is derived."""


def same_identity(lost: Lost, recovered: Recovered, started: Started) -> Proof:
    """The relay takes what the agent signs, before and after, as the same identity."""
    claim = "same identity"
    problems = []
    if recovered.did != lost.did:
        problems.append(f"the identity is `{recovered.did}`, was `{lost.did}`")
    if not lost.accepted:
        problems.append("the relay did not take a message before")
    if started.accepted.code:
        problems.append(f"the relay took no message after: {_said(started.accepted)}")
    shown = f"{lost.scid[:12]}…, version {recovered.version} names the new host; the relay accepted both messages"
    return _proof("identity", claim, problems, shown)


def old_key_refused(returned: Returned) -> Proof:
    """The old host's key counts no more: it was refused as such, and did not fail for another reason."""
    said = f"the old host's message: {_said(returned.sent)}"
    problems = [] if returned.sent.code == RetiredError.exit_code else [f"{said}, not refused"]
    if not returned.sent.code:
        problems = ["the relay took a message signed with the old host's key"]
    return _proof("old-key", "the old key is refused", problems, said)


def same_memory(lost: Lost, after: Tree, left_out: Iterable[str]) -> Proof:
    """Every portable byte, mode, time and link is as it was; the backup never held the paths `left_out`."""
    passed_over = {*_CHANGED, *map(os.fsencode, left_out)}
    wrong = differences(lost.before, after, passed_over)
    kinds = Counter(seen.kind for path, seen in lost.before.items() if not is_below(path, passed_over))
    counted = ", ".join(f"{count} {_PLURALS[kind]}" for kind, count in sorted(kinds.items()))
    return _proof("memory", "same memory", wrong, f"{counted}: every byte, mode, time and link as it was")


_PLURALS = {"directory": "directories", "file": "files", "link": "links", "other": "special files"}


def remembers(started: Started) -> Proof:
    """What it was doing stands in the context of its first wake."""
    context = started.context.out.decode(errors="replace")
    missing = [] if started.context.code == 0 else [f"it does not wake: {_said(started.context)}"]
    wanted = {f"the open intent `{key}`": key for key in (HAPPENED, PENDING, HELD)}
    wanted |= {"the objective in NOW.md": OBJECTIVE, "the last decision": DECISION}
    missing += [f"{what} is forgotten" for what, text in wanted.items() if text not in context]
    shown = f"its wake context has {HAPPENED}, {PENDING}, the question {HELD}, NOW.md and the last decision"
    return _proof("intents", "remembers its work", missing, shown)


def resumes(started: Started) -> Proof:
    """The interrupted work is finished without a person, and what needs one is still asked."""
    problems = []
    if started.as_copy.code != 4:
        problems.append(f"a copy started work before it was let: exit {started.as_copy.code}")
    if started.taken_over.code:
        problems.append(f"the take-over failed: {_said(started.taken_over)}")
    if started.woken.code not in {0, 3}:
        problems.append(f"the next heartbeat failed: {_said(started.woken)}")
    if started.called.code:
        problems.append(f"`{PENDING}` was not finished: {_said(started.called)}")
    if started.asked_again.code != 3:
        problems.append(f"the open question `{HELD}` was not asked again: exit {started.asked_again.code}")
    if started.replayed.code:
        problems.append(f"what was done is not known as done: {_said(started.replayed)}")
    shown = "a copy starts nothing (exit 4); after the take-over the next heartbeat finishes all but the question"
    return _proof("resumes", "resumes without a person", problems, shown)


def effects(counts: Mapping[str, int]) -> Proof:
    """In the world, every effect happened exactly as often as it should."""
    lost = [key for key, wanted in WANTED.items() if counts.get(key, 0) < wanted]
    doubled = [key for key, wanted in WANTED.items() if counts.get(key, 0) > wanted]
    problems = [f"`{key}` is lost" for key in lost]
    problems += [f"`{key}` happened {counts[key]} times instead of {WANTED[key]}" for key in doubled]
    shown = f"{sum(WANTED.values())} happened once each: 0 lost, 0 doubled"
    return _proof("effects", "effects in the world", problems, shown)


def fenced(returned: Returned) -> Proof:
    """The old host stops by itself."""
    ends = {"heartbeat": returned.woken, "backup": returned.backed_up}
    problems = [f"its {what} ended with exit {ran.code}, not 4" for what, ran in ends.items() if ran.code != 4]
    return _proof("fenced", "the old host is fenced", problems, "its heartbeat and its backup: exit 4")


def nothing_leaked(searched: Searched, *, heard: bool, known: bool) -> Proof:
    """No private key and no secret stands or travelled anywhere; `heard`: the traffic to the relay was seen;
    `known`: so were the new host's keys. What is not known cannot be looked for."""
    if not known and not searched.hits:
        return Proof("leaks", "nothing leaked", None, "the new host's keys could not be read, nor looked for")
    looked = f"{searched.places} files, messages and outputs, {searched.size_bytes / 1e6:.1f} MB"
    shown = f"{looked}: no key or secret in any encoding" + ("" if heard else "; traffic to the relay not seen")
    return _proof("leaks", "nothing leaked", searched.hits, shown)


def stays_revoked(lost: Lost, started: Started) -> Proof:
    """A secret that is alive is back; one that was revoked is not, though the escrow held it."""
    values = dict(lost.secrets)
    problems = []
    if started.living.code or started.living.out.strip() != values[LIVING]:
        problems.append(f"`{LIVING}` is not back: {_said(started.living)}")
    if started.revoked.code == 0 or values[REVOKED] in started.revoked.out:
        problems.append(f"the revoked `{REVOKED}` is back")
    if started.states.get(REVOKED) != "revoked":
        problems.append(f"nobody knows that `{REVOKED}` was revoked")
    states = ", ".join(f"{name} {state}" for name, state in sorted(started.states.items()))
    return _proof("secrets", "revoked stays revoked", problems, states)


def _proof(name: str, claim: str, problems: list[str] | tuple[str, ...], shown: str) -> Proof:
    if not problems:
        return Proof(name, claim, True, shown)
    more = f"; {len(problems) - 5} more" if len(problems) > 5 else ""
    return Proof(name, claim, False, "; ".join(problems[:5]) + more)


def _said(ran: Ran) -> str:
    return f"exit {ran.code}" + (f", {reason(ran)}" if ran.code else "")
