"""What comes of the odd files of `tests/odd_files.py`."""

import tracemalloc

import pytest

from tests import odd_files


@pytest.mark.parametrize("name", odd_files.FILES)
def test_odd_files(tmp_path, name):
    odd = odd_files.FILES[name]
    spec = odd.make(tmp_path)
    tracemalloc.start()
    try:
        if isinstance(odd.right, str):
            with pytest.raises((ValueError, OSError), match=odd.right):
                odd.load(spec, **odd.options)
        else:
            assert odd.right(odd.load(spec, **odd.options))
        assert tracemalloc.get_traced_memory()[1] < odd_files.MEMORY
    finally:
        tracemalloc.stop()
