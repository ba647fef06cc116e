"""The three models do the same with textures, sounds and clips; with images: `test_conformance`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import networks
from abp_tf.gallery import gallery

KINDS = ["texture", "sound", "video", "volume"]
GENERATORS = {
    "texture": lambda: networks.texture_generator((16, 16, 3), 1, 4, levels=2),
    "sound": lambda: networks.sound_generator(64, 2, 4, factors=(4, 4), kernel_size=9),
    "video": lambda: networks.video_generator((4, 8, 8, 1), 3, 4, levels=1, time_levels=1),
    "volume": lambda: networks.volume_generator((4, 8, 6, 1), 3, 4, levels=1),
}
DESCRIPTORS = {
    "texture": lambda: networks.texture_descriptor((16, 16, 3), 4, padding="same"),
    "sound": lambda: networks.sound_descriptor(64, 4, kernel_size=5, stride=2, levels=2),
    "video": lambda: networks.video_descriptor((4, 8, 8, 1), 4, levels=2),
    "volume": lambda: networks.volume_descriptor((4, 8, 6, 1), 4, levels=2),
}
MASKS = {"texture": "pepper:0.4", "sound": "gap:16", "video": "frames:0.5", "volume": "block:3"}
# Latents, and signals, of half again the first side.
LARGER = {
    "texture": ((6, 4, 1), (24, 16, 3)),
    "sound": ((6, 2), (96, 1)),
    "video": ((3, 1, 1, 3), (6, 8, 8, 1)),
}
COUNT = 24


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def signals(kind):
    """Smooth waves with some noise, float32 `[24, *signal_shape]` in [-1, 1]."""
    rng = np.random.default_rng(0)
    shape = GENERATORS[kind]().output_shape[1:]
    places = np.meshgrid(*(np.linspace(0, 1, side) for side in shape), indexing="ij")
    phase = sum(
        rng.uniform(0, 4, (COUNT, *[1] * len(shape))) * place for place in places[: len(shape) - 1]
    )
    waves = 0.7 * np.sin(2 * np.pi * phase) + 0.05 * rng.normal(size=phase.shape)
    return np.clip(np.broadcast_to(waves, (COUNT, *shape)), -1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def masks(kind, signals):
    return abp_tf.signals.get(kind).draw_masks(MASKS[kind], COUNT, signals.shape[1:], seed=2)


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
        DESCRIPTORS[kind](), 0.3, langevin=abp_tf.Langevin(4, 0.02), chains="short-run"
    )
    model = abp_tf.CoopNets(generator, descriptor, latent_steps=1)
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3))
    return model


@pytest.fixture(scope="module")
def generator(kind, signals, masks):
    """A generator that learned from incomplete signals."""
    model = make_generator(kind)
    traces = []
    step = model.train_step
    object.__setattr__(model, "train_step", lambda batch: (traces.append(1), step(batch))[1])
    hidden = np.where(masks[..., None], signals, np.nan)
    history = model.fit({"signal": hidden, "mask": masks}, batch_size=10, epochs=6, verbose=0)
    object.__delattr__(model, "train_step")
    model.first_and_last = [history.history["reconstruction_error"][at] for at in (0, -1)]
    assert len(traces) == 1  # for full batches and short ones
    return model


@pytest.fixture(scope="module")
def descriptor(kind, signals):
    model = make_descriptor(kind)
    model.fit(signals, batch_size=12, epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def coopnets(kind, signals):
    model = make_coopnets(kind)
    model.fit(signals, batch_size=12, epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module", params=["generator", "descriptor", "coopnets"])
def model(request, kind):
    return request.getfixturevalue(request.param)


def test_a_generator_learns(generator, signals):
    first, last = generator.first_and_last
    assert last < first
    assert generator.latents.shape == (COUNT, *generator.latent_shape)
    found = generator.reconstruct(signals)
    assert found.shape == signals.shape
    assert generator.evaluate(signals, verbose=0) is not None


def test_answers_have_the_shape_of_the_signals(model, signals, masks):
    drawn = model.synthesize(3, seed=5)
    assert drawn.shape == (3, *signals.shape[1:])
    assert drawn.dtype == np.float32
    damaged = np.where(masks[..., None], signals, np.nan)
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


def test_rows_do_not_depend_on_their_batch(model, signals, masks):
    for answer in (
        lambda rows, seed: model.synthesize(len(seed), seed=seed),
        lambda rows, seed: model.inpaint(signals[rows], masks[rows], seed=seed),
    ):
        seeds = np.arange(70, 78)
        together = answer(slice(8), seeds)
        alone = [answer(slice(at, at + 1), seeds[at : at + 1]) for at in range(8)]
        np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-4)


def test_saved_and_loaded_it_answers_the_same(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.synthesize(2, seed=3), model.synthesize(2, seed=3))
    np.testing.assert_array_equal(loaded.table.table.numpy(), model.table.table.numpy())


def test_exported_it_answers_the_same(kind, model, signals, masks, tmp_path):
    model.export(tmp_path / "model" / "1")
    loaded = tf.saved_model.load(tmp_path / "model" / "1").signatures
    seeds = tf.range(4, dtype=tf.int64)
    drawn = loaded["synthesize"](seed=seeds)["signal"]
    np.testing.assert_allclose(drawn, model.synthesize(4, seed=0), atol=1e-4)
    full = np.broadcast_to(masks[:4, ..., None], signals[:4].shape).astype(np.float32)
    filled = loaded["inpaint"](signal=signals[:4], mask=full, seed=seeds)["signal"]
    np.testing.assert_allclose(filled, model.inpaint(signals[:4], masks[:4], seed=0), atol=1e-4)
    if isinstance(model, abp_tf.Generator) and kind in LARGER:
        check_decode(kind, model, loaded["decode"])


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


def test_a_larger_model_from_the_same_weights(kind, model, signals):
    if kind not in LARGER:
        pytest.skip("volumes have one size")
    latent_shape, shape = LARGER[kind]
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
        few = np.concatenate([signals[:3], signals[:3]], axis=1)[:, : shape[0]]
        assert larger.reconstruct(few).shape == few.shape


def test_signals_of_other_sides_are_cut_from_wider_ones(kind, model):
    if kind not in LARGER:
        pytest.skip("volumes have one size")
    latent_shape, (*sides, channels) = LARGER[kind]
    energy = isinstance(model, abp_tf.Descriptor)
    whole = abp_tf.resized(model, (*sides, channels) if energy else latent_shape).synthesize(2, seed=1)
    drawn = abp_tf.synthesize_at(model, sides, 2, seed=1, margin=0)
    assert isinstance(drawn, np.ndarray)
    np.testing.assert_allclose(drawn, whole, atol=1e-5)
    free = [kind != "video" or axis == 0 for axis in range(len(sides))]  # frames are of one size
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
        with pytest.raises(
            ValueError, match=r"sides of \(None, 8, 8\), None for any, received \(4, 8, 16\)"
        ):
            abp_tf.synthesize_at(model, (4, 8, 16))


def test_images_have_one_size(learned):
    with pytest.raises(ValueError, match=r"sides of \(8, 8\), None for any, received \(16, 16\)"):
        abp_tf.synthesize_at(learned, (16, 16))
    with pytest.raises(ValueError, match=r"made for inputs of .* alone"):
        abp_tf.resized(learned, (8,))


def test_a_larger_generator_knows_the_prior(kind, generator):
    assert np.abs(generator.prior.scale.numpy() - np.eye(generator.latent_shape[-1])).max() > 0.01
    if kind not in LARGER:
        return
    same = abp_tf.resized(generator, generator.latent_shape)
    np.testing.assert_array_equal(same.synthesize(2, seed=4), generator.synthesize(2, seed=4))


def test_resumed_it_ends_as_one_left_alone(kind, signals, tmp_path):
    backup = abp_tf.callbacks.Backup(tmp_path / "model.keras")
    alone, first, second = (make_generator(kind) for _ in range(3))

    def stop(epoch, logs):
        first.stop_training = True

    halt = keras.callbacks.LambdaCallback(on_epoch_end=stop)
    for model, watchers in ((alone, []), (first, [halt, backup]), (second, [backup])):
        model.fit(signals, batch_size=12, epochs=2, verbose=0, callbacks=watchers)
    assert int(second.iteration.value) == int(alone.iteration.value) == 4
    for one, other in zip(second.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_it_shows_of_itself(kind, model, signals):
    shown = gallery(model, signals, kind=kind)
    assert "synthesis" in shown
    assert ("reconstruction" in shown) == hasattr(model, "reconstruct")
    for picture in shown.values():
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.std() > 1


def test_tensorboard_gets_what_the_kind_asks_for(kind, signals, tmp_path):
    model = make_generator(kind)
    watcher = abp_tf.callbacks.TensorBoardPictures(tmp_path, signals, every=1, rate=8, kind=kind)
    model.fit(signals, batch_size=12, epochs=1, verbose=0, callbacks=[watcher])
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
        assert sound.shape == (64, 1)
        assert int(rate) == 8
    if kind == "video":
        width, height, content = tf.make_ndarray(found["synthesis/animated"][1])
        assert content.startswith(b"GIF89a")
        assert tf.io.decode_gif(content).shape == (4, int(height), int(width), 3)
    # Vectors of latents go to the projector, grids of them do not.
    assert (tmp_path / "pictures" / "sprite.png").exists() == (kind == "volume")


def test_served_it_answers_the_same(start_server, tmp_path):
    """A texture and clips of video, from one server; larger than the trained size too."""
    models = {kind: make_generator(kind) for kind in ("texture", "video")}
    options = []
    for kind, model in models.items():
        model.export(tmp_path / kind / "1")
        options += ["--model", f"{kind}={tmp_path / kind}"]
    server = start_server(*options)
    for kind, model in models.items():
        with abp_tf.Client(server.address, model=kind) as client:
            drawn = client.synthesize(3, seed=2)
            np.testing.assert_allclose(drawn, model.synthesize(3, seed=2), atol=1e-4)
            assert client.reconstruct(drawn, seed=1).shape == drawn.shape
            latents = np.ones((1, *LARGER[kind][0]), np.float32)
            np.testing.assert_allclose(
                client.decode(latents),
                abp_tf.resized(model, LARGER[kind][0])(latents),
                atol=1e-5,
            )
