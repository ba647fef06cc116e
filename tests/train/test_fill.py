"""The program that fills the gaps of a field, from file to file."""

import importlib
import json

import numpy as np
import pytest

from abp_tf import programs
from abp_tf.data import field_file, load_field
from abp_tf.fields import FieldModel, FieldSettings, gaps, memory
from abp_tf.results import PosteriorSamples
from train import command, fill, validation

xarray = pytest.importorskip("xarray")

COUNT, SIZE = 6, 8
GIVEN = ["--space", "1", "--time", "0.1", "--samples", "8"]


def inside(*words):
    """Run the program in this process, as its own process would; return its exit code or message."""
    with pytest.raises(SystemExit) as ending:
        programs.run(fill.main, [str(word) for word in words])
    return ending.value.code


def truth():
    random = np.random.default_rng(0)
    rough = random.normal(size=(COUNT, SIZE, SIZE)).cumsum(1).cumsum(2) / SIZE
    return 15 + rough + random.normal(size=(COUNT, 1, 1))


def observed():
    """A gap of 4x4 in each frame, one pixel that is never observed, and land in a corner."""
    random, mask = np.random.default_rng(1), np.ones((COUNT, SIZE, SIZE), bool)
    for of_frame in mask:
        top, left = random.integers(0, SIZE - 4, 2)
        of_frame[top : top + 4, left : left + 4] = False
    mask[:, 7, 7] = False
    mask[:, :2, :2] = False
    return mask


def dataset(**change):
    sea = np.ones((SIZE, SIZE), np.int8)
    sea[:2, :2] = 0
    values = np.where(observed(), truth(), np.nan).astype("f4")
    attributes = {"units": "degC", **change}
    return xarray.Dataset(
        {"sst": (("time", "y", "x"), values, attributes), "sea_mask": (("y", "x"), sea)},
        {"time": ("time", np.arange(COUNT), {"units": "days since 2001-01-01"})},
    )


@pytest.fixture
def source(tmp_path):
    dataset().to_netcdf(tmp_path / "sst.nc")
    return tmp_path / "sst.nc"


@pytest.fixture
def few(monkeypatch):
    """A search that tries few settings; returns those that a model has tried."""
    choosing = importlib.import_module("abp_tf.fields.choice")
    monkeypatch.setattr(choosing, "TRIED", {"noise": (0.1, 0.2)})
    monkeypatch.setattr(choosing, "LATENTS", (1,))
    tried, error = [], choosing._Trial.error

    def counted(self, settings):
        tried.append(settings)
        return error(self, settings)

    monkeypatch.setattr(choosing._Trial, "error", counted)
    return tried


def record(path):
    return json.loads(path.read_text(), parse_constant=pytest.fail)


