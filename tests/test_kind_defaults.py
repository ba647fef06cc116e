"""Defaults of the programs by kind of signal: enough to learn from one example, and told by --help."""

import numpy as np
import pytest

from abp_tf import runs
from train import coopnets, descriptor, generator, kinds
from train.kind_defaults import DEFAULTS

PROGRAMS = {"generator": generator, "descriptor": descriptor, "coopnets": coopnets}
CASES = [(kind, name) for kind in DEFAULTS for name in DEFAULTS[kind]]
OTHERS = [case for case in CASES if case[0] != "image"]
SOURCES = {"image": "digits", "texture": "brick", "sound": "wav:x.wav", "video": "video:x.mp4"}
SHAPES = {"texture": (224, 224, 1), "sound": (60_000, 1), "video": (96, 64, 64, 3)}


def settled(kind, name, **given):
    return PROGRAMS[name].settle({"kind": kind, "data": SOURCES[kind], **given})


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_they_are_options_of_the_program(kind, name):
    options = {action.dest for action in PROGRAMS[name].parser()._actions}
    assert set(PROGRAMS[name].DEFAULTS) - set(kinds.DEFAULTS) <= options
    given = {key for key, value in DEFAULTS[kind][name].items() if value is not None}
    assert given <= set(PROGRAMS[name].DEFAULTS) & options
    assert not given & kinds._owned(kinds._PARTS[name]) - kinds._options(kind, kinds._PARTS[name])


@pytest.mark.parametrize(("kind", "name"), OTHERS)
def test_the_models_they_make(kind, name):
    settings = settled(kind, name)
    shape = SHAPES[kind]
    if settings["patch"] and kind == "texture":
        shape = (settings["patch"], settings["patch"], 1)
    if settings["length"]:
        shape = (settings["length"], *shape[1:])
    model = PROGRAMS[name].build(settings, shape, 1)
    assert model.signal_shape == shape
    energies = {"descriptor": [model], "coopnets": [getattr(model, "descriptor", None)]}.get(name, [])
    for energy in energies:
        assert energy.chains == "short-run"
        assert energy.table.rows == 0  # no pool of whole signals
    if name == "generator":
        assert model.preconditioning
        assert model.expansion == 1


@pytest.mark.parametrize(("kind", "name"), OTHERS)
def test_one_example_is_seen_often_enough_and_many_are_all_seen(kind, name):
    settings = settled(kind, name)
    alone, many = kinds.enough(settings, 1), kinds.enough(settings, 10_000)
    assert alone["steps_per_epoch"] * alone["epochs"] >= 200
    assert many["steps_per_epoch"] is None
    assert kinds.enough({**settings, "steps_per_epoch": 3}, 1)["steps_per_epoch"] == 3
    assert kinds.enough(settled("image", name), 1)["steps_per_epoch"] is None


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_tells_them(name):
    told = PROGRAMS[name].parser().format_help().split()
    at = {kind: told.index(f"{kind}:", told.index("defaults;")) for kind in SHAPES}
    for kind, start in at.items():
        words = told[start : min([place for place in at.values() if place > start], default=None)]
        for key, value in DEFAULTS[kind][name].items():
            option = f"--{key}".replace("_", "-")
            if value is False:
                assert f"--no-{key}" in words
            elif value is not None:
                shown = words[words.index(option) + 1]
                assert shown == value if isinstance(value, str) else float(shown) == value


def test_a_photograph_is_learned(tmp_path):
    y, x = np.mgrid[:32, :32]
    photo = 127.5 + 100 * np.sin(x / 2 + 2 * np.sin(y / 4))
    np.savez(tmp_path / "photo.npz", photo=photo.astype(np.uint8)[None])
    words = ["--kind", "texture", "--data", f"npz:{tmp_path / 'photo.npz'}", "--size", 32]
    words += "--patch 16 --patches 6 --levels 2 --width 8 --curve-every 20 --epochs 2".split()
    path = tmp_path / "run"
    assert generator.main(["--run", str(path), *map(str, words)]) == 0
    run = runs.Run.open(path)
    assert run.config["settings"]["steps_per_epoch"] == 50
    model, crops = run.load_model(), run.load_images().train
    assert int(model.iteration.value) == 100
    # Two passes, of two iterations each, leave all of it.
    found = model(model.latents).numpy()
    assert np.mean((found - crops) ** 2) < 0.3 * crops.var()


def test_networks_as_the_options_say():
    made = coopnets.build(
        settled(
            "video", "coopnets", base=[2, 4], levels=2, time_levels=1, width=4,
            descriptor_levels=1, descriptor_kernel_size=[3, 4, 5], descriptor_width=4,
            penalized="U", energy_penalty=0.1, latent_temperature=0.5, latent_steps=2,
        ),
        (8, 16, 16, 3),
        4,
    )  # fmt: skip
    assert made.latent_shape == (4, 2, 1, 20)
    kernels = [layer.kernel.shape[:3] for layer in made.network.layers if hasattr(layer, "kernel")]
    assert kernels == [(3, 4, 5), (3, 8, 8)]
    assert made.descriptor.penalized == "U"
    assert made.generator.langevin.temperature == 0.5
    sound = settled("sound", "descriptor", kernel_size=7, stride=3, levels=2, padding="same")
    made = descriptor.build(sound, (500, 1), 4)
    layers = [layer for layer in made.network.layers if hasattr(layer, "kernel")]
    assert [(layer.kernel.shape[0], layer.strides[0]) for layer in layers] == [(7, 3), (7, 3), (3, 1)]
    assert {layer.padding for layer in layers} == {"same"}
    sound = settled("sound", "generator", kernel_size=9, factors=[4, 5])
    made = generator.build(sound, (200, 1), 4)
    assert {layer.kernel.shape[0] for layer in made.network.layers if hasattr(layer, "kernel")} == {9}
    both = settled("texture", "coopnets", padding="valid", descriptor_padding="same", levels=3, width=4)
    made = coopnets.build(both, (32, 32, 3), 4)
    assert made.latent_shape == (8, 8, both["latent_dim"])
    assert made.network.layers[1].padding == "same"


def test_kernels_of_three_sides_are_for_clips():
    parse = descriptor.parser().parse_args
    assert parse(["--run", "r", "--kernel-size", "3x4x4"]).kernel_size == [3, 4, 4]
    assert parse(["--run", "r", "--kernel-size", "4"]).kernel_size == 4
    assert settled("video", "descriptor", kernel_size=[3, 4, 4])["kernel_size"] == [3, 4, 4]
    with pytest.raises(ValueError, match="--kernel-size: expected one number for --kind sound"):
        settled("sound", "descriptor", kernel_size=[3, 4, 4])
    for option, kind in [("stride", "texture"), ("levels", "image"), ("padding", "video")]:
        with pytest.raises(ValueError, match=f"--{option}: not an option of --kind {kind}"):
            settled(kind, "descriptor", **{option: 2})


def test_kernels_that_cannot_be(capsys):
    for text in ("3x4", "0", "a"):
        with pytest.raises(SystemExit):
            descriptor.parser().parse_args(["--run", "r", "--kernel-size", text])
        assert f"frames x height x width such as 3x4x4, received '{text}'" in capsys.readouterr().err
