"""``python -m chggen.cli``."""

from chggen.cli import main

main()
