"""Judges every verb on a set whose structures are listed, with masks of three kinds."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import optlayers as ol

from ..judge import Verdict
from ..quiet import heard
from .expected import Nearest, excess, nearest, with_least_excess
from .known import COUNT, SetCase

MASKS = {"-inf": -np.inf, "-1e9": -1e9, "lowest": float(np.finfo(np.float64).min)}
SINGLE = 1e-5  # of what is computed in float64 and rounded, or in single precision, relative
VALUE = 1e-9  # of sums in double precision, relative
FORBIDDEN = "scores of -inf forbid every point"
_FAR_MASK = 1e-5  # a mask of -1e9 that is needed leaves double precision seven digits
_OVERFLOW = -1e308  # a sum that low may as well be minus infinity
_APART = 1e-5  # of two answers, where a residual is not beyond doubt
_STEP = 1e-4
_NEARBY, _POINTS = 0.1, 4  # how far around a point, in steps, and how many
VERBS = SimpleNamespace(**{k: getattr(ol, k) for k in ol.__dict__ if not k.startswith("__")})


@dataclass(frozen=True)
class Instance:
    """What is right for one instance, arrays flat.

    Attributes:
        points: All structures.
        best: Those with as little of masked parts as there can be.
        lowest: How much that is.
        masked: Which parts are masked.
        least: Their least values.
        onto: What points are projected onto.
    """

    points: np.ndarray
    best: np.ndarray
    lowest: float
    masked: np.ndarray
    least: np.ndarray
    onto: Callable[[np.ndarray], Nearest]


def instances(case: SetCase) -> list[Instance]:
    """What is right for each."""
    known, found = case.known, []
    for i in range(COUNT):
        points = known.structures[i].reshape(len(known.structures[i]), -1)
        masked = case.masked[i].numpy().ravel()
        least = np.broadcast_to(known.least, masked.shape)
        relaxed = None if known.relaxed is None else known.relaxed[i]
        relaxed = None if relaxed is None else relaxed.reshape(len(relaxed), -1)
        rows = None if known.rows is None or relaxed is not None else known.rows[i]

        def onto(y: np.ndarray, given=(relaxed, rows), at=(masked, least)) -> Nearest:
            return nearest(given[0], given[1], y.ravel(), *at)

        best, lowest = with_least_excess(points, masked, least)
        found.append(Instance(points, best, lowest, masked, least, onto))
    return found


class SetJudge:
    """Asks everything of one case, and notes what is wrong.

    Decisions, projections and sums are asked with every mask; layers, single precision and the
    other policies with one of them, in turn.

    Args:
        case: The case.
        compare: Whether projections are compared with Clarabel as well.
        verbs: What is asked; the library's.
    """

    def __init__(self, case: SetCase, compare: bool = False, verbs: Any = VERBS):
        self.case, self.verbs, self.compare = case, verbs, compare
        self.known, self.verdict = case.known, Verdict(case.name)
        self.rng = np.random.default_rng([case.seed, 2])
        self.right = instances(case)
        self.kind, self.fully = "", True

    def judge(self) -> Verdict:
        """Return everything that is wrong."""
        with heard() as lines:
            start = time.perf_counter()
            for turn, self.kind in enumerate(MASKS):
                self.fully = turn == self.case.seed % len(MASKS)
                for ask in (self.decisions, self.points, self.sums):
                    self.ask(ask)
                if self.fully:
                    self.ask(self.layers)
            self.kind = "-inf"
            for ask in (self.not_a_number, self.expected_near, self.slopes):
                self.ask(ask)
            self.verdict.seconds = time.perf_counter() - start
        if lines:
            self.verdict.fail("printed", -1, "; ".join(lines)[:500])
        return self.verdict

    def ask(self, question: Callable[[], None]) -> None:
        """Ask one thing; whatever is raised is a failure."""
        try:
            question()
        except Exception as error:
            words = f"{question.__name__}, {self.kind}: {type(error).__name__}: {error}"
            self.verdict.fail("exception", -1, words[:300])

    def fail(self, kind: str, i: int, words: str) -> None:
        """Note a failure under a mask."""
        self.verdict.fail(kind, i, f"mask {self.kind}: {words}")

    def scores(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """The scores with the mask."""
        return self.case.asked(MASKS[self.kind], dtype)

    # ------------------------------------------------------------------ decisions and points

    def answered(self, verb: Callable, x: Tensor, none: list[bool]) -> tuple[Tensor, list[int]]:
        """Ask a verb under all policies; judge who may have no answer; return who has one."""
        asked = self.known.asked
        z, status = verb(asked, x, on_failure="nan", return_status=True)
        ok = status.ok.tolist()
        for i, (fine, empty) in enumerate(zip(ok, none, strict=True)):
            self.verdict.refused += empty and not fine
            reason = str(status.failures.get((i,), ""))
            if fine and empty:
                self.fail("answered", i, f"minus infinity leaves nothing: {z[i].tolist()}"[:200])
            elif not fine and not empty:
                self.fail("unsolved", i, reason[:200])
            elif empty and FORBIDDEN not in reason:
                self.verdict.vague += 1
            if not fine and not z[i].isnan().all():
                self.fail("policy", i, "a failure whose answer is not NaN")
        if not self.fully:
            return z, [i for i, fine in enumerate(ok) if fine and not none[i]]
        quiet = verb(asked, x, on_nonfinite="propagate", on_failure="nan")
        if not torch.equal(quiet.nan_to_num(9.25), z.nan_to_num(9.25)):
            self.fail("policy", -1, "'propagate' gives something else")
        self.raised(verb, x, none)
        return z, [i for i, fine in enumerate(ok) if fine and not none[i]]

    def raised(self, verb: Callable, x: Tensor, none: list[bool]) -> None:
        """Judge what is raised by default."""
        try:
            verb(self.known.asked, x)
        except ol.InfeasibleError as error:
            first = f"{none.index(True)}" if any(none) else "?"
            if first not in str(error).split(":")[0]:
                self.fail("raises", -1, f"not instance {first}: {error}"[:200])
        else:
            if any(none):
                self.fail("raises", none.index(True), "nothing")

    def decisions(self) -> None:
        """Judge decisions in both precisions."""
        none = [self.kind == "-inf" and r.lowest > 0 for r in self.right]
        for dtype in (torch.float64, torch.float32) if self.fully else (torch.float64,):
            x = self.scores(dtype)
            z, answered = self.answered(self.verbs.decode, x, none)
            for i in answered:
                self.decision(i, z[i].double().numpy().ravel(), x[i].double().numpy().ravel())
            self.verdict.points += len(x)

    def decision(self, i: int, z: np.ndarray, s: np.ndarray) -> None:
        """Judge that a decision is a structure, and none is better."""
        right = self.right[i]
        # In single precision the weights of rankings are rounded.
        away = np.abs(right.points - z).max(1, initial=0.0)
        if not away.min() <= 1e-6 * (1 + np.abs(z).max(initial=0.0)):
            self.fail("no structure", i, f"{z.tolist()}"[:200])
            return
        z = right.points[away.argmin()]
        s = np.where(right.masked, 0.0, s)
        more = float(excess(z[None], right.masked, right.least)[0]) - right.lowest
        best, size = float((right.best @ s).max()), 1.0 + float(np.abs(s).sum())
        if more > 1e-6:
            self.fail("decision", i, f"{more:g} more of masked parts than is needed")
        elif not s @ z >= best - VALUE * size:
            self.fail("decision", i, f"value {s @ z:.9g}, best {best:.9g}")

    def points(self) -> None:
        """Judge projections in both precisions."""
        x = self.scores()
        onto = [r.onto(v.numpy().ravel()) for r, v in zip(self.right, x, strict=True)]
        none = [self.kind == "-inf" and o.lowest > 1e-7 for o in onto]
        z, answered = self.answered(self.verbs.project, x, none)
        narrow = z
        if self.fully:
            x32 = self.scores(torch.float32)
            narrow = self.verbs.project(self.known.asked, x32, on_failure="nan")
        for i in answered:
            needed = onto[i].lowest > 1e-7
            accuracy = max(self.known.accuracy, _FAR_MASK if needed else 0.0)
            self.point("wrong", i, z[i], onto[i], accuracy)
            if self.fully:
                self.point("single precision", i, narrow[i], onto[i], max(SINGLE, accuracy))
            if self.compare and self.kind == "-inf":
                self.by_clarabel(i, z[i], onto[i])
        self.verdict.points += len(x)

    def point(self, kind: str, i: int, z: Tensor, onto: Nearest, accuracy: float) -> None:
        """Judge one projection by its optimality conditions."""
        residual = onto.residual(z.detach().double().numpy().ravel())
        if kind == "wrong":
            self.verdict.residuals.append(residual)
        if not residual <= accuracy and not self.confirmed(z, onto):
            self.fail(kind, i, f"residual {residual:.1e}")

    def confirmed(self, z: Tensor, onto: Nearest) -> bool:
        """Whether another method has the same point, where no multipliers are to be found.

        Only of sets whose digits beyond the accuracy decide which rows are active.
        """
        reference = onto.by_clarabel() if self.known.ill_conditioned else None
        if reference is None:
            return False
        size = max(1.0, float(np.abs(onto.y).max(initial=0.0)))
        apart = float(np.abs(z.detach().double().numpy().ravel() - reference).max())
        self.verdict.reference_worse += apart <= _APART * size
        return apart <= _APART * size

    def by_clarabel(self, i: int, z: Tensor, onto: Nearest) -> None:
        """Compare one projection with Clarabel's."""
        reference = onto.by_clarabel()
        self.verdict.compared += 1
        if reference is None or not onto.residual(reference) <= 1e-5:
            self.verdict.reference_worse += 1
            return
        point = z.double().numpy().ravel()
        apart = float(np.abs(point - reference).max())
        size = max(1.0, float(np.abs(onto.y).max(initial=0.0)))
        if apart <= _APART * size:
            return
        # Whatever the residuals say, the two are no farther apart than both are from the answer.
        if apart <= _APART * size + onto.reach(point) + onto.reach(reference):
            self.verdict.reference_worse += 1
        else:
            self.fail("differs", i, f"{apart:.1e} from Clarabel")

    # ------------------------------------------------------------------ sums

    def sums(self) -> None:
        """Judge sums over structures, their derivative, and samples."""
        if not self.known.sums:
            return
        x = self.scores().requires_grad_()
        try:
            total = self.verbs.log_partition(self.known.asked, x)
        except ol.InputError as error:
            if not (self.known.refuses_sums and "no tractable sum" in str(error)):
                raise
            self.verdict.refused += COUNT
            return
        mean = self.verbs.marginals(self.known.asked, x.detach())
        drawn = self.verbs.sample(self.known.asked, x.detach()) if self.known.samples else None
        some = [i for i, r in enumerate(self.right) if self.kind != "-inf" or r.lowest == 0]
        (slope,) = torch.autograd.grad(total[some].sum(), x) if some else (torch.zeros_like(x),)
        for i, right in enumerate(self.right):
            if i not in some:
                self.verdict.refused += 1
                if total[i] != -torch.inf:
                    self.fail("sum", i, f"{float(total[i])} of no structure")
                continue
            self.sum_of(i, right, float(total[i].detach()), (mean[i], slope[i]))
            z = right.best[0] if drawn is None else drawn[i].double().numpy().ravel()
            if not (right.best == z).all(1).any():
                self.fail("sample", i, f"{z.tolist()}"[:200])

    def sum_of(self, i: int, right: Instance, total: float, means: tuple) -> None:
        """Judge the sum of one instance, and two ways to its derivative."""
        x = np.where(right.masked, 0.0, self.case.scores[i].numpy().ravel())
        values = right.best @ x
        p = np.exp(values - values.max())
        expected = float(values.max() + np.log(p.sum()))
        low = MASKS[self.kind] * right.lowest if right.lowest else 0.0
        with np.errstate(over="ignore"):
            expected = float(np.float64(expected) + low)
        scale = 1.0 + abs(expected)
        if expected < _OVERFLOW and total == -np.inf:
            total = expected
        if not (total == expected or abs(total - expected) <= VALUE * scale):
            self.fail("sum", i, f"{total:.9g}, by listing {expected:.9g}")
        mean = p / p.sum() @ right.best
        for name, found in zip(("marginals", "slope of the sum"), means, strict=True):
            away = np.abs(found.detach().double().numpy().ravel() - mean).max()
            if not away <= (VALUE if right.lowest == 0 else SINGLE):
                self.fail("marginals", i, f"{name} off by {away:.1e}")

    # ------------------------------------------------------------------ layers

    def layers(self) -> None:
        """Judge the backward pass of SPIGOT: base - grad is the projection of base - eta g."""
        around = str(self.rng.choice(["projection", "vertex"]))
        eta = float(self.rng.choice([0.3, 1.0, 3.0]))
        x = self.scores().requires_grad_()
        g = torch.from_numpy(self.rng.standard_normal(x.shape))
        surrogate = self.verbs.SPIGOT(eta, around, warn=False)
        layer = self.verbs.StructuredArgmax(self.known.asked, surrogate, on_failure="nan")
        z = layer(x)
        base = z.detach()
        if around == "projection":
            base = self.verbs.project(self.known.asked, x.detach(), on_failure="nan")
        fine = [not v.isnan().any() for v in base]
        kept = torch.tensor(fine).reshape(-1, *[1] * (x.ndim - 1)).expand_as(x)
        torch.where(kept, z * g, 0.0).sum().backward()
        grad = x.grad
        assert grad is not None
        for i, right in enumerate(self.right):
            if not fine[i] or right.lowest > 0:
                continue
            if not grad[i].isfinite().all():
                self.fail("layer", i, f"around {around}: gradient {grad[i].tolist()}"[:200])
                continue
            onto = right.onto((base[i] - eta * g[i]).numpy().ravel())
            free = torch.from_numpy(right.masked.reshape(grad[i].shape))
            p = torch.where(free, base[i], base[i] - grad[i])
            self.point("layer", i, p, onto, max(10 * self.known.accuracy, 1e-7))
            if not bool((grad[i][free].abs() <= VALUE).all()):
                self.fail("layer", i, f"around {around}: a masked part has a gradient")

    # ------------------------------------------------------------------ once per case

    def not_a_number(self) -> None:
        """Judge that NaN in one instance is a failure of that one, and of no other."""
        free = [np.ptp(r.points, axis=0) > 0 for r in self.right]
        at = [np.flatnonzero(f) for f in free]
        i = int(self.rng.integers(COUNT))
        if not len(at[i]):
            return
        x = self.case.scores.clone()
        x[i].view(-1)[int(self.rng.choice(at[i]))] = torch.nan
        for verb in (self.verbs.decode, self.verbs.project):
            z, status = verb(self.known.asked, x, on_failure="nan", return_status=True)
            if status.ok.tolist() != [k != i for k in range(COUNT)]:
                self.fail("not finite", i, f"NaN in it, and ok is {status.ok.tolist()}")
            if not z[i].isnan().any() or z[[k for k in range(COUNT) if k != i]].isnan().any():
                self.fail("not finite", i, "NaN in it, and not in its answer alone")
            try:
                verb(self.known.asked, x)
            except ol.InputError:
                continue
            self.fail("raises", i, "nothing, with NaN in it")

    def expected_near(self) -> None:
        """Judge that a point to start near changes nothing."""
        x = self.scores()
        z = self.verbs.project(self.known.asked, x, on_failure="nan")
        guesses = [z, torch.zeros_like(z), z + torch.from_numpy(self.rng.standard_normal(z.shape))]
        guesses.append(torch.where(guesses[2] > 0.5, torch.nan, 1e6 * guesses[2]))
        near = guesses[int(self.rng.integers(4))]
        again = self.verbs.project(self.known.asked, x, near=near, on_failure="nan")
        scale = 1.0 + torch.where(self.case.masked, 0.0, x).abs().amax()
        away = (again - z).abs().amax() / scale if not z.isnan().any() else torch.zeros(())
        apart = torch.equal(again.isnan(), z.isnan()) and bool(
            away <= max(self.known.accuracy, 1e-9)
        )
        if not apart:
            self.fail("near", -1, f"another answer, {float(away):.1e} away")

    def slopes(self) -> None:
        """Compare the derivative of the projection along a direction with differences."""
        x = self.scores()
        d = torch.from_numpy(self.rng.standard_normal(x.shape)) * ~self.case.masked
        h = _STEP * (1.0 + torch.where(self.case.masked, 0.0, x).abs().amax())
        y = x.clone().requires_grad_()
        middle = self.verbs.project(self.known.asked, y, on_failure="nan")
        fine = [not v.isnan().any() for v in middle]
        if not all(fine):
            return
        left, right = (
            self.verbs.project(self.known.asked, torch.where(self.case.masked, x, x + k * h * d))
            for k in (-1.0, 1.0)
        )
        products = [torch.autograd.grad(middle, y, d)[0]]
        if self.known.ill_conditioned:
            products += self.products_nearby(x, d, float(h) * _NEARBY)
        ahead, behind = (right - middle.detach()) / h, (middle.detach() - left) / h
        for i in range(COUNT):
            size = max(float(d[i].norm()), 1e-9)
            if float((ahead[i] - behind[i]).norm()) > 1e-2 * size:
                self.verdict.kinks += 1
                continue
            self.verdict.slopes += 1
            central = (ahead[i] + behind[i]) / 2
            off = min(float((product[i] - central).norm()) / size for product in products)
            if not off <= 3e-2:
                self.fail("derivative", i, f"J d differs from differences by {off:.1e} |d|")

    def products_nearby(self, x: Tensor, d: Tensor, reach: float) -> list[Tensor]:
        """Derivatives at points around: where digits beyond the accuracy decide which rows are
        active, that of one of them is right."""
        found = []
        for _ in range(_POINTS):
            moved = x + reach * torch.from_numpy(self.rng.standard_normal(x.shape))
            y = torch.where(self.case.masked, x, moved).requires_grad_()
            z = self.verbs.project(self.known.asked, y, on_failure="nan")
            if not z.isnan().any():
                found += torch.autograd.grad(z, y, d)
        return found


def judge_set(case: SetCase, compare: bool = False, verbs: Any = VERBS) -> Verdict:
    """Return every way in which an answer about a listed set is wrong."""
    return SetJudge(case, compare, verbs).judge()
