"""Overhead of the workflow, from the logs of a finished local run, as JSON.

python benchmarks/overhead.py DIRECTORY --cores 2 [--results results]

For the newest run in DIRECTORY that produced output: core time of Snakemake minus the computing
time in the logs of the stages, divided by the latter. The start of Python, imports and idle
cores count as overhead. Valid only for a run that started without results, with one thread per
job.
"""

import argparse
import json
import re
from datetime import datetime
from pathlib import Path

ELAPSED = re.compile(r"Elapsed time: (?:(\d+) days?, )?(\d+):(\d+):([\d.]+)")
DONE = re.compile(r": done in ([\d.]+) s$", re.MULTILINE)


def main() -> None:
    """Read the logs and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--results", default="results")
    given = parser.parse_args()
    runs = sorted((given.directory / ".snakemake" / "log").glob("*.snakemake.log"))
    ended = [(path, match) for path in runs if (match := ELAPSED.search(path.read_text()))]
    if not ended:
        parser.error(f"{given.directory}: no run that has ended")
    newest, match = ended[-1]
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    wall = 86400 * days + 3600 * hours + 60 * minutes + seconds
    logs = (given.directory / given.results / "logs").rglob("*.log")
    began = datetime.strptime(newest.name[:17], "%Y-%m-%dT%H%M%S").timestamp()  # noqa: DTZ007
    # the folder may contain results of other systems from earlier runs
    texts = [path.read_text() for path in logs if path.stat().st_mtime > began]
    stages = sum(float(found) for text in texts for found in DONE.findall(text))
    figures = {
        "wall_s": round(wall, 1),
        "stages_s": round(stages, 1),
        "overhead": round((wall * given.cores - stages) / stages, 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
