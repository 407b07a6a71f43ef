import subprocess
import sys

import torch

from optlayers._kernels.untraced import eager


class Doubler:
    """Counts how it is called: traced, or as it is."""

    def __init__(self):
        self.traced = []

    @eager
    def double(self, x: torch.Tensor) -> torch.Tensor:
        """Twice x."""
        self.traced.append(self.is_traced())
        return torch.from_numpy(2 * x.detach().numpy())

    def is_traced(self) -> bool:
        return torch.compiler.is_compiling()


def test_a_compiled_function_calls_it_as_it_is():
    doubler = Doubler()
    x = torch.randn(3)
    compiled = torch.compile(lambda x: doubler.double(x + 1) - 2, backend="eager")
    for _ in range(2):
        torch.testing.assert_close(compiled(x), 2 * x)
    assert doubler.traced == [False, False]
    assert torch._dynamo.explain(lambda x: doubler.double(x + 1) - 2)(x).graph_break_count == 1


def test_it_keeps_its_name():
    assert Doubler.double.__name__ == "double"
    assert Doubler.double.__doc__ == "Twice x."


def test_the_compiler_is_not_imported():
    code = (
        "import sys, torch; from optlayers._kernels.untraced import eager;"
        "eager(torch.sin)(torch.ones(1));"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
