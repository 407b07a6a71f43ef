"""The verbs: `plan`, `project` and `decode`, as plain functions over tensors."""

from .decode import decode as decode
from .plan import plan as plan
from .project import project as project
