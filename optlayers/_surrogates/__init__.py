"""Backward passes of a structured argmax: (scores, z_hat, grad) -> gradient of the scores."""

from ._base import AbstractSurrogate as AbstractSurrogate
from ._diagnostics import diagnose as diagnose
from ._spigot import SPIGOT as SPIGOT
from ._steps import NormClip as NormClip
from ._straight_through import StraightThrough as StraightThrough
