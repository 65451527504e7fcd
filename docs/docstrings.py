"""Tell mkdocstrings how our docstrings are written: prose, in which mathematics stands as it is, then a doctest."""

import re

import griffe

# Inline code, *a word or two* and **a few**, which are Markdown; every other star and bracket is meant as it stands.
MARKDOWN = re.compile(r"(`[^`]*`|(?<![^\s(])\*\*[^*]+\*\*(?!\w)|(?<![^\s(])\*\w[\w ]*\*(?!\w))")


class Docstrings(griffe.Extension):
    """Rewrite docstrings as Markdown, and make up for two things that reading our sources alone does not tell."""

    def on_package(self, *, pkg, **kwargs):
        """Rewrite everything in the package."""
        for thing in own(pkg):
            if thing.docstring:
                thing.docstring.value = markdown(thing.docstring.value) + fields(thing)
        functions_before_modules(pkg)


def own(thing):
    """Yield a module or class and all that is defined in it."""
    yield thing
    for member in thing.members.values():
        if not member.is_alias:
            yield from own(member)


def fields(thing):
    """List the fields of a NamedTuple."""
    if not (thing.is_class and "NamedTuple" in map(str, thing.bases)):
        return ""
    lines = [f"{name}: {member.annotation}" for name, member in thing.attributes.items() if member.annotation]
    return "\n\n```python\n" + "\n".join(lines) + "\n```"


def functions_before_modules(pkg):
    """Let `jaxnn.training.fit` be the function that the package imports, as in Python, and not the module."""
    packages = [thing for thing in own(pkg) if thing.is_module and thing.exports]
    for package in packages:  # while the modules are still found
        for member in package.members.values():
            if member.is_alias and member.target_path.startswith(f"{pkg.path}."):
                member.resolve_target()
    found = [
        (package, name, pkg[path.removeprefix(f"{pkg.path}.")])
        for package in packages
        for name, path in package.imports.items()
        if path == f"{package.path}.{name}.{name}"
    ]
    for package, name, function in found:
        package.members[name] = griffe.Alias(name, target=function, parent=package)


def markdown(text):
    """Fence every doctest, from `>>>` to an empty line, and escape what Markdown would take for its own in the rest."""
    blocks = []
    for block in re.split(r"\n\s*\n", text):
        before, example, rest = block.partition(">>>")
        if example:
            prose = [escaped(before.rstrip())] if before.strip() else []
            indent = before[len(before.rstrip(" ")) :]
            blocks += [*prose, f"```pycon\n{indent}{example}{rest}\n```"]
        else:
            blocks.append(block if block.startswith("    ") else escaped(block))
    return "\n\n".join(blocks)


def escaped(text):
    """Escape stars, pairs of brackets and what looks like a tag, outside of code and emphasis."""
    parts = MARKDOWN.split(text)
    parts[::2] = [
        re.sub(r"\*|\](?=\[)|<(?=\w)", lambda sign: "&lt;" if sign[0] == "<" else "\\" + sign[0], part)
        for part in parts[::2]
    ]
    return "".join(parts)