def test_from_file_to_file(source, few, tmp_path, capsys):
    out = tmp_path / "more" / "filled.nc"
    words = [source, "--variable", "sst", "--out", out, "--samples", 8, "--seed", 3]
    assert inside(*words, "--maps", tmp_path / "maps.png", "--export", tmp_path / "model") == 0
    before, after = xarray.load_dataset(source), xarray.load_dataset(out)
    mask, sea = observed(), before["sea_mask"].values == 1
    xarray.testing.assert_identical(before["sst"].where(mask), after["sst"].where(mask))
    hidden = ~mask & sea
    errors = (after["sst"].values - truth())[hidden]
    assert np.sqrt(np.mean(errors**2)) < 0.6 * truth()[mask].std()
    assert np.isnan(after["sst"].values[:, ~sea]).all()
    assert after["sst_members"].sizes["member"] == 8
    flags = after["sst_flag"].values
    assert (flags[:, 7, 7] == field_file.FLAGS["never_observed"]).all()
    assert (after["sst_deviation"].values[hidden] > 0).all()
    assert (tmp_path / "maps.png").stat().st_size > 1000

    found, said = record(out.with_suffix(".json")), capsys.readouterr().out
    settings = {**found["settings"]}
    widening = settings.pop("widening")
    assert json.loads(after.attrs["abp_tf_settings"]) == found["settings"]
    assert (found["seed"], int(after.attrs["abp_tf_seed"])) == (3, 3)
    errors = {FieldSettings(**one["settings"]): one["error"] for one in found["tried"]}
    assert errors[FieldSettings(**settings)] == min(errors.values())
    assert list(errors) == few
    assert f"multiplied by {widening:.3g}" in said
    assert found["filled"]["sst"]["never_observed"] == COUNT * (sea & ~mask.any(axis=0)).sum()
    assert f"{hidden.sum()} entries filled" in said
    scores = found["scores"]["variables"]["sst"]
    assert scores["unit"] == "degC"
    assert list(scores["methods"]) == ["this model", *validation.BASELINES]
    for name, one in scores["methods"].items():
        assert f"{one['rmse']:.4g}" in said
        assert (one["crps"] is not None) == (name in ("this model", "optimal interpolation"))
    # The model that was exported fills the same frames alike and learns nothing; it knows the land.
    again, bare = tmp_path / "again.nc", tmp_path / "bare.nc"
    dataset().drop_vars("sea_mask").to_netcdf(bare)
    words = ["--out", again, "--samples", 8, "--seed", 3, "--model", tmp_path / "model"]
    assert inside(bare, *words) == 0
    np.testing.assert_allclose(xarray.load_dataset(again)["sst"], after["sst"], rtol=1e-4)
    assert len(few) == len(errors)


def test_a_search_that_was_stopped_goes_on(source, few, tmp_path, monkeypatch, capsys):
    words = [source, "--samples", 8, "--no-cross-validation"]
    assert inside(*words, "--out", tmp_path / "whole.nc") == 0
    whole, count = record(tmp_path / "whole.json"), len(few)
    counted = fill.Record.tried

    def stop(self, settings, error):
        counted(self, settings, error)
        if len(self.known) == 2:
            raise KeyboardInterrupt

    words += ["--out", tmp_path / "filled.nc"]
    assert "filled.json" in inside(*words, "--resume")
    monkeypatch.setattr(fill.Record, "tried", stop)
    assert inside(*words) == 130
    assert "--resume" in capsys.readouterr().out
    monkeypatch.setattr(fill.Record, "tried", counted)
    assert "filled.json" in inside(*words)  # it would be lost
    check_refusals(words, tmp_path)
    few.clear()
    assert inside(*words, "--resume") == 0
    assert len(few) == count - 2
    found = record(tmp_path / "filled.json")
    assert {**found, "seconds": 0} == {**whole, "seconds": 0}
    xarray.testing.assert_identical(
        xarray.load_dataset(tmp_path / "filled.nc"), xarray.load_dataset(tmp_path / "whole.nc")
    )


def check_refusals(words, folder):
    """Try to go on with other data, another seed, and what is no record."""
    other = dataset()
    other["sst"][0, 5, 5] += 0.5
    other.to_netcdf(folder / "other.nc")
    assert "another data" in inside(folder / "other.nc", *words[1:], "--resume")
    assert "another seed" in inside(*words, "--seed", 1, "--resume")
    kept = (folder / "filled.json").read_text()
    for text in ("{", "[]", "{}"):
        (folder / "filled.json").write_text(text)
        assert "no record" in inside(*words, "--resume")
    (folder / "filled.json").write_text(kept)


