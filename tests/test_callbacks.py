import json
import warnings

import keras
import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import ProjectorConfig

import abp_tf
from abp_tf import callbacks


def events_of(path):
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = module.EventAccumulator(str(path), size_guidance={"tensors": 0})
    events.Reload()
    return events


def test_pictures_reach_tensorboard_and_the_projector(digits, make_model, tmp_path):
    model = make_model()
    watch = callbacks.TensorBoardPictures(tmp_path, digits, every=2)
    model.fit(digits, batch_size=60, epochs=5, verbose=0, callbacks=[watch])
    events = events_of(tmp_path / "pictures")
    names = {"reconstruction", "synthesis", "interpolation", "latents"}
    assert set(events.Tags()["tensors"]) == names
    for name in names:
        assert [event.step for event in events.Tensors(name)] == [2, 4, 5]
    width, height, png = events.Tensors("synthesis")[-1].tensor_proto.string_val
    picture = abp_tf.display.pictures.grid(model.synthesize(64), columns=8)
    assert (int(height), int(width)) == picture.shape[:2]
    shown = keras.ops.convert_to_numpy(np.asarray(Image.open(_bytes(png))))
    assert np.abs(shown.astype(int) - picture).max() <= 1

    folder = tmp_path / "pictures"
    latents = np.loadtxt(folder / "latents.tsv", delimiter="\t")
    np.testing.assert_allclose(latents, model.latents, rtol=1e-4)
    assert (folder / "examples.tsv").read_text().split() == [str(number) for number in range(120)]
    with Image.open(folder / "sprite.png") as sprite:
        assert sprite.size == (11 * 8, 11 * 8)
        tile = np.asarray(sprite.convert("L"))[8:16, 16:24]  # second row, third column
    np.testing.assert_allclose(tile, (digits[13, ..., 0] + 1) * 127.5, atol=1)
    text = (folder / "projector_config.pbtxt").read_text()
    (config,) = text_format.Parse(text, ProjectorConfig()).embeddings
    assert (config.tensor_path, config.metadata_path) == ("latents.tsv", "examples.tsv")
    assert config.sprite.image_path == "sprite.png"
    assert list(config.sprite.single_image_dim) == [8, 8]


def _bytes(content):
    import io

    return io.BytesIO(content)


def test_pictures_of_fresh_chains_have_no_latents(digits, make_model, tmp_path):
    watch = callbacks.TensorBoardPictures(tmp_path, digits[:3], every=1)
    model = make_model(chains="fresh")
    model.fit(digits, batch_size=120, epochs=1, verbose=0, callbacks=[watch])
    assert set(events_of(tmp_path / "pictures").Tags()["tensors"]) == {"reconstruction", "synthesis"}
    assert not (tmp_path / "pictures" / "latents.tsv").exists()


def test_the_history_file_holds_the_history(digits, make_model, tmp_path):
    path = tmp_path / "history.json"
    model = make_model()
    history = model.fit(
        digits, batch_size=60, epochs=2, verbose=0, callbacks=[callbacks.HistoryFile(path)]
    ).history
    entries = json.loads(path.read_text())
    assert [entry.pop("epoch") for entry in entries] == [1, 2]
    assert entries == [{name: values[at] for name, values in history.items()} for at in (0, 1)]
    assert [file.name for file in tmp_path.iterdir()] == ["history.json"]


def test_a_resumed_history_replaces_what_is_done_again(tmp_path):
    path = tmp_path / "history.json"
    first = callbacks.HistoryFile(path)
    for epoch in range(4):
        first.on_epoch_end(epoch, {"loss": np.float32(epoch)})
    second = callbacks.HistoryFile(path)
    for epoch in (2, 3, 4):  # what was interrupted had noted more than it had saved
        second.on_epoch_end(epoch, {"loss": 10.0 * epoch})
        assert [entry["epoch"] for entry in json.loads(path.read_text())] == list(range(1, epoch + 2))
    losses = [entry["loss"] for entry in json.loads(path.read_text())]
    assert losses == [0, 1, 20, 30, 40]


