"""The client against the real server, and against small servers that misbehave."""

import asyncio
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import pytest

from tests.fake_server import Fake, noise, started
from tests.tested_client import package, protocol


def assert_equal(answer, expected):
    assert answer.dtype == expected.dtype
    np.testing.assert_allclose(answer, expected, atol=1e-4)


class TestAnswers:
    @pytest.mark.parametrize("count", [1, 16, 21])
    def test_synthesize(self, client, learned, count):
        assert_equal(client.synthesize(count, seed=5), learned.synthesize(count, seed=5))

    def test_reconstruct(self, client, learned, digits):
        assert_equal(client.reconstruct(digits[:21], seed=3), learned.reconstruct(digits[:21], seed=3))

    def test_inpaint(self, client, learned, digits, masks_of_digits):
        signals, mask = digits[:21].copy(), masks_of_digits[:21]
        signals[~mask] = np.nan
        answer = client.inpaint(signals, mask, seed=3)
        assert_equal(answer, learned.inpaint(signals, mask, seed=3))
        assert (answer[mask] == signals[mask]).all()

    def test_decode(self, client, learned):
        latents = np.random.default_rng(0).normal(size=(21, 4))
        assert_equal(client.decode(latents), np.asarray(learned(latents.astype(np.float32))))

    def test_every_row_may_have_its_own_seed(self, client, learned, digits):
        seeds = np.array([7, 7, -3, 2**40])
        assert_equal(client.synthesize(4, seed=seeds), learned.synthesize(4, seed=seeds))
        signals = digits[[0, 0, 1, 2]]
        assert_equal(client.reconstruct(signals, seed=seeds), learned.reconstruct(signals, seed=seeds))

    def test_ask_gives_all_outputs(self, client, learned, digits):
        answer = client.ask("reconstruct", signal=digits[:3])
        assert set(answer) == {"signal", "latent", "error"}
        assert_equal(answer["latent"], learned.infer(digits[:3]))
        error = ((learned.reconstruct(digits[:3]) - digits[:3]) ** 2).mean(axis=(1, 2, 3))
        assert_equal(answer["error"], error)

    def test_samples_have_seeds_of_their_own(self, client, learned, digits, masks_of_digits):
        signals, mask = digits[:5], masks_of_digits[:5]
        answer = client.ask("inpaint", signal=signals, mask=mask, seed=2, samples=4)
        samples = answer["signal"]
        assert samples.shape == (5, 4, 8, 8, 1)
        assert (answer["latent"].shape, answer["error"].shape) == ((5, 4, 4), (5, 4))
        for number in range(4):
            assert_equal(samples[:, number], learned.inpaint(signals, mask, seed=2 + 5 * number))
        deviation = samples.std(axis=1)
        assert (deviation[mask] < 1e-6).all()
        assert deviation[~mask].mean() > 1e-3

    def test_posterior_samples_are_those_of_the_model(self, client, learned, digits, masks_of_digits):
        signals, mask = digits[:21].copy(), masks_of_digits[:21]
        signals[~mask] = np.nan
        found = client.sample_posterior(signals, mask, seed=3)
        expected = learned.sample_posterior(signals, mask, samples=4, chains=2, seed=3)
        assert type(found) is type(expected)
        assert found.samples.shape == (21, 4, 8, 8, 1)
        for name in ("samples", "mean", "deviation", "sigma", "total_deviation"):
            assert_equal(getattr(found, name), getattr(expected, name))
        np.testing.assert_array_equal(found.samples[:, 2][mask], signals[mask])
        assert (found.deviation[mask] == 0).all()
        assert found.deviation[~mask].mean() > 1e-3

    def test_score_is_that_of_the_model(self, connect, energy, energy_server, digits):
        with connect(energy_server.address, "digits") as client:
            found, expected = client.score(digits[:20]), energy.score(digits[:20])
        assert type(found) is type(expected)
        assert_equal(found.score, expected.score)
        assert_equal(found.energy, expected.energy)

    def test_progress(self, client, capsys):
        client.synthesize(20)
        assert capsys.readouterr().out == ""
        client.synthesize(20, verbose=1)
        assert "20/20" in capsys.readouterr().out


