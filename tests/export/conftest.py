"""Models of all kinds but images, and a server of them."""

import keras
import pytest

import abp_tf
from abp_tf import data, networks
from tests import made_fields
from tests.processes import Server

# What the tests ask for.
SIGNATURES = {
    "sound": "synthesize reconstruct inpaint inpaint_fast inpaint_best sample_posterior decode",
    "video": "synthesize reconstruct inpaint",
    "volume": "synthesize inpaint",
    "field": "synthesize inpaint",
    "energy": "refine score",
}


@pytest.fixture(scope="session")
def models():
    """Models that have learned nothing, by name."""
    keras.utils.set_random_seed(0)
    inference = abp_tf.Langevin(4, 0.1, cool=2)
    sounds = networks.sound_generator(96, 2, 4, factors=(4, 4), kernel_size=9)
    clips = networks.video_generator((4, 8, 8, 1), 3, 4, levels=1, time_levels=1)
    energy = networks.sound_descriptor(96, 4, kernel_size=5, stride=2, levels=2)
    field = data.load_field(made_fields.sea(6, 8, 9), ["sst", "salt"])
    step = abp_tf.Langevin(3, 0.2)
    return {
        "sound": abp_tf.Generator(sounds, inference=inference),
        "video": abp_tf.Generator(clips, inference=inference),
        "volume": abp_tf.Generator(
            networks.volume_generator((4, 8, 8, 1), 3, 4, levels=1), inference=inference
        ),
        "field": abp_tf.Generator(
            networks.field_generator(field.shape, 2, ((5, 1),), 4),
            inference=inference,
            scaling=abp_tf.Scaling.of(field, positions=True, period=12),
        ),
        "energy": abp_tf.Descriptor(energy, langevin=step, inference=step, pool=2),
    }


@pytest.fixture(scope="session")
def address(models, export_only, tmp_path_factory):
    """The address of a server of the models."""
    place = tmp_path_factory.mktemp("models")
    options = []
    for name, model in models.items():
        export_only(model, place / name / "1", *SIGNATURES[name].split())
        options += ["--model", f"{name}={place / name}"]
    with Server(tmp_path_factory.mktemp("server") / "log", *options) as server:
        yield server.address
