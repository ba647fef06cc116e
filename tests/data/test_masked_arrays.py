"""NumPy's masked arrays, True where hidden, are signals with a mask wherever arrays are taken."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from abp_tf import baselines, checks, metrics
from abp_tf.data import streams
from abp_tf.serving import protocol


@pytest.fixture
def both(digits, masks_of_digits):
    """Digits with fillers out of range in hidden entries: as a masked array, and as two arrays."""
    signal, mask = digits[:12].copy(), masks_of_digits[:12]
    signal[~mask] = -9999
    return np.ma.array(signal, mask=~mask[..., None]), signal, mask


def test_parts():
    values, observed = checks.parted([np.ma.array([1.0, 2.0], mask=[0, 1]), np.ma.array([3.0, 4.0])])
    assert values.tolist() == [[1, 2], [3, 4]]
    assert observed.tolist() == [[True, False], [True, True]]
    assert checks.parted(np.ma.array([1.0], mask=[0]))[1] is None
    assert checks.parted(tf.ones(2))[1] is None


@pytest.mark.parametrize("method", ["infer", "reconstruct", "inpaint"])
def test_methods_of_models(learned, both, method):
    masked, signal, mask = both
    arguments = (masked,) if method != "inpaint" else (masked, None)
    ask = getattr(learned, method)
    np.testing.assert_array_equal(ask(*arguments), ask(signal, mask))


def test_a_mask_beside_a_masked_array_hides_too(learned, both):
    masked, signal, mask = both
    other = np.ones_like(mask)
    other[:, :4] = False
    np.testing.assert_array_equal(learned.infer(masked, other), learned.infer(signal, mask & other))


def test_samples(learned, both):
    masked, signal, mask = both
    options = {"samples": 2, "chains": 2}
    found = learned.sample_posterior(masked, None, **options)
    np.testing.assert_array_equal(
        found.samples, learned.sample_posterior(signal, mask, **options).samples
    )


def test_learning_and_evaluation(make_model, both, assert_same_state):
    masked, signal, mask = both
    first, second = make_model(), make_model()
    first.fit(masked, batch_size=6, verbose=0, validation_data=masked)
    second.fit({"signal": signal, "mask": mask}, batch_size=6, verbose=0)
    assert_same_state(first, second)
    of_both = {"signal": signal, "mask": mask}
    assert first.evaluate(masked, verbose=0) == second.evaluate(of_both, verbose=0)


def test_batches_of_a_sequence(both):
    masked, signal, mask = both

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, _):
            return masked

    batch = next(iter(streams.as_dataset(Batches())))
    np.testing.assert_array_equal(batch["mask"][..., 0], mask)
    np.testing.assert_array_equal(batch["signal"], signal)


def test_principal_components(both):
    masked, signal, mask = both
    model = baselines.PCA(3).fit(masked)
    np.testing.assert_array_equal(model.inpaint(masked, None), model.inpaint(signal, mask))


def test_errors_count_what_is_observed(both):
    masked, signal, mask = both
    zero = np.zeros_like(signal)
    expected = metrics.reconstruction_error(signal, zero, mask)
    assert metrics.reconstruction_error(masked, zero) == expected
    with pytest.raises(ValueError, match="masked array"):
        metrics.ssim(masked, zero)


def test_requests_of_the_client(both):
    masked, signal, mask = both
    wanted = {
        "signal": protocol.Spec((None, 8, 8, 1), np.dtype(np.float32)),
        "mask": protocol.Spec((None, 8, 8, 1), np.dtype(np.float32)),
        "seed": protocol.Spec((None,), np.dtype(np.int64)),
    }
    found = protocol.checked("inpaint", wanted, {"signal": masked, "mask": None}, (-1, 1))
    np.testing.assert_array_equal(found["mask"][..., 0], mask)
    np.testing.assert_array_equal(found["signal"], signal)
    del wanted["mask"]
    with pytest.raises(ValueError, match="masked array"):
        protocol.checked("reconstruct", wanted, {"signal": masked}, (-1, 1))
    wanted = {"latent": protocol.Spec((None, 4), np.dtype(np.float32))}
    with pytest.raises(ValueError, match="masked array"):
        protocol.checked("decode", wanted, {"latent": masked[:, 0, :4, 0]}, None)


def test_where_whole_signals_are_wanted(energy, both):
    hidden = int((~both[2]).sum())
    with pytest.raises(ValueError, match=f"masked array with {hidden}"):
        energy.score(both[0])
