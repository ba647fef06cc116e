"""The program that fills in what is hidden."""

import json
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abp_tf import data, masks, metrics, programs, runs
from abp_tf.data import convert
from abp_tf.metrics import calibration
from abp_tf.results import PosteriorSamples
from train import command, parts, recover, tally

PROGRAMS = ["generator", "descriptor", "coopnets"]
pytestmark = pytest.mark.usefixtures("loaded_once")


def inside(*words):
    """Run the program in this process, as its own process would; return its exit code or message."""
    with pytest.raises(SystemExit) as ending:
        programs.run(recover.main, [str(word) for word in words])
    return ending.value.code


@pytest.fixture
def made(digit_run):
    """Return a function that makes, once, a run of a program."""
    return lambda name: digit_run(name).path


def arrays(directory):
    with np.load(directory / "recovery.npz") as stored:
        return dict(stored)


def told(directory):
    return json.loads((directory / "recovery.json").read_text(), parse_constant=pytest.fail)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("name", PROGRAMS)
def test_unseen_images_with_masks_drawn_on_them(made, tmp_path, name, capsys):
    path, out = made(name), tmp_path / "out"
    words = ["--run", path, "--data", "nonfaces", "--count", 12, "--out", out]
    assert inside(*words, "--mask", "block:4", "--seed", 5) == 0
    truth = data.load("nonfaces", size=8, limit=12, test_share=0.0).train
    mask = masks.block(12, (8, 8), 4, seed=5)
    whole = runs.Run.open(path).load_model().inpaint(truth, mask, seed=5)
    whole = np.clip(whole, -1, 1)

    found = arrays(out)
    np.testing.assert_allclose(found["recovered"], whole, atol=1e-4)
    np.testing.assert_array_equal(found["mask"], mask)
    hidden = np.abs(found["recovered"] - truth)[~mask]
    answer = told(out)
    np.testing.assert_allclose(answer["mae_per_range"], hidden.mean() / 2, rtol=1e-5)
    squares = (found["recovered"] - truth)[~mask].reshape(12, 16) ** 2
    psnr = 10 * np.log10(4 / squares.mean(axis=1, dtype=np.float64))
    np.testing.assert_allclose(answer["psnr"], psnr.mean(), rtol=1e-5)
    assert (answer["images"], answer["hidden"]) == (12, 0.25)
    assert f"{answer['psnr']:.4g}" in capsys.readouterr().out

    names = [f"{number:05}.png" for number in range(12)]
    assert sorted(found["name"]) == [Path(name).stem for name in names]
    for folder in ("observed", "recovered"):
        assert sorted(file.name for file in (out / folder).iterdir()) == names
    for row, name in enumerate(names):
        expected = convert.to_uint8(found["recovered"][row, ..., 0])
        np.testing.assert_array_equal(pixels(out / "recovered" / name), expected)
        grey = np.where(mask[row], convert.to_uint8(truth[row, ..., 0]), 128)
        np.testing.assert_array_equal(pixels(out / "observed" / name), grey)
    assert min(pixels(out / "grid.png").shape[:2]) >= 3 * 64
    # Written once, never again.
    before = (out / "recovery.json").stat().st_mtime_ns
    assert "Nothing was changed" in inside(*words, "--mask", "block:4")
    assert (out / "recovery.json").stat().st_mtime_ns == before


def test_the_training_images_with_the_masks_of_the_run(made, tmp_path):
    path = made("generator")
    words = ["--run", path, "--data", "train", "--out", tmp_path / "out", "--count", 20]
    assert inside(*words) == 0
    run = runs.Run.open(path)
    images, model = run.load_images(), run.load_model()
    mask = runs.training_mask(run.config["settings"], images)[:20]
    np.testing.assert_array_equal(mask, masks.pepper(108, (8, 8), 0.3, seed=0)[:20])
    found = arrays(tmp_path / "out")
    np.testing.assert_array_equal(found["mask"], mask)
    whole = model.inpaint(images.train[:20], mask)
    np.testing.assert_allclose(found["recovered"], whole, atol=1e-4)
    error = metrics.recovery_error(images.train[:20], whole, mask)
    np.testing.assert_allclose(told(tmp_path / "out")["mae_per_range"], error, rtol=1e-3)
    assert inside("--run", path, "--data", "test", "--out", tmp_path / "test") == 0
    assert told(tmp_path / "test")["images"] == 12


