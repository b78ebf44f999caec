"""Which function of a file scores answers, where nobody said: read from the text, without running it."""

import ast

from tunesmith.core.errors import UserError

NAMES = ("grade", "evaluate", "score", "reward")
DECORATOR = "evaluation_test"


def entry_point_of(file: str, source: str) -> str:
    """``file.py::function``: an ``@evaluation_test``, a function with a usual name, or the only public one.

    Raises:
        UserError: it is no Python, or none or several functions could be meant.
    """
    try:
        top = ast.parse(source).body
    except (SyntaxError, ValueError) as e:
        place = f"{file}:{e.lineno}" if isinstance(e, SyntaxError) and e.lineno else file
        raise UserError(place, f"is no Python: {getattr(e, 'msg', e)}", "Mend that line") from None
    functions = [node for node in top if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    names = [function.name for function in functions if not function.name.startswith("_")]
    found = [f.name for f in functions if any(DECORATOR in ast.unparse(d) for d in f.decorator_list)]
    found = found or [name for name in NAMES if name in names][:1] or names
    if len(found) != 1:
        problem = f"has several functions: {', '.join(found)[:200]}" if found else "has no function at its top level"
        raise UserError(file, problem, f"Call the one that scores an answer {NAMES[0]}")
    return f"{file}::{found[0]}"
