"""Training: resumes exactly, learns, and its checkpoints are checked when loaded."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from chggen.diffusion.checkpoint import load_network, save_network
from chggen.diffusion.data import StructureData
from chggen.diffusion.network import ScoreNetwork
from chggen.diffusion.objective import (
    Noised,
    add_noise,
    error_by_level,
    sample_guests,
    sample_sigma,
)
from chggen.diffusion.reading import read
from chggen.diffusion.settings import PRESETS, NetworkSettings, TrainingSettings
from chggen.diffusion.training import Trainer, finish, learning_rate, train
from chggen.errors import CheckpointError, ChggenError, UnfinishedError
from chggen.structure.crystal import Crystal

TINY = PRESETS["tiny"]


def crystals(count: int, seed: int = 0) -> list[Crystal]:
    """Rock salts of several sizes: something that can be learned in seconds."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        cell = 3.9 * np.sqrt(2) / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
        rock = Crystal.of(cell * rng.uniform(0.97, 1.03), [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
        found.append(rock)
    return found


@pytest.fixture(scope="module")
def data() -> StructureData:
    return StructureData.of(crystals(60), "digest")


def losses(trainer: Trainer, count: int) -> Iterator[float]:
    for number, noised in enumerate(trainer.batches()):
        yield trainer.update(noised)
        if number + 1 == count:
            return


def test_a_resumed_run_is_the_same_run(data: StructureData, tmp_path: Path) -> None:
    whole = Trainer.start(TINY, data, 4, "cpu", compiled=False)
    expected = list(losses(whole, 3))
    half = Trainer.start(TINY, data, 4, "cpu", compiled=False)
    first = list(losses(half, 2))
    half.save(tmp_path)
    again = Trainer.start(TINY, data, 4, "cpu", compiled=False)
    assert again.resume(tmp_path)
    assert first + list(losses(again, 1)) == expected
    for name, value in whole.average.items():
        assert torch.equal(value, again.average[name]), name


def test_state_of_other_data_is_refused(data: StructureData, tmp_path: Path) -> None:
    Trainer.start(TINY, data, 4, "cpu", compiled=False).save(tmp_path)
    other = StructureData.of(crystals(10), "other")
    with pytest.raises(CheckpointError, match="data"):
        Trainer.start(TINY, other, 4, "cpu", compiled=False).resume(tmp_path)


def test_the_loss_falls(data: StructureData) -> None:
    trainer = Trainer.start(TINY, data, 60, "cpu", compiled=False)
    seen = list(losses(trainer, 60))
    assert np.mean(seen[-10:]) < 0.9 * np.mean(seen[:10])


def test_every_structure_once_per_epoch(data: StructureData) -> None:
    batches = list(data.epoch(np.random.SeedSequence(1), 16))
    assert sorted(np.concatenate(batches)) == list(range(60))
    assert all(data.sizes[b].sum() <= 16 for b in batches)


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    settings = TrainingSettings(warmup_steps=10, decay_share=0.5)
    rates = [learning_rate(step, 100, settings) for step in range(101)]
    assert rates[0] < rates[9] == pytest.approx(settings.learning_rate)
    assert rates[40] == pytest.approx(settings.learning_rate)
    assert rates[75] == pytest.approx(settings.learning_rate / 2)
    assert rates[100] == 0


def test_noise_levels_stay_in_range() -> None:
    settings = TrainingSettings()
    sigma = sample_sigma(4000, settings, np.random.default_rng(0)).numpy()
    assert sigma.min() >= settings.sigma_range[0]
    assert sigma.max() <= settings.sigma_range[1]
    core = (sigma > settings.sigma_core[0]) & (sigma < settings.sigma_core[1])
    assert core.mean() > settings.core_share


def test_hosts_stay_clean_and_the_target_can_be_known(data: StructureData) -> None:
    batch = data.batch(np.arange(30))
    rng = np.random.default_rng(0)
    guests = sample_guests(batch, 1.0, rng)
    noise = torch.randn(batch.positions.shape)
    noised = add_noise(batch, torch.full((30,), 0.5), guests, noise)
    moved = noised.batch.positions - batch.positions
    assert (moved[~guests] == 0).all()
    assert (noised.sigma[guests] == 0.5).all()
    # a perfect prediction has no residual
    assert noised.residual(-noised.target).abs().max() < 1e-6
    # all atoms noisy: a common shift of the noise must not count
    everyone = torch.ones_like(guests)
    shifted = add_noise(batch, torch.full((30,), 0.5), everyone, noise + 3.0)
    plain = add_noise(batch, torch.full((30,), 0.5), everyone, noise)
    torch.testing.assert_close(shifted.target, plain.target, atol=1e-5, rtol=0)


def test_masks_leave_hosts_and_guests() -> None:
    three = Crystal.of(5 * np.eye(3), [3, 15, 16, 16], np.eye(4, 3) / 2)
    batch = StructureData.of([three] * 300, "x").batch(np.arange(300))
    guests = sample_guests(batch, 0.5, np.random.default_rng(0)).view(300, 4)
    masked = ~guests.all(dim=1)
    assert 0.35 < float(masked.float().mean()) < 0.65
    assert guests.any(dim=1).all()


def test_error_table_knows_the_floor(data: StructureData) -> None:
    """A network that says nothing has error 1; centred, 1 - 1/N."""
    silent = ScoreNetwork(TINY.network).eval()
    for parameter in silent.out.parameters():
        parameter.data.zero_()
    batches = [data.batch(np.arange(60))] * 20
    error = error_by_level(silent, batches, (0.3,))[0.3]
    assert error["plain"] == pytest.approx(1.0, abs=0.08)
    assert error["centred"] == pytest.approx(0.5, abs=0.05)


def test_checkpoint_round_trip(data: StructureData, tmp_path: Path) -> None:
    trainer = Trainer.start(TINY, data, 1, "cpu", compiled=False)
    list(losses(trainer, 2))
    path = finish(trainer, tmp_path, data, lambda _record: None)
    network, card = load_network(path)
    assert set(card["elements"]) == {"Na", "Cl"}
    assert "0.1" in card["validation"]["error_per_component"]
    for name, value in trainer.average.items():
        assert torch.equal(value, network.state_dict()[name])


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_network(path)
    save_network(path, ScoreNetwork(TINY.network), {"elements": {}})
    good = path.read_bytes()
    path.write_bytes(good[:-4] + b"\x00\x00\x80\x3f")
    with pytest.raises(CheckpointError, match="hash"):
        load_network(path)
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(CheckpointError, match="readable"):
        load_network(path)
    path.write_bytes(good)
    card = json.loads(path.with_suffix(".json").read_text())
    card["network"]["layers"] = 7
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="version"):
        load_network(path)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(CheckpointError, match="card"):
        load_network(path)


def test_reading_a_csv(tmp_path: Path) -> None:
    texts = [c.to_structure().to(fmt="cif") for c in crystals(3)]
    path = tmp_path / "data.csv"
    import pandas as pd

    pd.DataFrame({"cif": [*texts, "not a cif"], "e_above_hull": 0.0}).to_csv(path)
    data = read([path], tmp_path / "cache")
    assert (len(data), data.skipped) == (3, 1)
    cached = read([path], tmp_path / "cache")
    assert np.array_equal(cached.frac_coords, data.frac_coords)
    assert cached.digest == data.digest
    with pytest.raises(ChggenError, match=r"nowhere\.csv"):
        read([tmp_path / "nowhere.csv"])
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ChggenError, match="cif"):
        read([tmp_path / "wrong.csv"])


