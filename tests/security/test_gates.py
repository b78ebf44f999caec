"""What no line of the product may do: run text as code, unpickle, load YAML with objects, hand a line to a shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "tunesmith"
FORBIDDEN = {
    "eval",
    "exec",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "marshal.loads",
    "shelve.open",
    "torch.load",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "tempfile.mktemp",
}
SWITCHES = {"shell", "trust_remote_code", "allow_pickle"}
ALLOWED = {
    # Between the server and an engine that it started, over a pair of sockets that nobody else has an end of.
    ("services/sessions/wire.py", "pickle.loads"),
    # In grader processes, behind the sandbox: code of users is what they are for.
    ("grading/worker.py", "exec"),
    ("grading/builtin/harness.py", "exec"),
    ("grading/composed/build.py", "exec"),
}


def found(tree: ast.AST) -> Iterator[str]:
    """Forbidden calls, and switches that are not plainly off."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if (name := ast.unparse(node.func)) in FORBIDDEN:
                yield name
            for keyword in node.keywords:
                off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in SWITCHES and not off:
                    yield str(keyword.arg)


def test_the_gate_sees_what_it_looks_for() -> None:
    bad = "eval(x); torch.load(f); run(c, shell=True); load(allow_pickle=False); np.load(f, allow_pickle=flag)"
    assert list(found(ast.parse(bad))) == ["eval", "torch.load", "shell", "allow_pickle"]


def test_no_line_of_the_product_does_any_of_it() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 250
    hits = [(str(f.relative_to(SOURCE)), name) for f in files for name in found(ast.parse(f.read_text("utf-8")))]
    assert set(hits) == ALLOWED
