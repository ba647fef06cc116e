"""Who may ask a server: TLS, certificates of clients, bearer tokens; alike for the client program."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
import trustme
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import abp_tf
from abp_tf.serving import access as tokens
from export import access, client

TOKEN = "a-Secret.1"


def write_issued(authority, directory, name):
    """Write a key and a certificate; return their paths."""
    directory.mkdir()
    certificate = authority.issue_cert(name)
    key, chain = directory / "key.pem", directory / "chain.pem"
    certificate.private_key_pem.write_to_path(str(key))
    for part in certificate.cert_chain_pems:
        part.write_to_path(str(chain), append=True)
    return key, chain


class Files:
    """Authorities of a server and of its clients, and what each has issued, as paths."""

    def __init__(self, directory):
        authority, own, self.stranger = trustme.CA(), trustme.CA(), trustme.CA()
        self.root, self.client_ca = directory / "root.pem", directory / "client.pem"
        authority.cert_pem.write_to_path(str(self.root))
        own.cert_pem.write_to_path(str(self.client_ca))
        self.key, self.chain = write_issued(authority, directory / "server", "localhost")
        self.client = write_issued(own, directory / "client", "client@example.org")
        self.others = write_issued(self.stranger, directory / "others", "client@example.org")
        self.token = directory / "token"
        self.token.write_text(f"{TOKEN}\n")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("access"))


@pytest.fixture(scope="module")
def closed(start_server, light, files):
    """A server that wants a certificate and a token of its clients, at a name of its certificate."""
    server = start_server(
        "--model", f"digits={light}", "--tls-certificate", files.chain, "--tls-key", files.key,
        "--tls-client-ca", files.client_ca, "--token-file", files.token, "--host", "0.0.0.0",
    )  # fmt: skip
    return server, "localhost:" + server.address.rsplit(":", 1)[1]


def ask(address, files, token=TOKEN, own=None):
    key, certificate = own or (None, None)
    with abp_tf.Client(
        address,
        "digits",
        timeout=30,
        root_certificates=files.root,
        certificate=certificate,
        key=key,
        token=token,
    ) as one:
        assert one.status()
        return one.synthesize(2)


def test_a_client_with_certificate_and_token_is_served(closed, files):
    server, address = closed
    assert len(ask(address, files, own=files.client)) == 2
    assert "WARNING" not in server.log


@pytest.mark.parametrize("token", [None, "a-Secret.2", "a-Secret.1a", "A-Secret.1"])
def test_another_token_is_refused_and_not_shown(closed, files, token):
    server, address = closed
    with pytest.raises(abp_tf.ServingError, match=r"UNAUTHENTICATED.*`token`.*--token-file") as error:
        ask(address, files, token, files.client)
    assert error.value.code is grpc.StatusCode.UNAUTHENTICATED
    assert "Secret" not in str(error.value)
    assert "Secret" not in server.log


def test_the_token_is_wanted_before_the_message(closed, files):
    _, address = closed
    key, chain = (path.read_bytes() for path in files.client)
    credentials = grpc.ssl_channel_credentials(files.root.read_bytes(), key, chain)
    with grpc.secure_channel(address, credentials) as channel:
        for method in ("PredictionService/Predict", "ModelService/GetModelStatus"):
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary(f"/tensorflow.serving.{method}")(b"nonsense", timeout=30)
            assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
        # Probes have no token.
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=30) == b"\x08\x01"


@pytest.mark.parametrize("own", ["none", "another authority's"])
def test_a_client_without_a_certificate_of_the_authority_is_refused(closed, files, own):
    with pytest.raises(abp_tf.ServingError, match="a certificate and its key") as error:
        ask(closed[1], files, own=None if own == "none" else files.others)
    assert error.value.code is grpc.StatusCode.UNAVAILABLE


def test_the_client_program_has_options_for_it(closed, files, capsys):
    key, chain = files.client
    words = (
        "status", "--server", closed[1], "--model", "digits", "--tls-root", files.root,
        "--tls-certificate", chain, "--tls-key", key, "--token-file", files.token,
    )  # fmt: skip
    assert client.main([str(word) for word in words]) == 0
    assert "AVAILABLE" in capsys.readouterr().out
    with pytest.raises(abp_tf.ServingError, match="UNAUTHENTICATED"):
        client.main([str(word) for word in words[:-2]])


def test_the_token_is_compared_in_constant_time(monkeypatch):
    """By `hmac.compare_digest`, whole texts of bytes; ends and beginnings alone are not enough."""
    compared = []

    class Context:
        def invocation_metadata(self):
            return (("user-agent", "x"), ("authorization", "Bearer ünlike"))

    def compare(one, other):
        compared.append((one, other))
        return False

    monkeypatch.setattr(access.hmac, "compare_digest", compare)
    with pytest.raises(access.RefusedError):
        access.check_token(TOKEN, Context())
    assert compared == [("Bearer ünlike".encode(), f"Bearer {TOKEN}".encode())]


def test_files_of_tls_that_do_not_fit(files):
    chain, key, other = str(files.chain), str(files.key), str(files.others[0])
    with pytest.raises(ValueError, match=f"--tls-key.*{chain}.*{other}.*MISMATCH"):
        access.credentials(chain, other)
    with pytest.raises(ValueError, match=f"--tls-client-ca.*{key}"):
        access.credentials(chain, key, key)
    for given in ((chain, None, None), (None, key, None), (None, None, chain)):
        with pytest.raises(ValueError, match="--tls-certificate and --tls-key"):
            access.credentials(*given)
    assert access.credentials(chain, key, chain)
    assert access.credentials(None, None) is None
    with pytest.raises(ValueError, match="`root_certificates`, `certificate` and `key`"):
        abp_tf.Client("localhost:1", "digits", certificate=chain, key=key)


@pytest.mark.parametrize("text", ["", "two words", "two\nlines", "clé"])
def test_what_is_no_token(tmp_path, text):
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"{path}: expected a token") as error:
        tokens.read_token(path)
    assert not text or text not in str(error.value)
    with pytest.raises(ValueError, match="token: expected a token"):
        abp_tf.Client("localhost:1", "digits", token=text)


def request():
    result = predict_pb2.PredictRequest()
    result.model_spec.name = "digits"
    result.inputs["seed"].CopyFrom(tf.make_tensor_proto(np.arange(1)))
    return result


def test_tls_takes_those_who_know_it_and_refuses_plain_text(start_server, light, files):
    options = "--tls-certificate", files.chain, "--tls-key", files.key
    server = start_server("--model", f"digits={light}", *options)
    address = "localhost:" + server.address.rsplit(":", 1)[1]
    trusted = grpc.ssl_channel_credentials(files.root.read_bytes())
    with grpc.secure_channel(address, trusted) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.Predict(request(), timeout=30).outputs
    strangers = grpc.ssl_channel_credentials(files.stranger.cert_pem.bytes())
    for channel in (grpc.insecure_channel(address), grpc.secure_channel(address, strangers)):
        with channel, pytest.raises(grpc.RpcError) as error:
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request(), timeout=30)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
