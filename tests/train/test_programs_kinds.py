"""Textures, sounds and clips through the programs: learn, resume, evaluate, recover."""

import contextlib
import functools
import io
import json

import numpy as np
import pytest
from PIL import Image

from abp_tf import Mdct, programs, runs, signals
from abp_tf.data import load_field
from tests import made_fields
from train import coopnets, descriptor, evaluate, generator, recover

pytestmark = pytest.mark.usefixtures("loaded_once")
LATENT = "--latent-dim 2 --inference-steps 4 --inference-cool 2 --curve-every 1".split()
PROGRAMS = {generator: LATENT, descriptor: "--pool 4 --inference-steps 4".split(), coopnets: LATENT}
# Of each kind: data and networks; the mask of train.recover; suffix of what is written.
KINDS = {
    "texture": (
        "--data brick --size 32 --patch 32 --patches 6 --levels 3 --kernel-size 3".split(),
        "block:12",
        "png",
    ),
    "sound": ("--length 1200 --factors 4 10 --test-share 0.3".split(), "gap:200", "wav"),
    "video": (
        "--length 8 --size 16 --levels 2 --time-levels 1 --stationary".split(), "frames:0.5", "gif"
    ),
    "volume": ("--levels 2 --test-share 0.3".split(), "block:4", "npy"),
    "field": (["--period", 9], "moved", "nc"),
}  # fmt: skip
SHAPES = {
    "texture": (32, 32, 1), "sound": (1200, 1), "video": (8, 16, 16, 3), "volume": (8, 12, 8, 1),
    "field": (9, 11, 2),
}  # fmt: skip


def inside(module, *words):
    """Run a program in this process, as its own process would; return its exit code or message."""
    with pytest.raises(SystemExit) as ending:
        programs.run(module.main, [str(word) for word in words])
    return ending.value.code