class TestModel:
    def test_signatures(self, client):
        known = client.signatures()
        assert set(known) == {
            "serving_default", "synthesize", "reconstruct", "inpaint", "inpaint_fast", "inpaint_best",
            "sample_posterior", "decode",
        }  # fmt: skip
        inputs, outputs = known["inpaint"]
        assert list(inputs) == ["mask", "seed", "signal"]
        assert inputs["seed"] == ((None,), np.int64)
        assert inputs["mask"] == ((None, 8, 8, 1), np.float32)
        assert list(outputs) == ["error", "latent", "signal"]
        inputs, outputs = known["sample_posterior"]
        assert list(inputs) == ["mask", "seed", "signal"]
        assert outputs["samples"].shape == (None, 4, 8, 8, 1)

    def test_status(self, client):
        assert client.status() == [(1, "AVAILABLE", "")]

    @pytest.mark.parametrize(("version", "code"), [(2, "NOT_FOUND"), ("beta", "INVALID_ARGUMENT")])
    def test_a_version_that_is_not_there(self, connect, server, version, code):
        with connect(server.address, "digits", version=version) as client:
            for call in (client.status, lambda: client.synthesize(1)):
                with pytest.raises(package.ServingError, match=code) as caught:
                    call()
                assert caught.value.code.name == code

    def test_a_version_by_number(self, connect, server, learned):
        with connect(server.address, "digits", version=1) as client:
            assert_equal(client.synthesize(2), learned.synthesize(2))

    def test_a_model_that_is_not_there(self, connect, server):
        with (
            connect(server.address, "faces") as client,
            pytest.raises(package.ServingError, match=r"'faces': NOT_FOUND.*\['digits'\]"),
        ):
            client.synthesize(1)


class TestRefusals:
    @pytest.mark.parametrize(
        ("call", "part"),
        [
            (lambda c, x, m: c.synthesize(0), "count of 1 or more, received 0"),
            (lambda c, x, m: c.synthesize(3, seed=0.5), "`seed`"),
            (lambda c, x, m: c.synthesize(3, seed=[1, 2]), "`seed`"),
            (lambda c, x, m: c.reconstruct(x[..., 0]), "Add the channel axis"),
            (lambda c, x, m: c.reconstruct(x[:0]), "at least one example"),
            (lambda c, x, m: c.reconstruct((x * 100).astype(np.uint8)), "uint8"),
            (lambda c, x, m: c.reconstruct(x * 2), r"\[-1, 1\]"),
            (lambda c, x, m: c.reconstruct(np.where(m, x, np.nan)), "NaN or infinity in observed"),
            (lambda c, x, m: c.inpaint(x, m * 255), "only 0 and 1"),
            (lambda c, x, m: c.inpaint(x, m[:2]), "Mask: expected shape"),
            (lambda c, x, m: c.inpaint(x, None), "1 .or True. where an entry is observed"),
            (lambda c, x, m: c.sample_posterior(x, m[:2]), "Mask: expected shape"),
            (lambda c, x, m: c.ask("inpaint", signal=x, mask=m, samples=0), "`samples` .*received 0"),
            (lambda c, x, m: c.decode(np.zeros((2, 5))), r"latent: .*\('n', 4\).*\(2, 5\)"),
            (lambda c, x, m: c.decode(np.zeros((2, 4), int)), "latent: expected float32"),
            (lambda c, x, m: c.decode(np.zeros((0, 4))), "at least one row"),
            (lambda c, x, m: c.decode(np.full((2, 4), np.inf)), "finite"),
            (lambda c, x, m: c.decode(0.0), "latent"),
            (
                lambda c, x, m: c.ask("decode", latent=np.zeros((2, 4)), samples=2),
                "received 2 for 'decode'",
            ),
            (lambda c, x, m: c.ask("paint", signal=x), r"'synthesize'\], received 'paint'"),
            (lambda c, x, m: c.ask("reconstruct", image=x), r"\['seed', 'signal'\], received"),
        ],
    )
    def test_bad_input_is_not_sent(self, client, digits, monkeypatch, call, part):
        monkeypatch.setattr(protocol, "request", lambda *_: pytest.fail("it was sent"))
        with pytest.raises(ValueError, match=part):
            call(client, digits[:4], noise(4, 8, 8, 1) > 0)

    def test_masks_without_channels_and_values_without_range(self, connect, server, learned, digits):
        signals, mask = digits[:3], noise(3, 8, 8) > 0
        with connect(server.address, "digits", value_range=None) as client:
            assert_equal(client.inpaint(signals, mask), learned.inpaint(signals, mask))
            with pytest.raises(package.ServingError, match=r"INVALID_ARGUMENT.*\[-1, 1\]"):
                client.reconstruct(digits * 2)

    @pytest.mark.parametrize(
        ("address", "options", "part"),
        [
            ("localhost", {}, "'host:port', received 'localhost'"),
            ("localhost:1", {"timeout": 0}, "timeout"),
            ("localhost:1", {"timeout": float("inf")}, "timeout"),
            ("localhost:1", {"batch_size": 0}, "batch size"),
        ],
    )
    def test_arguments(self, connect, address, options, part):
        with pytest.raises(ValueError, match=part):
            connect(address, "digits", **options)

    def test_root_certificates_must_be_there(self, connect, tmp_path):
        with pytest.raises(FileNotFoundError, match="none"):
            connect("localhost:1", "digits", root_certificates=tmp_path / "none.pem")


