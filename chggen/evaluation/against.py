"""A run against an earlier one: another checkpoint, other settings, the same structures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chggen.errors import ChggenError
from chggen.evaluation.figures import COUNTED, differences, of_generator
from chggen.provenance import file_digest


def read_earlier(path: Path, structures: Path) -> dict[str, Any]:
    """Result of an earlier run, as ``--json`` wrote it, about the same file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        line = (str(error).splitlines() or [""])[0]
        raise ChggenError(f"--against '{path}': not readable ({line})") from error
    if not isinstance(found, dict) or not {"generators", "structures"} <= found.keys():
        raise ChggenError(f"--against '{path}': is not a result of 'chggen evaluate'")
    if structures.is_file() and found["structures"]["digest"] != file_digest(structures):
        raise ChggenError(f"--against '{path}': is not an evaluation of '{structures}'")
    return found


def compare(now: Mapping[str, Any], then: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Differences of the rates, now minus then, by generator that both have.

    Structures are paired by their rows, so that runs with other limits can be compared
    by what they share; where that is nothing (another seed), no generator is compared.

    Args:
        now: result of this run.
        then: result of an earlier run, as :func:`read_earlier` gives it.
        path: file that the earlier one is from.
    """
    rows = [[s["row"] for s in result["structures"]["chosen"]] for result in (now, then)]
    shared = sorted(set(rows[0]) & set(rows[1]))
    places = [np.array([mine.index(row) for row in shared]) for mine in rows]
    samples = (now["samples_per_structure"], then["samples_per_structure"])
    found: dict[str, Any] = {
        "file": str(path),
        "checkpoint": then["checkpoint"],
        "n_structures": len(shared),
    }
    for name in now["generators"] if shared else ():
        figures = [of_generator(result, name) for result in (now, then)]
        if not all("matches" in f for f in figures):
            continue
        counts = [
            {key: np.array(f[key])[p] for key, _, _ in COUNTED if key in f}
            for f, p in zip(figures, places, strict=True)
        ]
        found[name] = differences(counts[0], counts[1], samples)
    return found
