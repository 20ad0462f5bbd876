"""Fit ``chggen/data/lattice_ranges.json``: axis ratios and angles of random Bravais lattices.

``python docs/fit_lattice_ranges.py`` takes the quantiles of each free parameter over the
crystals of ``chggen/data/known_cells.parquet`` (``chggen library``) with the same lattice.
"""

import json

import numpy as np

from chggen.cells.lattice import PEARSON
from chggen.cells.library import PACKAGED, Library, about, read
from chggen.provenance import PACKAGE, file_digest

SHARES = np.round(np.arange(0.05, 0.951, 0.05), 2)

library = Library.of_table(read(PACKAGED))
quantiles = {}
for lattice in PEARSON:
    own = library.parameters[library.lattices == lattice]
    free = own[:, ~np.isnan(own).all(axis=0)]
    quantiles[lattice] = np.round(np.quantile(free, SHARES, axis=0).T, 3).tolist()
content = {
    "parameters": "of b/a, c/a, alpha, beta, gamma (degrees) those that are free, in order",
    "source": {"known_cells.parquet": file_digest(PACKAGED), **about(PACKAGED)},
    "shares": SHARES.tolist(),
    "quantiles": quantiles,
}
text = json.dumps(content).replace("]], ", "]],\n ").replace("}, ", "},\n")
(PACKAGE / "data/lattice_ranges.json").write_text(text + "\n", encoding="utf-8")
