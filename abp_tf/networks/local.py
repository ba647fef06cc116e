"""The first layer of generators with local latents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras

from abp_tf import checks, latents


@keras.saving.register_keras_serializable(package="abp_tf")
class SplitLatents(keras.layers.Layer):
    """Split flat latents `[n, D]` into a global vector and grids of local latents.

    As the first layer of a network it declares that the grids are local: `latent_blocks` finds it, and
    prior, parameter expansion and preconditioner of `abp_tf.Generator` treat each block on its own.

    Args:
        global_dim: number of global latents.
        grids: one tuple `(height, width, channels)` per grid; grids of other signals have other
            numbers of sides.

    Attributes:
        blocks: shapes of the blocks, the global vector first.

    Example:
        >>> layer = SplitLatents(2, [(7, 5, 3)])
        >>> [part.shape for part in layer(np.zeros((4, layer.size), "float32"))]
        [TensorShape([4, 2]), TensorShape([4, 7, 5, 3])]
    """

    def __init__(self, global_dim: int, grids: Sequence[Sequence[int]] = (), **kwargs):
        super().__init__(**kwargs)
        first = (checks.integer("SplitLatents", "global_dim", global_dim, 1),)
        sizes = (tuple(checks.integer("SplitLatents", "grids", n, 1) for n in grid) for grid in grids)
        self.blocks: latents.Blocks = (first, *sizes)

    @property
    def size(self) -> int:
        """Number of all latents, D."""
        return sum(map(math.prod, self.blocks))

    def call(self, latent):
        """Return the blocks, a list of `[n, *shape]`."""
        return latents.split(latent, self.blocks)

    def compute_output_shape(self, input_shape):
        """Return the shapes of the blocks."""
        return [(input_shape[0], *shape) for shape in self.blocks]

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        (global_dim,), *grids = self.blocks
        return {**super().get_config(), "global_dim": global_dim, "grids": grids}


def latent_blocks(network: keras.Model) -> latents.Blocks:
    """Return the shapes of the blocks of a network's latents.

    Args:
        network: a generator network.

    Returns:
        those of its layer `SplitLatents`, the global vector first; for other networks one block, the
        shape of a latent.

    Example:
        >>> latent_blocks(abp_tf.networks.field_generator((21, 33, 2), 4, local=[(6, 3)], width=4))
        ((4,), (6, 9, 3))
        >>> latent_blocks(abp_tf.networks.linear((8,), latent_dim=4))
        ((4,),)
    """
    for layer in getattr(network, "layers", ()):
        if isinstance(layer, SplitLatents):
            return layer.blocks
    return (tuple(network.input_shape[1:]),)
