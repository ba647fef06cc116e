"""Options and defaults of the training programs by kind of signal."""

import json

import keras
import numpy as np
import pytest

from abp_tf import runs, signals
from abp_tf.options import shown
from train import coopnets, descriptor, generator, learning, options, parsing

PROGRAMS = {"generator": generator, "descriptor": descriptor, "coopnets": coopnets}
CASES = [(kind, name) for kind in signals.names() for name in PROGRAMS]
OTHERS = [case for case in CASES if case[0] != "image"]
SOURCES = {
    "image": "digits",
    "texture": "brick",
    "sound": "wav:x.wav",
    "video": "video:x.mp4",
    "volume": "volume:x.nii",
    "field": "field:x.nc",
}
SHAPES = {
    "texture": (224, 224, 1),
    "sound": (60_000, 1),
    "video": (96, 64, 64, 3),
    "volume": (32, 32, 32, 1),
    "field": (21, 30, 2),
}


def settled(kind, name, **given):
    return PROGRAMS[name].settle({"kind": kind, "data": SOURCES[kind], **given})


def parsed(name, *words):
    recipe = PROGRAMS[name].RECIPE
    argv = ["--run", "r", *map(str, words)]
    return parsing.parse(recipe.name, recipe.description, recipe.table, argv)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_defaults_of_a_kind_are_options_of_the_program(kind, name):
    known = options.flat(PROGRAMS[name].table(signals.get(kind)))
    assert signals.get(kind).defaults[name].keys() <= known.keys()
    for better in signals.get(kind).source_defaults.get(name, {}).values():
        assert better.keys() <= known.keys()


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_settings_are_what_a_configuration_file_takes(kind, name, tmp_path):
    settings = settled(kind, name)
    (tmp_path / "config.json").write_text(json.dumps({"settings": settings, "program": name}))
    given = parsed(name, "--config", tmp_path / "config.json")
    assert given.pop("run") == "r"
    assert given == json.loads(json.dumps(settings))
    assert PROGRAMS[name].settle(given) == settings


@pytest.mark.parametrize(("kind", "name"), OTHERS)
def test_the_models_they_make(kind, name):
    settings = settled(kind, name)
    shape = SHAPES[kind]
    if settings.get("patch"):
        shape = (settings["patch"], settings["patch"], 1)
    if settings.get("length"):
        shape = (settings["length"], *shape[1:])
    model = PROGRAMS[name].build(settings, shape, 1)
    assert model.signal_shape == shape
    energies = {"descriptor": [model], "coopnets": [getattr(model, "descriptor", None)]}.get(name, [])
    for energy in energies:
        assert energy.chains == "short-run"
        assert energy.table.rows == 0  # no pool of whole signals
    if name == "generator":
        assert model.preconditioning
        assert model.expansion == (0.4 if kind == "texture" else 1)  # before its prior learns
    if kind == "field":  # values of any size
        assert model.value_range is None
        if name != "descriptor":
            network = getattr(model, "generator", model).network
            assert network.get_layer("range").activation is keras.activations.linear


@pytest.mark.parametrize(("kind", "name"), OTHERS)
def test_one_example_is_seen_often_enough_and_many_are_all_seen(kind, name):
    settings = settled(kind, name)
    alone, many = learning.enough(settings, 1), learning.enough(settings, 10_000)
    assert alone["steps_per_epoch"] * alone["epochs"] >= 200
    assert many["steps_per_epoch"] is None
    assert learning.enough({**settings, "steps_per_epoch": 3}, 1)["steps_per_epoch"] == 3
    assert learning.enough(settled("image", name), 1)["steps_per_epoch"] is None


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_help_has_the_options_of_the_kind_with_its_defaults(kind, name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        PROGRAMS[name].main(["--kind", kind, "--help"])
    text = capsys.readouterr().out
    assert len(text.splitlines()) < 85
    # One paragraph for each option, by its name.
    told = {part.split()[0]: part for part in text.split("\n  --")[1:]}
    known = options.flat(PROGRAMS[name].table(signals.get(kind)))
    for key, option in known.items():
        written = key.replace("_", "-")
        paragraph = " ".join(told[f"[no-]{written}" if option.read is bool else written].split())
        if option.default is not None and key != "data":
            between = " " if option.many else "x"
            assert f"[{shown(option.default, between)}]" in paragraph
    own = {name.replace("[no-]", "") for name in told}
    shared = {"run", "resume", "config", "kind", "workers", "strategy"}
    assert own == {name.replace("_", "-") for name in known} | shared


@pytest.mark.slow
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


def test_kernels_of_three_sides_are_for_clips(capsys):
    video = ["--kind", "video"]
    assert parsed("descriptor", *video, "--kernel-size", "3x4x4")["kernel_size"] == [3, 4, 4]
    assert parsed("descriptor", *video, "--kernel-size", "4")["kernel_size"] == 4
    for kind, text in [("sound", "3x4x4"), ("video", "3x4"), ("video", "0"), ("video", "a")]:
        with pytest.raises(SystemExit):
            parsed("descriptor", "--kind", kind, "--kernel-size", text)
        assert f"'{text}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "kind"), [("stride", "texture"), ("levels", "image"), ("padding", "video")]
)
def test_options_of_other_kinds_are_refused(option, kind):
    match = f"--{option}: not an option of --kind {kind}"
    with pytest.raises(ValueError, match=match):
        settled(kind, "descriptor", **{option: 2})
    with pytest.raises(ValueError, match=match):
        parsed("descriptor", "--kind", kind, f"--{option}", 2)


