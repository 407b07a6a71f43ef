"""Every exception that optlayers raises on purpose, and the one warning it gives."""


class OptLayersError(Exception):
    """Base class of every error raised on purpose by optlayers."""


class PolytopeError(OptLayersError, ValueError):
    """A declaration that is not a polytope: shapes, non-finite entries, crossed bounds."""


class InfeasibleError(OptLayersError, ValueError):
    """No point satisfies the constraints; names the instance and the rows in conflict."""


class UnboundedError(OptLayersError, ValueError):
    """The argmax does not exist because the scores can grow without limit over the set."""


class InputError(OptLayersError, ValueError):
    """Scores or points of the wrong shape, type or device, or with entries that are not finite."""


class BlockRefused(OptLayersError, ValueError):  # noqa: N818 -- it names what happened to the block
    """A map was asked to take a block that has another structure; the message says which part."""


class SolverNotInstalled(OptLayersError, ImportError):  # noqa: N818
    """An optional solver is missing; the message says how to install it."""


class SolverFailed(OptLayersError, RuntimeError):  # noqa: N818
    """No exact solver reached the accuracy asked for; the message holds the best residuals."""


class NotTwiceDifferentiable(OptLayersError, RuntimeError):  # noqa: N818
    """A surrogate gradient was differentiated again, and has no derivative; names the surrogate."""


def name_of(index: tuple[int, ...], noun: str = "instance") -> str:
    """Return what messages call an entry of a batch: "Instance 3", "Instance (0, 2)".

    Args:
        index: Its place in the batch; empty where there is no batch, which gives "The instance".
        noun: What the entries are.
    """
    if not index:
        return f"The {noun}"
    return f"{noun.capitalize()} {index[0] if len(index) == 1 else index}"


class StepSizeWarning(UserWarning):
    """SPIGOT's `eta` has no effect: almost all instances are in the cone regime, or saturated."""


class NoGradientWarning(UserWarning):
    """A right-hand side or a bound requires a gradient and gets none through a layer; said once."""
