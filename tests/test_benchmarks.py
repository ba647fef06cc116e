"""What benchmarks are built of: cells that are kept, masks, and what models are compared with."""

import importlib
import json
import os

import numpy as np
import pytest

from abp_tf import data
from benchmarks import (
    cells,
    damages,
    defaults,
    learning,
    methods,
    metrics,
    price,
    profile,
    recovery,
    sounds,
    videos,
)

PROGRAMS = (
    "carried damages defaults indirect kinds learning metrics price profile reconstruction recovery "
    "scale serving small_sets speed synthesis textures sounds videos"
)


@pytest.mark.parametrize("name", PROGRAMS.split())
def test_they_import_without_their_data(name, monkeypatch):
    monkeypatch.delenv("ABP_TF_DATA", raising=False)
    assert importlib.import_module(f"benchmarks.{name}").__doc__


def test_a_cell_is_computed_once_for_its_settings(tmp_path):
    calls = []

    def compute(place):
        calls.append(place)
        return {"figure": len(calls)}

    first = cells.cell(tmp_path, "one", {"a": 1, "b": 2}, compute)
    again = cells.cell(tmp_path, "one", {"b": 2, "a": 1}, compute)
    other = cells.cell(tmp_path, "one", {"a": 1, "b": 3}, compute)
    assert (first, again, other) == ({"figure": 1}, {"figure": 1}, {"figure": 2})
    assert calls[1] == cells.folder_of(tmp_path, "one", {"a": 1, "b": 3})
    assert calls[1] == cells.folder_of(tmp_path, "one", {"a": 1, "b": 3, "a new option": None})
    stored = json.loads((calls[0] / "result.json").read_text())
    assert stored == {"settings": {"a": 1, "b": 2}, "figures": {"figure": 1}}


def test_an_interrupted_cell_is_computed_again(tmp_path):
    def interrupted(place):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cells.cell(tmp_path, "one", {}, interrupted)
    assert cells.cell(tmp_path, "one", {}, lambda place: {"figure": 1}) == {"figure": 1}


def test_figures_of_an_earlier_run_are_taken_from_a_file(tmp_path):
    results, given = tmp_path / "results.json", {"a": [1, 2], "b": None}
    first, second = tmp_path / "first", tmp_path / "second"
    cells.restore(first, results)  # there is none yet
    cells.cell(first, "a-name", given, lambda place: {"figure": 0.1})
    cells.keep(first, results)
    cells.cell(second, "other", {}, lambda place: {"figure": 3})
    cells.restore(second, results)
    again = cells.cell(second, "a-name", given, lambda place: pytest.fail("computed again"))
    assert again == {"figure": 0.1}
    assert cells.images(second, "a-name", given) == {}
    cells.keep(second, results)
    assert [kept["name"] for kept in json.loads(results.read_text())] == ["a-name", "other"]


def test_a_table_has_its_rows():
    assert cells.table(["a", "b"], [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |"


def test_linear_prediction_goes_on_with_tones():
    time = np.arange(3000) / 8000
    tone = np.sin(2 * np.pi * 440 * time) + 0.5 * np.sin(2 * np.pi * 1210 * time)
    filled = sounds.predict(tone[:1400], tone[1600:], 200, order=50)
    assert filled.shape == (200, 1)
    np.testing.assert_allclose(filled[:, 0], tone[1400:1600], atol=0.15)


def test_damaged_signals_are_what_their_names_say():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 28, 28, 1))
    found = damages.damaged_images(images, (7,))
    shuffled = found["tiles of 7x7 shuffled"]
    assert not np.allclose(shuffled, images)
    for one, other in zip(shuffled, images, strict=True):
        np.testing.assert_allclose(np.sort(one, axis=None), np.sort(other, axis=None), atol=1e-6)
        corner = one[:7, :7]
        tiles = other.reshape(4, 7, 4, 7, 1).swapaxes(1, 2).reshape(16, 7, 7, 1)
        assert sum(np.allclose(tile, corner, atol=1e-6) for tile in tiles) == 1
    assert found["blurred 5x5"].std() < found["blurred 3x3"].std() < images.std()
    np.testing.assert_allclose(damages.blurred(images, 3)[0, 5, 5], images[0, 4:7, 4:7].mean())
    sound = np.sin(np.arange(8000))
    hiss = damages.damaged_sounds(sound, 8000)["hiss of -20 dB"] - sound
    assert 20 * np.log10(hiss.std() / sound.std()) == pytest.approx(-20, abs=0.2)