def blobs(count, shape):
    """Volumes with one bright ball each, uint8."""
    random = np.random.default_rng(0)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    centres = random.uniform(0.3, 0.7, (count, 1, 1, 1, 3)) * shape
    squares = ((places - centres) ** 2).sum(axis=-1)
    return np.uint8(255 * np.exp(-squares / 8))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A recording of chirps, and one of a moving square, as arrays beside their rates."""
    place = tmp_path_factory.mktemp("sources")
    time = np.arange(9000) / 8000
    np.savez(place / "sound.npz", sound=np.float32(0.5 * np.sin(3000 * time**2)), rate=8000)
    clip = np.zeros((40, 16, 16, 3), np.uint8)
    for number, frame in enumerate(clip):
        frame[number % 12 : number % 12 + 4, 4:8] = 255
    np.savez(place / "video.npz", frames=clip, fps=12)
    np.savez(place / "volume.npz", blobs(7, (8, 12, 8)))
    made_fields.sea(20, 9, 11).to_netcdf(place / "field.nc")
    return place


def words_of(program, kind, sources):
    words = ["--kind", kind, *KINDS[kind][0], "--width", 4, "--steps", 2, "--epochs", 1]
    words += ["--steps-per-epoch", 2]
    words += [*PROGRAMS[program], "--batch-size", 4, "--picture-every", 1]
    if kind != "texture":
        words += ["--data", f"npz:{sources / kind}.npz"]
    if kind == "field":
        words[-1] = f"field:{sources / 'field.nc'}:sst,salt"
    if program is coopnets:
        words += ["--descriptor-width", 4]
    if program is descriptor:  # which has no top-down network
        for name, values in (("levels", 1), ("factors", 2), ("time-levels", 1), ("kernel-size", 1)):
            if f"--{name}" in words:
                at = words.index(f"--{name}")
                del words[at : at + values + 1]
        if kind == "texture":  # three levels see more than there is
            words += ["--levels", 2]
    return words


@pytest.fixture(scope="module")
def made(sources, tmp_path_factory):
    """Return a function that makes, once, a run of a program on a kind, and tells what it said."""

    @functools.cache
    def make(program, kind):
        path, said = tmp_path_factory.mktemp("runs") / kind, io.StringIO()
        with contextlib.redirect_stdout(said):
            assert inside(program, "--run", path, *words_of(program, kind, sources)) == 0
        return path, said.getvalue()

    return make


# The models themselves are tried with all kinds elsewhere.
CASES = [
    (generator, "sound"),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            *((generator, kind) for kind in KINDS if kind != "sound"),
            (descriptor, "texture"),
            (coopnets, "sound"),
            (coopnets, "field"),
        )
    ),
]
OTHERS = [kind for kind in KINDS if kind != "sound"]


def test_noise_of_sounds_has_a_sigma_for_each_band_of_frequency(sources, tmp_path):
    words = [*words_of(generator, "sound", sources), "--bands", 32, "--epochs", 3]
    assert inside(generator, "--run", tmp_path / "run", *words, "--mask", "gap:200") == 0
    model = runs.Run.open(tmp_path / "run").load_model()
    assert model.bands == Mdct(32)
    # σ has fallen to the levels of the bands: the chirps are below 1 kHz, of 4.
    sigma = np.array(model.sigma)
    assert sigma.shape == (16,)
    assert sigma[-1] < 0.5 * sigma[0]
    out, given = tmp_path / "out", ["--run", tmp_path / "run", "--data", "train", "--count", 2]
    assert inside(recover, *given, "--out", out) == 0
    assert len(list((out / "recovered").glob("*.wav"))) == 2
    assert inside(evaluate, "--run", tmp_path / "run", "--count", 2) == 0


@pytest.mark.slow
def test_a_learned_prior_of_neighbours_draws_larger_textures(sources, tmp_path):
    words = [*words_of(generator, "texture", sources), "--learn-prior", "--epochs", 3]
    assert inside(generator, "--run", tmp_path / "run", *words) == 0
    run = runs.Run.open(tmp_path / "run")
    assert np.any(run.load_model().prior.network.trainable_variables[-1].numpy())
    with Image.open(run.pictures / "larger.png") as picture:
        assert picture.size == (96, 96)


@pytest.mark.parametrize(("program", "kind"), CASES)
def test_learn_and_recover(program, kind, made, tmp_path):
    (path, said), out = made(program, kind), tmp_path / "out"
    _, mask, suffix = KINDS[kind]
    assert f"test {signals.get(kind).plural} of {SHAPES[kind]}" in said
    run = runs.Run.open(path)
    assert run.config["settings"]["kind"] == kind
    assert run.config["data"].get("rate") == {"sound": 8000, "video": 12}.get(kind)
    assert {"synthesis", "inpainting"} <= {file.stem for file in run.pictures.glob("*.png")}
    if kind == "texture":  # three times as large along each side
        with Image.open(run.pictures / "larger.png") as picture:
            assert picture.size == (96, 96)
    else:
        assert len(list(run.pictures.glob(f"synthesis-*.{suffix}"))) == 4
    assert inside(evaluate, "--run", path, "--count", 4) == 0

    given = ["--run", path, "--data", "train", "--mask", mask, "--count", 2, "--seed", 3]
    assert inside(recover, *given, "--out", out) == 0
    images = run.load_images()
    own = images.train_mask
    seen = signals.get(kind).draw_masks(mask, len(images.train), SHAPES[kind], 3, own)[:2]
    with np.load(out / "recovery.npz") as arrays:
        found = arrays["recovered"]
        np.testing.assert_array_equal(arrays["mask"], seen)
    np.testing.assert_array_equal(found[seen], images.train[:2][seen])
    counted = ~seen if own is None else own[:2] & ~seen
    error = found - images.train[:2]
    told = json.loads((out / "recovery.json").read_text())
    scaling = run.load_model().scaling
    assert (scaling is None) == (kind != "field")
    if kind == "field":
        assert run.config["settings"]["period"] == run.config["data"]["period"] == scaling.period == 9
        for channel, name in enumerate(["rmse sst degC", "rmse salt g"]):
            expected = np.sqrt(np.mean(error[..., channel][counted[..., channel]] ** 2))
            np.testing.assert_allclose(told[name], expected, rtol=1e-4)
        error = error / scaling.unit / 3  # in pictures three deviations are 1
    np.testing.assert_allclose(told["mae_per_range"], np.abs(error)[counted].mean() / 2, rtol=1e-4)
    for folder in ("observed", "recovered"):
        if kind == "field":
            field = load_field(out / f"{folder}.nc", ["sst", "salt"])
            np.testing.assert_array_equal(field.times, images.train_time[:2])
            values = np.where(seen, images.train[:2], 0) if folder == "observed" else found
            np.testing.assert_array_equal(field.signal, np.nan_to_num(values))
            assert field.units == ("degC", "g")
        else:
            assert len(list((out / folder).glob(f"*.{suffix}"))) == 2
    with Image.open(out / "grid.png") as picture:
        assert picture.size[0] > 64


@pytest.mark.parametrize("kind", ["sound", *(pytest.param(k, marks=pytest.mark.slow) for k in OTHERS)])
def test_resume(kind, made):
    path, _ = made(generator, kind)
    assert inside(generator, "--run", path, "--resume", "--epochs", 2) == 0
    history = json.loads((path / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2]


def test_another_sound_is_brought_to_the_form_of_the_run(made, tmp_path):
    (path, _), out = made(generator, "sound"), tmp_path / "out"
    other = np.sin(np.arange(16000) / 30)  # a second at twice the rate of the run
    np.savez(tmp_path / "other.npz", sound=np.float32(other), rate=16000)
    words = ["--run", path, "--data", f"npz:{tmp_path / 'other.npz'}", "--mask", "gap:100"]
    assert inside(recover, *words, "--out", out) == 0
    with np.load(out / "recovery.npz") as arrays:
        assert arrays["recovered"].shape == (6, 1200, 1)  # of 8000 samples; the rest is too short


@pytest.mark.parametrize("kind", ["sound", pytest.param("video", marks=pytest.mark.slow)])
def test_signals_with_nan_where_they_are_hidden(kind, sources, tmp_path):
    path, out = tmp_path / "run", tmp_path / "out"
    shape = (4, *SHAPES[kind])
    whole = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    seen = np.ones(shape[:-1], bool)
    seen[:, shape[1] // 4 : shape[1] // 2] = False
    holed = np.where(seen[..., None], whole, np.nan)
    np.savez(tmp_path / "holed.npz", holed[..., 0] if kind == "sound" else holed)
    np.savez(tmp_path / "masks.npz", seen)
    words = words_of(generator, kind, sources)
    words[words.index("--data") + 1] = f"npz:{tmp_path / 'holed.npz'}"
    refused = inside(generator, "--run", path, *words)
    assert "NaN" in refused
    words += ["--mask", f"npz:{tmp_path / 'masks.npz'}", "--test-share", 0]
    assert inside(generator, "--run", path, *words) == 0
    given = ["--run", path, "--data", "train", "--samples", 2, "--out", out]
    assert inside(recover, *given) == 0
    with np.load(out / "recovery.npz") as arrays:
        found, deviation = arrays["recovered"], arrays["deviation"]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[seen], whole[seen], atol=1e-6)
    assert (deviation[~seen] > 0).all()
    # What is no sound is not written as one.
    suffixes = {"sound": {".png"}, "video": {".gif"}}[kind]
    assert {file.suffix for file in (out / "deviation").iterdir()} == suffixes
    assert len(list((out / "deviation").iterdir())) == 4 * len(suffixes)


def test_scans_are_recovered_as_scans(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    for number, volume in enumerate(blobs(6, (8, 8, 8))):
        scan = nibabel.Nifti1Image(volume.astype(np.int16) * 4 - 20, affine)
        nibabel.save(scan, tmp_path / f"scan-{number}.nii.gz")
    path, out = tmp_path / "run", tmp_path / "out"
    words = f"--kind volume --data volume:{tmp_path} --levels 1 --width 2 --epochs 1 --steps 2".split()
    words += [*LATENT, "--steps-per-epoch", 2, "--test-share", 0.2]
    assert inside(generator, "--run", path, *words) == 0
    config = runs.Run.open(path).config
    assert config["data"]["affine"] == affine.tolist()
    given = ["--data", f"volume:{tmp_path / 'scan-2.nii.gz'}", "--mask", "block:4", "--samples", 2]
    assert inside(recover, "--run", path, *given, "--out", out) == 0
    found = {
        name: nibabel.load(out / name / "scan-2.nii.gz")
        for name in ("observed", "recovered", "deviation")
    }
    scan = nibabel.load(tmp_path / "scan-2.nii.gz").get_fdata()
    hidden = np.isnan(found["observed"].get_fdata())
    assert hidden.sum() == 4**3
    for name in ("observed", "recovered"):
        np.testing.assert_array_equal(found[name].affine, affine)
        values = found[name].get_fdata()
        np.testing.assert_allclose(values[~hidden], scan[~hidden], atol=0.01)
    assert (found["deviation"].get_fdata()[hidden] > 0).all()
    with Image.open(out / "recovered" / "scan-2.png") as picture:
        assert picture.size[0] > 64


def test_another_texture_after_one_of_several(tmp_path):
    photos = np.random.default_rng(0).integers(0, 256, (3, 32, 32), np.uint8)
    np.savez(tmp_path / "photos.npz", photos=photos)
    source = f"npz:{tmp_path / 'photos.npz'}"
    whole = {"patch": 32, "patches": 1}
    settings = generator.settle({"kind": "texture", "data": source, "size": 32, "item": 1, **whole})
    assert runs.load_images(settings).train.shape == (1, 32, 32, 1)
    assert runs.load_like("gravel", settings, (32, 32, 1)).train.shape == (1, 32, 32, 1)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--kind", "sound"], "--data: expected a source of --kind sound"),
        (["--kind", "sound", "--data", "digits"], "received 'digits'"),
        (["--kind", "sound", "--data", "wav:x.wav", "--size", "8"], "--size: not an option of --kind"),
        (["--kind", "texture", "--hidden", "8"], "--hidden: not an option of --kind texture"),
        (["--factors", "2", "2"], "--factors: not an option of --kind image"),
        (["--kind", "texture", "--size", "30"], "30"),
    ],
)
def test_options_of_other_kinds_are_refused(tmp_path, words, part):
    message = inside(generator, "--run", tmp_path / "run", *words)
    assert message.startswith("error: ")
    assert part in message
    assert not list(tmp_path.iterdir())


def test_unknown_kinds(tmp_path, capsys):
    assert inside(generator, "--run", tmp_path / "run", "--kind", "smell") == 2
    assert "--kind" in capsys.readouterr().err
