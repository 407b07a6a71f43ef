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
    **{name: Method(title, make) for name, (title, make) in SURROGATES.items()},
}


def find_method(name: str) -> Method:
    """The method of that name; see `examples.training.surrogates.find`."""
    return find(name, METHODS, Method)
