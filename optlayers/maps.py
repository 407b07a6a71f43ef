"""Names for those who add a projection or a decoder of their own.

A map is a subclass of `AbstractBlockMap`; `PROJECTIONS.register(MyMap)` puts it first in the table
that `optlayers.project` compiles plans from, `DECODERS` is that of `optlayers.decode`.
"""

from ._decoders import DECODERS as DECODERS
from ._plan.blocks import Block as Block
from ._plan.failures import Failure as Failure
from ._plan.failures import Report as Report
from ._plan.maps import AbstractBlockMap as AbstractBlockMap
from ._plan.maps import Limits as Limits
from ._plan.maps import Table as Table
from ._projections import PROJECTIONS as PROJECTIONS
