"""Tell mkdocstrings how our docstrings are written: prose, in which mathematics stands as it is, then a doctest."""

import re

import griffe

# Inline code, *a word or two* and **a few**, which are Markdown; every other star and bracket is meant as it stands.
MARKDOWN = re.compile(r"(`[^`]*`|(?<![^\s(])\*\*[^*]+\*\*(?!\w)|(?<![^\s(])\*\w[\w ]*\*(?!\w))")


class Docstrings(griffe.Extension):
    """Rewrite each docstring as Markdown, and make up for two things that reading our sources alone does not tell."""

    def on_object(self, *, obj, **kwargs):
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_class_members(self, *, cls, **kwargs):
        """List the fields of a NamedTuple."""
        fields = {name: member.annotation for name, member in cls.attributes.items() if member.annotation}
        if cls.docstring and fields and "NamedTuple" in map(str, cls.bases):
            lines = "\n".join(f"{name}: {annotation}" for name, annotation in fields.items())
            cls.docstring.value += f"\n\n```python\n{lines}\n```"

    def on_package(self, *, pkg, **kwargs):
        """Let `from jaxnn.training.fit import fit` be the function, as in Python, and not the module of that name."""
        packages = [module for module in _modules(pkg) if module.exports]
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


def _modules(module):
    yield module
    for member in module.modules.values():
        if not member.is_alias:
            yield from _modules(member)


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
