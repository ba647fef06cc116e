"""Kinds of signals, one file each: shape, data, networks, masks, files, pictures and defaults."""

from collections.abc import Sequence

from abp_tf.signals.base import Part, SignalKind
from abp_tf.signals.image import Image
from abp_tf.signals.sound import Sound
from abp_tf.signals.texture import Texture
from abp_tf.signals.video import Video
from abp_tf.signals.volume import Volume

__all__ = ["Part", "SignalKind", "get", "guess", "names", "of", "register"]

_KINDS: dict[str, SignalKind] = {}


def register(kind: SignalKind) -> None:
    """Add a kind of signal, to be known by its name to `get` and to the programs.

    Raises:
        ValueError: there is one of that name.
    """
    if kind.name in _KINDS:
        raise ValueError(f"Expected the name of a new kind of signal, received {kind.name!r}.")
    _KINDS[kind.name] = kind


for _kind in (Image(), Texture(), Sound(), Video(), Volume()):
    register(_kind)


def names() -> tuple[str, ...]:
    """Return the names of all kinds of signal.

    Example:
        >>> names()[:3]
        ('image', 'texture', 'sound')
    """
    return tuple(_KINDS)


def get(name: str | SignalKind) -> SignalKind:
    """Return the kind of signal of a name; a kind is returned as it is.

    Raises:
        ValueError: there is none of that name.

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
    """Return the kind that signals of a shape most often are; None: no kind has such a shape.

    For arrays that come without a kind. The first registered kind of that shape is meant; others,
    such as textures, which have the shape of images, must be named.

    Args:
        shape: of one signal, without the batch axis.

    Example:
        >>> guess((28, 28, 1)).name, guess((60,))
        ('image', None)
    """
    return next((kind for kind in _KINDS.values() if kind.fits(shape)), None)


def of(shape: Sequence[int], name: str | SignalKind | None = None) -> SignalKind:
    """Return the kind of signal that is named, or else what `guess` says.

    Args:
        shape: of one signal, without the batch axis.
        name: of the kind, or the kind itself.

    Raises:
        ValueError: there is no such kind, or signals of this shape are not of it.
    """
    kind = guess(shape) if name is None else get(name)
    if kind is None or not kind.fits(shape):
        known = "; ".join(f"{one.name} {[*one.axes, 'channels']}" for one in _KINDS.values())
        asked = "a shape of a known kind" if name is None else f"the shape of a {get(name).name}"
        raise ValueError(f"Expected {asked}, received {tuple(shape)}. Kinds of signal are {known}.")
    return kind