def test_error_curves_are_the_errors(digits, make_model):
    model, seen = make_model(), {}
    sets = {"train": digits[:60], "test": digits[60:], "negative": -digits, "empty": digits[:0]}
    curves = callbacks.ErrorCurves(sets, every=2, count=50)

    def measure(epoch, logs):
        seen[epoch] = {
            name: np.mean((model.reconstruct(signals[:50], seed=0) - signals[:50]) ** 2)
            for name, signals in sets.items()
            if len(signals)
        }

    after = keras.callbacks.LambdaCallback(on_epoch_end=measure)
    history = model.fit(digits, batch_size=60, epochs=5, verbose=0, callbacks=[curves, after]).history
    assert "empty_error" not in history
    for name in ("train", "test", "negative"):
        expected = [seen[epoch][name] for epoch in (1, 3, 4)]
        np.testing.assert_allclose(history[f"{name}_error"], expected, rtol=1e-4)
    assert history["negative_error"][-1] > history["train_error"][-1]


@pytest.mark.parametrize("options", [{"every": 0}, {"count": 0}])
def test_impossible_error_curves_are_refused(digits, options):
    with pytest.raises(ValueError, match="of 1 or more"):
        callbacks.ErrorCurves({"train": digits}, **options)


@pytest.fixture
def expansions(make_model, monkeypatch):
    """Return a model and the list of epochs after which it was expanded."""

    def make(share):
        model, found = make_model(expansion=share), []
        expand = model.expand
        # Keras's models look at everything that is set on them.
        object.__setattr__(
            model, "expand", lambda: (found.append(int(model.iteration.value) // 2), expand())
        )
        return model, found

    return make


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, []), (0.5, [1, 2, 4]), (1.0, [1, 2, 3, 4]), (0.01, [1, 4]), (0.75, [1, 2, 3, 4])],
)
def test_the_schedule_of_expansions(digits, expansions, share, expected):
    model, found = expansions(share)
    model.fit(digits, batch_size=60, epochs=4, verbose=0)
    assert found == expected


def test_a_training_that_stops_early_is_expanded_once_more(digits, expansions):
    model, found = expansions(0.25)

    def stop(epoch, logs):
        model.stop_training = epoch == 2

    halt = keras.callbacks.LambdaCallback(on_epoch_end=stop)
    model.fit(digits, batch_size=60, epochs=8, verbose=0, callbacks=[halt])
    assert found == [1, 2, 3]
    np.testing.assert_allclose(np.cov(model.latents.T, bias=True), np.eye(4), atol=1e-3)


def test_the_preconditioner_is_adapted_early_and_after_epochs(digits, make_model):
    model, found = make_model(preconditioning=True, langevin=abp_tf.Langevin(1, 0.5)), []
    precondition = model.precondition
    object.__setattr__(
        model, "precondition", lambda: (found.append(int(model.iteration.value)), precondition())
    )
    model.fit(digits, batch_size=10, epochs=6, verbose=0)  # 12 iterations an epoch
    assert found == [0, 1, 3, 10, 30, 60]
    model.fit(digits, batch_size=2, epochs=2, verbose=0)  # 60 of them
    assert found[6:] == [100, 132, 192]


def test_the_alarm_sounds_once_and_names_a_step_size_that_is_stable(make_model):
    alarm = callbacks.StabilityAlarm()
    alarm.set_model(make_model(langevin=abp_tf.Langevin(1, 0.4)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alarm.on_epoch_end(0, {"stability": 0.99})
        alarm.on_epoch_end(1, {})
        alarm.on_epoch_end(1, None)
    # 0.7 * 0.4 / 2: half of the stability bound, as it goes with the square.
    with pytest.warns(UserWarning, match=r"is 4\.00 after epoch 3.*from 0\.4 to 0\.14"):
        alarm.on_epoch_end(2, {"stability": 4.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alarm.on_epoch_end(3, {"stability": 5.0})
