"""Rows of cvxpy constraints, as affine functions of the parameters that they contain."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._errors import PolytopeError
from .arguments import as_host_tensor
from .cvxpy_program import Named, Parameter, asked, attributes_of, named, parameter_of, program_of
from .cvxpy_sides import sides_of
from .integrality import read_integral


class CvxpyRows:
    """Constraints of cvxpy as the arguments of a polytope.

    Attributes:
        variables: Those of z, in order.
        others: The auxiliary ones that the user named; atoms add more behind them.
        parameters: All that occur.
        integral: Which entries of z are integers.
    """

    def __init__(self, z: Any, constraints: Any = None):
        variables, constraints = asked(z, constraints)
        program = program_of(constraints)
        listed = {v.id for v in variables}
        others = [v for c in constraints for v in c.variables() if v.id not in listed]
        others = list({v.id: v for v in others}.values())
        found = [attributes_of(v) for v in [*variables, *others]]
        for v, (*_, whole) in zip(others, found[len(variables) :], strict=True):
            if whole.any():
                raise PolytopeError(
                    f"Auxiliary variable {v.name()} is boolean or integer, and only z can be "
                    "integral. Declare it without that attribute, or make it part of z."
                )
        self.variables = tuple(named(v) for v in variables)
        self.others = tuple(named(v) for v in others)
        self.parameters = tuple(parameter_of(p) for p in program.parameters)
        whole = np.concatenate([own for *_, own in found[: len(variables)]])
        self.integral = read_integral(whole, len(whole), whole.shape)
        self.sides, extra = sides_of(program, [*self.variables, *self.others], self.parameters)
        free = np.full(extra, np.inf)
        self.lower = np.concatenate([*(low for low, *_ in found), -free])
        self.upper = np.concatenate([*(high for _, high, _ in found), free])

    @property
    def n(self) -> int:
        """Number of variables z."""
        return sum(v.size for v in self.variables)

    @property
    def open(self) -> list[str]:
        """Names of the parameters without a value."""
        return [p.of.name for p in self.parameters if p.value is None]

    def arguments(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the arguments of `Polytope` with the parameters bound, by name or by object.

        Raises:
            PolytopeError: If one is unknown, missing, or has another shape or sign.
        """
        values = self._values(given)
        fields: dict[str, Any] = {}
        for name, right, side in zip(("A", "A_eq"), ("b", "b_eq"), self.sides, strict=True):
            fields[name] = side.rows(self._entries(values, side.used("A")))
            fields[right] = side.right(self._entries(values, side.used("b")))
        num_aux = len(self.lower) - self.n
        bounds = {"lower": self.lower, "upper": self.upper}
        shape = self.variables[0].shape if len(self.variables) == 1 else ()
        fields["shape"] = shape if len(shape) > 1 else None
        return fields | bounds | {"num_aux": num_aux, "integral": self.integral}

    def _values(self, given: Mapping[Any, Any]) -> list[Tensor]:
        """Return the value of every parameter."""
        found: dict[int, Any] = {}
        for key, value in given.items():
            matches = [p for p in self.parameters if _names(key, p.of)]
            if len(matches) != 1:
                names = ", ".join(p.of.name for p in self.parameters) or "none"
                raise PolytopeError(
                    f"`bind` takes the parameters of the constraints, {names}. Got {key}."
                )
            found[matches[0].of.number] = value
        unset = [p.of for p in self.parameters if p.value is None]
        missing = [of.name for of in unset if of.number not in found]
        if missing:
            raise PolytopeError(
                f"`bind` needs values for {', '.join(missing)} too: the parameters have none of "
                "their own."
            )
        return [_value(p, found.get(p.of.number, p.value)) for p in self.parameters]

    def _entries(self, values: list[Tensor], used: np.ndarray) -> Tensor:
        """Return `(..., P)`: batched by those parameters alone of which an entry is used."""
        parts, start = [], 0
        for p, value in zip(self.parameters, values, strict=True):
            stop = start + p.of.size
            needed = bool(((used >= start) & (used < stop)).any())
            # cvxpy flattens by columns (F order).
            dims = [-1 - k for k in range(len(p.of.shape))]
            lead = value.ndim - len(dims)
            flat = value.permute(*range(lead), *dims).flatten(lead) if dims else value[..., None]
            parts.append(flat if needed else flat.detach().new_zeros(p.of.size))
            start = stop
        if not parts:
            return torch.zeros(0, dtype=torch.float64)
        device = next((p.device for p in parts if p.device.type != "cpu"), parts[0].device)
        batch = _common([p.shape[:-1] for p in parts])
        return torch.cat([p.to(device).expand(*batch, -1) for p in parts], -1)

    def split(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the part of every variable, `(..., *shape)`, of points or scores `(..., n)`."""
        sizes = [v.size for v in self.variables]
        parts = z.split(sizes, -1)
        return tuple(
            part.reshape(*z.shape[:-1], *v.shape)
            for part, v in zip(parts, self.variables, strict=True)
        )

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Return `(..., n)` of one tensor `(..., *shape)` for every variable."""
        if len(parts) != len(self.variables):
            raise PolytopeError(
                f"`join` takes one tensor for each of {', '.join(v.name for v in self.variables)}. "
                f"Got {len(parts)}."
            )
        flat = []
        for part, v in zip(parts, self.variables, strict=True):
            lead = part.ndim - len(v.shape)
            if lead < 0 or tuple(part.shape[lead:]) != v.shape:
                raise PolytopeError(
                    f"{v.name} must have shape (..., {', '.join(map(str, v.shape))}). "
                    f"Got {tuple(part.shape)}."
                )
            flat.append(part.reshape(*part.shape[:lead], v.size))
        batch = _common([f.shape[:-1] for f in flat])
        return torch.cat([f.expand(*batch, -1) for f in flat], -1)


def _names(key: Any, of: Named) -> bool:
    """Tell whether a key is the name of a parameter, or the parameter itself."""
    return key == of.name if isinstance(key, str) else getattr(key, "id", None) == of.number


def _common(shapes: list[torch.Size]) -> torch.Size:
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError:
        found = " and ".join(str(tuple(s)) for s in shapes)
        raise PolytopeError(f"The batch dimensions must agree. Got {found}.") from None


def _value(parameter: Parameter, value: Any) -> Tensor:
    """Return a value `(..., *shape)` in float64, with its graph."""
    name, shape = parameter.of.name, parameter.of.shape
    tensor = as_host_tensor(value).to(torch.float64)
    lead = tensor.ndim - len(shape)
    if lead < 0 or tuple(tensor.shape[lead:]) != shape:
        wanted = ", ".join(["...", *map(str, shape)])
        raise PolytopeError(f"`{name}` must have shape ({wanted}). Got {tuple(tensor.shape)}.")
    if not bool(tensor.isfinite().all()):
        raise PolytopeError(f"`{name}` must be finite.")
    if bool((parameter.sign * tensor.detach() < 0).any()):
        sign = "nonnegative" if parameter.sign > 0 else "nonpositive"
        raise PolytopeError(f"`{name}` was declared {sign}, which the rows rely on.")
    return tensor
