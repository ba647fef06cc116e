"""What the server answers, and the code of every refusal, over real sockets and stubs."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

import abp_tf
from abp_tf.serving import saved_model

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(signature="", model="digits", version=None, **inputs):
    result = predict_pb2.PredictRequest()
    result.model_spec.name, result.model_spec.signature_name = model, signature
    if version is not None:
        result.model_spec.version.value = version
    for name, value in inputs.items():
        result.inputs[name].CopyFrom(tf.make_tensor_proto(np.asarray(value)))
    return result


def ask(stub, *args, **inputs):
    answer = stub.Predict(request(*args, **inputs), timeout=60)
    return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}


@pytest.fixture
def refused(stub):
    """Return a function that sends a request and asserts code and words of the refusal."""

    def check(message, code, *words):
        with pytest.raises(grpc.RpcError) as error:
            stub.Predict(message, timeout=60)
        assert error.value.code() == code, error.value.details()
        for word in words:
            assert word in error.value.details()

    return check


@pytest.fixture(scope="module")
def images(digits):
    return digits[:5]


SEEDS = np.arange(7, 12)


def test_answers_equal_those_of_the_model_row_by_row(stub, learned, images):
    mask = abp_tf.masks.pepper(5, (8, 8), 0.5, seed=1)[..., None].astype(np.float32)
    damaged = np.where(mask > 0.5, images, np.nan).astype(np.float32)
    new = ask(stub, "synthesize", seed=SEEDS)
    np.testing.assert_allclose(new["signal"], learned.synthesize(5, seed=7), atol=1e-4)
    recon = ask(stub, "reconstruct", signal=images, seed=SEEDS)
    np.testing.assert_allclose(recon["latent"], learned.infer(images, seed=7), atol=1e-4)
    np.testing.assert_allclose(recon["signal"], learned.reconstruct(images, seed=7), atol=1e-4)
    errors = np.mean((recon["signal"] - images) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(recon["error"], errors, atol=1e-4)
    whole = ask(stub, "inpaint", signal=damaged, mask=mask, seed=SEEDS)
    np.testing.assert_allclose(
        whole["signal"], learned.inpaint(damaged, mask, seed=7), atol=1e-4, equal_nan=False
    )
    np.testing.assert_array_equal(whole["signal"][mask > 0.5], images[mask > 0.5])
    drawn = ask(stub, "sample_posterior", signal=damaged, mask=mask, seed=SEEDS)
    expected = learned.sample_posterior(damaged, mask, samples=4, chains=2, seed=7)
    for name, part in drawn.items():
        np.testing.assert_allclose(part, getattr(expected, name), atol=1e-4, err_msg=name)
    assert set(drawn) == {"samples", "mean", "deviation", "sigma"}
    decoded = ask(stub, "decode", latent=recon["latent"])
    np.testing.assert_allclose(decoded["signal"], recon["signal"], atol=1e-5)


def test_a_row_is_answered_alike_in_any_batch(stub):
    whole = ask(stub, "synthesize", seed=SEEDS)["signal"]
    for row, seed in enumerate(SEEDS):
        np.testing.assert_allclose(ask(stub, seed=[seed])["signal"][0], whole[row], atol=1e-4)


def test_answer_names_model_version_and_signature(stub):
    spec = stub.Predict(request("decode", latent=np.zeros((1, 4), np.float32))).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("digits", 1, "decode")
    assert stub.Predict(request(seed=[1])).model_spec.signature_name == saved_model.DEFAULT


def test_output_filter(stub, refused):
    message = request(seed=[1])
    message.output_filter.append("latent")
    assert list(stub.Predict(message).outputs) == ["latent"]
    message.output_filter.append("latent")
    refused(message, INVALID, "each once")
    message.output_filter[1] = "picture"
    refused(message, INVALID, "'signal'", "picture")


def test_metadata_holds_the_signatures(stub):
    question = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    question.model_spec.name = "digits"
    answer = stub.GetModelMetadata(question)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    assert answer.model_spec.version.value == 1
    assert {
        "synthesize",
        "reconstruct",
        "inpaint",
        "sample_posterior",
        "decode",
        saved_model.DEFAULT,
    } <= set(found.signature_def)
    sides = [dim.size for dim in found.signature_def["inpaint"].inputs["mask"].tensor_shape.dim]
    assert sides == [-1, 8, 8, 1]
    question.metadata_field[0] = "weights"
    with pytest.raises(grpc.RpcError) as error:
        stub.GetModelMetadata(question)
    assert error.value.code() == INVALID


def test_status_of_versions(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    question = get_model_status_pb2.GetModelStatusRequest()
    question.model_spec.name = "digits"
    (found,) = stub.GetModelStatus(question).model_version_status
    assert (found.version, found.state) == (1, found.AVAILABLE)
    question.model_spec.version.value = 2
    with pytest.raises(grpc.RpcError) as error:
        stub.GetModelStatus(question)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "digits"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == answer.SERVING
    with pytest.raises(grpc.RpcError) as error:
        stub.Check(health_pb2.HealthCheckRequest(service="cats"))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_is_watched(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    status = health_pb2.HealthCheckResponse
    for service, expected in (("digits", status.SERVING), ("cats", status.SERVICE_UNKNOWN)):
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=60)
        assert next(watch).status == expected
        watch.cancel()
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"\xff" * 9, timeout=60)
    with pytest.raises(grpc.RpcError) as error:
        next(watch)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_method_it_does_not_have_is_unimplemented(stub):
    with pytest.raises(grpc.RpcError) as error:
        stub.Classify(classification_pb2.ClassificationRequest())
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_unknown_model_version_label_and_signature(refused):
    refused(request(model="cats", seed=[1]), grpc.StatusCode.NOT_FOUND, "'digits'", "'cats'")
    refused(request(version=9, seed=[1]), grpc.StatusCode.NOT_FOUND, "[1]", "9")
    refused(request("draw", seed=[1]), grpc.StatusCode.FAILED_PRECONDITION, "'inpaint'", "'draw'")
    refused(request(model="", seed=[1]), INVALID, "name of a model")
    labelled = request(seed=[1])
    labelled.model_spec.version_label = "stable"
    refused(labelled, INVALID, "'stable'")
    refused(request(model="x" * 100_000, seed=[1]), grpc.StatusCode.NOT_FOUND, "…")


def test_version_by_number(stub):
    assert stub.Predict(request(version=1, seed=[1])).model_spec.version.value == 1


FLOATS = np.zeros((2, 8, 8, 1), np.float32)


@pytest.mark.parametrize(
    ("signature", "inputs", "words"),
    [
        ("synthesize", {}, ["missing: ['seed']"]),
        ("synthesize", {"seed": [1], "signal": FLOATS}, ["not an input: 'signal'"]),
        ("synthesize", {"seed": np.zeros(2, np.float32)}, ["int64", "float32"]),
        ("synthesize", {"seed": np.zeros(2, np.int32)}, ["int64", "int32"]),
        ("synthesize", {"seed": 3}, ["['n']", "0 axes"]),
        ("synthesize", {"seed": np.zeros(0, np.int64)}, ["1 to 64 rows", "received 0"]),
        ("synthesize", {"seed": np.zeros(65, np.int64)}, ["1 to 64 rows", "received 65"]),
        ("reconstruct", {"signal": FLOATS, "seed": [1]}, ["same number of rows"]),
        ("reconstruct", {"signal": FLOATS[:, :7], "seed": [1, 2]}, ["[2, 7, 8, 1]"]),
        ("reconstruct", {"signal": FLOATS[..., 0], "seed": [1, 2]}, ["3 axes"]),
        ("reconstruct", {"signal": FLOATS + np.nan, "seed": [1, 2]}, ["NaN"]),
        ("reconstruct", {"signal": FLOATS - np.inf, "seed": [1, 2]}, ["infinity"]),
        ("reconstruct", {"signal": FLOATS + 1.5, "seed": [1, 2]}, ["[-1, 1]", "1.5"]),
        ("inpaint", {"signal": FLOATS + np.nan, "mask": FLOATS + 1, "seed": [1, 2]}, ["NaN"]),
        ("inpaint", {"signal": FLOATS, "mask": FLOATS + np.nan, "seed": [1, 2]}, ["mask", "NaN"]),
        ("decode", {"latent": np.full((1, 4), np.inf, np.float32)}, ["latent", "infinity"]),
        ("decode", {"latent": np.array([[b"a"] * 4])}, ["float32", "string"]),
    ],
)
def test_wrong_inputs(refused, signature, inputs, words):
    refused(request(signature, **inputs), INVALID, *words)


def test_tensors_that_are_not_whole(refused, stub):
    torn = request("decode", latent=np.ones((2, 4), np.float32))
    torn.inputs["latent"].tensor_content = torn.inputs["latent"].tensor_content[:-3]
    refused(torn, INVALID, "32 bytes", "29")
    empty = request("decode", latent=np.ones((2, 4), np.float32))
    empty.inputs["latent"].tensor_content = b""
    refused(empty, INVALID, "8 values", "received 0")
    empty.inputs["latent"].float_val.extend([0.5] * 9)
    refused(empty, INVALID, "8 values", "received 9")
    empty.inputs["latent"].tensor_shape.unknown_rank = True
    refused(empty, INVALID, "no axes")
    empty.inputs["latent"].tensor_shape.unknown_rank = False
    empty.inputs["latent"].dtype = 9999
    refused(empty, INVALID, "number 9999")


def test_fewer_values_than_entries_repeat_the_last(stub):
    """As in TensorFlow: `make_tensor_proto` itself makes such tensors."""
    short = request("decode", latent=np.ones((2, 4), np.float32))
    short.inputs["latent"].tensor_content = b""
    short.inputs["latent"].float_val.extend([0.0, 0.5])
    full = np.array([[0, 0.5, 0.5, 0.5], [0.5] * 4], np.float32)
    found = tf.make_ndarray(stub.Predict(short).outputs["signal"])
    np.testing.assert_allclose(found, ask(stub, "decode", latent=full)["signal"], atol=1e-6)


def test_a_message_beyond_the_limit(stub, refused):
    message = request("decode", latent=np.zeros((70_000, 4), np.float32))
    refused(message, grpc.StatusCode.RESOURCE_EXHAUSTED, str(message.ByteSize()), str(2**20))
    assert len(ask(stub, seed=[1])["signal"]) == 1
