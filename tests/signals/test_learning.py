"""The three models do the same with signals of all kinds; with images: `test_conformance`."""

import itertools
import shutil
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import networks
from abp_tf.display.gallery import gallery

# Sides that are no multiples of the networks' factors: their signals are cropped.
KINDS = ["texture", "sound", "video", "volume", "field"]
GENERATORS = {
    "texture": lambda: networks.texture_generator((14, 15, 3), 1, 4, levels=2),
    "sound": lambda: networks.sound_generator(61, 2, 4, factors=(4, 4), kernel_size=9),
    "video": lambda: networks.video_generator((3, 8, 7, 1), 3, 4, levels=1, time_levels=1),
    "volume": lambda: networks.volume_generator((4, 7, 5, 1), 3, 4, levels=1),
    "field": lambda: networks.image_generator((9, 7, 2), 3, 4, output="linear"),
}
DESCRIPTORS = {
    "texture": lambda: networks.texture_descriptor((14, 15, 3), 4),
    "sound": lambda: networks.sound_descriptor(61, 4, kernel_size=5, stride=2, levels=2),
    "video": lambda: networks.video_descriptor((3, 8, 7, 1), 4, levels=2),
    "volume": lambda: networks.volume_descriptor((4, 7, 5, 1), 4, levels=2),
    "field": lambda: networks.image_descriptor((9, 7, 2), 4),
}
MASKS = {
    "texture": "pepper:0.4",
    "sound": "gap:16",
    "video": "frames:0.5",
    "volume": "block:3",
    "field": "block:4",
}
# Two more latents along the first side, and the signals.
LARGER = {
    "texture": ((6, 4, 1), (22, 15, 3)),
    "sound": ((6, 2), (93, 1)),
    "video": ((4, 1, 1, 3), (7, 8, 7, 1)),
}
COUNT = 24


# Of what depends on the kind each part is in one of these; the others find what nobody thought of.
QUICK = [*((kind, "generator") for kind in KINDS), ("texture", "descriptor")]
PAIRS = [
    pytest.param(pair, marks=[] if pair in QUICK else pytest.mark.slow, id="-".join(pair))
    for pair in itertools.product(KINDS, ("generator", "descriptor", "coopnets"))
]


def waves(kind):
    """Smooth waves with some noise, float32 `[24, *signal_shape]` in [-1, 1]."""
    rng = np.random.default_rng(0)
    shape = GENERATORS[kind]().output_shape[1:]
    places = np.meshgrid(*(np.linspace(0, 1, side) for side in shape), indexing="ij")
    phase = sum(
        rng.uniform(0, 4, (COUNT, *[1] * len(shape))) * place for place in places[: len(shape) - 1]
    )
    waves = 0.7 * np.sin(2 * np.pi * phase) + 0.05 * rng.normal(size=phase.shape)
    return np.clip(np.broadcast_to(waves, (COUNT, *shape)), -1, 1).astype(np.float32)


def make_generator(kind):
    keras.utils.set_random_seed(1)
    model = abp_tf.Generator(
        GENERATORS[kind](),
        langevin=abp_tf.Langevin(4, 0.3),
        inference=abp_tf.Langevin(8, 0.3, cool=4),
        expansion=1.0,
        preconditioning=True,
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    return model


def make_descriptor(kind, **options):
    keras.utils.set_random_seed(2)
    options = {"langevin": abp_tf.Langevin(5, 0.2), "pool": 20, "chains": "persistent", **options}
    model = abp_tf.Descriptor(DESCRIPTORS[kind](), **options)
    model.inference = abp_tf.Langevin(10, 0.2)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    return model


def make_coopnets(kind):
    generator = abp_tf.Generator(
        GENERATORS[kind](),
        langevin=abp_tf.Langevin(4, 0.01),  # their energies sum over many entries
        inference=abp_tf.Langevin(8, 0.05, cool=4),
    )
    descriptor = abp_tf.Descriptor(
        DESCRIPTORS[kind](), reference_sigma=0.3, langevin=abp_tf.Langevin(4, 0.02), chains="short-run"
    )
    model = abp_tf.CoopNets(generator, descriptor, latent_steps=1)
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3))
    return model


