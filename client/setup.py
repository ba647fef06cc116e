"""Distribution abp-tf-client: the client of `abp_tf`, which needs no TensorFlow.

The modules of `abp_tf_client` are links to those of `abp_tf`; sdist and wheel contain the files.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = (HERE / "abp_tf_client" / "_version.py").read_text(encoding="utf-8")

setup(
    name="abp_tf_client",  # as pip install abp-tf-client names it too
    version=re.search(r'^__version__ = "([^"]+)"$', VERSION, flags=re.MULTILINE).group(1),
    description="Client of served generative ConvNets of abp_tf, without TensorFlow",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The abp_tf authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["TensorFlow Serving", "gRPC", "inpainting", "generative models"],
    python_requires=">=3.11",
    packages=find_packages(include=["abp_tf_client", "abp_tf_client.*"]),
    package_data={"abp_tf_client": ["py.typed", "serving/messages.proto", "serving/*.pyi"]},
    install_requires=[
        "grpcio>=1.71,<2",
        "numpy>=2.1,<3",
        "protobuf>=6.31.1,<8",  # from the version that wrote serving/messages_pb2.py
    ],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
