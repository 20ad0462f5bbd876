"""The 15 compounds of DiffCSP against USPEX, from composition and number of atoms alone.

    python benchmarks/diffcsp15.py --truth FILE [--samples 20 | --cpu-seconds 60]

Compositions: Jiao et al., NeurIPS 2023 (arXiv:2309.04475), Table 2 and Appendix F. FILE holds the
known crystals (found by composition and number of atoms) and is read when the search has ended.
docs/evaluation.md says what the output means and what differs from the published protocol.
"""

from pathlib import Path

from chggen.evaluation.benchmark_command import main

if __name__ == "__main__":
    main("diffcsp15", __doc__.split("\n", 1)[0], Path(__file__).with_suffix(".csv"))
