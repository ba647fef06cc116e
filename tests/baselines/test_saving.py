import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from abp_tf.baselines import GAN, VAE

KINDS = (VAE, pytest.param(GAN, marks=pytest.mark.slow))


@pytest.mark.parametrize("kind", KINDS)
def test_runs_repeat_whatever_hidden_entries_hold(digits, masks_of_digits, make_baseline, kind):
    results = []
    for filling in (0.0, np.nan):
        signal = np.where(masks_of_digits[..., None], digits, np.float32(filling))
        batch = {"signal": signal, "mask": masks_of_digits}
        model = make_baseline(kind)
        model.fit(batch, batch_size=50, epochs=2, verbose=0)
        score = model.evaluate(batch, verbose=0, return_dict=True)
        answers = [model.infer(signal, masks_of_digits), model.inpaint(signal, masks_of_digits)]
        results.append([*model.get_weights(), *answers, score["reconstruction_error"]])
    for one, same in zip(*results, strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_saved_and_exported_whole(digits, masks_of_digits, make_baseline, kind, tmp_path):
    model = make_baseline(kind)
    model.fit(digits, batch_size=40, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    whole = model.inpaint(digits, masks_of_digits)
    np.testing.assert_array_equal(loaded.inpaint(digits, masks_of_digits), whole)
    texts = [json.dumps(one.get_config(), sort_keys=True) for one in (model, loaded)]
    assert texts[0] == texts[1]

    model.export(tmp_path / "digits" / "1")
    inpaint = tf.saved_model.load(str(tmp_path / "digits" / "1")).signatures["inpaint"]
    mask = np.broadcast_to(masks_of_digits[..., None], digits.shape).astype(np.float32)
    answer = inpaint(signal=digits, mask=mask, seed=np.arange(120))
    np.testing.assert_allclose(answer["signal"], whole, atol=1e-3)

    # Training goes on as if it had not been interrupted.
    for one in (model, loaded):
        one.fit(digits, batch_size=40, epochs=1, verbose=0)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
