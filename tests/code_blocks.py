"""Run the code of a Markdown page as it stands: every block that is fenced as `python`, in one namespace, in order."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_blocks(page: Path) -> dict:
    """Run a page's blocks and return the names that they leave; an error says the line of the page."""
    text = page.read_text()
    namespace = {"__name__": "__main__"}
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        lines_before = text.count("\n", 0, block.start(1))
        exec(compile("\n" * lines_before + block[1], str(page), "exec"), namespace)
    return namespace
