"""Fields whose frames are read when they are needed."""

import json

import keras
import numpy as np
import pytest

import abp_tf
from abp_tf import data, programs, runs
from abp_tf.data import LazyRows, folder_rows
from tests import made_fields
from train import generator, recover

COUNT, HEIGHT, WIDTH = 12, 8, 9


@pytest.fixture
def sea(tmp_path):
    """Return a folder with the frames of a field in three files."""
    pytest.importorskip("xarray")
    whole = made_fields.sea(COUNT, HEIGHT, WIDTH)
    (tmp_path / "sea").mkdir()
    for number, part in enumerate((slice(0, 5), slice(5, 6), slice(6, None))):
        whole.isel(time=part).to_netcdf(tmp_path / "sea" / f"{number}.nc")
    return tmp_path / "sea"


def inside(main, *words):
    with pytest.raises(SystemExit) as ending:
        programs.run(main, [str(word) for word in words])
    return ending.value.code


@pytest.mark.parametrize("domain", [None, "observed", False])
def test_frames_are_those_of_a_field_in_memory(sea, domain):
    variables = ["sst", "salt"]
    now = data.load_field(sea, variables, domain=domain, every=2)
    later = data.lazy_field(sea, variables, domain=domain, every=2)
    assert "read when" in repr(later)
    for name in ("signal", "mask"):
        rows, array = getattr(later, name), getattr(now, name)
        assert isinstance(rows, LazyRows)
        for key in (slice(None), [4, 0, 4, 2], -1):
            np.testing.assert_array_equal(rows[key], array[key])
    for name in ("domain", "times", "names", "units"):
        np.testing.assert_array_equal(getattr(later, name), getattr(now, name))
    with pytest.raises(ValueError, match="in memory"):
        later.save("never.nc", None)
    for by in ("deviation", "range"):
        options = {"positions": True, "period": 9, "by": by}
        one, other = abp_tf.Scaling.of(now, **options), abp_tf.Scaling.of(later, **options)
        for name in ("centre", "unit", "waves"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-5)


def test_load_fields_reads_what_is_large_lazily(sea, monkeypatch):
    spec = f"field:{sea}:sst,salt"
    now, later = (data.load_fields(spec, limit=10, lazy=lazy) for lazy in (False, True))
    assert later.names == now.names
    assert later.header == now.header
    for name in ("train", "test", "train_mask", "test_mask", "train_time", "test_time"):
        np.testing.assert_array_equal(getattr(later, name), getattr(now, name))
    assert isinstance(later.train_mask, LazyRows)
    like = {**now.header, "shape": now.train.shape[1:]}
    found = data.load_fields(spec, like=like, lazy=True, test_share=0)
    np.testing.assert_array_equal(found.train[:9], now.train)
    assert not isinstance(data.load_fields(spec, lazy=None).train, LazyRows)
    monkeypatch.setattr(folder_rows, "BYTES", COUNT * HEIGHT * WIDTH * 2 * 4 - 1)
    assert isinstance(data.load_fields(spec, lazy=None).train, LazyRows)
    with pytest.raises(ValueError, match="whole"):
        data.load_fields(spec, lazy=True, whole=True)


def test_fit_learns_the_same(sea, assert_same_state):
    fields = [read(sea, "sst") for read in (data.load_field, data.lazy_field)]
    scaling, models = abp_tf.Scaling.of(fields[0]), []
    for field in fields:
        keras.utils.set_random_seed(0)
        network = abp_tf.networks.field_generator(field.shape, global_dim=2, local=[(2, 2)], width=4)
        model = abp_tf.Generator(network, scaling=scaling, langevin=abp_tf.Langevin(2, 0.1))
        model.compile(optimizer=keras.optimizers.Adam(1e-3))
        model.fit(field, batch_size=4, epochs=1, verbose=0)
        models.append(model)
    assert_same_state(*models)


def test_programs_learn_and_recover(sea, tmp_path, monkeypatch):
    words = f"--kind field --data field:{sea}:sst --mask moved --epochs 1 --width 2 --lazy --steps 2"
    words += " --latent-dim 2 --local 2x1 --inference-steps 3 --inference-cool 1 --curve-every 1"
    words += " --steps-per-epoch 2 --batch-size 4 --test-share 0.2"
    assert inside(generator.main, "--run", tmp_path / "run", *words.split()) == 0
    assert runs.Run.open(tmp_path / "run").config["settings"]["lazy"] is True
    monkeypatch.setattr(recover, "_ROWS", 3)
    words = ["--run", tmp_path / "run", "--data", "train", "--samples", 4, "--mask", "block:3"]
    assert inside(recover.main, *words, "--out", tmp_path / "out") == 0
    told = json.loads((tmp_path / "out" / "recovery.json").read_text())
    assert told["images"] == 10
    field = data.load_field(tmp_path / "out" / "recovered.nc", "sst", domain=False)
    with np.load(tmp_path / "out" / "recovery.npz") as arrays:
        np.testing.assert_array_equal(field.signal, np.nan_to_num(arrays["recovered"]))
    assert (data.load_field(tmp_path / "out" / "deviation.nc", "sst").signal >= 0).all()
