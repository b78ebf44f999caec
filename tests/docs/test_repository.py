"""What holds for every tracked text: the tree is whole, links lead somewhere, nothing names one person's machine."""

import re
import subprocess
from pathlib import Path

import pytest
from docs.pages import PAGES, ROOT, blocks, section

README = (ROOT / "README.md").read_text("utf-8")
PRIVATE = re.compile(
    r"(?<![\w.])/(?:work|tmp|home|root|Users)/|pypi\.org|files\.pythonhosted|/simple\b.*index|localhost:(?!(?:1|3000|8000)\b)\d"
    r"|\b10\.\d+\.\d+\.\d+\b(?!/\d)"
)
"""Places of a developer's machine. The ports that the docs tell people to listen on, and whole networks, are none."""
SUFFIXES = {".md", ".py", ".toml", ".txt", ".yaml", ".yml", ".json", ".html", ".svg", ".sh", ""}


def tracked() -> list[Path]:
    """Text files under version control; in an unpacked release, where there is none, all of them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.split("\0") if listed.returncode == 0 else [str(p.relative_to(ROOT)) for p in PAGES]
    paths = [ROOT / name for name in names if name and Path(name).suffix in SUFFIXES]
    return [path for path in paths if path.is_file() and path.stat().st_size < 1_000_000]


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()[:80]}"
        for path in tracked()
        if path != Path(__file__).resolve()
        for line in path.read_text("utf-8", errors="replace").splitlines()
        if PRIVATE.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(path: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings}, target


def test_the_tree_of_the_readme_lists_every_package() -> None:
    [tree] = [block for block in blocks(README, "") if block.startswith("src/tunesmith/")]
    parents: list[str] = []
    listed = set()
    for line in tree.splitlines()[1:]:
        found = re.match(r"((?:[│ ]   )*)[├└]── (\w+)/ +\S", line)
        if found:
            parents[len(found[1]) // 4 :] = [found[2]]
            listed.add("/".join(parents))
    source = ROOT / "src" / "tunesmith"
    packages = {str(p.parent.relative_to(source)) for p in source.rglob("__init__.py")} - {"."}
    assert listed == packages | {"models/embedded"}


def test_the_shell_lines_of_the_readme_do_what_make_does() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    [plain] = [block for block in blocks(section(README, "Two commands"), "") if block.startswith("python3")]
    for target, line in zip(("demo", "test"), plain.splitlines(), strict=True):
        recipe = re.search(rf"^{target}:.*\n\t\$\(BIN\)/(.*)$", makefile, re.MULTILINE)
        assert recipe and f".venv/bin/{recipe[1].removesuffix(' $(AT_ONCE)')}" in line
        assert f"make {target}\n" in README


def test_pages_for_changers_are_short() -> None:
    assert len((ROOT / "AGENTS.md").read_text("utf-8").splitlines()) <= 100
    assert len((ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()) <= 50


def test_tables_of_where_to_add_name_what_exists() -> None:
    for text in ((ROOT / "AGENTS.md").read_text("utf-8"), (ROOT / "docs" / "architecture.md").read_text("utf-8")):
        for row in section(text, "Where to add").splitlines():
            pointed = re.findall(r"`((?:\w+/)+\w+\.py)(?:: (\w+))?`", row)
            for file, name in pointed:
                source = ROOT / "src" / "tunesmith" / file
                assert source.is_file(), file
                names = [name] if name else re.findall(r"`([A-Z]{2,}(?:_[A-Z]+)*)`", row)
                assert [n for n in names if not re.search(rf"^{n}\b", source.read_text(), re.MULTILINE)] == []
