"""The files for production, read by the parsers that will read them, as far as these are here."""

import inspect
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

import abp_tf
from abp_tf.serving import saved_model

DEPLOY = Path(__file__).resolve().parents[2] / "export" / "deploy"


def batching_parameters():
    """TensorFlow Serving's message, which its Python package lacks: the fields of 2.20.0 in short."""
    file = descriptor_pb2.FileDescriptorProto(
        name="batching.proto", package="batching", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    message = file.message_type.add(name="BatchingParameters")
    field = descriptor_pb2.FieldDescriptorProto
    single = {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value"),
    }
    for name, (number, kind) in single.items():
        message.field.add(
            name=name,
            number=number,
            label=field.LABEL_OPTIONAL,
            type=field.TYPE_MESSAGE,
            type_name=f".google.protobuf.{kind}",
        )
    message.field.add(
        name="allowed_batch_sizes", number=6, label=field.LABEL_REPEATED, type=field.TYPE_INT64
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("batching.BatchingParameters"))()


@pytest.fixture(scope="module")
def models():
    text = (DEPLOY / "models.config").read_text()
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


@pytest.fixture(scope="module")
def batching():
    return text_format.Parse((DEPLOY / "batching.config").read_text(), batching_parameters())


@pytest.fixture(scope="module")
def documents():
    """The compose file's service, and the container, the pod and the service of Kubernetes."""
    yaml = pytest.importorskip("yaml")
    [service] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].values()
    deployment, exposed = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    assert (deployment["kind"], exposed["kind"]) == ("Deployment", "Service")
    pod = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert exposed["spec"]["selector"] == pod["metadata"]["labels"]
    [container] = pod["spec"]["containers"]
    return service, container, pod["spec"], exposed["spec"]


def test_models(models):
    [model] = models.model_config_list.config
    assert (model.name, model.base_path) == ("digits", f"/models/{model.name}")
    assert model.model_platform == "tensorflow"
    # What a label names must be able to stay loaded beside a newer version.
    assert model.model_version_policy.latest.num_versions >= 2
    assert set(model.version_labels) == {"stable"}


def test_batches_are_padded_to_sizes_that_exports_warm_up(batching):
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(set(sizes))
    assert set(sizes) <= set(saved_model.WARMUP_ROWS)
    assert batching.max_batch_size.value == sizes[-1]
    assert batching.num_batch_threads.value > 0
    assert batching.max_enqueued_batches.value >= batching.num_batch_threads.value


def default_of_client(option):
    return inspect.signature(abp_tf.Client).parameters[option].default


def test_the_client_sends_no_more_rows_than_a_batch_has(batching):
    assert default_of_client("batch_size") <= batching.max_batch_size.value


def test_compose_and_kubernetes_start_the_same_server(documents):
    service, container, *_ = documents
    assert service["command"] == container["args"]
    assert service["image"] == container["image"]
    assert ":" in service["image"]
    assert service["cpus"] == int(container["resources"]["limits"]["cpu"])


def test_flags_point_at_what_is_mounted(documents, models, batching):
    service, container, pod, _ = documents
    flags = dict(flag.removeprefix("--").split("=") for flag in container["args"])
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}
    # The first part may hold a colon itself, in ${NAME:?...}.
    composed = {volume.rsplit(":", 2)[1]: volume.rsplit(":", 2)[0] for volume in service["volumes"]}
    for flag in ("model_config_file", "batching_parameters_file"):
        path = Path(flags[flag])
        assert str(path.parent) in mounts
        assert (DEPLOY / composed[flags[flag]]).resolve() == DEPLOY / path.name
        assert (DEPLOY / path.name).is_file()
    for model in models.model_config_list.config:
        assert str(Path(model.base_path).parent) in mounts
        assert str(Path(model.base_path).parent) in composed
    assert flags["enable_batching"] == "true"
    assert batching.num_batch_threads.value == service["cpus"]


def test_probes_ask_the_health_service_at_the_port(documents):
    service, container, pod, exposed = documents
    assert "--enable_grpc_healthcheck_service=true" in container["args"]
    [port] = container["ports"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"] == {"port": port["containerPort"]}
    assert exposed["ports"][0]["targetPort"] == port["name"]
    assert exposed["ports"][0]["port"] == port["containerPort"] == 8500
    assert service["ports"] == ["127.0.0.1:8500:8500"]
    assert pod["terminationGracePeriodSeconds"] > 2 * default_of_client("timeout")


@pytest.mark.parametrize(
    "name", ["models.config", "batching.config", "compose.yaml", "kubernetes.yaml"]
)
def test_the_page_names_every_file(name):
    assert (DEPLOY / name).is_file()
    assert f"`{name}`" in (DEPLOY / "README.md").read_text()