class TestSplitting:
    def test_by_rows(self, fake):
        servicer, client = fake(batch_size=5)
        signals = noise(12, 8, 8, 1)
        assert (client.ask("echo", signal=signals)["signal"] == signals).all()
        assert servicer.rows == [5, 5, 2]

    def test_two_requests_are_under_way(self, fake):
        servicer, client = fake(batch_size=2, workers=2)
        both = threading.Barrier(2, timeout=30)  # which broken raises, and the client is told

        def change(values):
            both.wait()
            return values

        servicer.change = change
        signals = noise(8, 8, 8, 1)
        assert (client.ask("echo", signal=signals)["signal"] == signals).all()

    def test_one_that_is_too_many_is_sent_again_when_the_other_is_answered(self, fake):
        servicer, client = fake(batch_size=5)
        busy = grpc.StatusCode.RESOURCE_EXHAUSTED
        servicer.failures = [None, busy]
        signals = noise(17, 8, 8, 1)
        assert (client.ask("echo", signal=signals)["signal"] == signals).all()
        assert servicer.rows == [5, 5, 5, 2]
        servicer.failures = [None, *[busy] * 9]
        with pytest.raises(package.ServingError, match=r"RESOURCE_EXHAUSTED.*batch size"):
            client.ask("echo", signal=signals)

    def test_by_bytes_of_the_request(self, fake):
        # 512 KB a row: gRPC refuses 8 of them, with all that stands around.
        servicer, client = fake((256, 512, 1))
        signals = noise(15, 256, 512, 1)
        assert (client.ask("echo", signal=signals)["signal"] == signals).all()
        assert servicer.rows == [7, 7, 1]

    def test_by_bytes_of_the_answer(self, fake):
        servicer, client = fake((128, 128, 4), outputs=3)
        signals = noise(10, 128, 128, 4)
        assert len(client.ask("echo", signal=signals)) == 3
        assert servicer.rows == [5, 5]

    def test_a_row_that_is_too_large_is_sent_alone(self, fake):
        # The answer alone is over the limit; what the server takes is the server's to say.
        servicer, client = fake((512, 512, 1), outputs=5)
        signals = noise(2, 512, 512, 1)
        answer = client.ask("echo", signal=signals)
        assert all((part == signals).all() for part in answer.values())
        assert servicer.rows == [1, 1]

    def test_by_bytes_of_an_answer_whose_size_nothing_tells(self, fake):
        # 8 KB a row are sent and 1 MB comes back, which the first row, asked alone, tells.
        servicer, client = fake((None, None, 1))
        servicer.change = lambda values: values.repeat(11, axis=1).repeat(12, axis=2)
        signals = noise(9, 32, 64, 1)
        answer = client.ask("echo", signal=signals)["signal"]
        np.testing.assert_array_equal(answer[:, ::11, ::12], signals)
        assert servicer.rows == [1, 3, 3, 2]
        servicer.rows.clear()
        client.ask("echo", signal=signals[:1])
        assert servicer.rows == [1]


