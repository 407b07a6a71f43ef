"""Backward passes of a structured argmax: (scores, z_hat, grad) -> gradient of the scores."""

from .base import AbstractSurrogate as AbstractSurrogate
from .base import Decision as Decision
from .blackbox import Blackbox as Blackbox
from .diagnostics import diagnose as diagnose
from .gumbel import GumbelStraightThrough as GumbelStraightThrough
from .identity import Identity as Identity
from .imle import AIMLE as AIMLE
from .imle import IMLE as IMLE
from .lpgd import LPGD as LPGD
from .multi_step import MultiStepSPIGOT as MultiStepSPIGOT
from .noise import SumOfGamma as SumOfGamma
from .oracles import Oracles as Oracles
from .perturbed import Perturbed as Perturbed
from .pulled_back import AbstractTarget as AbstractTarget
from .pulled_back import ProjectedStep as ProjectedStep
from .pulled_back import PulledBack as PulledBack
from .pulled_back import ScoreStep as ScoreStep
from .pulled_back import Step as Step
from .softmax import SoftmaxStraightThrough as SoftmaxStraightThrough
from .sparsemap import SparseMAP as SparseMAP
from .spigot import SPIGOT as SPIGOT
from .spigot_eg import SPIGOTEG as SPIGOTEG
from .steps import NormClip as NormClip
from .straight_through import StraightThrough as StraightThrough
