"""The README's code runs as it stands."""

import re

from code_blocks import ROOT, run_blocks


def test_the_code_of_the_readme_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = run_blocks(ROOT / "README.md")
    (printed,) = [eval(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert printed["accuracy"] > 0.95
    assert list((tmp_path / "runs" / "digits").glob("step_*"))
    assert int(namespace["train_state"].step) == 100
    assert namespace["probabilities"].shape == (360, 10)


def test_commands_of_the_readme_are_targets_of_the_makefile():
    commands = set(re.findall(r"^\s*make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert commands
    assert commands <= targets