class TestFailures:
    # 1 MB is more than gRPC's buffer.
    @pytest.mark.parametrize(
        ("connect", "shape"),
        [
            ("Client", (512, 512, 1)),
            pytest.param("Client", (8, 8, 1), marks=pytest.mark.slow),
            pytest.param("AsyncClient", (512, 512, 1), marks=pytest.mark.slow),
        ],
        indirect=["connect"],
    )
    def test_unavailable_is_tried_five_times(self, fake, shape):
        servicer, client = fake(shape)
        signals = noise(1, *shape)
        servicer.failures = [grpc.StatusCode.UNAVAILABLE] * 4
        assert (client.ask("echo", signal=signals)["signal"] == signals).all()
        assert len(servicer.sizes) == 5
        servicer.failures = [grpc.StatusCode.UNAVAILABLE] * 9
        with pytest.raises(package.ServingError) as caught:
            client.ask("echo", signal=signals)
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
        assert len(servicer.failures) == 4

    @pytest.mark.parametrize("code", ["INTERNAL", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"])
    def test_other_errors_are_told_at_once(self, fake, code):
        servicer, client = fake()
        servicer.failures = [grpc.StatusCode[code]] * 2
        with pytest.raises(OSError, match=f"{code}, as told, in two lines") as caught:
            client.ask("echo", signal=noise(1, 8, 8, 1))
        assert caught.value.code is grpc.StatusCode[code]
        assert "\n" not in str(caught.value)
        assert len(servicer.failures) == 1

    def test_a_server_that_starts_late_is_waited_for(self, connect, free):
        servers = []
        later = threading.Timer(1, lambda: servers.append(started(Fake(), free)[0]))
        later.start()
        signals = noise(1, 8, 8, 1)
        try:
            with connect(free, "digits") as client:
                assert (client.ask("echo", signal=signals)["signal"] == signals).all()
        finally:
            later.join()
            servers[0].stop(None).wait()

    def test_a_server_that_is_not_there_and_comes_back(self, connect, free):
        with connect(free, "digits") as client:
            started_at = time.monotonic()
            with pytest.raises(package.ServingError) as caught:
                client.synthesize(1)
            assert 1 < time.monotonic() - started_at < 15
            assert caught.value.code is grpc.StatusCode.UNAVAILABLE
            port = free.rpartition(":")[2]
            for part in (free, "refused", f"abp-tf serve --model digits=DIRECTORY --port {port}`"):
                assert part in str(caught.value)
            server, _ = started(Fake(), free)
            client.ask("echo", signal=noise(1, 8, 8, 1))
            server.stop(None).wait()

    def test_deadline(self, fake):
        servicer, client = fake(timeout=0.5)
        servicer.seconds = 2
        started_at = time.monotonic()
        with pytest.raises(package.ServingError, match=r"within 0.5 s.*timeout") as caught:
            client.ask("echo", signal=noise(1, 8, 8, 1))
        assert time.monotonic() - started_at < 1.5
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED

    def test_what_is_no_tensorflow_serving(self, fake):
        _, client = fake()
        with pytest.raises(package.ServingError, match="UNIMPLEMENTED"):
            client.status()

    def test_answers_of_two_versions_are_not_mixed(self, fake):
        servicer, client = fake(batch_size=1)
        servicer.versions = iter([1, 1, 2])
        client.ask("echo", signal=noise(3, 8, 8, 1))
        assert len(servicer.rows) == 6
        servicer.versions = iter([1, 2] * 9)
        with pytest.raises(package.ServingError, match=r"\[1, 2\], 3 times.*`version`"):
            client.ask("echo", signal=noise(2, 8, 8, 1))

    def test_answers_that_are_not_row_by_row(self, fake):
        servicer, client = fake()
        servicer.change = lambda values: values[:1]
        with pytest.raises(package.ServingError, match=r"\(2, 8, 8, 1\).*\(1, 8, 8, 1\)"):
            client.ask("echo", signal=noise(2, 8, 8, 1))

    def test_latents_that_diverged(self, client, digits, monkeypatch):
        received = protocol.arrays

        def spoiled(*arguments):
            answer = received(*arguments)
            return answer | {"latent": np.full_like(answer["latent"], np.nan)}

        monkeypatch.setattr(protocol, "arrays", spoiled)
        with pytest.raises(package.DivergenceError, match="smaller step size"):
            client.reconstruct(digits[:3])


def test_a_client_serves_several_threads(server, learned):
    with package.Client(server.address, "digits") as client, futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda seed: client.synthesize(5, seed=seed), range(8)))
    for seed, answer in enumerate(answers):
        assert_equal(answer, learned.synthesize(5, seed=seed))


