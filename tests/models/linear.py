"""Linear generators, of which everything is known: data, models and closed forms of several tests."""

import keras
import numpy as np

import abp_tf
from abp_tf import Langevin

SIGMA, ENTRIES, FACTORS = 0.5, 12, 3


def factor_data(count, seed=0):
    """Return draws of a linear factor model, float32 `[count, 12]`; all seeds have the same model."""
    rng, true = np.random.default_rng(seed), np.random.default_rng(100)
    loading = true.normal(size=(ENTRIES, FACTORS)) * np.array([2.0, 1.0, 0.7])
    bias = true.normal(size=ENTRIES)
    signal = rng.normal(size=(count, FACTORS)) @ loading.T + bias
    return (signal + SIGMA * rng.normal(size=(count, ENTRIES))).astype(np.float32)


def linear_model(**options):
    """Return a linear generator of such data, with weights it has not learned."""
    keras.utils.set_random_seed(0)
    network = abp_tf.networks.linear((ENTRIES,), latent_dim=FACTORS)
    return abp_tf.Generator(network, **{"sigma": SIGMA, "value_range": None, **options})


def parameters(model):
    """Return W and b of `x = W u + b`, or `S W` and `S b` of what is observed; with the prior's map."""
    whole = model(np.concatenate([np.zeros((1, FACTORS)), np.eye(FACTORS)]).astype(np.float32))
    seen = model.observe(whole.numpy()).astype(np.float64)
    return (seen[1:] - seen[0]).T, seen[0]


def posterior(model, signal, seen=slice(None)):
    """Return mean and precision of the latents of a signal, of which the entries `seen` are."""
    weights, bias = (part[seen] for part in parameters(model))
    precision = weights.T @ weights / SIGMA**2 + np.eye(FACTORS)
    return np.linalg.solve(precision, weights.T @ (signal[seen] - bias)) / SIGMA**2, precision


def unadjusted(precision, step_size):
    """Return the covariance of an unadjusted Langevin chain, `Λ⁻¹ (I − δ²Λ/4)⁻¹`."""
    size = len(precision)
    return np.linalg.inv(precision) @ np.linalg.inv(np.eye(size) - step_size**2 * precision / 4)


def log_likelihood(model, signals):
    """Return the mean log density of signals under `N(b, W Wᵀ + σ² I)`."""
    weights, bias = parameters(model)
    covariance = weights @ weights.T + SIGMA**2 * np.eye(len(bias))
    centred = signals - bias
    quadratic = (centred @ np.linalg.inv(covariance) * centred).sum(1)
    return float(-0.5 * (quadratic.mean() + np.linalg.slogdet(2 * np.pi * covariance)[1]))


def learned_with_encoder(**options):
    """A linear generator with an encoder that has learned from masked data; its posterior is known."""
    signal = factor_data(2000)
    mask = np.random.default_rng(1).random(signal.shape) > 0.4
    model = linear_model(langevin=Langevin(6, 0.5), preconditioning=True, encoder=True, **options)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit({"signal": signal, "mask": mask}, batch_size=50, epochs=8, verbose=0)
    return model


def without_encoder(model):
    """A linear generator of the same weights, whose chains begin at the prior."""
    cold = linear_model(inference=model.inference, preconditioning=True)
    for part in ("network", "prior", "noise", "preconditioner"):
        getattr(cold, part).set_weights(getattr(model, part).get_weights())
    return cold
