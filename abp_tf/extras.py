"""Import packages that only some uses need, and name the extra of `abp_tf` that installs them."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needed(extra: str) -> Iterator[None]:
    """Name the extra to install if an import in the block fails.

    Args:
        extra: name of the extra, such as "media".

    Raises:
        ImportError: if a package is missing; the error has its name as `name`.

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
