"""The table of projections, cheapest first; the last one refuses nothing."""

from .._plan.maps import Table
from .active_set import ActiveSet as ActiveSet
from .affine import Affine as Affine
from .box import Box as Box
from .newton.newton import Newton as Newton
from .one_row import OneRow as OneRow
from .qp import QP as QP
from .simplex import Simplex as Simplex
from .spans import Spans as Spans

PROJECTIONS = Table("projection", Box, Simplex, OneRow, Affine, Spans, ActiveSet, Newton, QP)