def named(number, suffix, form="NFC"):
    """Return a name of 250 bytes, one less in the composed form of Unicode."""
    return unicodedata.normalize(form, f"\u00e9{number}{'n' * 242}.{suffix}")


@pytest.fixture
def damaged(tmp_path):
    """Folders of digits: with anything in hidden pixels, complete, and masks of the same names."""
    truth = data.to_uint8(data.load("digits", size=8, limit=9, test_share=0.0).train[..., 0])
    seen = masks.pepper(9, (8, 8), 0.5, seed=2)
    noise = np.random.default_rng(0).integers(0, 255, truth.shape, np.uint8)
    kinds = {"photos": np.where(seen, truth, noise), "whole": truth, "masks": 255 * np.uint8(seen)}
    for name, images in kinds.items():
        (tmp_path / name / "more").mkdir(parents=True)
        for number, image in enumerate(images):
            form = "NFD" if name == "photos" else "NFC"
            Image.fromarray(image).save(tmp_path / name / "more" / named(number, "bmp", form))
    np.savez(tmp_path / "masks.npz", seen)
    return tmp_path, seen


def test_damaged_images_with_masks_in_files(made, damaged, capsys):
    place, seen = damaged
    words = ["--run", made("generator"), "--data", f"folder:{place / 'photos'}"]
    assert inside(*words, "--mask", f"folder:{place / 'masks'}", "--out", place / "one") == 0
    assert told(place / "one")["psnr"] is None
    assert told(place / "one")["crps"] is None
    assert "--truth SOURCE" in capsys.readouterr().out
    truth = ["--truth", f"folder:{place / 'whole'}"]
    assert inside(*words, "--mask", f"npz:{place / 'masks.npz'}", *truth, "--out", place / "two") == 0
    one, two = arrays(place / "one"), arrays(place / "two")
    np.testing.assert_array_equal(one["recovered"], two["recovered"])
    np.testing.assert_array_equal(one["mask"], seen)
    whole = data.load(f"folder:{place / 'whole'}", test_share=0.0).train
    # What is hidden took no part.
    model = runs.Run.open(made("generator")).load_model()
    np.testing.assert_allclose(one["recovered"], model.inpaint(whole, seen), atol=1e-4)
    error = np.abs(one["recovered"] - whole)[~seen].mean() / 2
    np.testing.assert_allclose(told(place / "two")["mae_per_range"], error, rtol=1e-5)
    names = sorted(path.name for path in (place / "one" / "recovered" / "more").iterdir())
    assert names == [named(number, "png") for number in range(9)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_samples_tell_how_uncertain_entries_are(made, tmp_path, name):
    words = ["--run", made(name), "--data", "test", "--mask", "pepper:0.5", "--out", tmp_path / "out"]
    assert inside(*words, "--samples", 3) == 0
    found = arrays(tmp_path / "out")
    hidden = ~found["mask"][..., None]
    assert (found["deviation"][hidden] > 0).all()
    assert (found["deviation"][~hidden] == 0).all()
    truth = runs.Run.open(made(name)).load_images().test
    np.testing.assert_allclose(found["recovered"][~hidden], truth[~hidden], atol=1e-6)
    shown = convert.to_uint8(2 * found["deviation"][0, ..., 0] - 1)
    picture = pixels(tmp_path / "out" / "deviation" / f"{found['name'][0]}.png")
    np.testing.assert_array_equal(picture, shown)
    figures = told(tmp_path / "out")
    assert 0 < figures["coverage_50"] <= figures["coverage_90"] <= 1
    assert min(pixels(tmp_path / "out" / "reliability.png").shape[:2]) > 300
    model = runs.Run.open(made(name)).load_model()
    if name == "generator":
        again = model.sample_posterior(truth, found["mask"], samples=3, chains=3)
        np.testing.assert_allclose(found["deviation"], again.deviation, atol=1e-3)
        low, high = again.intervals(0.9)
        coverage = calibration.coverage(truth, low, high, ~found["mask"])
        assert figures["coverage_90"] == pytest.approx(coverage, abs=0.01)
        score = calibration.crps(truth, again.samples, ~found["mask"], sigma=again.sigma)
        assert figures["crps"] == pytest.approx(score, rel=0.01)
    else:
        again = [model.inpaint(truth, found["mask"], seed=seed) for seed in (0, 12, 24)]
        np.testing.assert_allclose(found["deviation"], np.std(again, axis=0), atol=1e-3)
        samples = np.stack(again, axis=1)
        score = calibration.crps(truth, samples, ~found["mask"])
        assert figures["crps"] == pytest.approx(score, rel=0.01)


@pytest.mark.filterwarnings("ignore:Masks. nothing is hidden")
@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--data", "nonfaces"], "--mask: expected a mask"),
        (["--data", "dogs", "--mask", "pepper:0.5"], "received 'dogs'"),
        (["--data", "nonfaces", "--mask", "folder:nowhere"], "'nonfaces' has none"),
        (["--data", "nonfaces", "--mask", "npz:nowhere.npz"], "nowhere.npz"),
        (["--data", "nonfaces", "--mask", "block:8"], "leaves something observed"),
        (["--data", "PHOTOS", "--mask", "MASKS", "--truth", "FEW"], "found none for 1"),
        (["--data", "test", "--mask", "pepper:0.5", "--truth", "FEW"], "received 8"),
        (["--data", "test", "--mask", "pepper:0.5", "--quality", "fast"], "of a Descriptor"),
        (["--data", "PHOTOS", "--mask", "WHITE"], "nothing is hidden"),
        (["--data", "LONG", "--mask", "pepper:0.5"], "at most 248 bytes"),
        (["--data", "test", "--samples", "6", "--chains", "4"], "a divisor of --samples 6, received 4"),
        (["--data", "test", "--chains", "2"], "a divisor of --samples None"),
        (["--data", "test", "--chains", "1"], "a divisor of --samples None"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(made, damaged, words, part):
    place, _ = damaged
    few = place / "few"
    (few / "more").mkdir(parents=True)
    for number in range(8):
        name = named(number, "bmp")
        (few / "more" / name).write_bytes((place / "whole" / "more" / name).read_bytes())
    (place / "long").mkdir()
    Image.new("L", (8, 8)).save(place / "long" / f"{'n' * 251}.bmp")
    np.savez(place / "white.npz", np.ones((9, 8, 8), bool))
    names = {"PHOTOS": f"folder:{place / 'photos'}", "MASKS": f"folder:{place / 'masks'}",
             "FEW": f"folder:{few}", "WHITE": f"npz:{place / 'white.npz'}",
             "LONG": f"folder:{place / 'long'}"}  # fmt: skip
    words = [names.get(word, word) for word in words]
    message = inside("--run", made("descriptor"), *words, "--out", place / "out")
    assert message.startswith("error: ")
    assert part in message
    assert not (place / "out").exists()


@pytest.mark.filterwarnings("ignore:Chains of `sample_posterior` disagree")
def test_several_chains(made, tmp_path, capsys):
    run = runs.Run.open(made("generator"))
    truth, model = run.load_images().test, run.load_model()

    def recovered(*words):
        out = tmp_path / words[0].strip("-")
        assert inside("--run", made("generator"), "--data", "test", "--out", out, *words) == 0
        return arrays(out)

    found = recovered("--quality", "fast")
    best = model.inpaint(truth, found["mask"], quality="fast")
    np.testing.assert_allclose(found["recovered"], np.clip(best, -1, 1), atol=1e-4)
    assert told(tmp_path / "quality")["quality"] == "fast"
    assert (tmp_path / "quality" / "reliability.png").exists()
    assert "r_hat" not in capsys.readouterr().out  # two draws of a chain are too few
    found = recovered("--chains", 2, "--samples", 20)
    several = model.sample_posterior(truth, found["mask"], samples=20, chains=2)
    np.testing.assert_allclose(found["deviation"], several.deviation, atol=1e-4)
    figures, out = told(tmp_path / "chains"), capsys.readouterr().out
    for name, value in tally.convergence(several).items():
        assert figures[name] == pytest.approx(value, rel=1e-2)
        assert value is None or f"{name:26}{figures[name]:10.4g}" in out


def test_how_chains_agree_is_told_of_all_latents_and_images():
    nan, image = np.nan, np.zeros((2, 4, 8, 8, 1))
    r_hat, effective = np.float32([[1.0, 1.1], [1.5, nan]]), np.float32([[8, 2], [3, 5]])
    drawn = PosteriorSamples(image, image[:, 0], image[:, 0], r_hat, effective)
    expected = {
        "r_hat_median": 1.1,
        "r_hat_maximum": 1.5,
        "effective_samples_median": 4,
        "effective_samples_minimum": 2,
        "effective_samples_maximum": 8,
    }
    found = tally.convergence(drawn)
    assert list(found) == list(expected)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-6)
    unknown = drawn._replace(r_hat=nan * r_hat)
    assert tally.convergence(unknown) == {**found, "r_hat_median": None, "r_hat_maximum": None}
    assert set(tally.convergence(None).values()) == {None}


def test_figures_that_are_not_known_or_not_finite():
    truth, samples = np.zeros((1, 2, 2, 1)), np.ones((1, 3, 2, 2, 1))
    drawn = PosteriorSamples(samples, samples[:, 0], 0 * truth, sigma=0.0)
    found = calibration.calibration(truth, drawn, np.ones((1, 2, 2)))
    found = tally.figures({"images": 1, **tally.of_calibration(found, 4)})
    known = {"coverage_50": 0, "coverage_90": 0, "crps": 1, "scaled_deviation": None}
    assert found.items() >= known.items()
    assert set(tally.figures({"images": 1}).values()) == {1, None}


def test_sums_of_parts_give_the_figures_of_the_whole():
    rng = np.random.default_rng(0)
    truth, samples = rng.normal(size=(6, 4, 1)), rng.normal(0.3, 1, size=(6, 5, 4, 1))
    where = rng.random((6, 4)) < 0.6
    drawn = PosteriorSamples(samples, samples.mean(axis=1), samples.std(axis=1), sigma=0.4)
    total = Counter(images=6)
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        some = PosteriorSamples(*(part[rows] for part in drawn[:3]), sigma=0.4)
        found = calibration.calibration(truth[rows], some, where[rows])
        total.update(tally.of_calibration(found, int(where[rows].sum())))
    whole, found = calibration.calibration(truth, drawn, where), tally.figures(total)
    assert found["crps"] == pytest.approx(whole.crps, rel=1e-12)
    assert found["scaled_deviation"] == pytest.approx(whole.scaled_deviation, rel=1e-12)
    np.testing.assert_allclose(tally.coverage(total), whole.coverage)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 3 signals, of which a process does not have all at once."""
    monkeypatch.setattr(recover, "_ROWS", 3)


def content(out):
    return {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.mark.filterwarnings("ignore:Chains of `sample_posterior` disagree")
@pytest.mark.parametrize("name", ["generator", "descriptor"])
@pytest.mark.usefixtures("small_parts")
def test_shares_are_the_bits_of_one_process(made, tmp_path, monkeypatch, capsys, name):
    words = ["--run", made(name), "--data", "nonfaces", "--count", 11, "--mask", "block:4"]
    words += ["--samples", 4, "--seed", 5]
    one, shared = tmp_path / "one", tmp_path / "shared"
    assert inside(*words, "--out", one) == 0
    assert "signals 10 to 11 of 11" in capsys.readouterr().out

    assert "--shard 1/N to N/N first" in inside(*words, "--merge", "--out", shared)
    assert inside(*words, "--shard", "3/3", "--out", shared) == 0
    # Killed while it writes the second of its two parts: signals 0 to 2 are there, 9 and 10 are not.
    write, killed = parts.Parts.write, []

    def die(self, part, *rest):
        if part == 3:
            killed.append(part)
            raise KeyboardInterrupt
        write(self, part, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(parts.Parts, "write", die)
        with pytest.raises(KeyboardInterrupt):
            recover.main([str(word) for word in [*words, "--shard", "1/3", "--out", shared]])
    assert killed == [3]
    message = inside(*words, "--merge", "--out", shared)
    assert "2 are missing" in message
    assert "signals 3 to 5" in message
    assert "--shard 1/3, --shard 2/3." in message
    assert not (shared / "recovery.json").exists()

    done = (shared / "parts" / "0000000.npz").stat().st_mtime_ns
    assert inside(*words, "--shard", "1/3", "--out", shared) == 0
    assert (shared / "parts" / "0000000.npz").stat().st_mtime_ns == done
    other = ["--seed", 6, "--shard", "2/3", "--out", shared]
    assert "--seed: expected 5" in inside(*words[:-2], *other)
    assert inside(*words, "--shard", "2/3", "--out", shared) == 0
    assert inside(*words, "--merge", "--out", shared) == 0
    assert "Nothing was changed" in inside(*words, "--shard", "2/3", "--out", shared)

    found, expected = content(shared), content(one)
    assert found.keys() == expected.keys()
    assert {name.split("/")[0] for name in found} == {
        "observed", "recovered", "deviation", "grid.png", "reliability.png", "recovery.npz",
        "recovery.json",
    }  # fmt: skip
    assert told(shared) == told(one)
    for key, array in arrays(one).items():
        np.testing.assert_array_equal(arrays(shared)[key], array)
    for key, path in found.items():
        if key.endswith(".png"):
            assert path.read_bytes() == expected[key].read_bytes()
    model = runs.Run.open(made(name)).load_model()
    truth = data.load("nonfaces", size=8, limit=11, test_share=0.0).train
    assert len(arrays(one)["name"]) == len(truth)
    if name == "generator":
        drawn = model.sample_posterior(truth, arrays(one)["mask"], samples=4, chains=4, seed=5)
        np.testing.assert_allclose(arrays(one)["deviation"], drawn.deviation, atol=1e-4)
        score = calibration.crps(truth, drawn.samples, ~arrays(one)["mask"], sigma=drawn.sigma)
        assert told(one)["crps"] == pytest.approx(score, rel=1e-4)


@pytest.mark.usefixtures("small_parts")
def test_only_one_part_is_in_memory(made, tmp_path, monkeypatch):
    seen, ask = [], recover.recover

    def counted(model, damaged, *rest, **options):
        seen.append(len(damaged.signal))
        return ask(model, damaged, *rest, **options)

    monkeypatch.setattr(recover, "recover", counted)
    words = ["--run", made("descriptor"), "--data", "nonfaces", "--mask", "block:4", "--count", 8]
    assert inside(*words, "--out", tmp_path / "out") == 0
    assert seen == [3, 3, 2]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/3", "1/"])
def test_a_share_is_one_of_several(text, capsys):
    assert inside("--run", "r", "--data", "test", "--out", "o", "--shard", text) == 2
    assert "--shard: expected I/N" in capsys.readouterr().err


def test_one_sample_tells_nothing(capsys):
    words = ["--run", "r", "--data", "test", "--samples", 1, "--out", "o"]
    assert inside(*words) == 2
    assert "--samples: expected 2 or more, received 1" in capsys.readouterr().err


def test_it_is_one_of_the_programs():
    program, rest = command.find(["recover", "--run", "x"])
    assert (program.module, rest) == ("train.recover", ["--run", "x"])
