"""Everything that is judged about one case, whatever its family."""

from functools import partial

from .derivative import AT_VERTICES, slopes, slopes_of_limits
from .generate import Case, named_case
from .judge import CLOSED, Failure, Verdict, by_library, judge
from .policies import PARTLY, policies
from .sets.judge_sets import judge_set
from .sets.known import SetCase
from .tensors import tensor_code

_TURNS = 10  # every so many cases of a family are compared with Clarabel
_COSTLY = ("dense", "chain", "degenerate", "dependent_auxiliaries")  # derivatives every tenth case
_EVERY_SLOPE = (*CLOSED, *AT_VERTICES)  # derivatives every case


def verdict_of(
    case: Case | SetCase, compare: bool = False, derivatives: bool = True, device: str = "cpu"
) -> Verdict:
    """Return everything that is wrong with the answers of the library, and their derivative.

    Args:
        case: What is judged.
        compare: Whether projections are compared with Clarabel.
        derivatives: Whether derivatives are compared with differences.
        device: As for `judge.by_library`.
    """
    if isinstance(case, SetCase):
        if device != "tensors":
            return judge_set(case, compare)
        with tensor_code():
            return judge_set(case, compare)
    verdict = judge(case, compare, partial(by_library, device=device))
    try:
        if case.family in PARTLY and device == "cpu":
            policies(case, verdict)
        found = [slopes(case)] if derivatives else []
        found += [slopes_of_limits(case)] if case.family in AT_VERTICES else []
    except Exception as error:  # whatever it is: it is the library's
        verdict.fail("exception", -1, f"{type(error).__name__}: {error}"[:300])
        return verdict
    for slope in found:
        verdict.slopes += slope.compared
        verdict.kinks += slope.skipped
        verdict.failures += slope.failures
    return verdict


def verdict_of_name(name: str, device: str = "cpu") -> Verdict:
    """Judge a case of a run: all of it in some turns, as the name says, whatever the run is."""
    case, turn = named_case(name), int(name.split(":")[1]) % _TURNS
    often = 1 if case.family in _EVERY_SLOPE else _TURNS if case.family in _COSTLY else 2
    return verdict_of(case, turn == 0, turn % often == 5 % often, device)


def failures_of(case: Case | SetCase, compare: bool = False) -> list[Failure]:
    """Return everything wrong with a case."""
    return verdict_of(case, compare).failures
