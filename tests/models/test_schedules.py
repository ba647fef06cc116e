"""When `fit` expands latents and adapts the preconditioner, with a stub of a model."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from abp_tf.models import diagnostics, schedules


class Stub(SimpleNamespace):
    """What schedules do to a model: notes when."""

    def __init__(self):
        super().__init__(iteration=keras.Variable(0, dtype="int64"), expanded=[], adapted=[], epoch=0)

    def expand(self):
        self.expanded.append(self.epoch)

    def precondition(self):
        self.adapted.append(int(self.iteration.value))


def fit(callback, model, epochs, steps=2, stop_after=None):
    """Let epochs pass, as Keras would."""
    callback.set_model(model)
    callback.set_params({"epochs": epochs})
    callback.on_train_begin()
    for epoch in range(epochs if stop_after is None else stop_after):
        model.epoch = epoch + 1
        callback.on_epoch_begin(epoch)
        for batch in range(steps):
            model.iteration.assign_add(1)
            callback.on_train_batch_end(batch)
        callback.on_epoch_end(epoch)
    callback.on_train_end()


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, [1, 2, 4]), (1.0, [1, 2, 3, 4]), (0.01, [1, 4]), (0.75, [1, 2, 3, 4])],
)
def test_the_schedule_of_expansions(share, expected):
    model = Stub()
    fit(schedules.ExpandLatents(share), model, 4)
    assert model.expanded == expected


def test_a_training_that_stops_early_is_expanded_once_more():
    model = Stub()
    fit(schedules.ExpandLatents(0.25), model, 8, stop_after=3)
    assert model.expanded == [1, 2, 3]
    model = Stub()
    fit(schedules.ExpandLatents(0.25), model, 8, stop_after=2)
    assert model.expanded == [1, 2]


def test_the_preconditioner_is_adapted_early_and_after_epochs():
    model = Stub()
    fit(schedules.AdaptPreconditioner(), model, 6, steps=12)
    assert model.adapted == [0, 1, 3, 10, 30, 60]
    fit(schedules.AdaptPreconditioner(), model, 2, steps=60)
    assert model.adapted[6:] == [100, 132, 192]


def test_fit_runs_those_that_the_model_wants(make_model, learned):
    def kinds(**options):
        return [type(one) for one in make_model(**options).observers()]

    alarm = diagnostics.StabilityAlarm
    assert kinds() == kinds(expansion=0.0) == [alarm]
    # What is adapted is the network with latents that were expanded.
    both = [alarm, schedules.ExpandLatents, schedules.AdaptPreconditioner]
    assert kinds(expansion=0.2, preconditioning=True) == both
    assert make_model(expansion=0.2).observers()[1].share == 0.2
    np.testing.assert_allclose(np.cov(learned.latents.T, bias=True), np.eye(4), atol=1e-3)
