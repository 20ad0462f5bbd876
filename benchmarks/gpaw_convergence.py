"""Formation energy by GPAW against cutoff, k-point density and smearing.

    python benchmarks/gpaw_convergence.py --vary cutoff [--functional r2SCAN] [--kpoint-density 4]

The structures are those of the files, not relaxed, computed with the engine of the campaign.
One setting is varied at a time. Printed per value: formation energy of the compound (eV/atom),
its difference from the finest value (meV/atom), and the total wall time of all phases (s).
"""

import argparse
import tempfile
from pathlib import Path

from pymatgen.core import Composition, Structure

from chggen.config.dft import DftConfig
from chggen.dft.gpaw import Gpaw
from chggen.errors import Status
from chggen.structure.crystal import Crystal

#: Settings of the campaign, and the values of each series; the last is the finest.
BASE = {"cutoff": 500.0, "kpoint_density": 4.0, "smearing": 0.05}
SERIES = {
    "cutoff": [400.0, 500.0, 600.0, 700.0],
    "kpoint_density": [2.5, 3.0, 4.0, 5.0, 7.0],
    "smearing": [0.1, 0.05, 0.02],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--phases", type=Path, default=Path("config/demo-dft/phases"))
    parser.add_argument("--compound", default="Mg2Si")
    parser.add_argument("--functional", default="r2SCAN", choices=["r2SCAN", "PBE"])
    parser.add_argument("--vary", required=True, choices=list(SERIES))
    parser.add_argument("--kpoint-density", type=float, default=BASE["kpoint_density"])
    args = parser.parse_args()
    phases = {path.stem: Structure.from_file(path) for path in sorted(args.phases.glob("*.cif"))}
    base = BASE | {"kpoint_density": args.kpoint_density}
    print(f"{args.vary} (else {base}), {args.functional}: E_f, away from the finest, seconds")
    rows = []
    for value in SERIES[args.vary]:
        rows.append(
            (value, *formation(phases, args.compound, base | {args.vary: value}, args.functional))
        )
        print(f"{value:>7}{rows[-1][1]:>10.4f}{rows[-1][2]:>7.0f}", flush=True)
    for value, formed, seconds in rows:
        print(f"{value:>7}{formed:>10.4f}{1000.0 * (formed - rows[-1][1]):>8.1f}{seconds:>7.0f}")


def formation(
    phases: dict[str, Structure], compound: str, setting: dict[str, float], functional: str
) -> tuple[float, float]:
    """Formation energy in eV/atom, and total seconds of all phases."""
    found = {name: energy(phase, setting, functional) for name, phase in phases.items()}
    parts = Composition(compound).fractional_composition
    elements = sum(share * found[element.symbol][0] for element, share in parts.items())
    return found[compound][0] - elements, sum(seconds for _, seconds in found.values())


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
