"""Section ``submit``: the hand-off to DFT."""

from typing import Literal

from chggen.specs import Strict


class SubmitConfig(Strict):
    """Hand-off to DFT."""

    engine: Literal["vasp"] = "vasp"
    """Code that the inputs are written for."""
    input_set: Literal["MP24RelaxSet", "MPScanRelaxSet"] = "MP24RelaxSet"
    """pymatgen input set, both r²SCAN."""
    potcar: Literal["auto", "spec"] = "auto"
    """``auto``: full POTCARs if PMG_VASP_PSP_DIR is set, otherwise POTCAR.spec."""
