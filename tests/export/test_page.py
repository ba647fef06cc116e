"""The page's requests over HTTP, without a browser, against the real server."""

import base64
import io
import json
import struct
import urllib.error
import urllib.request
import wave
import zlib

import numpy as np
import pytest
from PIL import Image

import abp_tf
from abp_tf import data, signals
from abp_tf.serving import examples, saved_model
from export import page as program
from export.web import uploads
from export.web.studio import Studio
from tests import made_fields
from tests.processes import Page


@pytest.fixture(scope="module")
def page(server, exported, tmp_path_factory):
    """The address of a page of the server's digits."""
    log = tmp_path_factory.mktemp("page") / "log"
    options = ["--server", server.address, "--model", "digits", "--examples", exported]
    with Page(log, *options, "--max-upload-mb", 1) as started:
        yield started.url


def ask(page, path, body=None, **headers):
    """Return the status and the content of a response; `body` is JSON unless it is bytes."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("content-type", "application/json")
    request = urllib.request.Request(f"{page}/{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or "{}")


def pixels(picture):
    """The planes of a picture, uint8 `[k, h, w, 3]`."""
    content = base64.b64decode(picture["png"].partition(",")[2])
    shape = (picture["planes"], picture["height"], picture["width"], 3)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).reshape(shape)


def bits(hidden):
    return base64.b64encode(np.packbits(hidden).tobytes()).decode()


def assert_shows(picture, image, atol=1):
    """Assert that a picture shows a grey image; rounding may differ by one."""
    expected = data.to_uint8(np.clip(image, -1, 1)).astype(int)
    np.testing.assert_allclose(pixels(picture)[0].astype(int), expected.repeat(3, -1), atol=atol)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


HIDDEN = np.zeros((8, 8), bool)
HIDDEN[2:6, 3:7] = True


class TestPage:
    def test_files_are_its_own_and_may_load_nothing_else(self, page):
        for path, form in {
            "": "html",
            "static/page.js": "javascript",
            "static/page.css": "css",
        }.items():
            with urllib.request.urlopen(f"{page}/{path}", timeout=60) as response:
                text, headers = response.read().decode(), response.headers
            assert form in headers["content-type"]
            assert headers["content-security-policy"].startswith("default-src 'self';")
            assert "//" not in text.replace("// ", "")

    def test_begins_with_the_examples_of_the_export(self, page, exported):
        code, about = ask(page, "api/about")
        few = examples.read(exported / "1" / saved_model.EXTRA)
        assert (code, about["kind"], about["shape"]) == (200, "image", [8, 8, 1])
        assert about["grid"] == {"planes": 1, "rows": 8, "columns": 8}
        assert about["complete"]
        assert about["slide"]
        assert not about["timed"]
        assert about["upload_bytes"] == 2**20
        assert [one["source"] for one in about["examples"]] == [{"example": n} for n in range(3)]
        for picture, image in zip(about["examples"], few.train, strict=True):
            assert_shows(picture, image, atol=0)

    def test_draws_are_those_of_the_model(self, page, learned):
        code, found = ask(page, "api/draw", {"seed": 5, "count": 3})
        assert code == 200
        assert [picture["seed"] for picture in found["pictures"]] == [5, 6, 7]
        for picture, image in zip(found["pictures"], learned.synthesize(3, seed=5), strict=True):
            assert_shows(picture, image)

    @pytest.mark.parametrize("source", [{"example": 1}, {"seed": 4}])
    def test_completions_are_draws_with_their_mean_and_deviation(self, page, learned, exported, source):
        body = {"source": source, "hidden": bits(HIDDEN), "seed": 9}
        code, found = ask(page, "api/complete", body)
        assert code == 200
        few = examples.read(exported / "1" / saved_model.EXTRA).train
        signal = few[1:2] if "example" in source else np.clip(learned.synthesize(1, seed=4), -1, 1)
        mask = ~HIDDEN[None]
        drawn = learned.sample_posterior(signal, mask, samples=4, chains=2, seed=9)
        observed, mean, deviation, *draws = found["pictures"]
        assert_shows(observed, np.where(HIDDEN[..., None], 0, signal[0]))
        assert_shows(mean, drawn.mean[0])
        assert len(draws) == 4
        for picture, image in zip(draws, drawn.samples[0], strict=True):
            assert_shows(picture, image)
        [legend] = found["legends"]
        assert legend["high"] == pytest.approx(drawn.deviation.max(), abs=1e-4)
        black = (pixels(deviation)[0] < 8).all(axis=-1)  # what was observed is certain
        assert black[~HIDDEN].all()
        assert not black[HIDDEN].all()

    def test_slides_from_one_signal_to_the_other(self, page, learned, exported):
        few = examples.read(exported / "1" / saved_model.EXTRA).train
        body = {"sources": [{"example": 0}, {"example": 2}], "seed": 0}
        code, found = ask(page, "api/slide", body)
        assert (code, len(found["pictures"])) == (200, 11)
        with abp_tf.Client(learned_server(page), "digits") as client:
            ends = client.ask("inpaint", signal=few[[0, 2]], mask=np.ones((2, 8, 8)), seed=0)["latent"]
            middle = client.decode(ends.mean(axis=0, keepdims=True))
            first, last = client.decode(ends)
        for place, image in ((0, first), (5, middle[0]), (10, last)):
            assert_shows(found["pictures"][place], image)

    def test_an_uploaded_image_is_completed_like_any_other(self, page, learned, digits):
        image = data.to_uint8(digits[7])[..., 0]
        code, found = ask(page, "api/upload?name=mine.png", png(image.repeat(3, 0).repeat(3, 1)))
        assert code == 200
        body = {"source": found["source"], "hidden": bits(HIDDEN), "seed": 0}
        code, found = ask(page, "api/complete", body)
        assert code == 200
        shown = pixels(found["pictures"][0])[0, ..., 0].astype(int)
        np.testing.assert_allclose(shown[~HIDDEN], image[~HIDDEN].astype(int), atol=64)
        assert np.corrcoef(shown[~HIDDEN], image[~HIDDEN])[0, 1] > 0.95


def learned_server(page):
    return ask(page, "api/about")[1]["server"]


SOURCE = {"source": {"example": 0}, "hidden": bits(HIDDEN), "seed": 0}


class TestRefusals:
    @pytest.mark.parametrize(
        ("path", "body", "words"),
        [
            ("draw", {"seed": 0, "count": 17}, ["count", "1 to 16", "17"]),
            ("draw", {"seed": -1, "count": 1}, ["seed", "-1"]),
            ("draw", {"seed": 0.5, "count": 1}, ["seed", "0.5"]),
            ("draw", {"seed": True, "count": 1}, ["seed", "True"]),
            ("draw", {"count": 1}, ["seed", "None"]),
            ("complete", {**SOURCE, "hidden": bits(np.zeros(64, bool))}, ["hidden", "none"]),
            ("complete", {**SOURCE, "hidden": bits(np.ones(72, bool))}, ["64 bits"]),
            ("complete", {**SOURCE, "hidden": "ä"}, ["64 bits"]),
            ("complete", {**SOURCE, "hidden": 5}, ["64 bits"]),
            ("complete", {**SOURCE, "source": {"example": 3}}, ["example", "0 to 2", "3"]),
            ("complete", {**SOURCE, "source": {"example": 0, "seed": 0}}, ["one of"]),
            ("complete", {**SOURCE, "source": [0]}, ["one of"]),
            ("complete", {**SOURCE, "source": {"upload": "0"}}, ["Upload it again"]),
            ("complete", {**SOURCE, "source": {"upload": []}}, ["Upload it again"]),
            ("slide", {"sources": [{"example": 0}], "seed": 0}, ["two"]),
        ],
    )
    def test_requests_out_of_bounds(self, page, path, body, words):
        code, found = ask(page, f"api/{path}", body)
        assert code == 400
        assert all(word in found["error"] for word in words), found

    @pytest.mark.parametrize(
        ("body", "headers", "code"),
        [
            (b"{", {"content-type": "application/json"}, 400),
            (b"[" * 100_000, {"content-type": "application/json"}, 400),
            (b"[]", {"content-type": "application/json"}, 400),
            (b"{}", {"content-type": "text/plain"}, 415),
            (b"{}", {"content-type": "application/json", "host": "elsewhere.example"}, 400),
            (b" " * (2**21 + 1), {"content-type": "application/json"}, 413),
        ],
    )
    def test_bodies_and_hosts(self, page, body, headers, code):
        request = urllib.request.Request(f"{page}/api/draw", body, headers)
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request, timeout=60)
        with error.value:
            assert error.value.code == code

    @pytest.mark.parametrize(
        ("name", "content", "code", "words"),
        [
            ("a.png", b"no image", 400, ["a.png"]),
            ("a.exe", png(np.zeros((8, 8), np.uint8)), 400, ["a.exe", ".png"]),
            ("a", png(np.zeros((8, 8), np.uint8)), 400, [".png"]),
            ("a.png", bytes(2**20 + 1), 413, ["1048576"]),
            ("a.png", b"", 400, ["a.png"]),
        ],
    )
    def test_uploads(self, page, name, content, code, words):
        found = ask(page, f"api/upload?name={name}", content)
        assert found[0] == code
        assert all(word in found[1]["error"] for word in words), found
        assert "/tmp" not in found[1]["error"]

    def test_a_server_that_is_away_is_named_until_it_is_there(self, tmp_path):
        with Page(tmp_path / "log", "--server", "127.0.0.1:1", "--model", "digits") as started:
            code, found = ask(started.url, "api/about")
        assert (code, found["away"]) == (503, True)
        assert "127.0.0.1:1" in found["error"]


def bomb():
    """A PNG file of 300 kB with the header of one of 400 million pixels, and its first rows."""

    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", 11_000, 11_000, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000 * 11_001))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def packed(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def bare(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


class TestUploads:
    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize(
        ("kind", "name", "content", "shape"),
        [
            ("image", "a.png", bomb(), (8, 8, 1)),
            ("sound", "a.npz", packed(sounds=np.zeros((70, 2**20), np.float32)), (96, 1)),
        ],
    )
    def test_content_is_bounded_before_it_is_decoded(self, kind, name, content, shape):
        assert len(content) < 2**20
        with pytest.raises(ValueError, match=f"256 MB when decoded, received '{name}'"):
            uploads.read(signals.get(kind), name, content, shape, {})

    @pytest.mark.parametrize(
        ("kind", "name", "content", "shape"),
        [
            ("volume", "a.npy", bare(np.zeros((4, 8, 8)))[:-100], (4, 8, 8, 1)),
            ("volume", "a.npy", bare(np.array([{}])), (4, 8, 8, 1)),
            ("sound", "a.npz", b"PK", (96, 1)),
            ("sound", "a.wav", b"RIFF", (96, 1)),
            ("video", "a.gif", b"GIF89a", (4, 8, 8, 1)),
            ("field", "a.nc", b"CDF", (8, 9, 1)),
            ("field", "a.npy", bare(np.zeros((3, 8, 8))), (8, 9, 1)),
            ("field", "a.npz", packed(a=np.zeros((3, 8, 8), "U3")), (8, 9, 1)),
        ],
    )
    def test_damaged_files_and_other_shapes_are_refused(self, kind, name, content, shape):
        with pytest.raises(ValueError, match=f"'{name}' cannot be used"):
            uploads.read(signals.get(kind), name, content, shape, {})


def test_examples_are_few_small_and_evenly_spaced(exported, tmp_path):
    rows = np.arange(100, dtype=np.float32)[:, None, None, None] * np.ones((4, 5, 1), np.float32)
    given = data.Signals(
        rows[:60], rows[60:], "made", train_mask=rows[:60] > 0, test_mask=rows[60:] > 70
    )
    few = examples.choose(given, 3)
    assert few.train[:, 0, 0, 0].tolist() == [60, 80, 99]
    assert few.train_mask[:, 0, 0, 0].tolist() == [False, True, True]
    large = np.zeros((5, 1024, 512, 1), np.float32)  # 2 MB each
    assert len(examples.choose(data.Signals(large, large[:0], "made"), 4).train) == 2
    examples.write(tmp_path, few)
    again = examples.read(tmp_path)
    np.testing.assert_array_equal(again.train, few.train)
    np.testing.assert_array_equal(again.train_mask, few.train_mask)
    (tmp_path / examples.FILE).write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"examples\.npz.*damaged"):
        examples.read(tmp_path)
    assert program.find_examples(exported).kind == "image"


class TestKinds:
    """Each kind of signal is drawn, hidden and completed by the functions behind the page."""

    @pytest.fixture
    def studio(self, address):
        """Return a function that makes the studio of a model."""
        clients = []

        def make(name, **options):
            clients.append(abp_tf.Client(address, name, value_range=None))
            return Studio(clients[-1], **options)

        yield make
        for client in clients:
            client.close()

    def test_sounds_have_a_player_and_a_gap(self, studio, models):
        one = studio("sound", header={"rate": 8000})
        assert one.about()["grid"] == {"planes": 1, "rows": 1, "columns": 96}
        hidden = np.zeros(96, bool)
        hidden[20:40] = True
        found = one.complete({"source": {"seed": 3}, "hidden": bits(hidden), "seed": 0})
        observed, _, deviation, *draws = found["pictures"]
        with wave.open(io.BytesIO(base64.b64decode(draws[0]["sound"].partition(",")[2]))) as file:
            assert (file.getframerate(), file.getnframes()) == (8000, 96)
            played = np.frombuffer(file.readframes(96), "<i2") / 32768
        [truth] = np.clip(models["sound"].synthesize(1, seed=3), -1, 1)
        np.testing.assert_allclose(played[~hidden], truth[~hidden, 0], atol=1e-4)
        with wave.open(io.BytesIO(base64.b64decode(observed["sound"].partition(",")[2]))) as file:
            assert not np.frombuffer(file.readframes(96), "<i2")[hidden].any()
        assert (pixels(deviation)[0, 0].max(axis=-1) > 8).tolist() == hidden.tolist()
        assert [legend["label"] for legend in found["legends"]] == [
            "dB of full scale",
            "standard deviation",
        ]

    def test_clips_have_frames(self, studio):
        one = studio("video")
        assert one.about()["grid"] == {"planes": 4, "rows": 8, "columns": 8}
        hidden = np.zeros((4, 8, 8), bool)
        hidden[2] = True
        found = one.complete({"source": {"seed": 3}, "hidden": bits(hidden), "seed": 0})
        observed, _, deviation, *draws = found["pictures"]
        assert len(draws) == 4  # of other seeds, because the export has no sample_posterior
        dark = (pixels(deviation) < 8).all(axis=(1, 2, 3))
        assert dark.tolist() == [True, True, False, True]
        same = (pixels(draws[0]) == pixels(observed)).all(axis=(1, 2, 3))
        assert same.tolist() == [True, True, False, True]

    def test_fields_have_units_colour_bars_land_gaps_and_times(self, studio, tmp_path):
        made_fields.sea(6, 8, 9).to_netcdf(tmp_path / "sea.nc")
        kind = signals.get("field")
        few = examples.choose(kind.load(f"field:{tmp_path / 'sea.nc'}:sst,salt", {"period": 12.0}), 2)
        one = studio("field", examples=few)
        about = one.about()
        assert (about["kind"], about["timed"], len(about["examples"])) == ("field", True, 1)
        hidden = np.zeros((8, 9), bool)
        hidden[4:7, 2:8] = True
        found = one.complete({"source": {"example": 0}, "hidden": bits(hidden), "seed": 0})
        labels = ["sst [degC]", "salt [g]"]
        labels += [f"standard deviation of {label}" for label in labels]
        assert [legend["label"] for legend in found["legends"]] == labels
        assert found["legends"][0]["low"] == few.header["limits"][0][0]
        observed, mean = (pixels(picture)[0] for picture in found["pictures"][:2])
        assert observed.shape == (8, 18, 3)  # two variables, side by side
        grey = (observed == 128).all(axis=-1)
        assert grey[:, :9][hidden].all()
        assert grey[:, 9:][hidden].all()
        assert (observed[:2, :3] == 255).all()
        assert not (mean == 128).all(axis=-1).any()
        with pytest.raises(ValueError, match="`time` expected a number"):
            one.draw({"seed": 0, "count": 1})
        assert len(one.draw({"seed": 0, "count": 1, "time": 3.0})["pictures"]) == 1
        file = (tmp_path / "sea.nc").read_bytes()
        with pytest.raises(ValueError, match=r"'sea\.nc' cannot be used"):
            one.upload("sea.nc", file.replace(b"degC", b"degF"))

    def test_volumes_are_read_from_arrays(self, studio):
        one = studio("volume", kind="volume")
        values = np.linspace(-1, 1, 4 * 8 * 8).reshape(4, 8, 8)
        picture = one.upload("scan.npy", bare(values))
        shown = pixels(picture)[..., 0].astype(int)
        np.testing.assert_allclose(shown, data.to_uint8(values), atol=1)
        for number in range(20):  # only the last ones are kept
            one.upload("scan.npy", bare(values * number / 20))
        with pytest.raises(ValueError, match="Upload it again"):
            one.source(picture["source"])

    def test_another_kind_than_the_model_has_is_refused(self, studio):
        with pytest.raises(ValueError, match="shape of a sound"):
            studio("video", kind="sound").about()