class Case(NamedTuple):
    """A model that has learned from some signals, and a place for what is made of it."""

    kind: str
    model: keras.Model
    signals: np.ndarray
    masks: np.ndarray
    history: dict
    path: Path

    @property
    def incomplete(self):
        hidden = np.where(self.masks[..., None], self.signals, np.nan)
        return {"signal": hidden, "mask": self.masks}

    @property
    def exported(self):
        """The directory of the model's one version."""
        if not (self.path / "versions").exists():
            self.model.export(self.path / "versions" / "1")
        return self.path / "versions"


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Return a function that makes the case of a kind and a model, once; no test changes it."""
    made = {}

    def get(kind, name):
        if (kind, name) not in made:
            signals = waves(kind)
            masks = abp_tf.signals.get(kind).draw_masks(MASKS[kind], COUNT, signals.shape[1:], seed=2)
            path = tmp_path_factory.mktemp(f"{kind}-{name}")
            if name == "generator":
                model = make_generator(kind)
                made[kind, name] = learn_incomplete(Case(kind, model, signals, masks, {}, path))
            else:
                model = make_descriptor(kind) if name == "descriptor" else make_coopnets(kind)
                history = model.fit(signals, batch_size=12, epochs=2, verbose=0).history
                made[kind, name] = Case(kind, model, signals, masks, history, path)
        return made[kind, name]

    return get


def learn_incomplete(case):
    """Let a generator learn from incomplete signals; keep the backup after three epochs of six."""
    model, traces, file = case.model, [], case.path / "model.keras"
    step = model.train_step
    object.__setattr__(model, "train_step", lambda batch: (traces.append(1), step(batch))[1])

    def keep(epoch, logs):
        if epoch == 2:
            shutil.copy(file, case.path / "half.keras")

    keeper = keras.callbacks.LambdaCallback(on_epoch_end=keep)
    keeper.order = 2  # after the backup
    watchers = [abp_tf.callbacks.Backup(file), keeper]
    fit = model.fit(case.incomplete, batch_size=10, epochs=6, verbose=0, callbacks=watchers)
    object.__delattr__(model, "train_step")
    assert len(traces) == 1  # for full batches and short ones
    return case._replace(history=fit.history)


@pytest.fixture(params=PAIRS)
def case(request, cases):
    return cases(*request.param)


@pytest.fixture(params=KINDS)
def generator(request, cases):
    """The case of a generator."""
    return cases(request.param, "generator")


def test_a_generator_learns(generator):
    error = generator.history["reconstruction_error"]
    assert error[-1] < error[0]
    model, signals = generator.model, generator.signals
    assert model.latents.shape == (COUNT, *model.latent_shape)
    found = model.reconstruct(signals)
    assert found.shape == signals.shape
    assert model.evaluate(signals, verbose=0) is not None


def test_answers_have_the_shape_of_the_signals(case):
    model, signals, masks = case.model, case.signals, case.masks
    drawn = model.synthesize(3, seed=5)
    assert drawn.shape == (3, *signals.shape[1:])
    assert drawn.dtype == np.float32
    damaged = case.incomplete["signal"]
    whole = model.inpaint(damaged[:6], masks[:6])
    seen = np.broadcast_to(masks[:6, ..., None], whole.shape)
    np.testing.assert_array_equal(whole[seen], signals[:6][seen])
    assert np.isfinite(whole).all()
    assert (~seen).any()
    if hasattr(model, "score"):
        assert model.score(signals[:5]).score.shape == (5,)
        assert model.refine(signals[:5]).shape == signals[:5].shape
    if hasattr(model, "interpolate"):
        mixed = model.interpolate(signals[:2], abp_tf.interpolation.arc(4))
        assert mixed.shape == (4, *signals.shape[1:])


def test_rows_do_not_depend_on_their_batch(case):
    model, signals, masks = case.model, case.signals, case.masks
    for answer in (
        lambda rows, seed: model.synthesize(len(seed), seed=seed),
        lambda rows, seed: model.inpaint(signals[rows], masks[rows], seed=seed),
    ):
        seeds = np.arange(70, 78)
        together = answer(slice(8), seeds)
        alone = [answer(slice(at, at + 1), seeds[at : at + 1]) for at in range(8)]
        np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-4)


def test_saved_and_loaded_it_answers_the_same(case, tmp_path):
    model = case.model
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.synthesize(2, seed=3), model.synthesize(2, seed=3))
    np.testing.assert_array_equal(loaded.tables[0].states.numpy(), model.tables[0].states.numpy())


def test_exported_it_answers_the_same(case):
    model, signals, masks = case.model, case.signals, case.masks
    loaded = tf.saved_model.load(case.exported / "1").signatures
    seeds = tf.range(4, dtype=tf.int64)
    drawn = loaded["synthesize"](seed=seeds)["signal"]
    np.testing.assert_allclose(drawn, model.synthesize(4, seed=0), atol=1e-4)
    full = np.broadcast_to(masks[:4, ..., None], signals[:4].shape).astype(np.float32)
    filled = loaded["inpaint"](signal=signals[:4], mask=full, seed=seeds)["signal"]
    np.testing.assert_allclose(filled, model.inpaint(signals[:4], masks[:4], seed=0), atol=1e-4)
    if isinstance(model, abp_tf.Generator) and case.kind in LARGER:
        check_decode(case.kind, model, loaded["decode"])


def check_decode(kind, model, decode):
    """It takes grids of any size, but for what a clip has one place for."""
    spec = decode.structured_input_signature[1]["latent"].shape
    latent_shape, shape = LARGER[kind]
    grid = [None, 1, 1] if kind == "video" else [None] * (len(latent_shape) - 1)
    assert spec.as_list() == [None, *grid, latent_shape[-1]]
    latents = np.random.default_rng(0).normal(size=(2, *latent_shape)).astype(np.float32)
    decoded = decode(latent=latents)["signal"].numpy()
    assert decoded.shape == (2, *shape)
    np.testing.assert_allclose(decoded, abp_tf.resized(model, latent_shape)(latents), atol=1e-5)


def test_a_larger_model_from_the_same_weights(case):
    if case.kind not in LARGER:
        pytest.skip("volumes and fields have one size")
    model, signals = case.model, case.signals
    latent_shape, shape = LARGER[case.kind]
    larger = abp_tf.resized(model, shape if isinstance(model, abp_tf.Descriptor) else latent_shape)
    assert type(larger) is type(model)
    assert larger.signal_shape == shape
    drawn = larger.synthesize(2, seed=1)
    assert drawn.shape == (2, *shape)
    assert np.isfinite(drawn).all()
    # Its weights are the model's own.
    first, other = (part.network.trainable_weights for part in (model, larger))
    assert all(one is two for one, two in zip(first, other, strict=True))
    if hasattr(larger, "interpolate"):
        few = np.concatenate([signals[:3]] * 3, axis=1)[:, : shape[0]]
        assert larger.reconstruct(few).shape == few.shape


def test_signals_of_other_sides_are_cut_from_wider_ones(case):
    if case.kind not in LARGER:
        pytest.skip("volumes and fields have one size")
    model = case.model
    latent_shape, (*sides, channels) = LARGER[case.kind]
    energy = isinstance(model, abp_tf.Descriptor)
    whole = abp_tf.resized(model, (*sides, channels) if energy else latent_shape).synthesize(2, seed=1)
    drawn = abp_tf.synthesize_at(model, sides, 2, seed=1, margin=0)
    assert isinstance(drawn, np.ndarray)
    np.testing.assert_allclose(drawn, whole, atol=1e-5)
    free = [case.kind != "video" or axis == 0 for axis in range(len(sides))]  # frames are of one size
    less = [side - 2 * loose for side, loose in zip(sides, free, strict=True)]
    inner = abp_tf.synthesize_at(model, less, 2, seed=1, margin=1)
    within = (slice(None), *(slice(1, -1) if loose else slice(None) for loose in free))
    np.testing.assert_allclose(inner, whole[within], atol=1e-5)
    by_itself = abp_tf.synthesize_at(model, sides)
    assert by_itself.shape == (1, *sides, channels)
    reaching = not isinstance(model, abp_tf.Generator)
    first = abp_tf.synthesize_at(model, sides, margin=0)
    assert (np.abs(by_itself - first).max() > 1e-3) == reaching
    for given in ({"sides": sides[1:]}, {"sides": [0, *sides[1:]]}, {"sides": sides, "margin": -1}):
        with pytest.raises(ValueError, match=f"expected {len(sides)} positive sides"):
            abp_tf.synthesize_at(model, **given)


def test_clips_have_frames_of_one_size():
    for model in (make_generator("video"), abp_tf.Descriptor(DESCRIPTORS["video"]())):
        with pytest.raises(ValueError, match=r"sides \(None, 8, 7\).* received \(4, 8, 16\)"):
            abp_tf.synthesize_at(model, (4, 8, 16))


def test_images_have_one_size(make_model):
    model = make_model()
    with pytest.raises(ValueError, match=r"sides \(8, 8\).* received \(16, 16\)"):
        abp_tf.synthesize_at(model, (16, 16))
    with pytest.raises(ValueError, match=r"made for inputs of"):
        abp_tf.resized(model, (8,))


def test_a_larger_generator_knows_the_prior(generator):
    model = generator.model
    assert np.abs(model.prior.scales[0].numpy() - np.eye(model.latent_shape[-1])).max() > 0.01
    if generator.kind not in LARGER:
        return
    same = abp_tf.resized(model, model.latent_shape)
    np.testing.assert_array_equal(same.synthesize(2, seed=4), model.synthesize(2, seed=4))


def test_resumed_it_ends_as_one_left_alone(generator, tmp_path, assert_same_state):
    file = shutil.copy(generator.path / "half.keras", tmp_path / "model.keras")
    model = make_generator(generator.kind)
    backup = abp_tf.callbacks.Backup(file)
    fit = model.fit(generator.incomplete, batch_size=10, epochs=6, verbose=0, callbacks=[backup])
    assert fit.epoch == [3, 4, 5]
    assert_same_state(model, generator.model)


def test_what_it_shows_of_itself(case):
    shown = gallery(case.model, case.signals, kind=case.kind)
    assert "synthesis" in shown
    assert ("reconstruction" in shown) == hasattr(case.model, "reconstruct")
    for picture in shown.values():
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.std() > 1


def test_tensorboard_gets_what_the_kind_asks_for(generator, tmp_path):
    kind = generator.kind
    watcher = abp_tf.callbacks.TensorBoardPictures(
        tmp_path, generator.signals, every=1, rate=8, kind=kind
    )
    training = keras.callbacks.CallbackList([watcher], model=generator.model, epochs=1)
    training.on_train_begin()
    training.on_epoch_end(0, {})
    training.on_train_end()
    (path,) = (tmp_path / "pictures").glob("events*")
    found = {}
    for record in tf.data.TFRecordDataset(str(path)):
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
            found[value.tag] = value.metadata.plugin_data.plugin_name, value.tensor
    plugins = {tag: plugin for tag, (plugin, _) in found.items()}
    assert plugins["latents"] == "histograms"
    assert plugins["synthesis"] == "images" if kind != "sound" else "audio"
    if kind == "sound":
        assert plugins["synthesis/spectrogram"] == "images"
        content = tf.make_ndarray(found["synthesis"][1])[0, 0]
        sound, rate = tf.audio.decode_wav(content)
        assert sound.shape == (61, 1)
        assert int(rate) == 8
    if kind == "video":
        width, height, content = tf.make_ndarray(found["synthesis/animated"][1])
        assert content.startswith(b"GIF89a")
        assert tf.io.decode_gif(content).shape == (3, int(height), int(width), 3)
    # Vectors of latents go to the projector, grids of them do not.
    assert (tmp_path / "pictures" / "sprite.png").exists() == (kind in ("volume", "field"))


def test_served_it_answers_the_same(cases, start_server):
    """A texture and clips of video, from one server; larger than the trained size too."""
    served = {kind: cases(kind, "generator") for kind in ("texture", "video")}
    words = [("--model", f"{kind}={case.exported}") for kind, case in served.items()]
    server = start_server(*(word for pair in words for word in pair))
    for kind, case in served.items():
        with abp_tf.Client(server.address, model=kind) as client:
            drawn = client.synthesize(3, seed=2)
            np.testing.assert_allclose(drawn, case.model.synthesize(3, seed=2), atol=1e-4)
            assert client.reconstruct(case.signals[:3], seed=1).shape == drawn.shape
            latents = np.ones((1, *LARGER[kind][0]), np.float32)
            np.testing.assert_allclose(
                client.decode(latents),
                abp_tf.resized(case.model, LARGER[kind][0])(latents),
                atol=1e-5,
            )
