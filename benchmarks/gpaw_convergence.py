"""Formation energy by GPAW against cutoff, k-point density and smearing.

    python benchmarks/gpaw_convergence.py [--phases config/demo-dft/phases] [--compound Mg2Si]

Structures as in their files, not relaxed; the engine itself computes, one setting away from
the first at a time. Prints a row per setting as it comes: formation energy of the compound
(eV/atom), its difference from the first, and seconds of wall time of all phases together.
"""

import argparse
import tempfile
from pathlib import Path

from pymatgen.core import Composition, Structure

from chggen.config import DftConfig
from chggen.crystal import Crystal
from chggen.dft.gpaw import Gpaw
from chggen.errors import Status

#: First the one to compare with: denser in everything than a campaign needs.
FINE = {"cutoff": 800, "kpoint_density": 7, "smearing": 0.05}
STEPS = [
    {"cutoff": 400}, {"cutoff": 500}, {"cutoff": 600},
    {"kpoint_density": 3}, {"kpoint_density": 4}, {"kpoint_density": 5},
    {"smearing": 0.1}, {"smearing": 0.02},
]  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--phases", type=Path, default=Path("config/demo-dft/phases"))
    parser.add_argument("--compound", default="Mg2Si")
    parser.add_argument("--functional", default="r2SCAN", choices=["r2SCAN", "PBE"])
    args = parser.parse_args()
    phases = {path.stem: Structure.from_file(path) for path in sorted(args.phases.glob("*.cif"))}
    print(f"{'cutoff':>7}{'k':>6}{'width':>7}{'E_f':>10}{'dE_f':>9}{'s':>7}", flush=True)
    first = None
    for change in [{}, *STEPS]:
        setting = FINE | change
        energies, seconds = {}, 0.0
        for name, structure in phases.items():
            energies[name], spent = energy(structure, setting, args.functional)
            seconds += spent
        formed = energies[args.compound] - sum(
            fraction * energies[element.symbol]
            for element, fraction in Composition(args.compound).fractional_composition.items()
        )
        first = formed if first is None else first
        print(
            f"{setting['cutoff']:>7}{setting['kpoint_density']:>6}{setting['smearing']:>7}"
            f"{formed:>10.4f}{formed - first:>9.4f}{seconds:>7.0f}",
            flush=True,
        )


def energy(structure: Structure, setting: dict[str, float], functional: str) -> tuple[float, float]:
    """Energy in eV/atom, and seconds."""
    config = {"engine": "gpaw", "functional": functional, "gpaw": setting}
    engine = Gpaw(DftConfig.model_validate(config))
    with tempfile.TemporaryDirectory() as folder:
        engine.prepare(Crystal.from_structure(structure), Path(folder))
        result = engine.run(Path(folder), seconds=None)
    if result.status != Status.OK or result.dft_energy_per_atom is None:
        raise SystemExit(f"{structure.formula}: {result.reason}")
    return result.dft_energy_per_atom, result.wall_time


if __name__ == "__main__":
    main()