def test_presets_build() -> None:
    for preset in PRESETS.values():
        assert ScoreNetwork(preset.network).settings == preset.network
    paper = PRESETS["paper"].network
    assert (paper.channels, paper.cutoff, paper.neighbours) == ((64, 32, 16), 7.0, 60)
    assert NetworkSettings() == PRESETS["small"].network


def test_features_far_from_usual_do_not_explode(data: StructureData) -> None:
    """A layer that squares what is large, four times over, gave losses of 1e28 and infinity."""
    network, _ = load_network("pretrained")
    batch = data.batch(np.arange(30))
    noise = torch.randn(batch.positions.shape, generator=torch.Generator().manual_seed(0))
    everyone = torch.ones_like(batch.system, dtype=torch.bool)
    noised = add_noise(batch, torch.full((30,), 0.3), everyone, noise)
    graph = network.graph(noised.batch)

    def loss(factor: float) -> float:
        def louder(_layer: object, _given: object, out: list[torch.Tensor]) -> list[torch.Tensor]:
            return [out[0], *(x * factor for x in out[1:])]

        handle = network.layers[0].register_forward_hook(louder)
        with torch.no_grad():
            found = noised.residual(network(noised.batch, graph, noised.sigma)).square().mean()
        handle.remove()
        return float(found)

    assert loss(1.0) < 1.0
    assert loss(1e4) < 1e16
    assert loss(1e4) < 10 * loss(1e3)


def test_a_batch_with_an_enormous_loss_changes_nothing(data: StructureData) -> None:
    trainer = Trainer.start(TINY, data, 60, "cpu", compiled=False)
    list(losses(trainer, 3))
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    batch = next(trainer.batches())
    for fault in (1e3, float("inf"), float("nan")):
        broken = replace(batch, noise=batch.noise * fault)
        assert trainer.update(broken) == float("inf")
    assert (trainer.skipped, trainer.step) == (3, 6)
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert np.isfinite(trainer.update(batch))
    assert trainer.skipped == 3
    broken = replace(batch, noise=batch.noise * 1e3)
    with pytest.raises(ChggenError, match="diverged"):
        [trainer.update(broken) for _ in range(1000)]


def test_it_ends_after_the_minutes_with_a_checkpoint_and_goes_on(
    data: StructureData, tmp_path: Path
) -> None:
    first = Trainer.start(TINY, data, 3, "cpu", compiled=False)
    path = train(first, tmp_path, None, lambda _record: None, minutes=1e-6)
    assert first.step == 1
    assert load_network(path)[1]["steps"] == 1
    second = Trainer.start(TINY, data, 3, "cpu", compiled=False)
    train(second, tmp_path, None, lambda _record: None)
    assert (second.step, second.epoch) == (3, 3)
    whole = Trainer.start(TINY, data, 3, "cpu", compiled=False)
    list(losses(whole, 3))
    for name, value in whole.average.items():
        assert torch.equal(value, second.average[name]), name


def test_sigterm_saves_the_state_first(data: StructureData, tmp_path: Path) -> None:
    trainer = Trainer.start(TINY, data, 60, "cpu", compiled=False)
    update = trainer.update

    def told_to_end(noised: Noised) -> float:
        loss = update(noised)
        if trainer.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    trainer.update = told_to_end  # type: ignore[method-assign]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UnfinishedError, match="step 5 of 60"):
        train(trainer, tmp_path, None, lambda _record: None)
    assert signal.getsignal(signal.SIGTERM) == before
    again = Trainer.start(TINY, data, 60, "cpu", compiled=False)
    assert again.resume(tmp_path)
    assert again.step == 5
