"""What every test shares: a quiet, repeatable hypothesis, and the data folder that may or may not be there."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: small tensors, and other workers beside this one

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "smalto", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("smalto")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder that SMALTO_DATA names; the test is skipped without one."""
    name = os.environ.get("SMALTO_DATA")
    if not name or not Path(name).is_dir():
        pytest.skip("SMALTO_DATA names no folder of test data")
    return Path(name)
