"""The table of decoders, cheapest first; the last one refuses nothing."""

from .._plan.maps import Table
from .assignment import Assignment as Assignment
from .box import BoxArgmax as BoxArgmax
from .knapsack import Knapsack as Knapsack
from .milp import MILP as MILP
from .one_row import OneRowArgmax as OneRowArgmax
from .packing import Packing as Packing
from .paths import Paths as Paths
from .simplex import SimplexArgmax as SimplexArgmax
from .spans import Spans as Spans
from .transport import Transport as Transport

DECODERS = Table(
    "decoder",
    BoxArgmax,
    SimplexArgmax,
    OneRowArgmax,
    Assignment,
    Transport,
    Spans,
    Paths,
    Knapsack,
    Packing,
    MILP,
)
