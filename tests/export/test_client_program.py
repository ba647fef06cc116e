"""The client as a program, against the real server."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import abp_tf
from abp_tf import programs
from abp_tf.data import convert
from export import client as program
from export import signal_files

CHECKOUT = Path(__file__).resolve().parents[2]


def inside(*words):
    """Run the program in this process, as its own process would; return its exit code or message."""
    with pytest.raises(SystemExit) as ending:
        programs.run(program.main, [str(word) for word in words])
    return ending.value.code


@pytest.fixture
def ask(server, tmp_path):
    """Return a function that runs a command into a new directory and returns that and the arrays."""

    def run(command, *words, server=server):
        directory = tmp_path / f"answers-{len(list(tmp_path.glob('answers-*')))}"
        named = ["--server", server.address, "--model", "digits", "--to", directory]
        assert inside(command, *named, *words) == 0
        with np.load(directory / "answers.npz") as arrays:
            return directory, dict(arrays)

    return run


@pytest.fixture
def photos(tmp_path):
    """Images of several sizes, modes and places, one of them broken."""
    place = tmp_path / "photos"
    (place / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)).save(place / "wide.jpg")
    Image.fromarray(rng.integers(0, 255, (9, 9, 4), np.uint8), "RGBA").save(place / "clear.png")
    Image.fromarray(rng.integers(0, 65535, (8, 8), np.uint16)).save(place / "more" / "deep.png")
    Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(place / "more" / "deep.bmp")
    Image.fromarray(rng.integers(0, 255, (40, 8), np.uint8)).save(place / "10.png")
    Image.new("L", (64, 64)).save(place / "9.png")
    (place / "broken.png").write_bytes((place / "9.png").read_bytes()[:40])
    return place


NAMES = ["9.png", "10.png", "clear.png", "more/deep.bmp", "more/deep.png", "wide.jpg"]
FILES = ["9.png", "10.png", "clear.png", "more/deep.png", "more/deep-2.png", "wide.png"]


def files(directory):
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def digit_files(place, digits):
    """Write digits as files; return the folder and the signals that its pixels stand for."""
    place.mkdir()
    stored = convert.to_uint8(digits[..., 0])
    for number, image in enumerate(stored):
        Image.fromarray(image).save(place / f"{number}.png")
    return place, convert.to_signals(stored[..., None])


def test_synthesize(ask, learned, capsys):
    directory, answer = ask("synthesize", "--count", 20, "--seed", 3)
    np.testing.assert_allclose(answer["signal"], learned.synthesize(20, seed=3), atol=1e-4)
    assert answer["latent"].shape == (20, 4)
    assert answer["seed"].tolist() == list(range(3, 23))
    images = {f"images/{number:02}.png" for number in range(20)}
    assert files(directory) == images | {"grid.png", "answers.npz"}
    assert (
        pixels(directory / "images" / "07.png") == convert.to_uint8(answer["signal"][7, ..., 0])
    ).all()
    assert pixels(directory / "grid.png").ndim == 3
    out = capsys.readouterr().out
    assert "20/20" in out
    assert f"wrote images/, grid.png and answers.npz into {directory}" in out


def test_a_folder_of_odd_images(ask, learned, photos):
    with pytest.warns(UserWarning, match=r"Skipped 1 of the image files.*broken\.png"):
        directory, answer = ask("reconstruct", "--images", photos)
    assert answer["name"].tolist() == NAMES
    assert files(directory) == {f"images/{name}" for name in FILES} | {"grid.png", "answers.npz"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signals = abp_tf.data.load(f"folder:{photos}", size=8, grey=True, test_share=0).train
    np.testing.assert_allclose(answer["signal"], learned.reconstruct(signals), atol=1e-4)
    np.testing.assert_allclose(answer["latent"], learned.infer(signals), atol=1e-4)
    for signal, name in zip(answer["signal"], FILES, strict=True):
        assert (pixels(directory / "images" / name) == convert.to_uint8(signal[..., 0])).all()


def test_single_files(ask, learned, photos, digits, tmp_path):
    place, signals = digit_files(tmp_path / "digits", digits[:3])
    _, answer = ask("reconstruct", "--seed", 4, "--images", place / "2.png", place / "0.png")
    assert answer["name"].tolist() == ["2.png", "0.png"]
    expected = learned.reconstruct(signals[[2, 0]], seed=4)
    np.testing.assert_allclose(answer["signal"], expected, atol=1e-4)


def test_masks_drawn_at_random(ask, learned, digits, tmp_path):
    place, signals = digit_files(tmp_path / "digits", digits[:12])
    directory, answer = ask("inpaint", "--images", place, "--mask", "pepper:0.5", "--seed", 2)
    mask = abp_tf.masks.pepper(12, (8, 8), 0.5, seed=2)
    assert (answer["mask"] == mask).all()
    assert answer["seed"].tolist() == list(range(2, 14))
    np.testing.assert_allclose(answer["signal"], learned.inpaint(signals, mask, seed=2), atol=1e-4)
    assert (answer["signal"][mask] == signals[mask]).all()
    assert len(files(directory)) == 12 + 2


def test_masks_from_files(ask, learned, digits, tmp_path):
    place, signals = digit_files(tmp_path / "digits", digits[:3])
    mask = abp_tf.masks.pepper(3, (8, 8), 0.5)
    folder = tmp_path / "masks"
    folder.mkdir()
    for number, one in enumerate(mask):
        # Twice as large and not quite black and white, as a scan would be.
        grey = np.where(one, 240, 10).astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
        Image.fromarray(grey).save(folder / f"{number}.bmp")
    _, answer = ask("inpaint", "--images", place, "--masks", folder)
    assert (answer["mask"] == mask).all()
    np.testing.assert_allclose(answer["signal"], learned.inpaint(signals, mask), atol=1e-4)

    _, answer = ask("inpaint", "--images", place, "--masks", folder / "1.bmp")
    assert (answer["mask"] == mask[[1, 1, 1]]).all()


def test_samples(ask, learned, digits, tmp_path):
    place, signals = digit_files(tmp_path / "digits", digits[:2])
    words = ["--images", place, "--mask", "block:4", "--samples", 3, "--seed", 1]
    directory, answer = ask("inpaint", *words)
    mask = abp_tf.masks.block(2, (8, 8), 4, seed=1)
    assert answer["seed"].tolist() == [1, 2]
    # The first of the samples that one request returns, as many as the export has.
    drawn = learned.sample_posterior(signals, mask, seed=1, samples=4, chains=2)
    np.testing.assert_allclose(answer["signal"], drawn.samples[:, :3], atol=1e-4)
    np.testing.assert_allclose(answer["mean"], answer["signal"].mean(axis=1))
    np.testing.assert_allclose(answer["deviation"], answer["signal"].std(axis=1))
    expected = convert.to_uint8(answer["signal"][1, 2, ..., 0])
    assert (pixels(directory / "sample-3" / "1.png") == expected).all()
    folders = ["sample-1", "sample-2", "sample-3", "mean", "deviation"]
    images = {f"{folder}/{number}.png" for folder in folders for number in range(2)}
    assert files(directory) == images | {"grid.png", "answers.npz"}
    expected = np.rint(answer["deviation"][1, ..., 0] * 255)
    assert abs(pixels(directory / "deviation" / "1.png") - expected).max() <= 1
    assert (pixels(directory / "deviation" / "1.png")[mask[1]] == 0).all()


def test_decode_what_another_command_wrote(ask, tmp_path):
    directory, drawn = ask("synthesize", "--count", 5)
    for argument in (directory / "answers.npz", f"{directory / 'answers.npz'}:latent"):
        _, answer = ask("decode", "--latents", argument)
        np.testing.assert_allclose(answer["signal"], drawn["signal"], atol=1e-4)
    np.save(tmp_path / "z.npy", drawn["latent"][:2])
    _, answer = ask("decode", "--latents", tmp_path / "z.npy")
    assert len(answer["signal"]) == 2


def test_refine(ask, energy, energy_server, digits, tmp_path):
    place, signals = digit_files(tmp_path / "digits", digits[:12])
    directory, answer = ask("refine", "--images", place, "--seed", 3, server=energy_server)
    np.testing.assert_allclose(answer["signal"], energy.refine(signals, seed=3), atol=1e-4)
    assert np.abs(answer["signal"] - signals).max() > 0.1
    assert answer["seed"].tolist() == list(range(3, 15))
    images = {f"images/{number}.png" for number in range(12)}
    assert files(directory) == images | {"grid.png", "answers.npz"}
    stored = pixels(directory / "images" / "11.png")
    assert (stored == convert.to_uint8(answer["signal"][11, ..., 0])).all()


def test_score(energy, energy_server, digits, tmp_path, capsys):
    place, signals = digit_files(tmp_path / "digits", digits[:12])
    expected = energy.score(signals)
    words = ["score", "--server", energy_server.address, "--model", "digits", "--images", place]
    assert inside(*words) == 0
    title, *lines = (line.split() for line in capsys.readouterr().out.splitlines())
    assert title == ["score", "energy", "name"]
    order = np.argsort(expected.energy)
    assert [name for *_, name in lines] == [f"{number}.png" for number in order]
    told = [[float(value) for value in line[:2]] for line in lines]
    np.testing.assert_allclose(told, np.transpose(expected)[order], atol=1e-4)

    file = tmp_path / "scores.json"
    assert inside(*words, "--json", file) == 0
    rows = json.loads(file.read_text())
    assert [row["name"] for row in rows] == [f"{number}.png" for number in range(12)]
    np.testing.assert_allclose([row["score"] for row in rows], expected.score, atol=1e-4)
    np.testing.assert_allclose([row["energy"] for row in rows], expected.energy, atol=1e-4)
    assert "--json: expected a file that does not exist" in inside(*words, "--json", file)


def test_status(server, capsys):
    assert inside("status", "--server", server.address, "--model", "digits") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["version", "state", "error"], ["1", "AVAILABLE"]]
    message = inside("status", "--server", server.address, "--model", "digits", "--version", 7)
    assert "NOT_FOUND" in message


def test_nothing_is_overwritten_and_the_server_not_even_asked(tmp_path):
    taken, file = tmp_path / "taken", tmp_path / "file"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    file.write_text("mine")
    for path in (taken, file):
        message = inside("synthesize", "--server", "127.0.0.1:1", "--model", "digits", "--to", path)
        assert message.startswith("error: --to: expected a directory that is new or empty")
    assert files(tmp_path) == {"taken/mine.txt", "file"}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["synthesize", "--count", 0], "--count: expected 1 or more"),
        (["synthesize", "--timeout", 0], "timeout above 0"),
        (["synthesize", "--tls-root", "PLACE/none.pem"], "none.pem"),
        (["synthesize", "--version", 9], "NOT_FOUND"),
        (["reconstruct", "--images", "PLACE/none"], "there is no"),
        (["refine", "--images", "PLACE/good.png"], "a model that can refine images"),
        (["reconstruct", "--images", "PLACE/empty"], "found none"),
        (["reconstruct", "--images", "PLACE/broken.png"], "None of the 1 image files can be read"),
        (["inpaint", "--images", "PLACE/good.png", "--mask", "dots:3"], "'dots:3'"),
        (["inpaint", "--images", "PLACE/good.png", "--masks", "PLACE/none"], "there is no"),
        (["inpaint", "--images", "PLACE/good.png", "--masks", "PLACE/other"], "found none for 1"),
        (
            ["inpaint", "--images", "PLACE/good.png", "--mask", "pepper:0.5", "--samples", 0],
            "`samples` expected a number of 1 or more",
        ),
        (["decode", "--latents", "PLACE/none.npy"], "there is no file"),
        (["decode", "--latents", "PLACE/good.png"], "expected a NumPy file"),
        (["decode", "--latents", "PLACE/torn.npz"], "expected a NumPy file"),
        (["decode", "--latents", "PLACE/a.npz"], "expected one of the arrays ['z']"),
        (["decode", "--latents", "PLACE/a.npz:z"], "latent: expected float32 of shape ('n', 4)"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(server, tmp_path, words, part):
    place = tmp_path / "place"
    for folder in ("empty", "black", "other"):
        (place / folder).mkdir(parents=True)
    Image.new("L", (8, 8)).save(place / "good.png")
    Image.new("L", (8, 8)).save(place / "black" / "good.png")
    Image.new("L", (8, 8), 255).save(place / "other" / "better.png")
    (place / "broken.png").write_bytes(b"\x89PNG")
    np.savez(place / "a.npz", z=np.zeros((2, 3)))
    (place / "torn.npz").write_bytes((place / "a.npz").read_bytes()[:100])
    command, *rest = [str(word).replace("PLACE", str(place)) for word in words]
    options = ["--server", server.address, "--model", "digits", "--to", tmp_path / "out"]
    message = inside(command, *options, *rest)
    assert message.startswith("error: ")
    assert part in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["paint"],
        ["synthesize", "--model", "digits"],
        ["inpaint", "--model", "m", "--to", "o", "--images", "a", "--mask", "block:2", "--masks", "b"],
    ],
)
def test_wrong_options(words, capsys):
    assert inside(*words) == 2
    assert "usage: export.client" in capsys.readouterr().err


def test_a_mask_is_needed_but_for_fields():
    message = inside("inpaint", "--model", "digits", "--to", "out", "--images", "a.png")
    assert "--mask, --masks" in message


def test_signals_that_cannot_be_shown(tmp_path, capsys):
    stereo = np.zeros((2, 100, 2), np.float32)
    signal_files.write(tmp_path / "out", signal_files.Output({"signal": stereo}, {"signals": stereo}))
    assert files(tmp_path) == {"out/answers.npz"}
    assert "no files of signals of shape (100, 2)" in capsys.readouterr().out


def test_help_names_all_masks(capsys):
    assert inside("inpaint", "--help") == 0
    out = capsys.readouterr().out
    assert all(form in out for form in ("pepper:P", "squares:P:SIDE", "block:SIDE", "frames:P", "gap:"))


def test_a_server_that_is_not_there_ends_the_process_with_one_line(tmp_path):
    words = ["synthesize", "--server", "127.0.0.1:1", "--model", "digits", "--to", tmp_path / "out"]
    child = subprocess.run(
        [sys.executable, "-m", "train.command", "client", *map(str, words)],
        cwd=CHECKOUT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert child.returncode == 1
    assert child.stdout == ""
    assert "Traceback" not in child.stderr
    last = child.stderr.strip().splitlines()[-1]
    assert last.startswith("error: Request to 127.0.0.1:1 for the model 'digits': UNAVAILABLE")
    assert "abp-tf serve --model digits=DIRECTORY --port 1" in last
    assert not (tmp_path / "out").exists()
