"""Judges what was answered for a case: by certificate, by construction, and by Clarabel."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

import optlayers as ol

from .draft import Draft
from .generate import Case
from .quiet import heard
from .reference import by_clarabel
from .tensors import tensor_code

TOL = 1e-6  # KKT residual in the worst case, relative to max(1, |y|), as for the exact QP solvers
FINE = 1e-9  # what our own kernels reach; the answers above it are counted
CLEAR = 1e-7  # below this margin of infeasibility, relative to max(1, |y|), either answer is right
MEANT = 1.01e-6  # likewise, relative to the limits: they are meant to agree
SAME = 1e-8  # what a start elsewhere may change, relative to max(1, |y|)
SINGLE = 1e-6  # residual in single precision of what is computed in float64 and rounded once
CLOSED = ("corners", "anchors")  # families judged in single precision as well
NEAR = ("expected_near", "rows_of_a_batch", "stacked")  # asked once more, with points to start near
_SKEWED = (0.1, 100.0)  # norms of rows outside of which a set is certified as declared, too


@dataclass(frozen=True)
class Answer:
    """What a projection answered: points, a reason per failed instance, what it raises for them."""

    z: Tensor
    reasons: dict[int, str] = field(default_factory=dict)
    error: Exception | None = None


@dataclass(frozen=True)
class Failure:
    """What is wrong with the answer for one instance (-1: with the call)."""

    kind: str
    instance: int
    detail: str


@dataclass
class Verdict:
    """What was found out about one case; counts are of points."""

    name: str
    points: int = 0
    residuals: list[float] = field(default_factory=list)  # of the points answered
    refused: int = 0  # rightly
    vague: int = 0  # of these, without saying that there is no point
    compared: int = 0  # with Clarabel
    reference_worse: int = 0
    slopes: int = 0  # derivatives compared
    kinks: int = 0  # derivatives not compared: the two sides disagree
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0  # of the projection alone

    def fail(self, kind: str, instance: int, detail: str) -> None:
        """Note a failure."""
        self.failures.append(Failure(kind, instance, detail))


def by_library(
    polytope: ol.Polytope, y: Tensor, device: str = "cpu", near: Tensor | None = None
) -> Answer:
    """`ol.project` on a device; where instances fail, once more, for what it raises.

    "tensors" is the CPU with the code of the other devices (see `tensor_code`).
    """
    if device == "tensors":
        with tensor_code():
            return by_library(polytope, y, near=near)
    y = y.to(device)
    z, status = ol.project(polytope, y, near=near, on_failure="nan", return_status=True)
    z = z.cpu()
    if status.ok.all():
        return Answer(z)
    reasons = {index[0]: reason for index, reason in status.failures.items()}
    try:
        ol.project(polytope, y)
    except Exception as error:  # whatever it is: the judge decides
        return Answer(z, reasons, error)
    return Answer(z, reasons)


def judge(
    case: Case,
    compare: bool = False,
    project: Callable[[ol.Polytope, Tensor], Answer] = by_library,
) -> Verdict:
    """Every way in which an answer can be wrong.

    A failure is: an exception; something printed or a warning; an instance without an answer that
    has a point; an instance with an answer that has none, if every point violates some row, divided
    by its norm, by more than 1e-7, and by more than 1e-6 of the limits (below that either is right:
    rounding in the right-hand sides can make such a set empty or not); an answer that is not finite
    and not declared a failure; one whose KKT residual exceeds 1e-6 max(1, |y|) (`ol.certify`;
    called "certificate" where Clarabel confirms the point all the same); one that differs by more
    than that from the projection known by construction or, with `compare`, from Clarabel's.

    Where two points differ, the certificates decide, since the reference may be the less accurate
    side: it is granted the distance that its own certificate allows it, and the answer fails if its
    residual is above 1e-9 and above that of the reference. If both are that small the set is so
    ill-conditioned that its data do not say more; but they are never farther apart than the two
    distances that both certificates allow.
    """
    verdict = Verdict(case.name, points=len(case.y))
    with heard() as lines:
        start = time.perf_counter()
        try:
            answer = project(*case.asked)
        except Exception as error:
            answer = None
            verdict.fail("exception", -1, f"{type(error).__name__}: {error}")
        verdict.seconds = time.perf_counter() - start
    if lines:
        verdict.fail("printed", -1, "; ".join(lines)[:500])
    if answer is None:
        return verdict
    answered = _answered(case, answer, verdict)
    if len(answered):
        residuals = _certified(case, answer.z, answered, verdict)
        _known(case, answer.z, answered, residuals, verdict)
        if compare:
            _compared(case, answer.z, answered, residuals, verdict)
    if case.family in CLOSED:
        _single(case, project, verdict)
    if case.family in NEAR and not answer.reasons:
        _near(case, answer.z, project, verdict)
    return verdict


def _answered(case: Case, answer: Answer, verdict: Verdict) -> list[int]:
    """The instances with an answer to certify; judges whether the others may have none."""
    finite = torch.isfinite(answer.z).all(-1).tolist()
    right = []
    for i, empty in enumerate(case.empty()):
        reason = answer.reasons.get(i)
        no_point = reason is not None and "no point" in reason
        size = max(1.0, float(case.y[i].abs().max()))
        if empty and finite[i]:
            if case.margin(i) > max(MEANT * unit(case.instance(i)), CLEAR * size):
                verdict.fail("answered", i, f"empty by a margin of {case.margin(i):.1e}")
        elif empty and reason is not None:
            verdict.refused += 1
            verdict.vague += not no_point
        elif reason is not None:
            verdict.fail("called empty" if no_point else "unsolved", i, reason)
        elif not finite[i]:
            verdict.fail("not finite", i, f"z = {answer.z[i].tolist()}"[:200])
        else:
            right.append(i)
    first = answer.reasons.get(min(answer.reasons, default=-1), "")
    wanted = ol.InfeasibleError if "no point" in first else ol.OptLayersError
    if answer.reasons and not isinstance(answer.error, wanted):
        verdict.fail("raises", min(answer.reasons), f"{answer.error!r} for: {first}"[:300])
    return right


def unit(draft: Draft) -> float:
    """The largest of 1 + |limit|, and of what a row cannot but contain, rows as they are scaled."""
    least = np.maximum(np.maximum(draft.lower, -draft.upper), 0.0)
    largest = 0.0
    for rows, limits in ((draft.A, draft.b), (draft.A_eq, draft.b_eq)):
        used = np.abs(rows).max(1, initial=0.0) > 0
        rows, limits = rows[used], limits[used]
        size = np.abs(rows).max(1, initial=0.0)
        terms = (np.abs(rows) * least).max(1, initial=0.0)
        limits = np.where(np.isfinite(limits), np.abs(limits), 0.0)
        largest = max(largest, float((np.maximum(terms, limits) / size).max(initial=0.0)))
    return 1.0 + largest


def normalised(polytope: ol.Polytope) -> ol.Polytope:
    """The same set with rows of norm one: a violation is then a distance."""
    rows = {}
    for name, right in (("A", "b"), ("A_eq", "b_eq")):
        matrix, values = getattr(polytope, name).toarray(), getattr(polytope, right)
        norms = np.linalg.norm(matrix, axis=1)
        norms = np.where(norms > 0, norms, 1.0)
        rows |= {name: matrix / norms[:, None], right: values / torch.from_numpy(norms)}
    bounds = {"lower": polytope.lower, "upper": polytope.upper}
    return ol.Polytope(**rows, **bounds, num_aux=polytope.num_aux, integral=polytope.integral)


def _certified(case: Case, z: Tensor, answered: list[int], verdict: Verdict) -> np.ndarray:
    """Residuals `(count,)` with rows of norm one; of the set as declared where that differs."""
    z = torch.where(torch.isfinite(z), z, 0.0)
    residuals = _residuals(case, z)
    verdict.residuals = residuals[answered].tolist()
    for i in answered:
        if not residuals[i] <= TOL:
            verdict.fail(*_refused(case, z, i, float(residuals[i])))
    norms = np.linalg.norm(np.vstack([case.draft.A, case.draft.A_eq]), axis=1)
    if ((norms > 0) & ((norms < _SKEWED[0]) | (norms > _SKEWED[1]))).any():
        declared = ol.certify(case.polytope, case.y, z).residual.numpy()
        for i in answered:
            if residuals[i] <= TOL and not declared[i] <= TOL:
                detail = f"residual {declared[i]:.1e} as declared, {residuals[i]:.1e} normalised"
                verdict.fail("certificate", i, detail)
    return residuals


def _residuals(case: Case, z: Tensor) -> np.ndarray:
    """Residuals with rows of norm one.

    Any multipliers that fit are a proof. Those of nearly parallel rows are hard to find, and how
    rows are scaled decides about digits: those found for the set as declared may do as well.
    """
    if case.draft.own_rows:
        single = [_residuals(case.single(i), z[i : i + 1]) for i in range(len(z))]
        return np.concatenate(single)
    rows = normalised(case.polytope)
    found = ol.certify(rows, case.y, z).residual.numpy()
    if (found <= FINE).all():
        return found
    declared = ol.certify(case.polytope, case.y, z)
    norms = [torch.from_numpy(np.linalg.norm(A, axis=1)) for A in (case.draft.A, case.draft.A_eq)]
    given = (declared.lam * norms[0], declared.nu * norms[1])
    again = ol.certify(rows, case.y, z, multipliers=given).residual.numpy()
    return np.fmin(found, again)


def _refused(case: Case, z: Tensor, i: int, residual: float) -> tuple[str, int, str]:
    """The failure of a point that `certify` refuses: the certificate's, where Clarabel says so."""
    reference = by_clarabel(case.instance(i), case.y[i].numpy())
    if reference is not None:
        apart = _apart(case, z, i, reference)
        theirs = float(_certificate(case, i, reference).residual)
        if apart <= TOL and theirs <= TOL:
            detail = (
                f"residual {residual:.1e}, but {apart:.1e} from Clarabel, residual {theirs:.1e}"
            )
            return "certificate", i, detail
    return "wrong", i, f"KKT residual {residual:.1e}"


