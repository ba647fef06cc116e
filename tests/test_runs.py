"""Run directories that are not as their program left them."""

import json

import pytest

from abp_tf import data, files, runs

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


LEFT = (".0123abcd.part.json", ".0123abce.part.keras")  # without the lock of a living writer


def test_a_run_that_was_killed_before_it_had_settings_is_begun(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LEFT[0]).write_text("{")
    run = runs.Run.create(
        tmp_path / "run", "generator", WHOLE["settings"], data.load("digits", limit=4)
    )
    assert {path.name for path in run.path.iterdir()} == {"config.json", "pictures"}


def test_what_kills_left_is_removed_and_what_is_written_now_is_kept(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(WHOLE))
    (tmp_path / "pictures").mkdir()
    for name in (*LEFT, f"pictures/{LEFT[0]}"):
        (tmp_path / name).touch()
    with files.aside(tmp_path / "model.keras") as path:
        runs.Run.open(tmp_path)
        assert path.exists()
        assert {one.name for one in tmp_path.rglob("*")} == {"config.json", "pictures", path.name}
