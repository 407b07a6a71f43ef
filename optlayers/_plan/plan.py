"""A plan sends every block of a polytope to the cheapest map of a table that accepts it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._errors import BlockRefused
from .._kernels.untraced import ordinary
from .._polytope.polytope import Polytope
from .blocks import Block
from .maps import AbstractBlockMap, Limits, Report, Table, send

_MIXED = "some of its variables are integers and others are not"


class Plan:
    """A compiled polytope: a list of maps, one per stack of equal blocks.

    Compilation looks at the constraints and costs time linear in their nonzeros; a call looks at
    scores and values alone.
    """

    def __init__(self, polytope: Polytope, table: Table, blocks: list[Block]):
        self.n, self.num_vars, self.table = polytope.n, polytope.num_vars, table
        self.maps: list[AbstractBlockMap] = []
        self.refusals: list[list[str]] = []
        # Nothing of a block of auxiliary variables alone is visible in z, but it may be infeasible.
        self.hidden = [b for b in blocks if b.is_aux.all() and b.num_rows > 1]
        for block in blocks:
            if block.is_aux.all() and not table.completes:
                continue
            chosen, refusals = self._choose(block)
            for part in block.uniform() if chosen.shares_matrix else [block]:
                self.maps.append(chosen(part))
                self.refusals.append(refusals)
        self._index = [_as_index(m.block.index) for m in self.maps]
        self._on_device: dict[torch.device, list[Any]] = {}
        self._all_have_maps = sum(m.block.index.size for m in self.maps) == self.num_vars
        self.covers_in_order = len(self.maps) == 1 and self._index[0] == slice(0, self.num_vars)
        # The map of all variables as they stand, if one is all there is.
        alone = self.covers_in_order and self.num_vars == self.n
        self.only = self.maps[0] if alone else None

    def _choose(self, block: Block) -> tuple[type[AbstractBlockMap], list[str]]:
        refusals = []
        for candidate in self.table:
            reason = candidate.why_not(block)
            if reason is None and block.mixed and not candidate.takes_mixed:
                reason = _MIXED
            if reason is None:
                return candidate, refusals
            refusals.append(f"not {candidate.__name__}: {reason}")
        raise BlockRefused(f"No map in {self.table} takes {block}. " + "; ".join(refusals))

    def explain(self) -> str:
        """Say what goes where, and why not somewhere cheaper.

        Examples:
            >>> import optlayers as ol
            >>> print(ol.plan(ol.simplex(3)).explain())
            Projection plan: 3 variables, 1 block
              1 x 3 variables, 1 row -> Simplex
                  not Box: it has coupling rows
        """
        total = sum(m.block.count for m in self.maps)
        name = self.table.name.capitalize()
        lines = [f"{name} plan: {self.n} variables, {total} block{'s' * (total != 1)}"]
        for map_, refusals in zip(self.maps, self.refusals, strict=True):
            block = map_.block
            rows = f"{block.num_rows} row{'s' * (block.num_rows != 1)}"
            lines.append(
                f"  {block.count} x {block.size} variables, {rows} -> {type(map_).__name__}"
            )
            remark = map_.remark()
            lines += [f"      {reason}" for reason in ([remark] if remark else []) + refusals]
        return "\n".join(lines)

    __str__ = explain

    # ------------------------------------------------------------------ calls

    @ordinary
    def index(self, device: torch.device) -> list[Any]:
        """Return, per map, the slice or the index tensor of its variables."""
        if device not in self._on_device:
            self._on_device[device] = [send(i, device) for i in self._index]
        return self._on_device[device]

    def gather(self, x: Tensor, at: Any, map_: AbstractBlockMap) -> Tensor:
        """Return the `(N, count, size)` part of `(N, num_vars)` that belongs to a map."""
        part = x[:, at] if isinstance(at, slice) else x.index_select(1, at)
        return part.reshape(x.shape[0], map_.block.count, map_.block.size)

    def forward(
        self, x: Tensor, limits: list[Limits], report: Report, near: Tensor | None = None
    ) -> Tensor:
        """Apply every map to its part of `(N, n)`; what comes out as NaN is a failure.

        Args:
            x: Points or scores.
            limits: Of every map.
            report: Told which instances have no answer.
            near: `(N, n)`, where answers are expected: less work for maps with `uses_near`, and
                the same answers.
        """
        return self.complete(x, limits, report, near)[:, : self.n]

    def complete(
        self, x: Tensor, limits: list[Limits], report: Report, near: Tensor | None = None
    ) -> Tensor:
        """Return what `forward` does, with auxiliary variables behind: `(N, num_vars)`.

        They complete the point where their map tells; at blocks without a map they are zero.
        """
        z = self._forward(x, limits, report, near)
        report.refuse_nan(x, z[:, : self.n])
        return z

    def _forward(
        self, x: Tensor, limits: list[Limits], report: Report, near: Tensor | None
    ) -> Tensor:
        if self.num_vars > x.shape[1]:
            x = torch.cat([x, x.new_zeros(x.shape[0], self.num_vars - self.n)], 1)
            if near is not None:
                near = torch.cat([near, near.new_zeros(len(near), self.num_vars - self.n)], 1)
        if self.covers_in_order:
            result = self._apply(self.maps[0], slice(None), x, limits[0], report, near)
            return result.reshape(x.shape)
        out = torch.empty_like(x) if self._all_have_maps else torch.zeros_like(x)
        for map_, at, limit in zip(self.maps, self.index(x.device), limits, strict=True):
            result = self._apply(map_, at, x, limit, report, near).flatten(1)
            _put(out, at, result)
        return out

    def _apply(self, map_: AbstractBlockMap, at: Any, x, limits, report, near) -> Tensor:
        part, before = self.gather(x, at, map_), len(report.residuals)
        if near is None or not map_.uses_near:
            result = map_.forward(part, limits, report)
        else:
            near = self.gather(near, at, map_)
            result = map_.forward(part, limits, report, near)  # type: ignore[call-arg]
        if new := len(report.residuals) - before:  # a traced graph writes nothing
            report.blocks += [map_.block] * new
        return result

    def vjp_limits(self, x: Tensor, z: Tensor, limits: list[Limits], grad: Tensor) -> list[Limits]:
        """Return the vector-Jacobian product of `forward` in the limits, map by map."""
        return [
            map_.vjp_limits(px, pz, limit, pg)
            for map_, _, limit, px, pz, pg in self._parts(x, z, limits, grad)
        ]

    def vjp_both(
        self, x: Tensor, z: Tensor, limits: list[Limits], grad: Tensor
    ) -> tuple[Tensor, list[Limits]]:
        """Return `vjp` and `vjp_limits`."""
        if torch.compiler.is_compiling():  # each is an operator
            return self.vjp(x, z, limits, grad), self.vjp_limits(x, z, limits, grad)
        return self._pairs("vjp_both", x, z, limits, grad)

    def vjp_face(
        self, x: Tensor, z: Tensor, limits: list[Limits], grad: Tensor
    ) -> tuple[Tensor, list[Limits]]:
        """Return the products in the points and in the limits, both of one face of each block.

        Points may have their auxiliary variables behind, `(N, num_vars)`; so may what is returned.
        """
        return self._pairs("vjp_face", x, z, limits, grad)

    def _pairs(self, verb: str, x, z, limits, grad) -> tuple[Tensor, list[Limits]]:
        out, found = x.new_zeros(len(x), self.num_vars), []
        for map_, at, limit, px, pz, pg in self._parts(x, z, limits, grad):
            of_point, of_limits = getattr(map_, verb)(px, pz, limit, pg)
            found.append(of_limits)
            _put(out, at, of_point.flatten(1))
        return out[:, : grad.shape[1]], found

    def _parts(self, x: Tensor, z: Tensor, limits: list[Limits], grad: Tensor) -> Iterator[Any]:
        """Yield every map, where its variables are, its limits, and its part of the tensors."""
        if self.num_vars > self.n:
            x, z, grad = (
                torch.cat([v, v.new_zeros(len(v), self.num_vars - v.shape[1])], 1)
                for v in (x, z, grad)
            )
        for map_, at, limit in zip(self.maps, self.index(z.device), limits, strict=True):
            yield map_, at, limit, *(self.gather(v, at, map_) for v in (x, z, grad))

    def vjp(self, x: Tensor, z: Tensor, limits: list[Limits], grad: Tensor) -> Tensor:
        """Return the vector-Jacobian product of `forward`, map by map."""
        out = x.new_zeros(len(x), self.num_vars)
        for map_, at, limit, px, pz, pg in self._parts(x, z, limits, grad):
            _put(out, at, map_.vjp(px, pz, limit, pg).flatten(1))
        return out[:, : grad.shape[1]]


def _put(out: Tensor, at: slice | Tensor, part: Tensor) -> None:
    """Write a part of a batch to its columns."""
    if isinstance(at, slice):
        out[:, at] = part
    else:
        out.index_copy_(1, at, part)


def _as_index(index: np.ndarray) -> slice | Tensor:
    """Return a slice where variables are consecutive (a view, no copy), else an index tensor."""
    flat = index.ravel()
    if (np.diff(flat) == 1).all():
        return slice(int(flat[0]), int(flat[-1]) + 1)
    return torch.from_numpy(flat)
