"""Backward passes of a structured argmax: (scores, z_hat, grad) -> gradient of the scores."""

from .base import AbstractSurrogate as AbstractSurrogate
from .diagnostics import diagnose as diagnose
from .spigot import SPIGOT as SPIGOT
from .steps import NormClip as NormClip
from .straight_through import StraightThrough as StraightThrough
