import numpy as np
import pytest

from abp_tf import callbacks


def test_they_are_the_errors_every_few_epochs_and_at_the_end(digits, learned):
    sets = {"train": digits[:60], "test": digits[60:], "negative": -digits, "empty": digits[:0]}
    curves = callbacks.ErrorCurves(sets, every=2, count=50)
    curves.set_model(learned)
    curves.set_params({"epochs": 5})
    for epoch in range(5):
        logs = {"loss": 1.0}
        curves.on_epoch_end(epoch, logs)
        looked = {"train_error", "test_error", "negative_error"} if epoch in (1, 3, 4) else set()
        assert set(logs) == {"loss"} | looked
    for name in ("train", "test", "negative"):
        signals = sets[name][:50]
        error = np.mean((learned.reconstruct(signals) - signals) ** 2)
        np.testing.assert_allclose(logs[f"{name}_error"], error, rtol=1e-4)
    assert logs["negative_error"] > logs["train_error"]


@pytest.mark.parametrize("options", [{"every": 0}, {"count": 0}])
def test_impossible_ones_are_refused(digits, options):
    with pytest.raises(ValueError, match=r"`every` and `count` of 1 or more, received (0|5)"):
        callbacks.ErrorCurves({"train": digits}, **options)
