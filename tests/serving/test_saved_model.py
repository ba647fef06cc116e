import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import abp_tf
from abp_tf.serving import saved_model


def test_a_mask_above_one_half_is_observed(exported, digits):
    inpaint = tf.saved_model.load(str(exported / "1")).signatures["inpaint"]
    mask = abp_tf.masks.squares(20, (8, 8), 0.4, 2, seed=4)[..., None]
    inputs = {"signal": tf.constant(digits[:20]), "seed": tf.range(20, dtype=tf.int64)}
    sharp = inpaint(mask=tf.constant(mask.astype("f")), **inputs)
    soft = inpaint(mask=tf.constant(np.where(mask, 0.51, 0.5).astype("f")), **inputs)
    for key, value in sharp.items():
        np.testing.assert_array_equal(soft[key], value)


def test_an_export_is_a_directory_others_may_read(exported):
    assert (exported / "1").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in exported.iterdir()] == ["1"]


def test_a_directory_that_exists_is_left_alone(learned, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "note").write_text("mine")
    with pytest.raises(FileExistsError, match="nothing was changed"):
        learned.export(tmp_path / "1")
    assert [path.name for path in tmp_path.rglob("*")] == ["1", "note"]


def test_a_parent_that_is_a_file_is_left_alone(learned, tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "1", tmp_path / "file" / "more" / "1"):
        with pytest.raises(NotADirectoryError, match="is a file"):
            learned.export(path)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failed_export_leaves_nothing(learned, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(saved_model, "_write_extra", fail)
    one = {"decode": learned.signatures()["decode"]}  # what is traced fastest
    monkeypatch.setattr(abp_tf.Generator, "exported_signatures", lambda model: one)
    with pytest.raises(OSError, match="no space"):
        learned.export(tmp_path / "digits" / "1")
    assert [path.name for path in tmp_path.rglob("*")] in (["digits"], [])


def test_other_formats_and_arguments_are_refused(learned, tmp_path):
    with pytest.raises(ValueError, match=r"'tf_saved_model'\], received 'onnx'"):
        learned.export(tmp_path / "1", format="onnx")
    with pytest.raises(TypeError, match="input_signature"):
        learned.export(tmp_path / "1", input_signature=[])
    with pytest.raises(ValueError, match="samples=6, received 4"):
        learned.export(tmp_path / "1", samples=6)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("entries", [191, 192])
def test_large_signals_are_warmed_up_with_one_row(tmp_path, monkeypatch, entries):
    """And the default signature, which is another's second name, in any case."""
    monkeypatch.setattr(saved_model, "WARMUP_ENTRIES", entries)
    network = abp_tf.networks.texture_generator((8, 8, 3), 1, 4, levels=2)
    model = abp_tf.Generator(network, inference=abp_tf.Langevin(2, 0.1))
    functions = saved_model._functions(model, {})  # which nothing traces here
    saved_model._write_extra(model, functions, tmp_path / "extra", "texture")
    recorded = {}
    for record in tf.data.TFRecordDataset(str(tmp_path / "extra" / "tf_serving_warmup_requests")):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        rows = {proto.tensor_shape.dim[0].size for proto in request.inputs.values()}
        recorded.setdefault(request.model_spec.signature_name, []).extend(rows)
    assert recorded.pop("serving_default") == [1]
    filled = {"inpaint", "inpaint_fast", "inpaint_best"}
    assert set(recorded) == {"synthesize", "reconstruct", "sample_posterior", "decode"} | filled
    assert recorded.pop("sample_posterior") == recorded.pop("inpaint_best") == [1]
    assert all(rows == ([1] if entries < 192 else [1, 4, 16]) for rows in recorded.values())


def test_samples_of_the_posterior(exported, learned, digits, masks_of_digits):
    loaded = tf.saved_model.load(str(exported / "1")).signatures["sample_posterior"]
    mask = masks_of_digits[:5, ..., None]
    damaged = np.where(mask, digits[:5], np.float32(np.nan))
    answer = loaded(
        signal=tf.constant(damaged),
        mask=tf.constant(mask, tf.float32),
        seed=tf.range(5, dtype=tf.int64),
    )
    found = learned.sample_posterior(damaged, mask, samples=4, chains=2)
    assert answer["samples"].shape == (5, 4, 8, 8, 1)
    for name in ("samples", "mean", "deviation", "sigma"):
        np.testing.assert_allclose(answer[name], getattr(found, name), atol=1e-4)
    for sample in (*np.moveaxis(answer["samples"].numpy(), 1, 0), answer["mean"].numpy()):
        np.testing.assert_array_equal(sample[mask], digits[:5][mask])
    np.testing.assert_array_equal(answer["deviation"][mask], 0)


def test_shapes_stand_beside_an_export(exported):
    told = json.loads((exported / "1" / "assets.extra" / saved_model.ABOUT).read_text())
    assert (told["signal_shape"], told["latent_shape"]) == ([8, 8, 1], [4])
