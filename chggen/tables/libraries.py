"""Columns of the libraries of known crystals."""

import pyarrow as pa

from chggen.tables.columns import STR, Column

#: Library of known prototypes (chggen.symmetry.prototypes): one crystal per row.
PROTOTYPES: list[Column] = [
    ("name", STR, "", "of the crystal in its source"),
    ("anonymous", STR, "", "anonymous formula: reduced counts, rising ('1 1 3')"),
    ("elements", pa.list_(pa.uint8()), "", "atomic number on each place of the formula"),
    ("n_atoms", pa.uint16(), "", "atoms in the primitive cell"),
    ("space_group_number", pa.uint8(), "", "space group"),
    ("hall_number", pa.uint16(), "", "Hall number (spglib) of the setting of the sites"),
    ("sites", STR, "", "Wyckoff positions of each place, places separated by | ('4a|4b 8c')"),
    (
        "cell_parameters",
        pa.list_(pa.uint16()),
        "",
        "conventional cell: a, b, c in 1/2000 of the cube root of its volume; angles in 1/256°",
    ),
    (
        "coordinates",
        pa.list_(pa.uint16()),
        "",
        "x, y, z of one site per orbit, in 1/65536, in the order of the sites",
    ),
    ("volume", pa.uint16(), "0.01 Å³", "volume per atom"),
    ("above_hull", pa.int16(), "meV/atom", "energy above the hull; null if not known"),
]
