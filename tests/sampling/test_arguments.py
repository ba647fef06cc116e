import pytest

from abp_tf import Langevin


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1, "step_size": 0.1}, r"`steps`.*received -1"),
        ({"steps": 1.5, "step_size": 0.1}, r"`steps`.*received 1\.5"),
        ({"steps": True, "step_size": 0.1}, r"`steps`.*received True"),
        ({"steps": 1, "step_size": 0.0}, r"`step_size`.*received 0\.0.*steps=0"),
        ({"steps": 1, "step_size": float("inf")}, r"`step_size`.*received inf"),
        ({"steps": 1, "step_size": 0.1, "temperature": -1}, r"`temperature`.*received -1"),
        ({"steps": 1, "step_size": 0.1, "cool": -1}, r"`cool`.*received -1"),
    ],
)
def test_impossible_langevin_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Langevin(**options)
