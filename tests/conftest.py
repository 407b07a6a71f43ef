"""Fixtures for every test: fixed seeds, the devices at hand, the real data where it lies."""

import gc
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

os.environ.setdefault("MPLBACKEND", "Agg")  # pictures are written, never shown
# Small problems on several threads wait for each other where other jobs run, here and in processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPTLAYERS_PROGRESS", "0")  # tests compare what is printed
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_finish() -> None:
    """Leave what was collected, some 15,000 tests, out of every garbage collection to come."""
    gc.collect()
    gc.freeze()


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(autouse=True)
def seed() -> int:
    """The same random numbers for each test, whichever tests run before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (third-party code draws from the global generator)
    torch.manual_seed(0)
    return 0


@pytest.fixture
def newton_first() -> Iterator[None]:
    """Plans in which Newton's method has what is otherwise tried by others before it."""
    from optlayers._projections import ActiveSet, Spans

    from .helpers import without

    with without(ActiveSet, Spans):
        yield


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, and the GPU where there is one."""
    return torch.device(request.param)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder OPTLAYERS_DATA; a set but wrong path is a mistake, an unset one a visible skip."""
    name = os.environ.get("OPTLAYERS_DATA")
    if not name:
        pytest.skip("OPTLAYERS_DATA is not set: no real data to test on")
    if not Path(name).is_dir():
        pytest.fail(f"OPTLAYERS_DATA={name} is not a folder")
    return Path(name)
