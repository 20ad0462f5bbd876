"""The state of a run: carried to another machine, compact, and refused where it is damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_tensors

from chggen.diffusion import state
from chggen.diffusion.data import StructureData
from chggen.diffusion.settings import PRESETS
from chggen.diffusion.training import Trainer
from chggen.errors import CheckpointError
from tests.unit.test_training import TINY, crystals, losses


@pytest.fixture(scope="module")
def data() -> StructureData:
    return StructureData.of(crystals(60), "digest")


def trainer(data: StructureData) -> Trainer:
    return Trainer.start(TINY, data, 60, "cpu", compiled=False)


@pytest.fixture(scope="module")
def run(data: StructureData, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """A run stopped after 40 steps, and the losses of the 20 after them."""
    directory = tmp_path_factory.mktemp("run")
    first = trainer(data)
    list(losses(first, 40))
    first.save(directory)
    return directory / state.NAME, list(losses(first, 20))


def test_no_path_and_no_device_is_in_a_state(run: tuple[Path, list[float]]) -> None:
    raw = run[0].read_bytes()
    header = raw[8 : 8 + int.from_bytes(raw[:8], "little")].decode()
    assert str(run[0].parent) not in header
    assert not {"cpu", "cuda"} & set(json.loads(json.loads(header)["__metadata__"]["state"]))


def test_the_compact_form_goes_on_along_the_same_losses(
    data: StructureData, run: tuple[Path, list[float]], tmp_path: Path
) -> None:
    path, expected = run
    size = state.pack(path, tmp_path / state.NAME)
    assert size == (tmp_path / state.NAME).stat().st_size
    again = trainer(data)
    assert again.resume(tmp_path)
    assert again.step == 40
    found = list(losses(again, 20))
    # the weights differ by rounding; a run without the moments would be off at once
    np.testing.assert_allclose(found, expected, rtol=0.05)
    assert found[0] == pytest.approx(expected[0], rel=1e-3)


def test_the_compact_form_is_that_close(run: tuple[Path, list[float]], tmp_path: Path) -> None:
    state.pack(run[0], tmp_path / "carried")
    exact, numbers = state.read(run[0])
    packed, same = state.read(tmp_path / "carried")
    assert numbers == same
    assert exact.keys() == packed.keys()
    for name, value in exact.items():
        assert packed[name].dtype == value.dtype, name
        if name.startswith("average."):
            assert torch.equal(packed[name], value), name
        elif name.startswith("network."):
            moved = (value - exact[name.replace("network.", "average.")]).abs()
            assert ((packed[name] - value).abs() <= moved / 1024 + 1e-6).all(), name
        elif name.endswith("/exp_avg_sq"):
            torch.testing.assert_close(packed[name], value, rtol=2**-8, atol=0)
        elif name.endswith("/exp_avg"):
            step = exact[f"{name}_sq"].sqrt()
            error = (packed[name] - value).abs()
            assert (error <= value.abs() / 12 + step / 500).all(), name
    # packed twice is the same file
    state.pack(tmp_path / "carried", tmp_path / "again")
    assert numbers == state.read(tmp_path / "again")[1]


def test_nine_megabytes_hold_the_default_network(data: StructureData, tmp_path: Path) -> None:
    whole = Trainer.start(PRESETS["default"], data, 1, "cpu", compiled=False)
    list(losses(whole, 1))
    whole.save(tmp_path)
    assert state.pack(tmp_path / state.NAME, tmp_path / "carried") < 9_000_000


def damage(raw: bytes, how: str) -> bytes:
    weights = {"a": torch.zeros(2)}
    return {
        "cut short": raw[: len(raw) // 2],
        "one bit": raw[:-5] + bytes([raw[-5] ^ 1]) + raw[-4:],
        "one number": raw.replace(b'\\"step\\": 40', b'\\"step\\": 41'),
        "text": b"not a state\n",
        "empty": b"",
        "weights alone": save_tensors(weights),
        "numbers of others": save_tensors(weights, metadata={"state": '{"step": "7"}'}),
    }[how]


@pytest.mark.parametrize(
    "how",
    ["cut short", "one bit", "one number", "text", "empty", "weights alone", "numbers of others"],
)
def test_a_damaged_or_foreign_state_is_one_line(
    data: StructureData, run: tuple[Path, list[float]], tmp_path: Path, how: str
) -> None:
    raw = run[0].read_bytes()
    broken = damage(raw, how)
    assert broken != raw
    (tmp_path / state.NAME).write_bytes(broken)
    with pytest.raises(CheckpointError, match=r"state\.safetensors") as error:
        trainer(data).resume(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError):
        state.pack(tmp_path / state.NAME, tmp_path / "carried")
    assert not (tmp_path / "carried").exists()


def test_weights_of_another_network_are_refused(
    data: StructureData, run: tuple[Path, list[float]], tmp_path: Path
) -> None:
    tensors, numbers = state.read(run[0])
    tensors.pop(next(name for name in tensors if name.startswith("network.")))
    state.write(tmp_path / state.NAME, tensors, numbers)
    with pytest.raises(CheckpointError, match="other weights"):
        trainer(data).resume(tmp_path)
