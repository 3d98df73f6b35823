"""What the README and the docs show, works."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = {
    f"{page.name}-{at}": block
    for page in PAGES
    for at, block in enumerate(BLOCK.findall(page.read_text()), start=1)
}


def run(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(whole, cwd=directory, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_docs_runs_as_printed(block, tmp_path):
    """Each Python block runs by itself; one that reads fleet.db finds the log of the first program."""
    if block.startswith("qemu.md") and shutil.which("qemu-system-x86_64") is None:
        pytest.skip("QEMU is missing: apt install qemu-system-x86")
    if "mode=ro" in BLOCKS[block]:
        run(BLOCKS["README.md-1"], tmp_path)
    done = run(BLOCKS[block], tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_link_of_the_docs_leads_somewhere():
    """A relative link names a file that is there."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
