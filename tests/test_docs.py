"""The code of the documentation runs as it stands, and its commands are commands."""

import re
import runpy

import pytest
from code_blocks import ROOT, run_blocks

DOCS = ROOT / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if "```python\n" in page.read_text()]
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.py"))


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JAXNN_DATA_DIR", raising=False)  # what the pages show must hold without any data


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_code_of_a_page_runs(page):
    run_blocks(page)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_a_notebook_runs(notebook):
    runpy.run_path(str(notebook), run_name="__main__")


def test_experiments_and_benchmarks_that_pages_name_are_there():
    named = {
        name
        for page in DOCS.rglob("*.md")
        for name in re.findall(r"-m ((?:experiments|benchmarks)[.\w]*)", page.read_text())
    }
    assert named
    for name in named:
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name
