"""No test leaves a figure behind."""

import pytest


@pytest.fixture(autouse=True)
def no_open_figures():
    """Close what pyplot made; before 3.11, matplotlib would round letters to whole pixels."""
    from matplotlib import pyplot

    with pyplot.rc_context({"text.hinting": "none"}):
        yield
    pyplot.close("all")
