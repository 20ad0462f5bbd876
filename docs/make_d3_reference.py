"""Make ``chggen/data/d3_reference.safetensors``: D3's reference values, without what repeats.

``python docs/make_d3_reference.py dftd3_params.npz`` with the file of torch-dftd's wheel
(torch_dftd/nn/params). That table holds (C6, CN of the first, CN of the second) for each pair
of reference states; the CN of a state is the same in every pair, so that one list of states
and one symmetric matrix say the same in a tenth of the space.
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

OUTPUT = Path(__file__).parents[1] / "chggen/data/d3_reference.safetensors"


def main(source: str) -> None:
    """Read torch-dftd's file, check that nothing is lost, and write ours."""
    given = np.load(source)
    c6, first, second = np.moveaxis(given["c6ab"], -1, 0)
    states = [(z, a) for z in range(1, 95) for a in range(5) if (c6[z, :, a] > 0).any()]
    elements, places = np.array(states).T
    values = c6[elements[:, None], elements, places[:, None], places]
    cn = np.array([first[z, :, a][c6[z, :, a] > 0][0] for z, a in states])
    filled = (elements[:, None], elements, places[:, None], places)
    same = [values > 0, values == values.T, first[filled] == cn[:, None], second[filled] == cn]
    if not all(x.all() for x in same) or (c6 > 0).sum() != values.size:
        raise SystemExit("the coordination numbers are not those of single atoms")
    save_file(
        {
            "c6": values[np.triu_indices(len(cn))],
            "state_element": elements.astype(np.int32),
            "state_cn": cn,
            "covalent_radius": given["rcov"],
            "r2r4": given["r2r4"],
        },
        OUTPUT,
        {
            "c6": "upper triangle, row by row, of the matrix of states, hartree bohr^6",
            "covalent_radius": "bohr, times 4/3, by atomic number",
            "r2r4": "bohr, sqrt(Q) of C8 = 3 C6 Q_A^0.5 Q_B^0.5, by atomic number",
            "source": "torch-dftd 0.5.3 (MIT), dftd3_params.npz",
        },
    )


if __name__ == "__main__":
    main(sys.argv[1])
