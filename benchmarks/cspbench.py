"""CSPBench: 180 crystals from composition and number of atoms alone.

    python benchmarks/cspbench.py --truth FILE [--limit 23] [--samples 10 | --cpu-seconds 60]

The compositions and the published figures of the 23 tabulated crystals (the first rows) are in
``cspbench.csv`` (Wei et al., arXiv:2407.00733; github.com/usccolumbia/cspbenchmark). Their
structures are not in the repository: FILE holds them by their Materials Project ids, and is
read when the search has ended. docs/evaluation.md says what the output means and what differs
from the published protocol.
"""

from pathlib import Path

from chggen.evaluation.benchmark_command import main

if __name__ == "__main__":
    main("cspbench", __doc__.split("\n", 1)[0], Path(__file__).with_suffix(".csv"))
