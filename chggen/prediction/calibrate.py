"""How fast this machine is now: what a job takes to start, and a short timing of the potential.

``python -m chggen.prediction.calibrate`` is what one core is asked; :func:`measure` asks as many
at a time as the campaign will use, so that cores which share memory or a busy machine count as
slow as they are.
"""

import json
import subprocess
import sys
import time
from typing import Final

from chggen.errors import DriverError
from chggen.prediction.cost import PROBE, Machine

#: Evaluations that are timed, after one that is not.
_REPEATS: Final = 4
_PATIENCE: Final = 600


def measure(cores: int) -> Machine:
    """Machine as it is now; takes as long as a job takes to start, and some seconds.

    Args:
        cores: jobs at a time.

    Raises:
        DriverError: what was started failed or never answered.
    """
    began = time.monotonic()
    command = [sys.executable, "-m", "chggen.prediction.calibrate"]
    probes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - an argument list, no shell
        for _ in range(cores)
    ]
    starts, times = [], []
    try:
        for probe in probes:
            output, errors = probe.communicate(timeout=_PATIENCE)
            if probe.returncode != 0:
                line = (errors.strip().splitlines() or ["no output"])[-1]
                raise DriverError(f"timing the potential failed: {line}")
            answer = json.loads(output.strip().splitlines()[-1])
            starts.append(answer["ready"] - began)
            times.append(answer["probe"])
    except subprocess.TimeoutExpired as error:
        raise DriverError(f"timing the potential took more than {_PATIENCE} s") from error
    finally:
        for probe in probes:
            probe.kill()
            probe.wait()
    return Machine(max(starts), max(times) / PROBE, cores)


def main() -> None:
    """Print when a job is ready on this core (monotonic clock, s) and how long a probe takes."""
    import numpy as np

    from chggen.potential import load_named
    from chggen.potential.interface import packed_state
    from chggen.run.job import limit_threads
    from chggen.stages import generate  # noqa: F401 - a job of the campaign loads as much
    from chggen.structure.crystal import Crystal

    limit_threads(1)
    model = load_named("chgnet-0.3.0")
    ready = time.monotonic()
    # rock salt of 64 atoms: 29 neighbours each within the cutoff, as many as an ordinary solid
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    numbers = np.where(grid.sum(1) % 2, 17, 11)
    crystal = Crystal.of(11.4 * np.eye(3), numbers, grid / 4)
    state = packed_state([crystal], model.device, model.dtype)
    model(state)
    began, cpu = time.monotonic(), time.process_time()
    for _ in range(_REPEATS):
        model(state)
    answer = {
        "ready": ready,
        "probe": (time.monotonic() - began) / _REPEATS,
        "cpu": (time.process_time() - cpu) / _REPEATS,
    }
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