class TestConfigurationFiles:
    def write(self, tmp_path, text):
        (tmp_path / "run.yaml").write_text(text)
        return ["--config", tmp_path / "run.yaml"]

    def test_options_are_those_of_the_command_line(self, tmp_path):
        text = """
            kind: video
            data: video:fire.mp4
            size: [48, 64]
            kernel-size: 3x4x4
            learning_rate: 1e-3
            crop: false
            start_sigma: null
        """
        words = "--kind video --data video:fire.mp4 --size 48x64 --kernel-size 3x4x4".split()
        words += "--learning-rate 1e-3 --no-crop".split()
        given = parsed("descriptor", *self.write(tmp_path, text))
        assert given.pop("start_sigma") is None
        assert given == parsed("descriptor", *words)

    def test_parts_of_a_field(self, tmp_path):
        text = "kind: field\ndata: field:a.nc\ntimes: 2003:2004-05\nregion: [lat=35:37, lon=:3]\n"
        words = "--kind field --data field:a.nc --times 2003:2004-05 --region lat=35:37 lon=:3".split()
        given = parsed("generator", *words)
        assert parsed("generator", *self.write(tmp_path, text)) == given
        assert json.loads(json.dumps(given)) == given

    def test_the_command_line_comes_first(self, tmp_path):
        config = self.write(tmp_path, "epochs: 3\nwidth: 8\n")
        given = parsed("generator", *config, "--epochs", 5)
        assert given == {"run": "r", "kind": "image", "epochs": 5, "width": 8}

    def test_factors_are_several_numbers(self, tmp_path):
        config = self.write(tmp_path, "kind: sound\nfactors: [4, 10]\n")
        assert parsed("generator", *config)["factors"] == [4, 10]

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("widht: 3", "--widht"),
            ("hop: 3", "--hop: not an option of --kind image, but of sound, video"),
            ("sigma: 0", "sigma: expected a positive float"),
            ("epochs: many", "epochs"),
            ("crop: 1", "crop: expected true or false, received 1"),
            ("schedule: steep", "schedule: expected one of constant, cosine, late-cosine"),
            ("kind: smell", "'smell'"),
            ("- 3", "a mapping of options"),
            ("a: [", "cannot be read as YAML"),
        ],
    )
    def test_what_cannot_be_is_refused(self, tmp_path, text, part):
        with pytest.raises(ValueError, match=r"--config|--widht|--hop|smell") as refusal:
            parsed("generator", *self.write(tmp_path, text))
        assert part in str(refusal.value)


def test_fields_are_not_observed_by_operators():
    with pytest.raises(ValueError, match=r"--observe: expected signals without masks.*fields"):
        settled("field", "generator", observe="coarser:2")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"kind": "texture"}, {"last_sigma": 0.1, "learn_prior": True, "expansion": 0.4}),
        ({"kind": "texture", "sigma": 0.05}, {"sigma": 0.05, "last_sigma": None}),
        ({"kind": "texture", "learn_sigma": True}, {"learn_sigma": True, "last_sigma": None}),
        ({"kind": "texture", "expansion": 1.0}, {"expansion": 1.0, "learn_prior": False}),
        ({"kind": "video", "learn_prior": True}, {"learn_prior": True, "expansion": 0.6}),
        ({"kind": "sound"}, {"bands": 512}),
        ({"kind": "sound", "learn_sigma": True}, {"bands": 0}),
        ({"kind": "sound", "observe": "projection:100"}, {"bands": 0}),
    ],
)
def test_options_that_are_given_exclude_defaults(given, expected):
    source = {"texture": "brick", "video": "npz:clip.npz", "sound": "npz:sound.npz"}[given["kind"]]
    found = generator.settle({"data": source, **given})
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, True), ({"latent_steps": 5}, False), ({"latent_steps": 5, "batch_norm": True}, True)],
)
def test_latent_steps_are_without_batch_normalization(given, expected):
    assert coopnets.settle({"data": "digits", **given})["batch_norm"] is expected
