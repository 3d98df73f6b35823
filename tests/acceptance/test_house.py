"""The house keeps its own rules: floors, types, style."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CHECKS = {
    "imports_only_go_down": ("importlinter.cli", "lint-imports"),
    "style": ("ruff", "check", "."),
    "format": ("ruff", "format", "--check", "."),
    "types_of_the_package": ("mypy", "--strict", "eventvm"),
    "types_of_a_user": ("mypy", "--strict", "tests/typing"),
    "types_of_the_examples": ("mypy", "--strict", "docs/examples"),
    "docs_and_schemas_are_current": ("docs/generate.py", "--check"),
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_house_keeps_its_rules(check):
    """Each tool that guards the source finds nothing to say."""
    module, *arguments = CHECKS[check]
    how = [module] if module.endswith(".py") else ["-m", module]
    whole = [sys.executable, *how, *arguments]
    done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_is_short_and_opens_with_two_commands():
    """It has at most 250 lines, and its first two blocks are the two commands that do all the set-up."""
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 250
    blocks = [block for block in text.split("```") if block.startswith("sh\n")]
    assert "eventvm run -- " in blocks[0]
    assert "pytest" in blocks[1]
    assert all(len(block.strip().splitlines()) == 2 for block in blocks[:2])


def test_the_readme_links_every_page():
    """Whoever looks something up finds it from there; nothing that is linked is missing."""
    text = (ROOT / "README.md").read_text()
    linked = set(re.findall(r"\]\((docs/[a-z-]+\.md)\)", text.split("## Look it up")[1].split("\n## ")[0]))
    assert linked == {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
