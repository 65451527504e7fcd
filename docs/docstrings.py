"""Tell mkdocstrings how our docstrings are written: prose, in which mathematics stands as it is, then a doctest."""

import re

import griffe

# Inline code, *a word or two* and **a few**, which are Markdown; every other star and bracket is meant as it stands.
MARKDOWN = re.compile(r"(`[^`]*`|(?<![^\s(])\*\*[^*]+\*\*(?!\w)|(?<![^\s(])\*\w[\w ]*\*(?!\w))")


class Docstrings(griffe.Extension):
    """Rewrite each docstring as Markdown."""

    def on_object(self, *, obj, **kwargs):
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


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
