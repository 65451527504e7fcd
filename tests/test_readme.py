"""The README's code runs as it stands."""

import re
from pathlib import Path


def test_the_code_of_the_readme_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[1] / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 2
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    (printed,) = [eval(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert printed["accuracy"] > 0.95
    assert list((tmp_path / "runs" / "digits").glob("step_*"))
    assert int(namespace["train_state"].step) == 100
    assert namespace["probabilities"].shape == (360, 10)


def test_commands_of_the_readme_are_targets_of_the_makefile():
    root = Path(__file__).parents[1]
    commands = set(re.findall(r"^\s*make ([a-z]+)", (root / "README.md").read_text(), re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE))
    assert commands
    assert commands <= targets
