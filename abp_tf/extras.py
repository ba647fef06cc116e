"""The packages that only some uses need, and the extras of `abp_tf` that install them."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needed(extra: str) -> Iterator[None]:
    """Name the extra to install where an import in the block fails.

    Args:
        extra: the name of the extra, such as "media".

    Raises:
        ImportError: a package is missing; its name is the error's `name`.

    Example:
        >>> with needed("media"):
        ...     import soundfile
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"This needs a package that cannot be imported ({error}). Install it: "
            f'pip install "abp_tf[{extra}]".',
            name=error.name,
        ) from error
