"""Batches of a training run: what gives them, and making them ahead of their use."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np


class BatchSource(Protocol):
    """What a training run draws its batches from. A batch is a function of (seed, step) alone."""

    def batch(self, step: int, num_crops: int) -> np.ndarray:
        """Batch of one step: (num_crops, C, S, S) uint8."""
        ...

    def batches(self, num_crops: int, *, first_step: int = 0, depth: int = 4) -> Iterator[np.ndarray]:
        """Batches of successive steps without end; see ``made_ahead``."""
        ...


def made_ahead(batch: Callable[[int], np.ndarray], first_step: int, depth: int) -> Iterator[np.ndarray]:
    """Batches of successive steps without end, made ahead by one thread; close the iterator to stop it.

    Args:
        batch: step -> batch. What it raises is raised to the reader.
        first_step: step of the first batch.
        depth: largest number of batches that wait.
    """
    ready: queue.Queue[np.ndarray | BaseException] = queue.Queue(maxsize=depth)
    is_closed = threading.Event()

    def work() -> None:
        step = first_step
        while not is_closed.is_set():
            try:
                item: np.ndarray | BaseException = batch(step)
            except BaseException as error:  # handed to the reader, which raises it
                item = error
            while not is_closed.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            step += 1

    worker = threading.Thread(target=work, name="smalto-crops", daemon=True)
    worker.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        is_closed.set()
        worker.join()
