"""Maps of fields: which rows and frames are drawn, and where there is nothing to draw."""

import numpy as np
import pytest
from PIL import Image

from abp_tf.data import load_field
from abp_tf.display import maps
from abp_tf.results import PosteriorSamples

xarray = pytest.importorskip("xarray")


@pytest.fixture
def field():
    """Six frames with more and more hidden rows, none of them on land, which is the last column."""
    values = np.random.default_rng(0).normal(15, 1, (6, 8, 9))
    for frame in range(6):
        values[frame, : frame + 1] = np.nan
    values[..., -1] = np.nan
    attributes = {"units": "K"}
    return load_field(
        xarray.Dataset(
            {
                "sst": (("time", "lat", "lon"), values, attributes),
                "mask": (("lat", "lon"), np.ones((8, 9)) * (np.arange(9) < 8)),
            },
            {
                "time": np.datetime64("2001-01-01", "ns") + np.arange(6) * np.timedelta64(1, "D"),
                "lat": ("lat", np.linspace(60, 58, 8), {"units": "degrees_north"}),
                "lon": ("lon", np.linspace(0, 2, 9), {"units": "degrees_east"}),
            },
        )
    )


@pytest.fixture
def drawn(field):
    samples = np.full((6, 4, *field.shape), 15, np.float32)
    return PosteriorSamples(samples, samples[:, 0], np.full(field.signal.shape, 0.5, np.float32))


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn."""
    found, draw = [], maps._figure
    monkeypatch.setattr(maps, "_figure", lambda *args: found.append(draw(*args)) or found[-1])
    return found


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_rows_frames_and_units(tmp_path, field, drawn, figures):
    maps.save_maps(tmp_path / "a.png", field, drawn)
    [figure] = figures
    places = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert len(places) == 12
    assert [axes.get_title() for axes in places[:4]] == [f"2001-01-0{day}" for day in (1, 3, 4, 6)]
    assert [axes.get_ylabel().split("\n")[0] for axes in places[::4]] == [
        "observed",
        "filled",
        "deviation",
    ]
    assert places[0].get_ylabel().endswith("lat [degrees_north]")
    assert places[-1].get_xlabel() == "lon [degrees_east]"
    assert [axes.get_ylabel() for axes in bars] == ["sst [K]", "sst [K]", "deviation of sst [K]"]
    assert places[0].get_aspect() == pytest.approx(1 / np.cos(np.radians(59)))
    assert places[0].get_ylim()[0] < places[0].get_ylim()[1]  # north is up
    red, green, blue = np.moveaxis(pixels(tmp_path / "a.png"), -1, 0)
    assert np.mean((red == 191) & (green == 191) & (blue == 191)) > 0.01  # land
    assert np.mean(red - np.maximum(green, blue) > 120) > 0.001  # outlines


def test_what_is_drawn(tmp_path, field, drawn, figures):
    truth = np.where(field.mask | field.domain, np.float32(14), np.nan)
    maps.save_maps(tmp_path / "a.png", field, drawn, truth=truth, noise=1.2, frames=[2])
    places = [axes for axes in figures[0].axes if axes.get_label() != "<colorbar>"]
    truth, observed, filled, deviation = (axes.collections[1].get_array() for axes in places)
    assert np.ma.getmaskarray(observed)[:3].all()
    assert not np.ma.getmaskarray(observed)[3:, :-1].any()
    np.testing.assert_allclose(observed[3:, :-1], field.signal[2, 3:, :-1, 0])
    np.testing.assert_allclose(filled[:3, :-1], 15)
    np.testing.assert_allclose(filled[3:, :-1], observed[3:, :-1])
    np.testing.assert_allclose(deviation[:3, :-1], 1.3)
    np.testing.assert_allclose(deviation[3:, :-1], 0)
    np.testing.assert_allclose(truth[:, :-1], 14)
    for one in (truth, observed, filled, deviation):
        assert np.ma.getmaskarray(one)[:, -1].all()


def test_arrays_are_drawn_from_the_top(tmp_path, figures):
    field = load_field(np.where(np.eye(5), np.nan, np.arange(5.0)))
    samples = np.zeros((1, 2, *field.shape), np.float32)
    drawn = PosteriorSamples(samples, samples[:, 0], samples[:, 0])
    maps.save_maps(tmp_path / "a.png", field, drawn)
    place = figures[0].axes[0]
    assert place.get_ylim()[0] > place.get_ylim()[1]
    assert place.get_title() == "frame 0"
    assert maps._axis(field, "y", 5).label == "y"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channel": 1}, "0 to 0, received 1"),
        ({"frames": [6]}, "0 to 5, received 6"),
        ({"frames": []}, "none"),
        ({"frames": [-1]}, "-1"),
        ({"truth": np.zeros((6, 8, 9))}, r"\(6, 8, 9, 1\), received \(6, 8, 9\)"),
        ({"noise": -1}, "-1"),
    ],
)
def test_what_is_refused(tmp_path, field, drawn, options, message):
    with pytest.raises(ValueError, match=message):
        maps.save_maps(tmp_path / "a.png", field, drawn, **options)
    assert not list(tmp_path.iterdir())
