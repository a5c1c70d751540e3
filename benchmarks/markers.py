"""Tables in Markdown files that a verb makes: each stands between two marks and is replaced whole."""

from __future__ import annotations

from pathlib import Path

from pbt_disent.errors import UserError

__all__ = ["check_markers", "replace_between_markers"]


def check_markers(path: Path, option: str, mark: str) -> None:
    """See that a file has the marks, before any work is done for it.

    Args:
        path: of the file.
        option: that named it.
        mark: what the marks say.

    Raises:
        UserError: it has not, or cannot be read.
    """
    _cut(path, option, mark)


def replace_between_markers(path: Path, option: str, mark: str, text: str) -> None:
    """Replace what stands between the marks ``<!-- MARK -->`` and ``<!-- /MARK -->`` in a file.

    Args:
        path: of the file.
        option: that named it.
        mark: what the marks say.
        text: ends with a newline.

    Raises:
        UserError: the file has no such marks, or cannot be read.
    """
    before, after = _cut(path, option, mark)
    path.write_text(f"{before}\n{text}{after}", encoding="utf-8")


def _cut(path: Path, option: str, mark: str) -> tuple[str, str]:
    """Return what stands before and behind the text between the marks, marks included."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{option} {path}", "must be a text file that can be read", "check the path") from None
    if begin not in text or end not in text.split(begin, 1)[1]:
        raise UserError(f"{option} {path}", f"must have the marks {begin} and {end}", "add them where it belongs")
    before, rest = text.split(begin, 1)
    return before + begin, end + rest.split(end, 1)[1]
