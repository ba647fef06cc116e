"""Programs that learn from indirect observations: the images are known to the program alone."""

import json

import keras
import numpy as np
import pytest

import abp_tf
from abp_tf import programs, runs
from train import evaluate, generator, parsing, recover

pytestmark = pytest.mark.usefixtures("loaded_once")
TINY = "--width 4 --latent-dim 4 --kernel-size 3 --steps 2 --inference-steps 6 --inference-cool 3"
WORDS = [*TINY.split(), *"--epochs 2 --curve-every 1 --batch-size 20".split()]


def inside(module, *words):
    """Run a program in this process, as its own process would; return its exit code or message."""
    with pytest.raises(SystemExit) as ending:
        programs.run(module.main, [str(word) for word in words])
    return ending.value.code


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Two sets of images whose cells of 2x2 have the very same means."""
    place = tmp_path_factory.mktemp("sources")
    whole = np.random.default_rng(0).integers(-32, 33, (60, 8, 8)).astype(np.float32) / 32
    other = whole.reshape(60, 4, 2, 8)[:, :, ::-1].reshape(60, 8, 8)
    np.savez(place / "one.npz", whole)
    np.savez(place / "other.npz", other)
    return place


@pytest.fixture(scope="module")
def finished(sources, tmp_path_factory):
    """A run on coarser images."""
    path = tmp_path_factory.mktemp("runs") / "coarser"
    words = ["--data", f"npz:{sources / 'one.npz'}", "--observe", "coarser:2", *WORDS]
    assert inside(generator, "--run", path, *words) == 0
    return path


@pytest.mark.slow
def test_only_what_is_observed_takes_part(finished, sources, tmp_path):
    words = ["--data", f"npz:{sources / 'other.npz'}", "--observe", "coarser:2", *WORDS]
    assert inside(generator, "--run", tmp_path / "other", *words) == 0
    one, other = (keras.models.load_model(p / "model.keras") for p in (finished, tmp_path / "other"))
    assert one.observation == abp_tf.Coarser(2)
    for weight, same in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weight, same)


def test_errors_are_those_of_the_whole_images(finished):
    run = runs.Run.open(finished)
    assert run.config["settings"]["observe"] == "coarser:2"
    model, images = run.load_model(), run.load_images()
    cells = images.test.reshape(6, 4, 2, 4, 2, 1).mean(axis=(2, 4))
    error = ((model.reconstruct(cells) - images.test) ** 2).mean()
    figures = json.loads((finished / "metrics.json").read_text())
    np.testing.assert_allclose(figures["test"]["reconstruction_error"], error, rtol=1e-4)
    history = json.loads((finished / "history.json").read_text())
    np.testing.assert_allclose(history[-1]["test_error"], error, rtol=1e-4)
    assert inside(evaluate, "--run", finished, "--negative", "faces") == 0
    found = json.loads((finished / "evaluation.json").read_text())
    np.testing.assert_allclose(found["errors"]["test"]["reconstruction_error"], error, rtol=1e-4)
    assert "verdict" in found
    names = {picture.stem for picture in (finished / "pictures").glob("*.png")}
    assert names >= {"recovery", "reconstruction", "interpolation", "line_and_arc", "synthesis"}
    assert "inpainting" not in names


def test_recover_observes_the_images_of_any_source(finished, tmp_path):
    out = tmp_path / "out"
    words = ["--run", finished, "--data", "faces", "--count", 5, "--samples", 3]
    assert inside(recover, *words, "--out", out) == 0
    truth = abp_tf.data.load("faces", size=8, limit=5, test_share=0.0).train
    cells = truth.reshape(5, 4, 2, 4, 2, 1).mean(axis=(2, 4))
    found = runs.Run.open(finished).load_model().sample_posterior(cells, samples=3, chains=3)
    with np.load(out / "recovery.npz") as arrays:
        np.testing.assert_allclose(arrays["observed"], cells, atol=1e-6)
        np.testing.assert_allclose(arrays["recovered"], found.median, atol=1e-3)
        np.testing.assert_allclose(arrays["deviation"], found.deviation, atol=1e-3)
        error = np.abs(arrays["recovered"] - truth).mean() / 2
    told = json.loads((out / "recovery.json").read_text())
    np.testing.assert_allclose(told["mae_per_range"], error, rtol=1e-5)
    assert told["hidden"] is None
    for folder in ("observed", "recovered", "deviation"):
        assert len(list((out / folder).glob("*.png"))) == 5
    message = inside(recover, *words, "--mask", "pepper:0.5", "--out", tmp_path / "no")
    assert "the run's own 'coarser:2'. Leave it out" in message


@pytest.mark.slow
def test_projections_are_resumed_with_the_same_ones(sources, tmp_path):
    words = ["--data", f"npz:{sources / 'one.npz'}", "--observe", "projection:20", "--seed", 3]
    words += [*WORDS, "--schedule", "constant", "--expansion", 0]
    assert inside(generator, "--run", tmp_path / "left", *words) == 0
    words[words.index("--epochs") + 1] = "1"
    assert inside(generator, "--run", tmp_path / "again", *words) == 0
    assert inside(generator, "--run", tmp_path / "again", "--resume", "--epochs", 2) == 0
    left, again = (keras.models.load_model(tmp_path / p / "model.keras") for p in ("left", "again"))
    assert left.observation == abp_tf.Projection(20, seed=3) == again.observation
    for weight, same in zip(left.weights, again.weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    np.testing.assert_array_equal(left.latents, again.latents)
    out = tmp_path / "out"
    assert inside(recover, "--run", tmp_path / "left", "--data", "train", "--out", out) == 0
    assert {path.name for path in out.iterdir()} == {
        "recovered", "deviation", "grid.png", "reliability.png", "recovery.npz", "recovery.json",
    }  # fmt: skip


def test_networks_of_coarser_and_blurred_images_keep_no_pattern_of_their_own():
    def antialias(*words):
        given = parsing.parse("generator", "", generator.table, ["--run", "r", *words])
        return generator.settle({name: given[name] for name in given if name != "run"})["antialias"]

    assert antialias("--observe", "coarser:4") == 4
    assert antialias("--observe", "blur:1.5") == 2
    assert antialias("--antialias", "3") == 3
    assert antialias("--observe", "coarser:2", "--antialias", "1") == 1
    assert antialias("--observe", "projection:20") == 1
    assert antialias() == 1


def test_sigma_falls_to_its_last_value(sources, tmp_path):
    words = ["--data", f"npz:{sources / 'one.npz'}", *WORDS, "--last-sigma", 0.1]
    assert inside(generator, "--run", tmp_path / "run", *words) == 0
    # The second of two epochs is 5/6 of the way from 0.25.
    assert runs.Run.open(tmp_path / "run").load_model().sigma == pytest.approx(0.25 * 0.4 ** (5 / 6))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--observe", "coarser:3"], "a factor that divides the spatial axes [8, 8]"),
        (["--observe", "projection:65"], "a size of at most 64"),
        (["--observe", "blur:9"], "a sigma of at most"),
        (["--observe", "blur:1", "--mask", "pepper:0.5"], "Leave one out"),
        (["--last-sigma", "0.1", "--learn-sigma"], "received 0.1 and the other. Leave one out"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_written(tmp_path, words, part):
    data = ["--data", "digits", "--size", 8, "--limit", 20, "--kernel-size", 3]
    message = inside(generator, "--run", tmp_path / "run", *data, *words)
    assert message.startswith("error: ")
    assert part in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spec", ["sharper:2", "coarser", "coarser:0", "blur:wide", "projection:2.5"])
def test_operators_that_there_are_none_of(tmp_path, capsys, spec):
    assert inside(generator, "--run", tmp_path / "run", "--observe", spec) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "--observe: expected one of projection:SIZE, coarser:FACTOR, blur:SIGMA, received" in error
