"""Judges a batch in which some instances are empty: every verb, every policy, one verdict."""

import numpy as np
import torch

import optlayers as ol

from .draft import Draft
from .generate import Case
from .judge import Verdict
from .sets.expected import best_value

PARTLY = ("partly_empty",)  # families judged so
_VALUE = 1e-7  # what rows of a linear program may be missed by, and its value with them
_LAYER = 1e-7


def policies(case: Case, verdict: Verdict) -> None:
    """Note what is wrong with decisions, projections, layers and the check of a batch."""
    P, s = case.polytope, case.y
    z, status = ol.project(P, s, on_failure="nan", return_status=True)
    d, decided = ol.decode(P, s, on_failure="nan", return_status=True)
    fine = status.ok.tolist()
    if decided.ok.tolist() != fine:
        verdict.fail("verdicts", -1, f"project {fine}, decode {decided.ok.tolist()}")
    for name, answer in (("project", z), ("decode", d)):
        for i, ok in enumerate((status if name == "project" else decided).ok.tolist()):
            held = answer[i].isfinite().all() if ok else answer[i].isnan().all()
            if not held:
                verdict.fail("policy", i, f"{name}: {answer[i].tolist()}"[:200])
    for i in np.flatnonzero(decided.ok.numpy()).tolist():
        _decided(case, i, d[i].numpy(), verdict)
    _raised(case, fine, verdict)
    _quiet(case, z, d, verdict)
    _layered(case, fine, verdict)


def _decided(case: Case, i: int, z: np.ndarray, verdict: Verdict) -> None:
    """A continuous decision meets the rows and is worth as much as HiGHS says."""
    made, s = case.instance(i), case.y[i].numpy()
    if case.empty()[i]:
        return  # empty by a hair
    best = best_value(made.polytope(), np.append(s, np.zeros(made.num_aux)))
    size = 1.0 + float(np.abs(s).sum()) * (1.0 + float(np.abs(z).max(initial=0.0)))
    if best is None or not abs(best - s @ z) <= _VALUE * size:
        verdict.fail("decision", i, f"value {s @ z:.9g}, best {best}")
    if not made.num_aux and not _violation(made, z) <= _VALUE:
        verdict.fail("decision", i, f"violates a row by {_violation(made, z):.1e}")


def _violation(made: Draft, z: np.ndarray) -> float:
    over = [made.A @ z - made.b, np.abs(made.A_eq @ z - made.b_eq)]
    terms = [1 + np.abs(rows) @ np.abs(z) for rows in (made.A, made.A_eq)]
    parts = [v / t for v, t in zip(over, terms, strict=True)]
    return float(np.concatenate([*parts, made.lower - z, z - made.upper]).max(initial=0.0))


def _raised(case: Case, fine: list[bool], verdict: Verdict) -> None:
    """By default the first instance that is empty is named."""
    asks = {
        "project": lambda: ol.project(case.polytope, case.y),
        "decode": lambda: ol.decode(case.polytope, case.y),
        "check_feasible": case.polytope.check_feasible,
    }
    for name, ask in asks.items():
        try:
            ask()
        except ol.InfeasibleError as error:
            first = str(fine.index(False)) if not all(fine) else "none"
            if f"nstance {first}" not in str(error).split(":")[0]:
                verdict.fail("raises", -1, f"{name}: not instance {first}, but {error}"[:200])
        else:
            if not all(fine):
                verdict.fail("raises", fine.index(False), f"{name}: nothing")


def _quiet(case: Case, z: torch.Tensor, d: torch.Tensor, verdict: Verdict) -> None:
    """Other policies change what failing instances hold, and nothing else."""
    P, s = case.polytope, case.y
    kept = ol.decode(P, s, on_failure="fallback")
    if not torch.equal(kept, torch.where(d.isnan(), 0.0, d)):
        verdict.fail("policy", -1, "decode: 'fallback' gives something else")
    for name, verb, answer in (("project", ol.project, z), ("decode", ol.decode, d)):
        i = int(np.flatnonzero(~answer.isnan().any(-1).numpy())[0]) if len(answer) else 0
        bad = s.clone()
        bad[i, 0] = torch.nan
        again = verb(P, bad, on_failure="nan", on_nonfinite="propagate")
        others = [k for k in range(len(s)) if k != i]
        if not again[i].isnan().any():
            verdict.fail("policy", i, f"{name}: NaN in it, none in the answer")
        if not torch.equal(again[others].nan_to_num(9.25), answer[others].nan_to_num(9.25)):
            verdict.fail("policy", i, f"{name}: NaN in it changes others")


def _layered(case: Case, fine: list[bool], verdict: Verdict) -> None:
    """A layer trains on the instances that have a point as if the others were not there."""
    x = case.y.clone().requires_grad_()
    layer = ol.StructuredArgmax(case.polytope, ol.SPIGOT(0.5, warn=False), on_failure="nan")
    g = torch.from_numpy(np.random.default_rng(len(x[0])).standard_normal(x.shape))
    z = layer(x)
    torch.where(z.isnan(), 0.0, z * g).sum().backward()
    assert x.grad is not None
    for i, ok in enumerate(fine):
        if not ok or z[i].isnan().any():
            continue
        alone = case.y[i].clone().requires_grad_()
        P = case.instance(i).polytope()
        (ol.structured_argmax(P, alone, ol.SPIGOT(0.5, warn=False)) * g[i]).sum().backward()
        expected = alone.grad
        assert expected is not None
        away = float((x.grad[i] - expected).abs().max()) / max(1.0, float(case.y[i].abs().max()))
        if not away <= _LAYER:
            verdict.fail("layer", i, f"gradient {away:.1e} from that of the instance alone")
