"""Which methods are compared, on which cases, and with which settings they are tried."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .solvers_cases import CASES

OURS = "optlayers"
ALONE = "optlayers, one by one"
LOOP = "OSQP loop"
TIGHTER = ("1e-5", "1e-6", "1e-7", "1e-8", "1e-9", "1e-10")


@dataclass(frozen=True)
class Method:
    """One way to project a batch.

    `variants` are settings of which the fastest counts, each with the first tolerance of `ladder`
    that is accurate enough; `like` starts from what another method was found to need. `start` is
    how many instances a method that may be slow begins with.
    """

    label: str
    module: str
    method: str
    threads: int = 1
    options: dict[str, str] = field(default_factory=dict)
    variants: tuple[dict[str, str], ...] = ({},)
    ladder: tuple[str, ...] = ()
    like: str = ""
    start: int = 0
    alike: bool = False  # the variants need the same tolerance
    peers: bool = False  # runs in .venv-peers
    dense: bool = False  # wants dense matrices
    memory: bool = False  # its memory is measured too
    cases: tuple[str, ...] = ()  # all
    gpu: bool = False  # makes sense on the cases for a GPU
    declared: bool = False  # takes part in what a user declares

    @property
    def key(self) -> str:
        """What tells it from the others."""
        return f"{self.label}, {self.threads} on {self.options.get('device', 'cpu')}"


def _proxsuite(label: str, backend: str, threads: int = 1, **more) -> Method:
    guesses = () if backend.endswith("batch") else ({"guess": "cold"}, {"guess": "warm"})
    defaults = {
        "variants": guesses or ({},),
        "ladder": TIGHTER,
        "start": 8,
        "peers": True,
        "alike": True,
    }
    options = {"backend": backend}
    return Method(label, "solvers_peers", "proxsuite", threads, options, **{**defaults, **more})


DAQP = tuple({"form": form} for form in ("solve", "model", "cold"))
_TREES = ("arborescence12",)
_HULL = {"relaxation": "hull"}
_ARBORESCENCE = {"relaxation": "arborescence"}
_BOX, _SPARSE = "proxsuite dense, loop", "proxsuite sparse, loop"
METHODS = [
    Method(OURS, "solvers_ours", "project", memory=True, gpu=True, declared=True),
    Method(OURS, "solvers_ours", "project", 2, gpu=True),
    Method(ALONE, "solvers_ours", "one_by_one", start=8, declared=True),
    Method("optlayers, OSQP inside", "solvers_ours", "by_osqp"),
    Method("optlayers, the set", "solvers_ours", "structured", 1, _ARBORESCENCE, cases=_TREES),
    Method("optlayers, its hull", "solvers_ours", "structured", 1, _HULL, cases=_TREES),
    Method(
        LOOP,
        "solvers_peers",
        "osqp",
        variants=({"rho": "0.1"}, {"rho": "1"}),
        ladder=TIGHTER,
        memory=True,
        gpu=True,
        declared=True,
    ),
    Method(LOOP, "solvers_peers", "osqp", 2, ladder=TIGHTER, like=LOOP, gpu=True),
    _proxsuite(_BOX, "box", dense=True),
    _proxsuite("proxsuite dense, batch", "dense-batch", 2, like=_BOX, dense=True, gpu=True),
    _proxsuite(_SPARSE, "sparse", memory=True),
    _proxsuite("proxsuite sparse, batch", "sparse-batch", 2, like=_SPARSE),
    *(
        Method(label, "solvers_one_by_one", method, start=8, peers=True, declared=True, **more)
        for label, method, more in (
            ("DAQP, one by one", "daqp", {"dense": True, "variants": DAQP}),
            ("quadprog, one by one", "quadprog", {"dense": True}),
            ("PIQP dense, one by one", "piqp", {"dense": True, "ladder": TIGHTER}),
            ("Clarabel, one by one", "clarabel", {"ladder": TIGHTER}),
            ("Moreau, batch", "moreau", {}),
        )
    ),
    Method(
        "cvxpylayers",
        "peers",
        "cvxpylayers",
        2,  # it takes as many as there are
        {"form": "whole"},
        ladder=("", "1e-6", "1e-7", "1e-8"),
        start=2,
    ),
    Method(
        "jaxopt BoxOSQP",
        "peers",
        "jaxopt_osqp",
        2,
        {"form": "whole"},
        ladder=("1e-6", "1e-7", "1e-8"),
        start=4,
        peers=True,
        dense=True,
    ),
    # With two threads its factorisations end in errors of MKL and never return.
    Method("qpth", "peers", "qpth", 1, {"form": "whole"}, start=4, peers=True, dense=True),
]
# The same, on a GPU.
ON_GPU = [
    replace(m, options=m.options | {"device": "cuda"})
    for m in METHODS
    if (m.label, m.threads) in ((OURS, 1), ("qpth", 1))
]


def methods_for(case: str, cuda: bool, words: list[str] | None) -> list[Method]:
    """The methods of a case, those whose name has one of the words."""
    return [m for m in _all_for(case, cuda) if not words or any(w in m.key for w in words)]


def _all_for(case: str, cuda: bool) -> Iterator[Method]:
    about = CASES[case]
    for method in METHODS + (ON_GPU if about.gpu and cuda else []):
        on_gpu = "device" in method.options
        if (about.gpu and not (method.gpu or on_gpu)) or (method.dense and not about.dense):
            continue
        if (about.declared and not method.declared) or (method.label == ALONE and about.gpu):
            continue
        if not method.cases or case in method.cases:
            yield replace(method, like="") if about.gpu and method.like != LOOP else method
