"""Text that may be printed to a terminal, whoever wrote it."""


def printable(text: str) -> str:
    r"""Return text without characters that control a terminal, which are written as escapes.

    Example:
        >>> print(printable("a\x1b[31m.png"))
        a\x1b[31m.png
    """
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)
