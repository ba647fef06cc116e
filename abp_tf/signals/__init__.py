"""Kinds of signal, one file each: shape, data, networks, masks, files, pictures and defaults."""

from collections.abc import Sequence

from abp_tf.signals.base import Legend, Part, SignalKind, both
from abp_tf.signals.field import Field
from abp_tf.signals.image import Image
from abp_tf.signals.sound import Sound
from abp_tf.signals.texture import Texture
from abp_tf.signals.video import Video
from abp_tf.signals.volume import Volume

__all__ = ["Legend", "Part", "SignalKind", "both", "get", "guess", "names", "of", "register"]

_KINDS: dict[str, SignalKind] = {}


def register(kind: SignalKind) -> None:
    """Register a kind of signal, so that `get` and the programs find it by its name.

    Raises:
        ValueError: if a kind of that name is registered already.
    """
    if kind.name in _KINDS:
        raise ValueError(f"Expected the name of a new kind of signal, received {kind.name!r}.")
    _KINDS[kind.name] = kind


for _kind in (Image(), Texture(), Sound(), Video(), Volume(), Field()):
    register(_kind)


def names() -> tuple[str, ...]:
    """Return the names of all kinds of signal.

    Example:
        >>> names()[:3]
        ('image', 'texture', 'sound')
    """
    return tuple(_KINDS)


def get(name: str | SignalKind) -> SignalKind:
    """Return the kind of signal with a name; a kind is returned as it is.

    Raises:
        ValueError: if no kind has that name.

    Example:
        >>> get("sound").axes
        ('samples',)
    """
    if isinstance(name, SignalKind):
        return name
    if name not in _KINDS:
        raise ValueError(f"Expected a kind of signal, {', '.join(_KINDS)}, received {name!r}.")
    return _KINDS[name]


def guess(shape: Sequence[int]) -> SignalKind | None:
    """Return the first registered kind that has signals of a shape; None if there is none.

    It serves arrays given without a kind. Kinds that are registered later, such as textures, which
    have the shape of images, must be given by name; fields, of any number of variables, always.

    Args:
        shape: shape of one signal, without the batch axis.

    Example:
        >>> guess((28, 28, 1)).name, guess((60,))
        ('image', None)
    """
    return next((kind for kind in _KINDS.values() if kind.guessed and kind.fits(shape)), None)


def of(shape: Sequence[int], name: str | SignalKind | None = None) -> SignalKind:
    """Return the kind of signal with a name, or by default the result of `guess`.

    Args:
        shape: shape of one signal, without the batch axis.
        name: name of the kind, or the kind itself.

    Raises:
        ValueError: if there is no such kind, or its signals have another shape.
    """
    kind = guess(shape) if name is None else get(name)
    if kind is None or not kind.fits(shape):
        kinds = "; ".join(f"{one.name} {[*one.axes, 'channels']}" for one in _KINDS.values())
        wanted = "the shape of a kind of signal" if name is None else f"the shape of a {get(name).name}"
        raise ValueError(f"Expected {wanted}, received {tuple(shape)}. Kinds of signal are {kinds}.")
    return kind
