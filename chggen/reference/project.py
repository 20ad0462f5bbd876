"""Entries of the Materials Project: asked for once, checked, and cached."""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from chggen.config.contracts import GGA, R2SCAN, Contract
from chggen.errors import ChggenError, ReferenceCoverageError
from chggen.reference.entries import PROJECT, read_entries
from chggen.run.atomic import write_text

#: The Materials Project's names of its sets of energies.
_THERMO_TYPES: Final = {GGA: "GGA_GGA+U", R2SCAN: "R2SCAN"}

#: Called with a key, gives a context manager that yields an MPRester.
Client = Callable[[str], AbstractContextManager[Any]]


def download(path: Path, elements: list[str], contract: Contract, key: str, client: Client) -> None:
    """Fetch a system's entries from the Materials Project into a JSON file, atomically.

    Only entries of the contract's own functional are asked for: the default would be
    the mixed GGA/r²SCAN hull, whose energies depend on the system they are mixed in. An
    answer that cannot be used (an element is missing, an entry is damaged) is not kept.

    Args:
        path: file to write.
        elements: the system's.
        contract: functional and corrections that are asked for.
        key: of the user's; it is in no message.
        client: makes the MPRester.

    Raises:
        ReferenceCoverageError: the service cannot be reached, refuses the key, answers in
            a form that is not understood, or has no entries of an element.
    """
    from monty.json import MontyEncoder

    system = "-".join(elements)
    thermo_types = [_THERMO_TYPES[contract.functional]]
    part = path.with_name(f".{path.name}.{os.getpid()}.json")
    try:
        with client(key) as rester:
            version = str(getattr(rester, "db_version", None) or "unknown")
            entries = list(
                rester.get_entries_in_chemsys(
                    elements, additional_criteria={"thermo_types": thermo_types}
                )
            )
        content = {
            "source": f"{PROJECT} {thermo_types[0]}",
            "date": datetime.now(UTC).date().isoformat(),
            "database_version": version,
            "functional": contract.functional,
            "corrections": contract.corrections,
            "entries": entries,
        }
        text = json.dumps(content, cls=MontyEncoder)  # entries carry dates
        write_text(part, text)
        read_entries(part, elements, contract)
        part.replace(path)
    except ChggenError as error:
        line = str(error).replace(f"'{part}'", "the answer")
        raise ReferenceCoverageError(f"Materials Project: {system}: {line}") from None
    except _service_errors() as error:
        line = (str(error).splitlines() or [""])[0].replace(key, "***")
        raise ReferenceCoverageError(
            f"Materials Project: no entries of {system} ({type(error).__name__}: {line})"
        ) from None  # a traceback could show the key
    finally:
        part.unlink(missing_ok=True)


def _service_errors() -> tuple[type[Exception], ...]:
    """What can go wrong on the way to the Materials Project.

    Requests' errors are OSErrors, pydantic's ValueErrors; a client of another version ends
    in TypeError or AttributeError; the own errors of mp_api, and of the boto3 by which it
    fetches, have no common base with these, and mp_api may be what is missing.
    """
    common = (
        ImportError,
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        LookupError,
        ArithmeticError,
        AssertionError,
        TypeError,
        AttributeError,
    )
    try:
        from botocore.exceptions import BotoCoreError, ClientError
        from mp_api.client.core import MPRestError
    except ImportError:
        return common
    return (*common, MPRestError, BotoCoreError, ClientError)


def materials_project(key: str) -> AbstractContextManager[Any]:
    """MPRester of mp_api; goes to the network at once."""
    from mp_api.client import MPRester

    rester: AbstractContextManager[Any] = MPRester(key, mute_progress_bars=True)
    return rester
