"""How GPAW is built here (``GPAW_CONFIG``): with MPI and FFTW where they are installed.

GPAW's setup runs this file and takes the names. For other BLAS libraries or paths give a
file of your own in ``GPAW_CONFIG`` (GPAW's siteconfig).
"""

import shutil
from pathlib import Path

mpi = shutil.which("mpic++") is not None
compiler = "mpic++" if mpi else "g++"
fftw = any(Path(root, "include/fftw3.h").exists() for root in ("/usr", "/usr/local"))
libraries = ["xc", "openblas", *(["fftw3"] if fftw else [])]
scalapack = False
