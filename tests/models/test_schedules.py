"""When `fit` expands latents and adapts the preconditioner, with a stub of a model."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

import abp_tf
from abp_tf.models import diagnostics, schedules


class Stub(SimpleNamespace):
    """What schedules do to a model: notes when."""

    def __init__(self):
        super().__init__(iteration=keras.Variable(0, dtype="int64"), expanded=[], adapted=[], epoch=0)
        self.preconditioning, self.prior = True, abp_tf.models.Prior((1,))

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
    assert model.adapted == [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 23, 32, 45, 60, 64]
    model.adapted.clear()
    fit(schedules.AdaptPreconditioner(), model, 2, steps=60)
    assert model.adapted == [91, 128, 132, 181, 192]


def test_latents_are_expanded_within_the_first_epochs():
    model = Stub()
    fit(schedules.ExpandLatents(0.5), model, 2, steps=40)
    assert model.expanded == [1, 1, 1, 1, 2]  # after the iterations 16, 23, 32, at the ends of epochs


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


def blobs(count, side):
    """Return images of a blob in one colour on another, float32 `[count, side, side, 3]`."""
    random, (y, x) = np.random.default_rng(0), np.mgrid[:side, :side] / side
    left, top = random.uniform(0.2, 0.8, (2, count, 1, 1))
    width = random.uniform(0.1, 0.3, (count, 1, 1))
    blob = np.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * width**2))[..., None]
    front, back = random.uniform(-1, 1, (2, count, 1, 1, 3))
    return (back + (front - back) * blob).astype(np.float32)


def test_the_start_is_calm():
    keras.utils.set_random_seed(0)
    network = abp_tf.networks.image_generator((32, 32, 3), latent_dim=8, width=8)
    sampler = abp_tf.Langevin(6, 0.5)
    model = abp_tf.Generator(network, langevin=sampler, expansion=0.5, preconditioning=True)
    model.compile(keras.optimizers.Adam(3e-3, beta_1=0.5))
    logs = model.fit(blobs(400, 32), batch_size=10, epochs=1, verbose=0).history
    assert logs["latent_norm"][0] < 2.5  # 3.3 with estimates after 1, 3, 10 and 30 iterations
    assert logs["stability"][0] < 1
