"""Public functions say what their arguments are."""

import ast
from collections.abc import Iterator

from chggen.provenance import PACKAGE

#: From how many parameters on, self and cls left out, a docstring explains them.
_PARAMETERS = 3
#: Rooms where every function does.
COMPLETE = {"analysis", "report", "evaluation", "stages", "run", "tables", "provenance.py"}
#: Least share in all rooms together.
LEAST = 0.9


def functions(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Public functions of a module, and public methods of its public classes."""
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from functions(child)
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
            yield child


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    every = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return len([a for a in every if a.arg not in {"self", "cls"}])


def explained() -> dict[str, list[tuple[str, bool]]]:
    """By room: each function with many parameters, and whether it has a section Args."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if place.parts[0] == "cli":  # options carry their own help
            continue
        for function in functions(ast.parse(path.read_text(encoding="utf-8"))):
            if parameters(function) >= _PARAMETERS:
                has = "Args:" in (ast.get_docstring(function) or "")
                found.setdefault(place.parts[0], []).append((f"{place}: {function.name}", has))
    return found


def test_functions_with_many_parameters_explain_them() -> None:
    found = explained()
    silent = [name for room in COMPLETE for name, has in found.get(room, []) if not has]
    assert not silent
    every = [has for room in found.values() for _, has in room]
    assert sum(every) / len(every) >= LEAST, f"{sum(every)} of {len(every)}"
