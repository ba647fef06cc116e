"""The client as a program with signals of all kinds but images, against the real server."""

import json
import wave

import numpy as np
import pytest
import tensorflow as tf
import xarray
from PIL import Image

import abp_tf
from abp_tf import data, programs, qualities
from abp_tf.display import media
from abp_tf.models import draws
from export import client as program
from tests import made_fields

RATE = 8000
SEA = made_fields.sea(6, 8, 9)


@pytest.fixture
def ask(address, tmp_path):
    """Return a function that runs a command into a new directory and returns that and the arrays."""

    def run(command, model, *words):
        directory = tmp_path / f"answers-{len(list(tmp_path.glob('answers-*')))}"
        assert inside(address, command, model, "--to", directory, *words) == 0
        with np.load(directory / "answers.npz") as arrays:
            return directory, dict(arrays)

    return run


def inside(address, command, model, *words):
    words = [command, "--server", address, "--model", model, *words]
    with pytest.raises(SystemExit) as ending:
        programs.run(program.main, [str(word) for word in words])
    return ending.value.code


def heard(path):
    """The rate and the samples of a WAV file."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return file.getframerate(), samples / 32768


def files(directory):
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def bell(tmp_path):
    """A recording of two windows and a bit; its path, and what it holds."""
    values = 0.8 * np.sin(np.arange(200) / 5) * np.exp(-np.arange(200) / 150)
    media.save_wav(tmp_path / "bell.wav", values, RATE)
    return tmp_path / "bell.wav", np.stack(np.split(np.float32(values[:192]), 2))[..., None]


@pytest.fixture
def film(tmp_path):
    """Frames with a square that moves, of another size and colour than the model's."""
    frames = np.zeros((9, 16, 16, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[4:8, number : number + 4] = 255
    np.savez(tmp_path / "film.npz", frames=frames, fps=5)
    return tmp_path / "film.npz"


def test_sounds_are_drawn_into_wav_files(ask, models):
    for words, rate in (([], media.DEFAULT_RATE), (["--rate", 11025], 11025)):
        directory, answer = ask("synthesize", "sound", "--count", 5, "--seed", 2, *words)
        np.testing.assert_allclose(answer["signal"], models["sound"].synthesize(5, seed=2), atol=1e-4)
        sounds = {f"sounds/{number}.wav" for number in range(5)}
        assert files(directory) == sounds | {"grid.png", "answers.npz"}
        found, samples = heard(directory / "sounds" / "3.wav")
        assert found == rate
        np.testing.assert_allclose(samples, answer["signal"][3, :, 0], atol=1e-4)


def test_longer_latents_make_longer_sounds(ask, tmp_path):
    np.save(tmp_path / "z.npy", np.random.default_rng(0).normal(size=(2, 9, 2)))
    directory, answer = ask("decode", "sound", "--latents", tmp_path / "z.npy", "--rate", 100)
    assert answer["signal"].shape == (2, 144, 1)
    assert heard(directory / "sounds" / "1.wav")[1].shape == (144,)


def test_a_gap_in_a_sound_is_filled(ask, models, bell):
    path, windows = bell
    words = ["--images", path, "--mask", "gap:20", "--seed", 3]
    directory, answer = ask("inpaint", "sound", *words)
    mask = abp_tf.masks.gap(2, (96,), 20, seed=3)
    assert (answer["mask"] == mask).all()
    assert answer["name"].tolist() == ["bell-1.wav", "bell-2.wav"]
    assert answer["seed"].tolist() == [3, 4]
    np.testing.assert_allclose(answer["signal"][mask], windows[mask], atol=1 / 32768)
    signals = data.load_sound(f"wav:{path}", length=96, test_share=0.0).train
    expected = models["sound"].inpaint(signals, mask, seed=3)
    np.testing.assert_allclose(answer["signal"], expected, atol=1e-4)
    assert files(directory) == {"sounds/bell-1.wav", "sounds/bell-2.wav", "grid.png", "answers.npz"}
    rate, samples = heard(directory / "sounds" / "bell-2.wav")
    assert rate == RATE  # that of the recording
    np.testing.assert_allclose(samples, answer["signal"][1, :, 0], atol=1e-4)

    directory, answer = ask("inpaint", "sound", *words, "--samples", 2)
    assert answer["seed"].tolist() == [3, 4]
    drawn = models["sound"].sample_posterior(signals, mask, seed=3)
    np.testing.assert_allclose(answer["signal"], drawn.samples[:, :2], atol=1e-4)
    assert answer["deviation"].shape == (2, 96, 1)
    folders = {name.split("/")[0] for name in files(directory) if "/" in name}
    assert folders == {"sample-1", "sample-2", "mean"}


def test_sounds_are_brought_to_a_rate(ask, models, bell):
    directory, answer = ask("reconstruct", "sound", "--signals", bell[0], "--rate", RATE / 2)
    assert answer["name"].tolist() == ["bell.wav"]
    signals = data.load_sound(f"wav:{bell[0]}", length=96, rate=RATE / 2, test_share=0.0).train
    np.testing.assert_allclose(answer["signal"], models["sound"].reconstruct(signals), atol=1e-4)
    assert heard(directory / "sounds" / "bell.wav")[0] == RATE / 2


def test_energies_of_sounds(ask, address, models, bell, tmp_path):
    _, answer = ask("refine", "energy", "--images", bell[0], "--seed", 1)
    signals = data.load_sound(f"wav:{bell[0]}", length=96, test_share=0.0).train
    np.testing.assert_allclose(answer["signal"], models["energy"].refine(signals, seed=1), atol=1e-4)
    words = ["--images", bell[0], "--json", tmp_path / "scores.json"]
    assert inside(address, "score", "energy", *words) == 0
    rows = json.loads((tmp_path / "scores.json").read_text())
    assert [row["name"] for row in rows] == ["bell-1.wav", "bell-2.wav"]
    expected = models["energy"].score(signals)
    np.testing.assert_allclose([row["score"] for row in rows], expected.score, atol=1e-4)
    np.testing.assert_allclose([row["energy"] for row in rows], expected.energy, atol=1e-4)


def test_missing_frames_are_recovered(ask, models, film):
    look = {"length": 4, "size": 8, "grey": True, "test_share": 0.0}
    signals = data.load_video(f"npz:{film}", **look).train
    directory, answer = ask("inpaint", "video", "--images", film, "--mask", "frames:0.5", "--seed", 1)
    mask = abp_tf.masks.frames(2, (4, 8, 8), 0.5, seed=1)
    assert (answer["mask"] == mask).all()
    expected = models["video"].inpaint(signals, mask, seed=1)
    np.testing.assert_allclose(answer["signal"], expected, atol=1e-4)
    assert files(directory) == {"clips/film-1.gif", "clips/film-2.gif", "grid.png", "answers.npz"}
    with Image.open(directory / "clips" / "film-1.gif") as clip:
        assert clip.size == (8, 8)
        assert clip.info["duration"] % 200 == 0  # 5 frames per second

    other = abp_tf.masks.block(2, (4, 8, 8), 3)
    np.savez(film.with_name("masks.npz"), mask=other)
    _, answer = ask("inpaint", "video", "--images", film, "--masks", film.with_name("masks.npz"))
    np.testing.assert_allclose(answer["signal"], models["video"].inpaint(signals, other), atol=1e-4)


def test_clips_from_files_that_a_client_wrote(ask, models):
    directory, drawn = ask("synthesize", "video", "--count", 3, "--rate", 4)
    folder, answer = ask("reconstruct", "video", "--images", directory / "clips")
    assert answer["name"].tolist() == ["clips-1", "clips-2", "clips-3"]
    look = {"length": 4, "size": 8, "grey": True, "test_share": 0.0}
    signals = data.load_video(f"video:{directory / 'clips'}", **look).train
    np.testing.assert_allclose(signals, drawn["signal"], atol=0.1)
    np.testing.assert_allclose(answer["signal"], models["video"].reconstruct(signals), atol=1e-4)
    assert files(folder) == {f"clips/clips-{i}.gif" for i in (1, 2, 3)} | {"grid.png", "answers.npz"}


def test_volumes_are_named_as_such(ask, models):
    directory, drawn = ask("synthesize", "volume", "--count", 2, "--kind", "volume")
    names = {f"volumes/{number}{suffix}" for number in range(2) for suffix in (".npy", ".png")}
    assert files(directory) == names | {"grid.png", "answers.npz"}
    words = ["--images", directory / "volumes", "--mask", "block:3", "--kind", "volume", "--seed", 1]
    _, answer = ask("inpaint", "volume", *words)
    assert ((~answer["mask"]).sum(axis=(1, 2, 3)) == 27).all()
    expected = models["volume"].inpaint(drawn["signal"], answer["mask"], seed=1)
    np.testing.assert_allclose(answer["signal"], expected, atol=1e-4)
    assert answer["name"].tolist() == ["0.npy", "1.npy"]
    directory, _ = ask("synthesize", "volume", "--count", 1)  # of the same shape are clips
    assert "clips/0.gif" in files(directory)


def test_fields_are_filled_in_the_units_of_their_file(ask, models, address, tmp_path):
    SEA.to_netcdf(tmp_path / "sea.nc")
    field, model = data.load_field(SEA, ["sst", "salt"]), models["field"]
    words = ["--images", f"{tmp_path / 'sea.nc'}:sst,salt", "--kind", "field", "--seed", 3]
    directory, answer = ask("inpaint", "field", *words)
    expected = model.inpaint(field, seed=3)  # at the times of the file
    np.testing.assert_allclose(answer["signal"], expected, rtol=1e-4)
    np.testing.assert_array_equal(answer["signal"][field.mask], field.signal[field.mask])
    np.testing.assert_array_equal(answer["mask"], field.mask)
    written = xarray.load_dataset(directory / "fields" / "2001-01-02.nc")
    for channel, (name, unit) in enumerate([("sst", "degC"), ("salt", "g")]):
        inside = np.where(field.domain, answer["signal"][1], np.nan)[..., channel]
        np.testing.assert_array_equal(written[name], inside)
        assert written[name].attrs["units"] == unit
    with Image.open(directory / "grid.png") as grid:
        colours = np.asarray(grid).reshape(-1, 3)
    assert (np.ptp(colours, axis=1) > 60).mean() > 0.2  # of maps, not of clipped values

    words = ["--count", 2, "--kind", "field", "--time", "2001-01-03", "11327.5"]
    directory, drawn = ask("synthesize", "field", *words)
    expected = model.synthesize(2, seed=0, time=[11325, 11327.5])
    np.testing.assert_allclose(drawn["signal"], expected, rtol=1e-4)
    assert drawn["signal"][..., 1].min() > 20
    assert files(directory) == {"fields/0.npy", "fields/1.npy", "grid.png", "answers.npz"}
    with abp_tf.Client(address, "field", value_range=None) as client:
        found = client.ask("inpaint", **field, seed=3)
        np.testing.assert_array_equal(client.inpaint(field, seed=3), found["signal"])
        np.testing.assert_array_equal(found["signal"], answer["signal"])
    # Errors are those of the median, in scaled units.
    scaled, seeds = model.scaled(field.signal, field.times), np.arange(3, 3 + len(field.signal))
    given = [tf.constant(one) for one in (scaled, np.float32(field.mask), seeds)]
    drawn = draws.draw(model, *given, qualities.QUALITIES["balanced"])
    squares = np.where(field.mask, scaled - draws.median(drawn["samples"]), 0) ** 2
    expected = squares.sum((1, 2, 3)) / np.maximum(field.mask.sum((1, 2, 3)), 1)
    np.testing.assert_allclose(found["error"], expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["reconstruct", "sound", "--images", "PLACE/none.wav"], "there is no"),
        (["synthesize", "field", "--count", "3"], "--time: expected one time, or one for each of 3"),
        (["synthesize", "field", "--time", "1", "2"], "for each of 64 signals"),
        (["reconstruct", "sound", "--images", "PLACE/short.wav"], "at least 96 samples"),
        (["reconstruct", "sound", "--images", "PLACE/bell.wav", "PLACE/slow.wav"], "--rate: expected"),
        (["reconstruct", "video", "--images", "PLACE/bell.wav"], "cannot be read as video"),
        (["inpaint", "sound", "--images", "PLACE/bell.wav", "--mask", "gap:96"], "gap of 1 to 95"),
        (
            ["inpaint", "sound", "--images", "PLACE/bell.wav", "--masks", "PLACE/m.png"],
            "FILE.npz[:KEY]",
        ),
        (
            ["inpaint", "sound", "--images", "PLACE/bell.wav", "--masks", "PLACE/m.npz"],
            "masks ('n', 96)",
        ),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(address, bell, tmp_path, words, part):
    media.save_wav(tmp_path / "short.wav", np.full(50, 0.5), RATE)
    media.save_wav(tmp_path / "slow.wav", np.full(100, 0.5), RATE / 2)
    np.savez(tmp_path / "m.npz", np.ones((2, 50), bool))
    words = [str(word).replace("PLACE", str(tmp_path)) for word in words]
    message = inside(address, *words, "--to", tmp_path / "out")
    assert message.startswith("error: ")
    assert part in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rate", ["0.5", "nan", "inf", "fast"])
def test_rates_that_are_none(rate, capsys):
    assert inside("127.0.0.1:1", "synthesize", "sound", "--to", "out", "--rate", rate) == 2
    assert "--rate" in capsys.readouterr().err
