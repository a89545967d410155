"""Batches made ahead come in order, stop when closed, and errors reach the reader."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from smalto.data.batches import made_ahead


def test_batches_come_in_order_of_their_steps() -> None:
    ahead = made_ahead(lambda step: np.full((1, 3, 2, 2), step, np.uint8), 5, 3)
    assert [int(next(ahead)[0, 0, 0, 0]) for _ in range(8)] == list(range(5, 13))
    ahead.close()  # type: ignore[attr-defined]
    assert "smalto-crops" not in {thread.name for thread in threading.enumerate()}


def test_an_error_reaches_the_reader() -> None:
    def fail(step: int) -> np.ndarray:
        raise ValueError(f"step {step}")

    with pytest.raises(ValueError, match="step 7"):
        next(made_ahead(fail, 7, 2))