def test_a_summary_is_relative_to_the_signal_without_damage():
    each = [
        {"none": {"a": 2.0, "level": -1.0}, "hiss": {"a": 2.0 * n, "level": 3.0}} for n in (1, 2, 9)
    ]
    assert metrics.summary(each) == [
        {"damage": "none", "a": "1.00 (1.00 to 1.00)", "level": "0.00 (0.00 to 0.00)"},
        {"damage": "hiss", "a": "2.00 (1.00 to 9.00)", "level": "4.00 (4.00 to 4.00)"},
    ]


@pytest.mark.slow
def test_the_benchmark_of_measures(tmp_path, capsys):
    if "ABP_TF_DATA" not in os.environ:
        pytest.skip("the data sets are in the folder $ABP_TF_DATA, which is not set")
    assert metrics.main(["--run", str(tmp_path), "--quick"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("| none |") == 3
    row = next(line for line in printed.splitlines() if line.startswith("| + N(0, 0.2²) |"))
    assert float(row.split("|")[4]) > 1.2


def test_hidden_frames_and_blocks():
    settings = {"share": 0.5, "block": 4}
    frames = videos.hidden("missing frames", (11, 12, 12), settings)
    whole = frames.all(axis=(1, 2))
    assert whole[[0, -1]].all()
    assert (~whole).sum() == 5
    assert (~frames.any(axis=(1, 2)) == ~whole).all()
    block = videos.hidden("moving block", (11, 12, 12), settings)
    assert ((~block).sum(axis=(1, 2)) == 16).all()
    assert videos.hidden("synthesis", (11, 12, 12), settings).all()


def test_interpolation_in_time_is_linear():
    clip = np.linspace(-1, 1, 9)[:, None, None, None] * np.ones((9, 3, 4, 1))
    mask = np.ones((9, 3, 4), bool)
    mask[[1, 2, 5], 1:] = False
    damaged = np.where(mask[..., None], clip, 7.0)
    np.testing.assert_allclose(videos.interpolated(damaged, mask), clip)


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_quick_settings_are_smaller_and_others_cells(name):
    full, quick = (methods.settings(name, "fashion", short) for short in (False, True))
    assert set(full) == set(quick)
    for key, value in quick.items():
        if full[key] != value:
            assert 1 <= value < full[key]


@pytest.mark.slow
def test_a_dtype_is_a_setting_that_networks_compute_in():
    short = methods.settings("CoopNets", "fashion", True, "mixed_bfloat16")
    assert {**methods.settings("CoopNets", "fashion", True), "dtype": "mixed_bfloat16"} == short
    few = data.load("digits").train[:20]
    seen = recovery.drawn("pepper:0.5", few, 0)
    tiny = {"latent_dim": 3, "width": 2, "hidden": 4, "descriptor_width": 2, "samples": 2}
    tiny |= {"inference_steps": 2, "revision_steps": 2, "batch_size": 10, "draft_batch_size": 10}
    short |= {**tiny, "epochs": 1, "draft_epochs": 1}
    model = methods.METHODS["CoopNets"].learn(short, few, seen)
    assert {model.generator.network.get_layer("up1").compute_dtype} == {"bfloat16"}
    assert {model.descriptor.network.get_layer("score").compute_dtype} == {"float32"}
    for recover in methods.METHODS["CoopNets"].ways(model, short).values():
        assert recovery.errors(few, recover(few, seen), seen)["mae"] < 0.5


def test_hidden_blocks_have_settings_of_their_own():
    def sigma(*learned_with):
        return methods.settings("ABP", "olivetti", False, None, *learned_with)["sigma"]

    assert sigma("block:30") > sigma("pepper:0.9") == sigma()


def test_errors_are_of_hidden_entries_alone():
    truth = np.zeros((2, 2, 2, 1), np.float32)
    found = np.full_like(truth, 0.5)
    mask = np.ones((2, 2, 2), bool)
    mask[:, 0, 0] = False
    found[~mask] = 0.2
    errors = recovery.errors(truth, found, mask)
    np.testing.assert_allclose(errors["mae"], 0.1, rtol=1e-6)
    np.testing.assert_allclose(errors["psnr"], 20, rtol=1e-6)
    found[0] = truth[0]  # an exact image counts, but not for all
    np.testing.assert_allclose(recovery.errors(truth, found, mask)["psnr"], (20 + 60) / 2, rtol=1e-6)


def test_a_generator_without_its_encoder_decodes_alike(make_model, digits):
    model = make_model(encoder=True, preconditioning=True, sigma=0.4)
    model.fit(digits[:40], batch_size=20, epochs=1, verbose=0)
    cold = price.without_encoder(model)
    latents = model.latents[:5]
    np.testing.assert_array_equal(cold(latents), model(latents))
    assert cold.sigma == model.sigma
    assert model.warm
    assert not cold.warm


def test_a_table_of_prices_has_a_row_for_each_way():
    rows = [
        {"case": "a", "way": "ABP, encoder: best", "seconds": 10.0, "error": 0.1},
        {"case": "a", "way": "ABP, encoder: best", "coverage": 0.9},
        {"case": "b", "way": "PCA", "seconds": 1.0, "error": 0.2},
    ]
    found = price.tables(rows)
    assert "| ABP, encoder: best | 10.0 | 0.1000 | 90.0% |" in found
    assert "| PCA | 1.0 | 0.2000 |  |" in found


@pytest.mark.slow
def test_the_profile_counts_kernels(capsys):
    assert profile.main(["--quality", "fast", "--images", "4"]) == 0
    found = capsys.readouterr().out
    assert "Conv2DBackpropInput" in found
    assert float(found.rpartition("gradient: ")[2].strip("%\n")) > 50


def test_times_to_an_error():
    def points(*errors):
        return [
            {"epochs": 2 * n, "seconds": 10.0 * n, "error": error, "latent_norm": 1.5}
            for n, error in enumerate(errors, 1)
        ]

    found = learning.rows({"slow": points(0.3, 0.2, 0.103), "fast": points(0.104, 0.1, 0.1015)})
    assert found == [
        ["slow", "0.1030", 30.0, "30, 6", "not", "1.5"],
        ["fast", "0.1000", 30.0, "10, 2", "20, 4", "1.5"],
    ]


@pytest.mark.slow
def test_the_benchmark_of_learning(tmp_path, capsys):
    if "ABP_TF_DATA" not in os.environ:
        pytest.skip("the data sets are in the folder $ABP_TF_DATA, which is not set")
    words = ["--run", str(tmp_path / "cells"), "--quick", "--ways", "3 steps", "restarts"]
    assert learning.main(words) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in learning.DATA)
    assert printed.count("| restarts |") == len(learning.DATA) - 1  # crops have none


@pytest.mark.slow
def test_the_benchmark_of_defaults(tmp_path, capsys):
    if "ABP_TF_DATA" not in os.environ:
        pytest.skip("the data sets are in the folder $ABP_TF_DATA, which is not set")
    words = ["--run", str(tmp_path / "cells"), "--quick", "--tasks", "clothes"]
    assert defaults.main(words) == 0
    assert "| clothes, nine in ten pixels hidden |" in capsys.readouterr().out