def test_settings_that_are_given_are_not_searched(source, few, tmp_path, capsys):
    words = [source, "--out", tmp_path / "filled.nc", "--no-cross-validation", "--latents", 1]
    assert inside(*words, *GIVEN, "--no-calibrate") == 0
    expected = FieldSettings(latents=1, space=1.0, time=0.1)
    found = record(tmp_path / "filled.json")
    assert found["settings"] == {**expected._asdict(), "widening": 1.0}
    assert not few
    assert "multiplied" not in capsys.readouterr().out
    field = load_field(source)
    drawn = FieldModel(expected).fit(field).sample_posterior(samples=8)
    deviation = xarray.load_dataset(tmp_path / "filled.nc")["sst_deviation"].values
    np.testing.assert_allclose(deviation, drawn.total_deviation[..., 0], rtol=1e-5)
    assert inside(*words, *GIVEN, "--overwrite") == 0
    assert record(tmp_path / "filled.json")["settings"]["widening"] != 1


def test_frames_whose_gaps_are_all_alike(source, tmp_path, capsys):
    xarray.load_dataset(source).isel(time=[0]).to_netcdf(tmp_path / "one.nc")
    words = [tmp_path / "one.nc", "--out", tmp_path / "filled.nc"]
    assert "gaps are all alike" in inside(*words)
    assert not (tmp_path / "filled.json").exists()
    assert inside(*words, *GIVEN) == 0
    said = capsys.readouterr().out
    assert "error bars are not corrected" in said
    assert "there is no cross-validation" in said


