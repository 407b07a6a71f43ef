"""Losses over structures: supervised, and for predicted values whose true ones are known."""

from .fenchel_young import PerturbedFenchelYoungLoss as PerturbedFenchelYoungLoss
from .fenchel_young import SparseMAPLoss as SparseMAPLoss
from .fenchel_young import perturbed_fenchel_young as perturbed_fenchel_young
from .fenchel_young import sparsemap_loss as sparsemap_loss
from .margin import LogLoss as LogLoss
from .margin import StructuredHingeLoss as StructuredHingeLoss
from .margin import StructuredPerceptronLoss as StructuredPerceptronLoss
from .margin import cost_augmented as cost_augmented
from .margin import log_loss as log_loss
from .margin import structured_hinge as structured_hinge
from .margin import structured_perceptron as structured_perceptron
from .regret import SPOPlusLoss as SPOPlusLoss
from .regret import regret as regret
from .regret import spo_plus as spo_plus
from .reinforce import reinforce as reinforce