def _apart(case: Case, z: Tensor, i: int, reference: np.ndarray) -> float:
    """Largest difference of an entry, relative to max(1, |y|)."""
    return float(np.abs(z[i].numpy() - reference).max()) / max(1.0, float(case.y[i].abs().max()))


def _certificate(case: Case, i: int, point: np.ndarray) -> ol.Certificate:
    """Of another point for the i-th instance, with rows of norm one."""
    return ol.certify(normalised(case.instance(i).polytope()), case.y[i], point)


def _single(case: Case, project: Callable[..., Answer], verdict: Verdict) -> None:
    """The same points in single precision, whose certificates have to hold, distance and all."""
    y = case.y.float()
    z = project(case.polytope, y).z
    certificate = ol.certify(case.polytope, y, z)
    for i in (~certificate.within(SINGLE)).nonzero()[:, 0].tolist():
        detail = f"residual {certificate.residual[i]:.1e}, distance {certificate.distance[i]:.1e}"
        verdict.fail("single precision", i, detail)


def _near(case: Case, z: Tensor, project: Callable[..., Answer], verdict: Verdict) -> None:
    """A point to start near changes the work and not the answer, whatever it is."""
    rng = np.random.default_rng(len(z[0]))
    scale = case.y.abs().amax(-1, keepdim=True).clamp(min=1.0)
    noise = torch.from_numpy(rng.standard_normal(z.shape))
    guesses = {"the answer": z, "a point nearby": z + 1e-3 * scale * noise}
    guesses["something else"] = torch.where(noise > 1, torch.nan, 100 * scale * noise)
    for name, near in guesses.items():
        found = project(*case.asked, near=near)
        away = ((found.z - z).abs() / scale).amax(-1)
        for i in (~(away <= SAME)).nonzero()[:, 0].tolist():
            verdict.fail("near", i, f"near {name}: {float(away[i]):.1e} away")


