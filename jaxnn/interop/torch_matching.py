"""Which module of a state_dict is which part of a model."""

import re
from collections.abc import Iterable, Mapping
from itertools import groupby

from jaxnn.interop.torch_modules import Module

BATCHES = "num_batches_tracked"  # a counter of PyTorch's batch norm; nothing here has it
ARRAYS = re.compile(r"weight|bias|running_mean|running_var|num_batches_tracked|(weight|bias)_\w+_l\d+(_reverse)?")
ATTENTION = re.compile(r"(in_proj_weight|in_proj_bias|out_proj\.weight|out_proj\.bias)")

Names = Mapping[str, Mapping[str, str]]  # module -> the name of its array in the module -> the whole name
Shapes = Mapping[str, tuple[int, ...]]


def whole_name(module: str, array: str) -> str:
    """Join the name of a module and that of one of its arrays, either of which may be empty.

    >>> whole_name("fc1", "weight"), whole_name("", "weight"), whole_name("pos_encoding", "")
    ('fc1.weight', 'weight', 'pos_encoding')
    """
    return f"{module}.{array}" if module and array else module or array


def named_modules(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Sort the names of a state_dict by module; an encoder layer is one, and so is attention with its `out_proj`.

    An array that no module of PyTorch calls so (`pos_encoding`) is a module by itself, with an array named "".

    >>> named_modules(["fc.weight", "fc.bias", "pos_encoding"])
    {'fc': {'weight': 'fc.weight', 'bias': 'fc.bias'}, 'pos_encoding': {'': 'pos_encoding'}}
    """
    names = list(names)
    blocks = {
        name.removesuffix("self_attn.in_proj_weight") for name in names if name.endswith("self_attn.in_proj_weight")
    }
    attention = {name.removesuffix("in_proj_weight") for name in names if name.endswith("in_proj_weight")}
    modules: dict[str, dict[str, str]] = {}
    for name in names:
        block = next((start for start in blocks if name.startswith(start)), None)
        if block is None:
            block = next((a for a in attention if name.startswith(a) and ATTENTION.fullmatch(name[len(a) :])), None)
        if block is None:
            block = name[: name.rfind(".") + 1]
            block = block if ARRAYS.fullmatch(name[len(block) :]) else name
        modules.setdefault(block.removesuffix("."), {})[name[len(block) :]] = name
    return modules


def in_order(names: Iterable[str], modules: Names) -> bool:
    """Say whether names can stand in the order in which PyTorch gives them, that of the modules' definitions.

    They cannot where they are sorted by the alphabet, as in a safetensors file, where a bias comes before its weight,
    or where the names of a module do not stand together.

    >>> names = ["out.weight", "hidden.weight"]
    >>> in_order(names, named_modules(names)), in_order(sorted(names), named_modules(names))
    (True, False)
    """
    names = list(names)
    owners = {name: module for module, arrays in modules.items() for name in arrays.values()}
    visits = [module for module, _ in groupby(names, owners.__getitem__)]
    biases_first = any("bias" in next(iter(arrays)) for arrays in modules.values() if len(arrays) > 1)
    return names != sorted(names) and len(visits) == len(set(visits)) and not biases_first


def renamed(path: str, names: Mapping[str, str]) -> str | None:
    """Return what `names` calls a path, by the longest beginning of it that stands there; None where none does.

    >>> renamed("encoder.layers.0", {"encoder": "transformer"}), renamed("3", {"encoder": "transformer"})
    ('transformer.layers.0', None)
    """
    parts = path.split(".") if path else []
    for length in range(len(parts), -1, -1):
        start = ".".join(parts[:length])
        if start in names:
            return ".".join(filter(None, (names[start], *parts[length:])))
    return None


def unknown_names(own: list[Module], names: Mapping[str, str]) -> list[str]:
    """Say which keys of `names` are no path of a layer, nor the beginning of one.

    >>> unknown_names([Module("encoder.layers.0", "linear", {})], {"encoder": "transformer", "7": "fc"})
    ["names has '7', but the layers are encoder.layers.0"]
    """
    layers = ", ".join(module.path or "''" for module in own)
    known = ["", *(f"{module.path}." for module in own)]
    unknown = [
        start for start in names if not any(f"{path}".startswith(f"{start}." if start else "") for path in known)
    ]
    return [f"names has {start!r}, but the layers are {layers}" for start in unknown]


def match(
    own: list[Module], theirs: Names, shapes: Shapes, names: Mapping[str, str], ordered: bool
) -> tuple[list[tuple[Module, str]], list[str]]:
    """Pair a model's modules with the names of PyTorch's; return the pairs, and in words all that does not fit.

    What `names` calls by name is taken first. Of the rest, a module goes to the part whose arrays have its names and
    shapes; of several, the first to the first. Where the names are not `ordered`, they are taken by the numbers in
    them, and only where they differ in nothing else.

    >>> match([Module("0", "linear", {})], {}, {}, {"0": "fc"}, True)
    ([], ['nothing is called fc, for linear at 0 ()'])
    """
    pairs, problems = _by_name(own, theirs, names)
    taken = {name for _, name in pairs}
    left = {name: arrays for name, arrays in theirs.items() if name not in taken}
    own = [module for module in own if renamed(module.path, names) is None]
    if not any("" in arrays for arrays in left.values()):
        own = [_as_embedding(module) for module in own]
    for form in dict.fromkeys(map(_own_form, own)):
        ours = [module for module in own if _own_form(module) == form]
        found = [name for name, arrays in left.items() if _form(arrays, shapes) == form]
        if len(found) > 1 and not ordered:
            if len({re.sub(r"\d+", "#", name) for name in found}) > 1:
                problems.append(
                    f"{', '.join(found)} have the same shapes, and their order is not known (files keep none): say in "
                    f"names which is which of {', '.join(module.path for module in ours)}"
                )
            found.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
        pairs += zip(ours, found, strict=False)
    taken = {name for _, name in pairs}
    left = {name: arrays for name, arrays in left.items() if name not in taken}
    unmatched = [module for module in own if module.path not in {paired.path for paired, _ in pairs}]
    almost = []
    for module in unmatched:  # of the right kind but not of the right size
        near = (name for name in left if name not in dict(almost) and _axes(left[name], shapes) == _own_axes(module))
        almost += [(name, module) for name in near][:1]
    problems += [word for module, name in pairs for word in _differences(module, theirs[name], shapes)]
    problems += [word for name, module in almost for word in _differences(module, left[name], shapes)]
    problems += [f"nothing for {_described(module)}" for module in unmatched if module not in dict(almost).values()]
    extra = [array for name, arrays in left.items() if name not in dict(almost) for array in arrays.values()]
    return pairs, problems + [f"no layer for {name} {shapes[name]}" for name in extra]


def _by_name(own: list[Module], theirs: Names, names: Mapping[str, str]) -> tuple[list[tuple[Module, str]], list[str]]:
    pairs, problems = [], []
    for module in own:
        target = renamed(module.path, names)
        if target is not None and target in theirs:
            pairs.append((module if "" in theirs[target] else _as_embedding(module), target))
        elif target is not None:
            problems.append(f"nothing is called {target}, for {_described(module)}")
    found = [name for _, name in pairs]
    problems += [f"names gives {name} to more than one layer" for name in dict.fromkeys(found) if found.count(name) > 1]
    return pairs, problems + unknown_names(own, names)


def _as_embedding(module: Module) -> Module:
    """Let positions be those of an nn.Embedding, where PyTorch has no bare parameter for them."""
    if set(module.places) != {""}:
        return module
    place = module.places[""]
    return module._replace(places={"weight": place._replace(shape=place.ours)})


def _differences(module: Module, arrays: Mapping[str, str], shapes: Shapes) -> list[str]:
    """Say what a module of PyTorch lacks, has in another shape, and has beyond."""
    place = _at(module)
    words = [f"{place} finds no {name}" for name in module.places if name not in arrays]
    for name, whole in arrays.items():
        if name not in module.places:
            words += [] if name == BATCHES else [f"no layer for {whole} {shapes[whole]}"]
        elif _form({name: whole}, shapes) != _form_of({name: module.places[name].shape}):
            words.append(f"{whole} is {shapes[whole]} where {place} expects {module.places[name].shape}")
    return words


def _at(module: Module) -> str:
    return f"{module.kind} at {module.path}" if module.path else module.kind


def _described(module: Module) -> str:
    arrays = (f"{name} {place.shape}".strip() for name, place in module.places.items())
    return f"{_at(module)} ({', '.join(arrays)})"


def _form(arrays: Mapping[str, str], shapes: Shapes) -> frozenset:
    return _form_of({name: shapes[whole] for name, whole in arrays.items() if name != BATCHES})


def _own_form(module: Module) -> frozenset:
    return _form_of({name: place.shape for name, place in module.places.items()})


def _form_of(shapes: Shapes) -> frozenset:
    """Return names and shapes; positions are the same as [T, D] and as [1, T, D]."""
    return frozenset(
        (name, shape[1:] if not name and len(shape) == 3 and shape[0] == 1 else shape) for name, shape in shapes.items()
    )


def _axes(arrays: Mapping[str, str], shapes: Shapes) -> frozenset:
    return frozenset((name, len(shape)) for name, shape in _form(arrays, shapes))


def _own_axes(module: Module) -> frozenset:
    return frozenset((name, len(shape)) for name, shape in _own_form(module))
