"""Units and sign conventions, declared once.

Lengths are Å, energies eV, forces eV/Å, stresses eV/Å³ with positive = tension
(ASE's sign), temperatures K, angles degrees. Cells are row vectors, so that
``cart = frac @ cell``. A mask is True for guests (to be generated) and False for
hosts (kept). See docs/conventions.md.
"""

from typing import Final

#: 1 eV/Å³ in GPa (CODATA 2018 elementary charge, exact since 2019).
GPA_PER_EV_PER_A3: Final = 160.21766208
