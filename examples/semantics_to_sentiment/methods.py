"""How the classifier reads the graphs of the parser, and what it tells it: one switch."""

from dataclasses import dataclass

from examples.training.surrogates import SURROGATES, Maker, find


@dataclass(frozen=True)
class Method:
    """A row of the paper's table.

    Args:
        title: What it is called in tables.
        surrogate: The backward pass of the graph; None where there is none to pass.
        parser: Whether graphs are parsed.
    """

    title: str
    surrogate: Maker | None = None
    parser: bool = True

    @property
    def frozen(self) -> bool:
        """Whether there is a parser that does not learn from the classifier."""
        return self.parser and self.surrogate is None


METHODS = {
    "bilstm": Method("BiLSTM", parser=False),
    "pipeline": Method("pipeline"),
    # Graphs with deterministic labels, which all our data have, have no marginals.
    **{k: Method(*found) for k, found in SURROGATES.items() if k != "spigot-marginals"},
}


def find_method(name: str) -> Method:
    """The method of that name."""
    return find(name, METHODS)
