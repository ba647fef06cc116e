"""Run directories that are not as their program left them."""

import json

import pytest

from abp_tf import runs

WHOLE = {"program": "generator", "settings": {"kind": "image", "data": "digits", "seed": 0}, "data": {}}
DAMAGED = {
    "nothing": b"",
    "half": json.dumps(WHOLE).encode()[:40],
    "bytes": b"\xff\xfe\0\0",
    "list": b"[]",
    "deep": b"[" * 100_000,
    "no settings": json.dumps({**WHOLE, "settings": None}).encode(),
    "no kind": json.dumps({**WHOLE, "settings": {"data": "digits"}}).encode(),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_settings(tmp_path, name):
    (tmp_path / "config.json").write_bytes(DAMAGED[name])
    with pytest.raises(ValueError, match=r"config\.json.*damaged"):
        runs.Run.open(tmp_path)


def test_whole_settings(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(WHOLE))
    assert runs.Run.open(tmp_path).config == WHOLE
