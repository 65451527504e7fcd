"""What mkdocs does here beside turning Markdown into pages: equations, notebooks, and tables of what was measured."""

import ast
import json
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = json.loads((ROOT / "docs" / "pictures" / "pictures.json").read_text())


def on_config(config):
    """Equations stand in fences named `math`, in LaTeX; browsers read them as MathML, with no script."""
    fence = {"name": "math", "class": "math", "format": equation}
    config["mdx_configs"].setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def equation(source, *rest, **more):
    """Write one equation, or one a line."""
    lines = [convert(line, display="block") for line in source.splitlines() if line.strip()]
    return f'<div class="equation">{"".join(lines)}</div>'


def on_files(files, config):
    """Add a page for each notebook, docs/notebooks/NAME.py, and the figures beside the results of the benchmarks."""
    for path in sorted(RESULTS.glob("*.png")):
        files.append(File.generated(config, f"measured/{path.name}", abs_src_path=str(path)))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.py")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook_page(path)))
    return files


def notebook_page(path):
    """Turn a script of the percent format into Markdown: comments of markdown cells are text, the others code."""
    parts = []
    for cell in re.split(r"^# %%", path.read_text(), flags=re.MULTILINE)[1:]:
        head, _, body = cell.partition("\n")
        if "[markdown]" in head:
            parts.append(re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE))
        else:
            parts.append(f"```py\n{body.strip()}\n```")
    name = path.relative_to(ROOT)
    parts.insert(
        1, f"`{name}` is a notebook as a script (jupytext's percent format): run it with Python, or open it in Jupyter."
    )
    return "\n\n".join(parts)


def on_page_markdown(markdown, page, config, files):
    """Put tables of results where a page names them, as `<!-- results: peers -->`, and captions under pictures."""
    markdown = re.sub(r"<!-- results: (\w+) -->", lambda found: measured(found[1]), markdown)
    markdown = markdown.replace("<!-- gallery -->", gallery())
    return re.sub(
        r"^!\[.*\]\((.*pictures/([-\w]+)\.png)\)$", lambda found: figure(found[1], found[2]), markdown, flags=re.M
    )


def gallery():
    """Show every picture."""
    pictures = "\n\n".join(f"![{name}](../pictures/{name}.png)" for name in PICTURES)
    return f'<div class="gallery" markdown>\n\n{pictures}\n\n</div>'


def figure(path, name):
    """Show a picture of an experiment, and under it what it shows and the command that made it."""
    picture = PICTURES[name]
    caption = f"{picture['says']}. `{picture['command']}`"
    return (
        f"<figure markdown>\n\n![{picture['says']}]({path})\n\n<figcaption markdown>{caption}</figcaption>\n\n</figure>"
    )


def on_post_build(config):
    """Refuse a site whose API lacks a name that a package offers."""
    for page in sorted(Path(config.site_dir, "api").glob("*.html")):
        room = ROOT / "jaxnn" / page.stem
        sources = [source for source in (room / "__init__.pyi", room / "__init__.py") if source.is_file()]
        names = exported(sources[0]) if sources else []
        text = page.read_text()
        if missing := [name for name in names if not re.search(rf'id="jaxnn[\w.]*\.{name}"', text)]:
            raise PluginError(f"api/{page.stem}.md shows no {', '.join(missing)}")


def exported(source):
    """Return the names in a module's `__all__`."""
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def measured(name):
    """Write the table of one file of results, and under it how it was made."""
    result = json.loads((RESULTS / f"{name}.json").read_text())
    made = result.get("command", "")
    return TABLES[name](result) + (f"\n\nMeasured by `{made}`{machine(result)}." if made else "")


def machine(result):
    """Name processor and versions, where the results do."""
    environment = result.get("environment", {})
    versions = [f"{NAMES.get(name, name)} {environment[name]}" for name in PACKAGES if name in environment]
    said = [environment.get("processor", ""), *versions]
    return f" on {', '.join(filter(None, said))}" if any(said) else ""


