"""The keywords of the verbs, as type checkers are told: each overload has the same ones."""

from collections.abc import Callable
from typing import Literal, TypedDict

from torch import Tensor

from ._calls import OnFailure, OnTimeLimit
from ._nonfinite import OnNonfinite


class ProjectOptions(TypedDict, total=False):
    """Keywords of `project` that do not change its type."""

    scores_aux: Tensor | None
    near: Tensor | None
    on_failure: Literal["raise", "nan"]
    on_nonfinite: OnNonfinite
    tolerance: float
    time_limit: float | None


class DecideOptions(TypedDict, total=False):
    """Keywords of `decode` and `structured_argmax` that do not change their types."""

    decoder: Callable[[Tensor], Tensor] | None
    on_failure: OnFailure
    on_nonfinite: OnNonfinite
    time_limit: float | None
    on_time_limit: OnTimeLimit
    check: bool


class DecodeOptions(DecideOptions, total=False):
    """Keywords of `decode` that do not change its type."""

    scores_aux: Tensor | None


class ArgmaxOptions(DecideOptions, total=False):
    """Keywords of `structured_argmax` that do not change its type."""

    training: bool
