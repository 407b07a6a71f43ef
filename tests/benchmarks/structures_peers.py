"""supar and torch-struct, each given scores in its own layout; nothing of ours is imported."""

# Peers live in environments of their own.
# pyright: reportMissingImports=false

from typing import Any

import numpy as np
import torch

from .subject import Subject


def _transposed(inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """supar: modifiers by heads, the root at index 0, lengths without it."""
    scores = torch.from_numpy(inputs["scores"]).transpose(1, 2).contiguous()
    return scores, torch.full((len(scores),), scores.shape[-1] - 1)


def supar_argmax(inputs: Any, family: str) -> Subject:
    """`DependencyCRF.argmax` is Eisner's algorithm, `MatrixTree.argmax` Chu-Liu/Edmonds."""
    from supar import structs

    scores, lengths = _transposed(inputs)
    make = getattr(structs, family)
    return Subject(
        lambda: make(scores, lengths).argmax, lambda heads: {"heads": heads[:, 1:].numpy()}
    )


def supar_marginals(inputs: Any, family: str) -> Subject:
    """`.marginals`."""
    from supar import structs

    scores, lengths = _transposed(inputs)
    make = getattr(structs, family)
    return Subject(
        lambda: make(scores, lengths).marginals,
        lambda mu: {"marginals": mu.detach().transpose(1, 2).numpy()},
    )


def supar_attention(inputs: Any, family: str) -> Subject:
    """`.marginals` and their vector-Jacobian product."""
    from supar import structs

    scores, lengths = _transposed(inputs)
    weight = torch.from_numpy(inputs["weight"]).transpose(1, 2).contiguous()
    scores.requires_grad_()
    make = getattr(structs, family)

    def run() -> torch.Tensor:
        return torch.autograd.grad((make(scores, lengths).marginals * weight).sum(), scores)[0]

    return Subject(run, lambda grad: {"gradient": grad.transpose(1, 2).numpy()})


def _without_root(x: torch.Tensor) -> torch.Tensor:
    """torch-struct: heads by modifiers among words, the root's scores on the diagonal."""
    words = x[:, 1:, 1:].clone()
    words.diagonal(0, 1, 2).copy_(x[:, 0, 1:])
    return words


def _leaf(inputs: Any) -> torch.Tensor:
    """Requires a gradient: otherwise `DependencyCRF` makes it a leaf and writes into it."""
    return _without_root(torch.from_numpy(inputs["scores"])).requires_grad_()


def _with_root(x: torch.Tensor) -> np.ndarray:
    full = x.new_zeros(len(x), x.shape[1] + 1, x.shape[1] + 1)
    full[:, 1:, 1:] = x
    full[:, 0, 1:] = x.diagonal(0, 1, 2)
    full.diagonal(0, 1, 2).zero_()
    return full.numpy()


def struct_argmax(inputs: Any, family: str) -> Subject:
    """`.argmax`."""
    import torch_struct

    scores = _leaf(inputs)
    make = getattr(torch_struct, family)

    def heads(z: torch.Tensor | None) -> dict[str, np.ndarray]:
        if z is None:
            raise NotImplementedError(f"the argmax of {family} is None")
        return {"heads": torch.from_numpy(_with_root(z))[:, :, 1:].argmax(1).numpy()}

    return Subject(lambda: make(scores, multiroot=False).argmax, heads)


def struct_marginals(inputs: Any, family: str) -> Subject:
    """`.marginals`."""
    import torch_struct

    scores = _leaf(inputs)
    make = getattr(torch_struct, family)
    return Subject(
        lambda: make(scores, multiroot=False).marginals,
        lambda mu: {"marginals": _with_root(mu.detach())},
    )


def struct_attention(inputs: Any, family: str) -> Subject:
    """`.marginals` and their vector-Jacobian product."""
    import torch_struct

    scores = _leaf(inputs)
    weight = _without_root(torch.from_numpy(inputs["weight"]))
    make = getattr(torch_struct, family)

    def run() -> torch.Tensor:
        mu = make(scores, multiroot=False).marginals
        return torch.autograd.grad((mu * weight).sum(), scores)[0]

    return Subject(run, lambda grad: {"gradient": _with_root(grad)})


METHODS = {
    "supar": {
        "projective argmax": lambda i: supar_argmax(i, "DependencyCRF"),
        "argmax": lambda i: supar_argmax(i, "MatrixTree"),
        "projective marginals": lambda i: supar_marginals(i, "DependencyCRF"),
        "marginals": lambda i: supar_marginals(i, "MatrixTree"),
        "projective attention": lambda i: supar_attention(i, "DependencyCRF"),
        "attention": lambda i: supar_attention(i, "MatrixTree"),
    },
    "torch-struct": {
        "projective argmax": lambda i: struct_argmax(i, "DependencyCRF"),
        "argmax": lambda i: struct_argmax(i, "NonProjectiveDependencyCRF"),
        "projective marginals": lambda i: struct_marginals(i, "DependencyCRF"),
        "marginals": lambda i: struct_marginals(i, "NonProjectiveDependencyCRF"),
        "projective attention": lambda i: struct_attention(i, "DependencyCRF"),
        "attention": lambda i: struct_attention(i, "NonProjectiveDependencyCRF"),
    },
}