def table(header, rows):
    """Write a Markdown table of words and numbers."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def mnist_parity(result):
    header = ["program", "test accuracy %", "deviation", "an epoch, s", "jaxnn's time / its time", "least to most"]
    rows = []
    for name, program in result["programs"].items():
        low, high = program["jaxnn_time_ratio_range"]
        ratio = ["", ""] if name == "jaxnn" else [f"{program['jaxnn_time_ratio']:.2f}", f"{low:.2f} to {high:.2f}"]
        accuracy = [f"{program['mean_test_accuracy']:.2f}", f"{program['deviation']:.2f}"]
        rows.append([NAMES.get(name, name), *accuracy, f"{program['median_seconds_per_epoch']:.2f}", *ratio])
    return table(header, rows)


def time_to_99(result):
    header = ["seed", "test accuracy %", "import and read, s", "compile, s", "train, s", "from start to end, s"]
    times = ("import_and_read_seconds", "compile_seconds", "train_seconds", "seconds")
    seeds = result["seeds"]
    return table(
        header, [[run["seed"], f"{100 * run['test_accuracy']:.2f}", *(run[name] for name in times)] for run in seeds]
    )


def recipes(result):
    header = ["recipe", "test accuracy %, mean", "deviation", "seeds", "together %", "epochs", "parameters", "command"]
    rows = []
    for name, run in result.items():
        accuracies = run["test_accuracy_mean"], run["test_accuracy_deviation"], run["ensemble_test_accuracy"]
        mean, deviation, together = (f"{100 * value:.2f}" for value in accuracies)
        counts = len(run["test_accuracy_by_seed"]), together, run["epochs"], f"{run['parameters']:,}"
        rows.append([NAMES[name], mean, deviation, *counts, f"`{run['command']}`"])
    return table(header, rows)


def jit_vs_numpy(result):
    singles = [case for case in result["cases"] if case["work"] in ACTIVATIONS or case["work"].endswith(" pass")]
    whole = [case for case in result["cases"] if case not in singles]
    folded = ratios_to_numpy(singles).replace("\n", "\n    ")
    return (
        f'{ratios_to_numpy(whole)}\n\n??? note "Single calls: activations, forward and backward passes"\n\n    {folded}'
    )


def ratios_to_numpy(cases):
    header = ["work", "network", "size", "NumPy's time / compiled JAX's", "least to most", "NumPy's time / eager JAX's"]
    rows = []
    for case in cases:
        low, high = case["numpy_over_range"]["compiled"]
        ratios = [case["numpy_over"]["compiled"], low, high, case["numpy_over"]["eager"]]
        compiled, low, high, eager = (f"{ratio:.2g}" if ratio < 100 else f"{ratio:.0f}" for ratio in ratios)
        rows.append([case["work"], case["network"], f"{case['size']:,}", compiled, f"{low} to {high}", eager])
    return table(header, rows)


def lr_finder(result):
    header = [
        "network",
        "steps",
        "32 rates share their program by",
        "their time together / one by one",
        "least to most",
    ]
    rows = [
        [name, case["steps"], f"`{case['mapped_by']}`", case["ratio"], f"{case['least']} to {case['largest']}"]
        for name, case in result["speed"].items()
    ]
    commands = sorted({case["command"].rsplit(" ", 2)[0] for case in result["speed"].values()})
    return table(header, rows) + f"\n\nMeasured by `{', '.join(commands)}`{machine(result)}."


def doctor(result):
    header = ["mistake", *(f"in a {name}: found" for name in ("perceptron", "CNN", "reader of rows"))]
    rows = [[mistake, *(found[kind] for kind in ("mlp", "cnn", "lstm"))] for mistake, found in result["found"].items()]
    alarms, healthy = result["findings_on_sound_networks"], len(result["sound"])
    return table(header, rows) + f"\n\nFindings on {healthy} networks without a mistake: {alarms}."


def mislabelled(result):
    header = ["seed", "found by self-influence %", "found by the loss %"]
    rows = [
        [run["seed"], *(f"{100 * run[name]:.1f}" for name in ("found", "found_by_loss"))] for run in result["seeds"]
    ]
    return table(header, rows)


def fit_many(result):
    header = ["64 networks", "their time / that of 64 trainings by `fit`"]
    rows = [
        [f"together, {result['how'].split(':')[0].split(' ', 2)[2]}", result["ratio"]],
        [f"together, {result['the_other_way'].split(':')[0].split(' ', 2)[2]}", result["ratio_of_the_other_way"]],
        ["together, with tracing and compilation", result["ratio_of_whole_calls"]],
    ]
    return table(header, rows)


def parallel(result):
    header = ["network", "one process, ms a step", "two processes, ms a step", "efficiency"]
    rows = []
    for name, case in result["cases"].items():
        one, two = (f"{case['step_milliseconds'][kind]:.2f}" for kind in ("one process", "two processes"))
        rows.append([name, one, two, f"{case['efficiency']:.2f}"])
    return table(header, rows)


def streaming(result):
    from benchmarks.streaming import table as streamed

    return streamed(result)


def peers(result):
    from benchmarks.peers.readme import section  # the README's tables, from the same words

    return section(result)


def scaling(result):
    from benchmarks.scaling import table

    return table(result)


def startup(result):
    from benchmarks.startup import table

    return table(result)


ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "softmax")
NAMES = {
    **{"torch": "PyTorch", "numpy": "NumPy", "python": "Python", "jax": "JAX", "flax": "Flax"},
    "mnist_mlp": "MNIST, perceptron 784-512-256-10",
    "mnist_mlp_augmented": "MNIST, the same on distorted images",
    "mnist_cnn": "MNIST, CNN",
    "fashion_cnn": "Fashion-MNIST, CNN",
}
PACKAGES = ("python", "jax", "numpy", "torch", "flax")
TABLES = {
    function.__name__: function
    for function in (
        *(mnist_parity, time_to_99, recipes, jit_vs_numpy, lr_finder, fit_many),
        *(doctor, mislabelled, parallel, streaming, peers, scaling, startup),
    )
}
