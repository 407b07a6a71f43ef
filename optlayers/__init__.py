"""optlayers: declare a polytope, get a hard structured decision forward and SPIGOT backward."""

from ._errors import BlockRefused as BlockRefused
from ._errors import InfeasibleError as InfeasibleError
from ._errors import InputError as InputError
from ._errors import NoGradientWarning as NoGradientWarning
from ._errors import NotTwiceDifferentiable as NotTwiceDifferentiable
from ._errors import OptLayersError as OptLayersError
from ._errors import PolytopeError as PolytopeError
from ._errors import SolverFailed as SolverFailed
from ._errors import SolverNotInstalled as SolverNotInstalled
from ._errors import StepSizeWarning as StepSizeWarning
from ._errors import UnboundedError as UnboundedError
from ._polytope.polytope import Polytope as Polytope
from ._polytope.algebra import intersect as intersect
from ._polytope.algebra import product as product
from ._polytope.constructors import box as box
from ._polytope.constructors import budget as budget
from ._polytope.constructors import cardinality as cardinality
from ._polytope.constructors import dag_path as dag_path
from ._polytope.constructors import label_sum as label_sum
from ._polytope.constructors import simplex as simplex
from ._polytope.constructors import spans as spans
from ._polytope.grids import grid_edges as grid_edges
from ._polytope.grids import grid_path as grid_path
from ._polytope.matrices import assignment as assignment
from ._polytope.matrices import head_selection as head_selection
from ._polytope.matrices import transport as transport
from ._polytope.stack import stack as stack
from ._polytope.words import describe as describe
from ._polytope.npz import load as load
from ._polytope.npz import save as save
from ._plan.plan import Plan as Plan
from . import maps as maps
from ._status import Status as Status
from ._abstract_set import AbstractFeasibleSet as AbstractFeasibleSet
from ._functional import decode as decode
from ._functional import plan as plan
from ._functional import project as project
from ._sums import entropy as entropy
from ._sums import log_partition as log_partition
from ._sums import marginals as marginals
from ._sums import sample as sample
from ._judge.certificate import Certificate as Certificate
from ._judge.certificate import certify as certify
from ._judge.validate import Validation as Validation
from ._judge.validate import ValidationRow as ValidationRow
from ._judge.validate import validate as validate
from ._sets import ConvexHull as ConvexHull
from ._sets import DependencyTrees as DependencyTrees
from ._sets import GraphPaths as GraphPaths
from ._sets import LazyRows as LazyRows
from ._sets import LinearChain as LinearChain
from ._sets import Rankings as Rankings
from ._sets import Segmentation as Segmentation
from ._sets import SemanticGraphs as SemanticGraphs
from ._sets import SemanticParts as SemanticParts
from ._sets import SpanningTrees as SpanningTrees
from ._sets import deterministic_labels as deterministic_labels
from ._sets.hull.project_hull import HullProjection as HullProjection
from ._sets.hull.project_hull import project_hull as project_hull
from ._surrogates import AIMLE as AIMLE
from ._surrogates import IMLE as IMLE
from ._surrogates import LPGD as LPGD
from ._surrogates import SPIGOT as SPIGOT
from ._surrogates import SPIGOTEG as SPIGOTEG
from ._surrogates import AbstractSurrogate as AbstractSurrogate
from ._surrogates import AbstractTarget as AbstractTarget
from ._surrogates import Blackbox as Blackbox
from ._surrogates import Decision as Decision
from ._surrogates import GumbelStraightThrough as GumbelStraightThrough
from ._surrogates import Identity as Identity
from ._surrogates import MultiStepSPIGOT as MultiStepSPIGOT
from ._surrogates import NormClip as NormClip
from ._surrogates import Oracles as Oracles
from ._surrogates import Perturbed as Perturbed
from ._surrogates import ProjectedStep as ProjectedStep
from ._surrogates import PulledBack as PulledBack
from ._surrogates import ScoreStep as ScoreStep
from ._surrogates import SoftmaxStraightThrough as SoftmaxStraightThrough
from ._surrogates import SparseMAP as SparseMAP
from ._surrogates import Step as Step
from ._surrogates import StraightThrough as StraightThrough
from ._surrogates import SumOfGamma as SumOfGamma
from ._surrogates import diagnose as diagnose
from ._losses import LogLoss as LogLoss
from ._losses import PerturbedFenchelYoungLoss as PerturbedFenchelYoungLoss
from ._losses import SPOPlusLoss as SPOPlusLoss
from ._losses import SparseMAPLoss as SparseMAPLoss
from ._losses import StructuredHingeLoss as StructuredHingeLoss
from ._losses import StructuredPerceptronLoss as StructuredPerceptronLoss
from ._losses import cost_augmented as cost_augmented
from ._losses import log_loss as log_loss
from ._losses import perturbed_fenchel_young as perturbed_fenchel_young
from ._losses import regret as regret
from ._losses import reinforce as reinforce
from ._losses import sparsemap_loss as sparsemap_loss
from ._losses import spo_plus as spo_plus
from ._losses import structured_hinge as structured_hinge
from ._losses import structured_perceptron as structured_perceptron
from ._layer import StructuredArgmax as StructuredArgmax
from ._layer import structured_argmax as structured_argmax

__version__ = "0.1.0"


def __getattr__(name: str):
    """Return what the last version had at the top level, with a warning."""
    from ._deprecated import warn_deprecated

    if name == "constraints":
        warn_deprecated("`optlayers.constraints`", "`optlayers.describe`")
        return describe
    if name in ("Block", "AbstractBlockMap", "Limits", "Report", "PROJECTIONS", "DECODERS"):
        warn_deprecated(f"`optlayers.{name}`", f"`optlayers.maps.{name}`")
        return getattr(maps, name)
    raise AttributeError(f"module 'optlayers' has no attribute {name!r}")
