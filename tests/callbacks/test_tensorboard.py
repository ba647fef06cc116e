import io

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import ProjectorConfig

import abp_tf
from abp_tf import callbacks
from abp_tf.metrics import calibration


def show(watch, model, epochs):
    """Let epochs pass, as `fit` would."""
    watch.set_model(model)
    watch.set_params({"epochs": epochs})
    watch.on_train_begin()
    for epoch in range(epochs):
        watch.on_epoch_end(epoch)
    watch.on_train_end()


def events_of(path):
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = module.EventAccumulator(str(path), size_guidance={"tensors": 0})
    events.Reload()
    return events


def test_pictures_reach_tensorboard_and_the_projector(digits, learned, tmp_path):
    show(callbacks.TensorBoardPictures(tmp_path, digits, every=2), learned, 5)
    events = events_of(tmp_path / "pictures")
    names = {"reconstruction", "synthesis", "interpolation", "latents"}
    assert set(events.Tags()["tensors"]) == names
    for name in names:
        assert [event.step for event in events.Tensors(name)] == [2, 4, 5]
    width, height, png = events.Tensors("synthesis")[-1].tensor_proto.string_val
    picture = abp_tf.display.pictures.grid(learned.synthesize(64), columns=8)
    assert (int(height), int(width)) == picture.shape[:2]
    shown = np.asarray(Image.open(io.BytesIO(png)))
    assert np.abs(shown.astype(int) - picture).max() <= 1

    folder = tmp_path / "pictures"
    latents = np.loadtxt(folder / "latents.tsv", delimiter="\t")
    np.testing.assert_allclose(latents, learned.latents, rtol=1e-4)
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


def test_error_bars_of_hidden_entries(digits, learned, tmp_path):
    hidden = np.zeros((20, 8, 8), bool)
    hidden[:, 2:5, 3:6] = True
    watch = callbacks.TensorBoardPictures(tmp_path, digits[:20], every=1, hidden=hidden)
    show(watch, learned, 1)
    events = events_of(tmp_path / "pictures")
    few, hidden = digits[:16], hidden[:16, ..., None]
    drawn = learned.sample_posterior(few, ~hidden, samples=8, chains=8)
    found = calibration.calibration(few, drawn, hidden, levels=[0.9])
    (share,), (score,) = (events.Tensors(name) for name in ("coverage_90", "crps"))
    assert float(tf.make_ndarray(share.tensor_proto)) == pytest.approx(found.coverage[0], abs=0.01)
    assert float(tf.make_ndarray(score.tensor_proto)) == pytest.approx(found.crps, rel=1e-4)
    width, height, _ = events.Tensors("reliability")[0].tensor_proto.string_val
    assert (int(width), int(height)) == (840, 540)


def test_pictures_of_fresh_chains_have_no_latents(digits, make_model, tmp_path):
    model = make_model(chains="fresh")
    show(callbacks.TensorBoardPictures(tmp_path, digits[:3], every=1), model, 1)
    assert set(events_of(tmp_path / "pictures").Tags()["tensors"]) == {"reconstruction", "synthesis"}
    assert not (tmp_path / "pictures" / "latents.tsv").exists()
