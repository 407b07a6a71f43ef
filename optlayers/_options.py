"""The keywords of the verbs, as type checkers are told: each overload has the same ones."""

from collections.abc import Callable
from typing import Literal, TypedDict

from torch import Tensor

from ._calls import OnFailure, OnTimeLimit
from ._nonfinite import OnNonfinite


class ProjectOptions(TypedDict, total=False):
    """What `project` takes, besides what is returned."""

    scores_aux: Tensor | None
    near: Tensor | None
    on_failure: Literal["raise", "nan"]
    on_nonfinite: OnNonfinite
    tolerance: float
    time_limit: float | None


class DecideOptions(TypedDict, total=False):
    """What `decode` and `structured_argmax` take, besides what is returned."""

    decoder: Callable[[Tensor], Tensor] | None
    on_failure: OnFailure
    on_nonfinite: OnNonfinite
    time_limit: float | None
    on_time_limit: OnTimeLimit
    check: bool


class DecodeOptions(DecideOptions, total=False):
    """What `decode` takes, besides what is returned."""

    scores_aux: Tensor | None


class ArgmaxOptions(DecideOptions, total=False):
    """What `structured_argmax` takes, besides what is returned."""

    training: bool