def _known(case: Case, z: Tensor, answered, residuals, verdict: Verdict) -> None:
    """Against the projections that the construction says."""
    for i in answered:
        if np.isfinite(case.known[i]).all():
            _differs("construction", case, z, i, case.known[i], residuals[i], verdict)


def _compared(case: Case, z: Tensor, answered, residuals, verdict: Verdict) -> None:
    """Against Clarabel."""
    for i in answered:
        reference = by_clarabel(case.instance(i), case.y[i].numpy())
        verdict.compared += 1
        if reference is None:
            verdict.reference_worse += 1
        else:
            _differs("Clarabel", case, z, i, reference, residuals[i], verdict)


def _differs(who: str, case: Case, z: Tensor, i: int, reference, residual, verdict) -> None:
    apart = _apart(case, z, i, reference)
    if apart <= TOL:
        return
    certificate, unit = _certificate(case, i, reference), max(1.0, float(case.y[i].abs().max()))
    theirs, allowed = float(certificate.residual), TOL + float(certificate.distance) / unit
    own = _certificate(case, i, z[i].numpy())
    # Distances are bounds in exact arithmetic; far points round both of them.
    contradicts = apart > 10 * TOL + allowed + float(own.distance) / unit
    if contradicts or (apart > allowed and residual > FINE and residual > theirs):
        detail = f"{apart:.1e} from {who}; KKT residuals {residual:.1e} and {theirs:.1e}"
        verdict.fail("differs", i, detail)
    elif who == "Clarabel":
        verdict.reference_worse += 1
