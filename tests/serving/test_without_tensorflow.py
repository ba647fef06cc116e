"""The package `abp_tf_client`, and its messages beside those of TensorFlow."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from abp_tf.serving import messages_pb2, protocol
from tests import remote_models

CHECKOUT = Path(__file__).resolve().parents[2]
NEEDED = ["grpcio", "numpy", "protobuf", "pytest", "psutil"]

# Beside each other in one process, in both orders.
BESIDE = {
    "first": "import abp_tf_client; from tensorflow_serving.apis import predict_pb2; import abp_tf",
    "last": "from tensorflow_serving.apis import predict_pb2; import abp_tf; import abp_tf_client",
}
SAME_BYTES = """
import numpy as np
from abp_tf.serving import messages_pb2, protocol
from abp_tf_client.serving import protocol as light

assert abp_tf.Client.__module__ == "abp_tf.serving.client"
assert abp_tf_client.Client.__module__ == "abp_tf_client.serving.client"
values = np.arange(6, dtype=np.float32).reshape(2, 3)
for module in (protocol, light):
    message = messages_pb2.PredictRequest()
    module.write(values, message.inputs["signal"])
    theirs = predict_pb2.PredictRequest.FromString(message.SerializeToString())
    import tensorflow as tf
    assert (tf.make_ndarray(theirs.inputs["signal"]) == values).all()
"""


def run(words, **options):
    result = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **options
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


def theirs(ours):
    """TensorFlow's message, or enumeration, of the name of one of ours."""
    name = ours.full_name.removeprefix("abp_tf.serving.")
    pool = descriptor_pool.Default()
    find = pool.FindMessageTypeByName
    if isinstance(ours, EnumDescriptor):
        find = pool.FindEnumTypeByName
    for package in ("tensorflow.serving", "tensorflow"):
        with contextlib.suppress(KeyError):
            return find(f"{package}.{name}")
    raise AssertionError(f"TensorFlow has no {name}")


def test_messages_are_a_part_of_those_of_tensorflow():
    # Their import registers the messages.
    assert all([get_model_metadata_pb2, get_model_status_pb2, predict_pb2])
    file = messages_pb2.DESCRIPTOR
    messages = list(file.message_types_by_name.values())
    enumerations = list(file.enum_types_by_name.values())
    for message in messages:
        messages += message.nested_types  # which are visited too
        enumerations += message.enum_types
        for field in message.fields:
            other = theirs(message).fields_by_name[field.name]
            assert (field.number, field.is_repeated) == (other.number, other.is_repeated)
            types = {field.type, other.type}
            # An enumeration is a number on the wire.
            assert len(types) == 1 or types == {FieldDescriptor.TYPE_ENUM, FieldDescriptor.TYPE_INT32}
            if field.message_type:
                assert field.message_type.name == other.message_type.name
    assert {"Dim", "InputsEntry"} < {message.name for message in messages}
    for enumeration in enumerations:
        numbers = {value.name: value.number for value in theirs(enumeration).values}
        assert {value.name: value.number for value in enumeration.values}.items() <= numbers.items()
    assert {*protocol.DTYPES, messages_pb2.DT_INVALID} == set(messages_pb2.DataType.values())


def test_the_package_consists_of_links_to_this_one():
    """So that no file of it can differ, and none imports `abp_tf` by name."""
    package = CHECKOUT / "client" / "abp_tf_client"
    files = [path for path in package.rglob("*") if path.is_file() and path.name != "__init__.py"]
    files = [path for path in files if path.suffix != ".pyc"]
    assert len(files) > 15
    for path in files:
        source = CHECKOUT / "abp_tf" / path.relative_to(package)
        assert path.is_symlink()
        assert path.resolve() == source
        if path.suffix == ".py":
            assert not re.search(
                r"^\s*(from|import) (abp_tf|tensorflow|keras)", source.read_text(), re.M
            )


@pytest.mark.slow
@pytest.mark.parametrize("order", BESIDE)
def test_both_packages_and_tensorflow_in_one_process(order):
    path = os.pathsep.join([str(CHECKOUT / "client"), str(CHECKOUT)])
    code = f"{BESIDE[order]}\n{SAME_BYTES}"
    run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """The Python of an environment with the wheel of the client, and without TensorFlow."""
    folder = tmp_path_factory.mktemp("light")
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    source = folder / "client"
    shutil.copytree(CHECKOUT / "client", source)  # follows the links, as building does
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"]
    run([*pip, "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source])
    run([sys.executable, "-m", "venv", folder / "venv"])
    python = folder / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    needed = subprocess.run([*install, *NEEDED], capture_output=True, text=True, env=plain, check=False)
    if needed.returncode:
        pytest.skip(f"no package index has {', '.join(NEEDED)}: {needed.stderr.strip()[-200:]}")
    [wheel] = folder.glob("*.whl")
    run([*install, "--no-index", wheel], env=plain)  # the others are what it needs, in its versions
    return python


@pytest.mark.slow
def test_conformance_without_tensorflow(
    light, server, energy_server, learned, energy, digits, masks_of_digits, tmp_path
):
    shutil.copytree(CHECKOUT / "tests" / "serving", tmp_path / "tests" / "serving")
    for name in ("fake_server", "remote_models", "tested_client", "without_tensorflow"):
        shutil.copy(CHECKOUT / "tests" / f"{name}.py", tmp_path / "tests")
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    np.savez(tmp_path / "arrays.npz", digits=digits, masks=masks_of_digits)
    with remote_models.served(learned=learned, energy=energy) as address:
        other = {
            "models": address,
            "server": server.address,
            "energy_server": energy_server.address,
            "arrays": str(tmp_path / "arrays.npz"),
        }
        (tmp_path / "other.json").write_text(json.dumps(other))
        plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        tests = ["tests/serving/test_client.py", "tests/serving/test_odd_responses.py"]
        said = run(
            [light, "-m", "pytest", "-q", "-p", "tests.without_tensorflow", *tests],
            cwd=tmp_path,
            env={**plain, "ABP_TF_TESTS": str(tmp_path / "other.json"), "PYTHONPATH": str(tmp_path)},
        )
    assert int(re.search(r"(\d+) passed", said)[1]) > 150
    assert not re.search("failed|error|skipped", said)


@pytest.mark.slow
def test_import_without_tensorflow(light):
    code = (
        "import sys, abp_tf_client; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'tensorflow', 'tensorflow_serving', 'keras', 'abp_tf'}))"
    )
    assert run([light, "-c", code], cwd="/").strip() == "[]"
