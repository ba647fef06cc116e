"""Codes of stored numbers: which are missing, what they mean, and that packing keeps them."""

import numpy as np
import pytest

from abp_tf.data.packing import Packing

HUGE = 9.969209968386869e36


def observed(codes, **attributes):
    codes = np.asarray(codes)
    packing = Packing.of(codes.dtype, attributes)
    return packing.observed(packing.codes(codes)).tolist()


def test_what_is_missing():
    assert observed(np.float32([1, np.nan, 1e20]), missing_value=1e20) == [True, False, False]
    assert observed(np.float64([1, -999, -9]), _FillValue=-999.0, missing_value=-9.0) == [
        True,
        False,
        False,
    ]
    assert observed(np.int16([1, -1, -2, -3]), missing_value=np.int16([-1, -2])) == [
        True,
        False,
        False,
        True,
    ]
    assert observed(np.int16([1, -999]), missing_value=-999.5) == [True, True]
    assert observed(np.int16([1, 7]), missing_value=1e9) == [True, True]
    assert observed(np.float32([1, HUGE])) == [True, False]
    assert observed(np.float32([1, HUGE]), _FillValue=np.float32(0)) == [True, True]
    assert observed(np.int16([1, -32767])) == [True, False]
    assert observed(np.float32([1]), missing_value="none", valid_range="0, 1") == [True]


def test_what_is_out_of_the_valid_range():
    assert observed(np.float32([-1, 0, 45.1, 46]), valid_range=np.float64([0, 45.1])) == [
        False,
        True,
        True,
        False,
    ]
    assert observed(np.int16([-1, 0, 5]), valid_min=np.int16(0), valid_max=np.int16(4)) == [
        False,
        True,
        False,
    ]
    # A range of floats for integers is in the units of the values.
    assert observed(np.int16([100, 300]), valid_max=2.0, scale_factor=0.01) == [True, False]
    assert observed(np.int16([100, -300]), valid_max=2.0, scale_factor=-0.01) == [True, False]
    # An infinite value is not missing: it is reported.
    assert observed(np.float32([np.inf]), valid_max=3.0) == [True]


def test_unsigned():
    attributes = {"_Unsigned": "true", "_FillValue": np.int8(-1), "valid_range": np.int8([1, -6])}
    stored = np.array([-1, 100, -100, 0, -6, -5], np.int8)
    packing = Packing.of(stored.dtype, {**attributes, "scale_factor": 0.5})
    codes = packing.codes(stored)
    assert packing.observed(codes).tolist() == [False, True, True, False, True, False]
    assert packing.values(codes)[1:3].tolist() == [50, 78]
    found, outside = packing.pack(np.array([50.0, 78.0, 127.0, -3.0]))
    assert (found.tolist(), outside) == ([100, 156, 250, 1], 2)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize(("scale", "offset"), [(0.01, 273.15), (1.0, 0.0), (-0.004, 0.0)])
def test_packing_a_value_gives_its_code(dtype, scale, offset):
    codes = np.arange(-100 if dtype != "u1" else 0, 200).astype(dtype)
    packing = Packing.of(
        codes.dtype, {"scale_factor": scale, "add_offset": offset, "_FillValue": codes[7]}
    )
    kept = codes[packing.observed(codes)]
    assert len(kept) == len(codes) - 1
    found, outside = packing.pack(packing.values(kept))
    assert (found.dtype, outside) == (codes.dtype, 0)
    np.testing.assert_allclose(found, kept, rtol=1e-5, atol=0 if dtype[0] != "f" else 1e-2)


@pytest.mark.parametrize(
    ("dtype", "attributes", "values", "expected", "outside"),
    [
        ("u1", {"_FillValue": np.uint8(0)}, [-3, 0, 0.2, 300], [1, 1, 1, 255], 2),
        (
            "u1",
            {"_FillValue": np.uint8(255), "missing_value": np.uint8(254)},
            [255, 254, 9],
            [253, 253, 9],
            0,
        ),
        ("i2", {"_FillValue": np.int16(-32768)}, [-40000, 40000], [-32767, 32767], 2),
        (
            "i2",
            {"_FillValue": np.int16(-32768), "missing_value": np.int16(-32767)},
            [-1e9],
            [-32766],
            1,
        ),
        ("i8", {"_FillValue": np.int64(0)}, [1e30, 2.6], [9223372036854774784, 3], 1),
        ("f4", {"_FillValue": np.float32(0)}, [0, 2], [-1e-45, 2], 0),
        ("f4", {"valid_range": np.float32([0, 1])}, [-0.1, 0.5, 1.25], [0, 0.5, 1], 2),
    ],
)
def test_no_value_becomes_a_code_of_missing_ones(dtype, attributes, values, expected, outside):
    packing = Packing.of(np.dtype(dtype), attributes)
    found, beyond = packing.pack(np.array(values, np.float64))
    np.testing.assert_array_equal(found, np.array(expected, dtype))
    assert beyond == outside
    assert packing.observed(found).all()


def test_big_endian_numbers_are_as_good():
    stored = np.array([1, -999], ">f4")
    packing = Packing.of(stored.dtype, {"_FillValue": np.float32(-999)})
    assert packing.codes(stored).dtype == np.float32
    assert packing.observed(packing.codes(stored)).tolist() == [True, False]
