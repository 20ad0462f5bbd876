"""Formation energies by named potentials against the Materials Project, and cost per call.

    python benchmarks/formation.py --structures val.csv.gz [--limit 100] [--seed 0]
        [--potentials chgnet-0.3.0 sevennet-0] [--max-atoms 30] [--max-above-hull 0.1]

Single points at the table's structures, which are as the Materials Project relaxed them. The
table has columns ``cif``, ``formation_energy_per_atom`` (GGA/GGA+U with MP2020 corrections) and
``e_above_hull``. The elements are the Materials Project's. MP2020 corrections are added where
the potential's energies have none. One thread. Printed, one line of JSON per potential, eV/atom:

    mean_error: mean absolute error of E_f, with its 95 % interval (bootstrap over structures)
    median_error, bias: median absolute and mean signed error
    mean_error_uncorrected: the same mean without what was added
    gga_u: number of structures that are calculated with U, and their mean error
    spread: standard deviation of the errors, offsets by element left in
    seconds_per_call: CPU seconds of energy, forces and stress, all structures one by one
    ratio: the same over that of the first potential
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pymatgen.core.structure import Structure

from chggen.config.contracts import GGA, MP2020, Contract, comparable
from chggen.potential import NamedPotential, load_named
from chggen.potential.interface import packed_state
from chggen.reference.files import formation_energy
from chggen.reference.mp2020 import added
from chggen.reference.reference import element_energies
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal

REFERENCE = Contract(GGA, MP2020)


def chosen(given: argparse.Namespace) -> tuple[list[Crystal], np.ndarray]:
    """Crystals and their formation energies, drawn at random."""
    table = pd.read_csv(given.structures)
    table = table[table["formation_energy_per_atom"].notna()]
    table = table[table["e_above_hull"] <= given.max_above_hull].sample(
        frac=1, random_state=given.seed
    )
    crystals, energies = [], []
    for row in table.itertuples():
        if len(crystals) == given.limit:
            break
        structure = Structure.from_str(row.cif, fmt="cif")
        known = {site.specie.symbol for site in structure} <= set(element_energies())
        if known and len(structure) <= given.max_atoms:
            crystals.append(Crystal.from_structure(structure))
            energies.append(row.formation_energy_per_atom)
    return crystals, np.array(energies)


def measured(
    model: NamedPotential, crystals: list[Crystal], truth: np.ndarray
) -> dict[str, object]:
    """Errors and cost of one potential."""
    if not comparable(model.contract, REFERENCE):
        raise SystemExit(f"{model.name}: {model.contract} cannot be compared with {REFERENCE}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(packed_state(crystals[:2], model.device, model.dtype))  # compiles
    values, began = [], time.process_time()
    for crystal in crystals:
        output = model(packed_state([crystal], model.device, model.dtype))
        values.append(float(output["energy"][0]) / len(crystal))
    seconds = (time.process_time() - began) / len(crystals)
    corrections = [added(crystal, model.contract, REFERENCE) for crystal in crystals]
    extra = np.array([c.per_atom if c.per_atom is not None else np.nan for c in corrections])
    formed = np.array(
        [
            formation_energy(
                value,
                comp.parse_formula(comp.formula_of(crystal.atomic_numbers)),
                element_energies(),
            )
            for value, crystal in zip(values, crystals, strict=True)
        ]
    )
    errors = formed + extra - truth
    kept = np.isfinite(errors)
    size = np.abs(errors[kept])
    again = np.random.default_rng(0).choice(size, (2000, len(size))).mean(axis=1)
    with_u = kept & np.array([c.run_type == "GGA+U" for c in corrections])
    return {
        "potential": model.name,
        "hash": model.hash,
        "n": int(kept.sum()),
        "not_corrected": int((~kept).sum()),
        "mean_error": round(float(size.mean()), 4),
        "interval": [round(float(q), 4) for q in np.quantile(again, [0.025, 0.975])],
        "median_error": round(float(np.median(size)), 4),
        "bias": round(float(errors[kept].mean()), 4),
        "spread": round(float(errors[kept].std()), 4),
        "mean_error_uncorrected": round(float(np.abs(formed - truth).mean()), 4),
        "gga_u": [int(with_u.sum()), round(float(np.abs(errors[with_u]).mean()), 4)]
        if with_u.any()
        else [0, None],
        "seconds_per_call": round(seconds, 4),
    }


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-atoms", type=int, default=30)
    parser.add_argument("--max-above-hull", type=float, default=0.1)
    parser.add_argument("--potentials", nargs="+", default=["chgnet-0.3.0", "sevennet-0"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    crystals, truth = chosen(given)
    first = None
    for name in given.potentials:
        found = measured(load_named(name), crystals, truth)
        first = first or found["seconds_per_call"]
        ratio = round(float(str(found["seconds_per_call"])) / float(str(first)), 2)
        print(json.dumps(found | {"ratio": ratio}), flush=True)


if __name__ == "__main__":
    main()