def test_many_calls_of_one_event_loop_are_under_way(server, learned):
    async def answers():
        async with package.AsyncClient(server.address, "digits") as client:
            return await asyncio.gather(*(client.synthesize(5, seed=seed) for seed in range(8)))

    for seed, answer in enumerate(asyncio.run(answers())):
        assert_equal(answer, learned.synthesize(5, seed=seed))


def test_calls_of_one_event_loop_do_not_wait_for_each_other():
    servicer = Fake()
    together = threading.Barrier(3, timeout=30)  # which broken raises, and the client is told

    def change(values):
        together.wait()
        return values

    servicer.change = change
    server, address = started(servicer, workers=3)

    async def echo():
        async with package.AsyncClient(address, "digits") as client:
            signals = noise(3, 8, 8, 1)
            calls = (client.ask("echo", signal=signals[[row]]) for row in range(3))
            return signals, await asyncio.gather(*calls)

    signals, answers = asyncio.run(echo())
    server.stop(None).wait()
    np.testing.assert_array_equal(np.concatenate([one["signal"] for one in answers]), signals)


def test_a_call_that_is_cancelled_cancels_its_requests():
    servicer = Fake()
    servicer.seconds = 1
    server, address = started(servicer, workers=2)

    async def cancelled():
        async with package.AsyncClient(address, "digits", batch_size=1) as client:
            task = asyncio.create_task(client.ask("echo", signal=noise(2, 8, 8, 1)))
            while len(servicer.sizes) < 2:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert servicer.waited_for == []
            while len(servicer.waited_for) < 2:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(cancelled(), timeout=30))
    server.stop(None).wait()
    assert servicer.waited_for == [False, False]


def test_signals_of_any_size_are_checked_by_rank():
    spec = protocol.Spec((None, None, None, 3), np.dtype(np.float32))
    given = {"signal": noise(2, 5, 6, 3)}
    assert protocol.checked("score", {"signal": spec}, given, (-1, 1))["signal"].shape == (2, 5, 6, 3)
    with pytest.raises(ValueError, match="expected shape"):
        protocol.checked("score", {"signal": spec}, {"signal": noise(2, 5, 6, 1)}, (-1, 1))
