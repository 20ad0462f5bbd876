"""Settings for all tests: one thread, so that numbers and times do not depend on the machine."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may reach for the user's keys or pseudopotentials."""
    for name in ("MP_API_KEY", "PMG_MAPI_KEY", "PMG_VASP_PSP_DIR"):
        monkeypatch.delenv(name, raising=False)
