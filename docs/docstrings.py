"""What the site makes of docstrings: an extension of Griffe, named in mkdocs.yml.

The examples of a docstring are doctests, in a paragraph of their own wherever they help. Markdown would take their
``>>>`` for quotations, so they are put into fences.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^|(?<=\n))(?P<indent> *)>>> .*(?:\n(?P=indent)\S.*|\n(?P=indent) +\S.*)*")


class FencedExamples(griffe.Extension):
    """Put every doctest of every docstring into a fence."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object that was loaded."""
        if obj.docstring is not None:
            obj.docstring.value = fence_examples(obj.docstring.value)


def fence_examples(text: str) -> str:
    """Return a docstring with its doctests in fences."""
    text = re.sub(r"\n *Examples?:\n(?= *>>>)", "\nExamples:\n", text)

    def fence(match: re.Match[str]) -> str:
        indent = match["indent"]
        return f"{indent}```pycon\n{match[0]}\n{indent}```"

    return EXAMPLE.sub(fence, text)
