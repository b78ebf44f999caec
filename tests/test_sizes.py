"""Files of at most 400 lines and functions of at most 60, everywhere; every module says what lives in it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_LINES, MOST_FUNCTION_LINES = 400, 60
SOURCES = {
    file.relative_to(ROOT): file.read_text("utf-8")
    for name in ("src", "tests", "scripts", "bench")
    for file in sorted((ROOT / name).rglob("*.py"))
}


def test_files_stay_small():
    lengths = {str(file): len(text.splitlines()) for file, text in SOURCES.items()}
    assert {file: n for file, n in lengths.items() if n > MOST_LINES} == {}


def test_functions_stay_small():
    long = {
        f"{file}::{node.name}": node.end_lineno - node.lineno + 1
        for file, text in SOURCES.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= MOST_FUNCTION_LINES
    }
    assert long == {}


def test_every_module_of_the_product_says_what_lives_there():
    modules = {file: text for file, text in SOURCES.items() if file.parts[0] == "src"}
    assert [str(file) for file, text in modules.items() if not ast.get_docstring(ast.parse(text))] == []


def test_all_of_it_is_looked_at():
    assert {file.parts[0] for file in SOURCES} == {"src", "tests", "scripts", "bench"}
    assert len(SOURCES) > 150
