"""No test leaves a figure behind."""

import pytest


@pytest.fixture(autouse=True)
def no_open_figures():
    """Close what pyplot made."""
    from matplotlib import pyplot

    yield
    pyplot.close("all")
