"""Tables of an invented campaign, as the stages would write them (not a test)."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Lattice, Structure

from chggen import provenance
from chggen.config.model import Config
from chggen.errors import Status
from chggen.screening.selection import select
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, row_id
from chggen.symmetry.analysis import space_group, space_groups
from chggen.tables import parquet
from chggen.tables.frames import frame_of, rows_of
from chggen.tables.lineage import LINEAGE

CONTRACT = {
    "potential": "chgnet-0.3.0", "potential_hash": "0123456789abcdef",
    "functional": "GGA/GGA+U", "corrections": "MP2020",
}  # fmt: skip

#: Two local minima of CHGNet 0.3.0 in C2, conventional cells.
PROTOTYPES = {
    "ZnP2S6": (
        Lattice.monoclinic(6.171, 10.685, 7.458, 105.80), ["Zn", "P", "S", "S", "S"],
        [[0, 0.3319, 0.5], [0.5506, 0.5003, 0.6598], [0.2542, 0.478, 0.72],
         [0.6951, 0.669, 0.7265], [0.7613, 0.3533, 0.7231]],
    ),
    "Zn2P2S7": (
        Lattice.monoclinic(10.735, 7.241, 9.069, 119.27), ["S", "Zn", "P", "S", "S", "S"],
        [[0.5, 0.5267, 0], [0.8385, 0.4813, 0.5463], [0.8515, 0.1912, 0.7956],
         [0.1551, 0.5672, 0.7002], [0.3934, 0.6475, 0.5972], [0.8566, 0.4693, 0.8139]],
    ),
}  # fmt: skip


def prototype(composition: str) -> Crystal:
    """A symmetric crystal: a real one if there is one, else a chain in a square."""
    if composition in PROTOTYPES:
        structure = Structure.from_spacegroup("C2", *PROTOTYPES[composition])
        return Crystal.from_structure(structure.get_primitive_structure())
    numbers = comp.atomic_numbers(composition)
    n = len(numbers)
    cell = np.diag([2.7, 2.7, 2.6 * n])
    return Crystal.of(cell, numbers, [[0.5 * (i % 2), 0.5 * (i % 2), i / n] for i in range(n)])


@dataclass
class Campaign:
    """Tables of an invented campaign; ``config`` says what they are of."""

    folder: Path
    config: Config
    system: str
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    #: chance that a generated, an inpainted structure relaxes to a symmetric one
    symmetric: tuple[float, float] = (0.04, 0.35)
    fail: float = 0.08
    frameworks: float = 0.7
    known: str | None = None

    def write(self) -> dict[str, Any]:
        """Write all tables; returns the arguments of the stage."""
        chosen = self.config.systems[self.system]
        paths: dict[str, list[Path]] = {
            n: [] for n in ("generated", "relaxed", "refined", "inpainted", "rerelaxed")
        }
        screened = []
        for composition in chosen.formulas():
            for seed in range(chosen.lattice_seeds):
                shard = self._shard(composition, seed, chosen.lattices_per_seed)
                for name, rows in shard.items():
                    path = self.folder / composition / str(seed) / f"{name}.parquet"
                    parquet.write(path, name, rows, self._header(name))
                    paths[name].append(path)
                screened += self._screen(shard["relaxed"] + shard["rerelaxed"])
        path = self.folder / "screened.parquet"
        parquet.write(path, "screened", self._compare(screened), self._header("screened"))
        return {
            "system": self.system,
            "paths": paths,
            "screened": path,
            "config": self.config,
            "output_table": self.folder / "report.parquet",
            "output_page": self.folder / "report.html",
        }

    def _header(self, name: str) -> dict[str, Any]:
        stage = {"generated": "generate", "inpainted": "inpaint", "refined": "refine",
                 "screened": "screen"}.get(name, "relax")  # fmt: skip
        facts: dict[str, Any] = {
            "generate": {"volume_per_atom": 24.05}, "refine": {"guests": ["Zn"]},
            "relax": CONTRACT,
            "screen": {"reference": "Materials Project, builtin", "reference_date": "2023-02-07",
                       "reference_hash": "fedcba9876543210",
                       "reference_functional": "GGA/GGA+U"},
        }.get(stage, {})  # fmt: skip
        settings = getattr(self.config, stage).model_dump(mode="json")
        inputs = {"checkpoint": "ab" * 8} if stage in {"generate", "inpaint"} else {}
        return provenance.header(stage, settings, inputs, **facts)

    def _shard(self, composition: str, seed: int, count: int) -> dict[str, list[parquet.Row]]:
        out: dict[str, list[parquet.Row]] = {
            n: [] for n in ("generated", "relaxed", "refined", "inpainted", "rerelaxed")
        }
        for index in range(count):
            place = {"system": self.system, "composition": composition, "seed": seed,
                     "index": index, "random_seed": index}  # fmt: skip
            start = place | {"route": "unconditional", "draw": 0}
            raw = self._sample(start, "generated")
            out["generated"].append(raw | {"bravais_type": "cubic"})
            relaxed = self._relax(raw, self._chance(raw, 0))
            out["relaxed"].append(relaxed)
            usable = relaxed["status"] in {Status.OK, Status.NOT_CONVERGED}
            framework = start | {
                "id": row_id("refined", relaxed["id"]), "parent_id": relaxed["id"],
                "framework": 0, "guests": ["Zn"], "guest_choice": "config",
                "status": Status.PARENT_FAILED, "reason": f"parent: {relaxed['status']}",
            }  # fmt: skip
            if usable:
                found = self.rng.random() < self.frameworks
                framework |= {"status": Status.OK if found else Status.NO_SYMMETRY, "reason": ""}
                if found:
                    framework |= {"space_group_number": int(self.rng.choice([5, 8, 12, 9]))}
            good = framework["status"] == Status.OK
            frameworks = [framework]
            if good and index % 4 == 1:
                frameworks.append(
                    framework | {"id": row_id("refined", relaxed["id"], 1), "framework": 1}
                )
            out["refined"] += frameworks
            for framework, draw in itertools.product(
                frameworks, range(self.config.inpaint.draws if good else 1)
            ):
                drawn = place | {"route": "inpainting", "draw": draw}
                drawn["framework"] = framework["framework"]
                if good:
                    row = self._sample(drawn, "inpainted", framework["id"])
                    row |= {"host_space_group_number": framework["space_group_number"]}
                else:
                    row = drawn | {
                        "id": row_id("inpainted", framework["id"]),
                        "parent_id": framework["id"], "status": Status.PARENT_FAILED,
                        "reason": f"parent: {framework['status']}",
                    }  # fmt: skip
                out["inpainted"].append(row)
                out["rerelaxed"].append(self._relax(row, self._chance(row, 1)))
        return out

    def _chance(self, row: parquet.Row, route: int) -> float:
        """Chance to become symmetric: what was imposed mostly stays."""
        return 0.9 if row.get("imposed_space_group_number") else self.symmetric[route]

    def _sample(self, place: parquet.Row, table: str, parent: str | None = None) -> parquet.Row:
        row = place | {
            "id": row_id(table, *place.values()), "parent_id": parent, "generator": "diffusion",
            "sampler": "fast", "checkpoint": "ab" * 8, "score_calls": 45, "formula_units": 1,
        }  # fmt: skip
        if place["index"] % 3 == 2:  # of candidates that keep a group some win the ranking
            row |= {"imposed_space_group_number": 5, "imposed_sites": ""}
        if self.rng.random() < self.fail / 4:
            return row | {"status": Status.SAMPLING_FAILED, "reason": "positions are not finite"}
        crystal = self._distort(prototype(place["composition"]), 0.1)
        return row | {"status": Status.OK, "reason": "", **crystal.columns()}

    def _relax(self, parent: parquet.Row, symmetric: float) -> parquet.Row:
        row = {key: parent.get(key) for key in LINEAGE}
        row |= {"id": row_id("relaxed", parent["id"]), "parent_id": parent["id"]}
        if parent["status"] != Status.OK:
            return row | {"status": Status.PARENT_FAILED, "reason": f"parent: {parent['status']}"}
        chance = self.rng.random()
        if chance < self.fail:
            status = Status.TOO_CLOSE if chance < self.fail / 2 else Status.EXPLODED
            reason = "shortest distance 0.41 Å" if status == Status.TOO_CLOSE else "volume × 7.2"
            return row | {"status": status, "reason": reason, "steps": 3, "converged": False}
        crystal = prototype(parent["composition"])
        luck = self.rng.random() < symmetric
        crystal = self._distort(crystal, 0.004 if luck else 0.13)
        energy = (0.05 if luck else 0.09) + abs(self.rng.normal(0, 0.06)) - 0.045
        converged = bool(self.rng.random() > 0.07)
        return row | CONTRACT | crystal.columns() | {
            "status": Status.OK if converged else Status.NOT_CONVERGED, "reason": "",
            "energy_per_atom": -4.6 + energy, "energy_per_atom_initial": -4.5 + energy,
            "delta_energy_per_atom": float(self.rng.lognormal(-2.5, 0.7)),
            **self._displacement(),
            "converged": converged, "steps": int(self.rng.integers(30, 400)), "wall_time": 1.4,
            "volume_per_atom": crystal.volume_per_atom, "min_distance": crystal.min_distance,
        }  # fmt: skip

    def _displacement(self) -> parquet.Row:
        rmsd = float(self.rng.lognormal(-2.2, 0.6))
        if self.rng.random() <= 0.15:  # the structure changed too much
            return {"rmsd": None, "rmsd_normalised": None, "max_displacement": None}
        return {"rmsd": rmsd, "rmsd_normalised": rmsd / 2.5, "max_displacement": 1.7 * rmsd}

    def _distort(self, crystal: Crystal, size: float) -> Crystal:
        shift = self.rng.normal(0, size, (len(crystal), 3)) @ np.linalg.inv(crystal.cell)
        return Crystal.of(crystal.cell, crystal.atomic_numbers, crystal.frac_coords + shift)

    def _screen(self, parents: list[parquet.Row]) -> list[parquet.Row]:
        settings = self.config.screen
        out = []
        for parent in parents:
            skip = {"energy_per_atom_initial", "steps", "wall_time", "formula_units"}
            row = {k: v for k, v in parent.items() if k not in skip} | {
                "id": row_id("screened", parent["id"]), "parent_id": parent["id"],
            }  # fmt: skip
            if parent["status"] in {Status.OK, Status.NOT_CONVERGED}:
                crystal = Crystal.from_row(parent)
                group = space_group(crystal, settings.symprec, settings.angle_tolerance)
                ed = parent["energy_per_atom"] + 4.6
                row |= {
                    "space_group_number": group.number, "space_group_symbol": group.symbol,
                    "space_group_numbers": space_groups(
                        crystal, settings.tolerances, settings.angle_tolerance
                    ),
                    "symmetric": group.symmetric, "too_close": False, "family": row["id"],
                    "dimensionality": 3, "volume_ratio": 1.1, "swollen": False, "final": False,
                    "decomposition_energy": ed,
                    "decomposition_energy_uncertainty": 0.0123,
                    "formation_energy_per_atom": ed - 0.7,
                    "decomposition_products": "0.636 P2S7 + 0.364 ZnS",
                    "decomposition_phases": ["P2S7", "ZnS"],
                    "decomposition_amounts": [0.636, 0.364],
                    "below_threshold": ed < settings.threshold,
                }  # fmt: skip
                if parent["route"] == "inpainting":
                    row["host_space_group_number"] = 5
            out.append(row)
        return out

    def _compare(self, rows: list[parquet.Row]) -> list[parquet.Row]:
        judged = [r for r in rows if r.get("decomposition_energy") is not None]
        judged.sort(key=lambda r: r["decomposition_energy"])
        first: dict[tuple[str, int], str] = {}
        for row in judged:
            place = row["composition"], row["space_group_number"]
            if row["symmetric"] and place in first and self.rng.random() < 0.5:
                row["duplicate_of"] = first[place]
                continue
            first.setdefault(place, row["id"])
            row["known_phase"], self.known = self.known, None
        frame = frame_of("screened", rows)
        select(frame, self.config.screen)
        for row, judged_row in zip(rows, rows_of(frame, "screened"), strict=True):
            row.update(judged_row)
        best = min((r["decomposition_energy"] for r in judged), default=0.0)
        for row in judged:
            above = row["decomposition_energy"] - min(best, 0.0)
            row |= {"campaign_decomposition_energy": above, "on_campaign_hull": above == 0.0}
        return rows


def config_of(
    compositions: Any = ("ZnP2S6", "Zn2P2S7"),
    system: str = "Zn-P-S",
    n: int = 12,
    seeds: int = 2,
    **sections: Any,
) -> Config:
    chosen = {
        "compositions": list(compositions), "lattice_seeds": seeds, "lattices_per_seed": n,
    }  # fmt: skip
    return Config(systems={system: chosen}, **sections)
