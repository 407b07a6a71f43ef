"""Compiled loops on the CPU, spread over threads."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return the pool of this process: the threads of a parent do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"optlayers-{process}")


def run(kernel: Any, rows: int, cost: int, *args: Any) -> None:
    """Call `kernel(start, stop, *args)` over all rows, in as many threads as torch may use.

    Kernels release the interpreter lock. Threads of our own, because numba's OpenMP layer cannot
    be used after a fork, and its other layer not from several threads.
    """
    threads = 1 + cost // 200_000
    if threads <= 1 or (threads := min(torch.get_num_threads(), threads)) <= 1:
        kernel(0, rows, *args)
        return
    edges = [rows * i // threads for i in range(threads + 1)]
    futures = [
        _pool(threads, os.getpid()).submit(kernel, edges[i], edges[i + 1], *args)
        for i in range(1, threads)
    ]
    kernel(edges[0], edges[1], *args)
    for future in futures:
        future.result()
