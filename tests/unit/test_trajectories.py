"""Trajectories of relaxations: every step, readable by torch-sim, nothing else changed."""

import numpy as np
import torch
from torch_sim.trajectory import TorchSimTrajectory

from chggen.config.stages import RelaxConfig
from chggen.errors import Status
from chggen.stages.relax import relax
from chggen.structure.crystal import Crystal
from chggen.tables import parquet
from tests.unit.test_relaxation import blende, lonely, salt
from tests.unit.test_relaxation_options import row_of

torch.set_num_threads(1)


def test_every_structure_leaves_its_way(tmp_path):
    source = tmp_path / "generated.parquet"
    crystals = [salt(5.4), lonely(), blende(1)]
    parquet.write(source, "generated", [row_of(i, c) for i, c in enumerate(crystals)], {})
    settings = RelaxConfig(max_steps=4)
    relax(source, tmp_path / "plain.parquet", settings)
    relax(source, tmp_path / "relaxed.parquet", settings.model_copy(update={"trajectories": True}))
    rows = parquet.read(tmp_path / "relaxed.parquet", "relaxed")
    files = {path.name for path in (tmp_path / "relaxed_trajectories").iterdir()}
    assert files == {f"{row['parent_id']}.h5" for row in rows}
    plain = parquet.read(tmp_path / "plain.parquet", "relaxed")
    for row, other in zip(rows, plain, strict=True):
        assert row["energy_per_atom"] == other["energy_per_atom"]
        path = tmp_path / "relaxed_trajectories" / f"{row['parent_id']}.h5"
        with TorchSimTrajectory(path) as way:
            frames = row["steps"] + 1
            energies = way.get_array("energy")
            assert energies.shape == (frames, 1)
            assert np.isclose(energies[-1] / row["n_atoms"], row["energy_per_atom"])
            cells, positions = way.get_array("cell"), way.get_array("positions")
            if row["status"] in {Status.OK, Status.NOT_CONVERGED}:
                end = Crystal.from_row(row)
                assert np.allclose(cells[-1].T, end.cell, atol=1e-5)
                apart = positions[-1] @ np.linalg.inv(end.cell) - end.frac_coords
                assert np.allclose(apart, np.round(apart), atol=1e-5)  # up to whole cells
            forces = way.get_array("forces")
            assert np.isclose(np.linalg.norm(forces[-1], axis=1).max(), row["fmax"], rtol=1e-5)


def test_no_folder_unless_asked_for(tmp_path):
    source = tmp_path / "generated.parquet"
    parquet.write(source, "generated", [row_of(0, salt())], {})
    relax(source, tmp_path / "relaxed.parquet", RelaxConfig(max_steps=1))
    assert not (tmp_path / "relaxed_trajectories").exists()