def test_settings_whose_equations_are_not_solved(source, few, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("abp_tf.fields.lattice.ITERATIONS", 0)
    words = [source, "--samples", 8, "--no-cross-validation", "--out"]
    assert inside(*words, tmp_path / "a.nc") == 0
    assert "did not converge" in capsys.readouterr().out
    found = record(tmp_path / "a.json")
    assert found["settings"]["time"] == 0
    assert {one["settings"]["time"] for one in found["tried"] if one["error"] is None} == {0.1}
    (tmp_path / "a.nc").unlink()
    count = len(few)
    assert inside(*words, tmp_path / "a.nc", "--resume") == 0  # none is tried again
    assert len(few) == count
    message = inside(*words, tmp_path / "b.nc", *GIVEN)
    assert "time=0.1" in message
    assert "Lower the setting `time`" in message
    assert "\n" not in message


def test_a_part_of_a_file(source, tmp_path):
    words = ["--times", "2001-01-02:", "--every", 2, "--region", "y=1:6", *GIVEN]
    data = dataset().assign_coords(y=np.arange(SIZE))
    data.to_netcdf(tmp_path / "a.nc")
    out = tmp_path / "filled.nc"
    assert inside(tmp_path / "a.nc", *words, "--no-cross-validation", "--out", out) == 0
    found = xarray.load_dataset(out)
    assert found["time"].dt.day.values.tolist() == [2, 4, 6]
    assert found["y"].values.tolist() == [1, 2, 3, 4, 5, 6]
    assert record(tmp_path / "filled.json")["times"] == ["2001-01-02", None]
    for wrong in (["--times", "2001"], ["--times", ":"], ["--region", "1:6"]):
        assert inside(source, *wrong, "--out", out) == 2


def test_a_field_that_takes_too_much_memory(source, tmp_path):
    field = load_field(source)
    needed = memory(field.mask, field.domain) / 2**30
    words = [source, "--out", tmp_path / "a.nc", "--memory"]
    message = inside(*words, needed / 2)
    assert "About 3 frames fit" in message
    assert "--every" in message
    assert not (tmp_path / "a.json").exists()
    alike = np.repeat(field.mask[:1], COUNT, axis=0)  # masks that share their factorization
    assert memory(alike, field.domain) < memory(field.mask, field.domain)
    assert memory(field.mask, field.domain) < memory(field.mask)


def test_variables_of_which_little_is_observed(tmp_path, capsys):
    data = dataset()
    data["salt"] = data["sst"] * np.nan
    data.to_netcdf(tmp_path / "nothing.nc")
    words = ["--variable", "sst", "salt", *GIVEN, "--out"]
    assert "received none of salt" in inside(tmp_path / "nothing.nc", *words, tmp_path / "a.nc")
    data["salt"] = data["sst"].where(data["time"] == data["time"][2])
    data.to_netcdf(tmp_path / "one.nc")  # in one frame, whose gaps cannot be moved
    assert inside(tmp_path / "one.nc", *words, tmp_path / "a.nc", "--overwrite") == 0
    assert "optimal interpolation is left out" in capsys.readouterr().out
    scores = record(tmp_path / "a.json")["scores"]["variables"]
    assert list(scores) == ["sst"]
    assert "this model" in scores["sst"]["methods"]


def test_remarks_on_the_data_come_before_learning(source, tmp_path, capsys):
    words = [*GIVEN, "--no-cross-validation", "--no-calibrate", "--overwrite"]
    words += ["--out", tmp_path / "filled.nc"]

    def said(data, *more):
        data.to_netcdf(tmp_path / "a.nc")
        assert inside(tmp_path / "a.nc", *words, *more) == 0
        return capsys.readouterr().out

    land = dataset().drop_vars("sea_mask")
    never = f"never observed at {(~observed().any(axis=0)).sum()} of {SIZE**2} positions"
    text = said(land)
    assert 0 < text.find(never) < text.find("--domain") < text.find("Settings:")
    for data, more in [
        (dataset(), []),  # the file has a mask
        (land, ["--domain", "observed"]),
        (land, ["--domain", "all"]),
        (land.isel(time=[0]), []),  # what is never observed is hidden once
    ]:
        assert "never observed at" not in said(data, *more)
    coded = land.fillna(-99)
    assert "sst is hidden, its values are from -99 to" in said(coded)
    coded["sst"].attrs["_FillValue"] = np.float32(-99)
    assert "its values" not in said(coded)


def test_one_level_of_many(tmp_path):
    levels = dataset()["sst"].expand_dims(depth=[5.0, 10.0], axis=1) * [[[[1]], [[2]]]]
    dataset().assign(sst=levels).to_netcdf(tmp_path / "a.nc")
    words = [tmp_path / "a.nc", *GIVEN, "--no-cross-validation", "--out", tmp_path / "filled.nc"]
    assert "--isel depth=0" in inside(*words)
    assert inside(*words, "--isel", "depth=1") == 0
    filled = xarray.load_dataset(tmp_path / "filled.nc")
    mask = observed()
    np.testing.assert_array_equal(filled["sst"].values[mask], levels.values[:, 1][mask])
    assert filled["depth"].item() == 10
    assert record(tmp_path / "filled.json")["isel"] == [["depth", 1]]
    assert inside(*words, "--isel", "depth") == 2


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--variable", "salt", "--out", "a.nc"], "sst"),
        (["--out", "a.txt"], "--out"),
        (["--out", "a.nc", "--domain", "land"], "sea_mask"),
        (["--out", "a.nc", "--model", "nowhere"], "nowhere"),
        (["--out", "a.nc", "--model", "sst.nc"], "sst.nc"),
        (["--out", "a.nc", "--model", "m", "--space", "1", "--export", "e"], "--export, --space"),
    ],
)
def test_what_cannot_be_done_writes_nothing(source, tmp_path, monkeypatch, words, match):
    monkeypatch.chdir(tmp_path)
    assert match in inside("sst.nc", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["sst.nc"]


@pytest.mark.parametrize("name", ["filled.nc", "filled.json", "maps.png", "model"])
def test_existing_files_stay(source, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "kept").touch()
    words = ["--out", "filled.nc", "--maps", "maps.png", "--export", "model"]
    words = [word if word[0] == "-" else tmp_path / word for word in words]
    assert f"{name} exists" in inside(tmp_path / "no file", *words)


def test_a_model_of_other_units_is_refused(source, tmp_path):
    FieldModel().fit(load_field(source)).save(tmp_path / "m.npz")
    dataset(units="K").to_netcdf(tmp_path / "kelvin.nc")
    words = ["--out", tmp_path / "a.nc", "--model", tmp_path / "m.npz"]
    message = inside(tmp_path / "kelvin.nc", *words)
    assert "'degC'" in message
    assert "'K'" in message


def test_scores_are_in_the_unit_of_each_variable():
    values = np.where(observed(), truth(), np.nan)
    field = load_field(np.stack([values, 100 - 7 * values], axis=-1), ["field_0", "field_1"])
    sigma = np.float32([1.0, 7.0])

    def perfect(given):
        assert (given.signal[~given.mask] == 0).all()  # what is hidden is never seen
        mean = np.where(field.mask, field.signal + sigma, np.nan)
        return PosteriorSamples(mean[:, None], mean, np.zeros_like(mean), sigma=sigma)

    found = validation.validate(field, perfect, seed=0)["variables"]
    one, two = (found[name]["methods"] for name in field.names)
    assert (one["this model"]["rmse"], one["this model"]["bias"]) == pytest.approx((1.0, 1.0), rel=1e-5)
    assert one["this model"]["coverage_90"] == 1
    for name in validation.BASELINES:
        np.testing.assert_allclose(two[name]["rmse"], 7 * one[name]["rmse"], rtol=1e-4)
        np.testing.assert_allclose(two[name]["bias"], -7 * one[name]["bias"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(two["this model"]["crps"], 7 * one["this model"]["crps"], rtol=1e-4)


def test_a_frame_that_has_most_of_the_error_is_named():
    field = load_field(dataset())
    held = validation.other_gaps(field.mask, 0)[0]
    frames = np.flatnonzero(held.any(axis=(1, 2, 3)))

    def wrong(weight):
        size = np.where(np.arange(COUNT) == frames[-1], weight, 1)[:, None, None, None]
        found = validation.validate(field, lambda _: field.signal + size, seed=0)["variables"]
        return found, validation.concentrated(found)

    found, [line] = wrong(100)
    label = f"2001-01-{frames[-1] + 1:02}"  # one frame a day
    assert (found["sst"]["frames"], found["sst"]["worst"]) == (len(frames), label)
    assert found["sst"]["share"] > 0.99
    assert f"{len(frames)}, {label}" in line
    assert wrong(1)[1] == []
    assert wrong(0)[0]["sst"]["worst"] != label


def test_baselines():
    times = np.array([0.0, 1.0, 3.0])
    pixels = np.array([[1.0, 2.0], [3.0, 4.0]])
    values = pixels + times[:, None, None]
    values[1, 0, 0] = np.nan
    data = xarray.DataArray(values, dims=("time", "y", "x"), coords={"time": times}, name="a")
    field = load_field(data)
    assert validation.linear(field)[1, 0, 0, 0] == pytest.approx(2.0)
    many = np.add.outer(np.arange(40.0), pixels)  # the means of pixels are drawn to 0 a little
    many[7, 0, 0] = np.nan
    assert validation.means(load_field(many))[7, 0, 0, 0] == pytest.approx(8.0, abs=0.1)
    values[:, 1, 1] = np.nan
    assert np.isfinite(validation.linear(load_field(values, domain=False))).all()


def test_other_gaps_have_few_entries_in_common():
    mask = np.random.default_rng(0).random((8, 10, 10, 1)) > 0.3
    held, shared = validation.other_gaps(mask, 2)
    chosen = np.any([gaps.moved(mask, seed) for seed in (2, 3, 4)], axis=0)  # as `choose` does
    assert held.any()
    assert not (held & ~mask).any()
    assert shared == pytest.approx((held & chosen).sum() / held.sum())
    assert shared < 1
    assert shared <= min(
        (gaps.moved(mask, s) & chosen).sum() / gaps.moved(mask, s).sum() for s in (5, 6)
    )


def test_the_command_names_it():
    program, rest = command.find(["fill", "sst.nc"])
    assert (program.module, rest) == ("train.fill", ["sst.nc"])
