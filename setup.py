"""Package abp_tf: one library, with two folders of programs installed as its subpackages."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def version() -> str:
    """Return the version, read as text because importing abp_tf needs TensorFlow."""
    text = (HERE / "abp_tf" / "_version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE).group(1)


def programs(folder: str) -> list[str]:
    """Return the installed names of the packages in a folder of programs."""
    return [f"abp_tf.{folder}", *(f"abp_tf.{folder}.{name}" for name in find_packages(folder))]


# TensorFlow, Keras and the serving protocol are bounded to the minor version that the tests ran with,
# because training uses parts of Keras that change between minor versions.
REQUIRES = [
    "tensorflow>=2.21,<2.22",
    "keras>=3.15,<3.16",
    "tensorflow-serving-api>=2.21,<2.22",
    "grpcio>=1.71,<2",
    "protobuf>=6.31.1,<8",  # from the version that wrote abp_tf/serving/messages_pb2.py
    "tensorboard>=2.20,<2.22",
    "arviz-stats>=0.8,<2",
    "numpy>=2.1,<3",
    "pillow>=11,<14",
    "matplotlib>=3.9,<4",
    "pyyaml>=6,<7",
]
DATASETS = [
    "tensorflow-datasets>=4.9.9,<5",
    "importlib_resources>=6,<8",  # tensorflow-datasets imports it without requiring it
]
SERVING = ["grpcio-health-checking>=1.71,<2", "prometheus-client>=0.21,<1"]
# For the page in the browser.
PAGE = ["starlette>=1,<2", "uvicorn>=0.40,<1"]
# For reading sounds and videos, and writing MP4. Writing WAV and GIF needs none of them.
MEDIA = ["soundfile>=0.12,<1", "soxr>=0.5,<2", "av>=14.1,<20"]
# For reading and writing NIfTI files.
VOLUMES = ["nibabel>=5.3,<6"]
# For reading fields from NetCDF, Zarr and GeoTIFF, and writing NetCDF.
FIELDS = [
    "xarray>=2025.9,<2027",  # writes NetCDF 4 to open files
    "h5netcdf>=1.4,<2",
    "cftime>=1.6.4,<2",  # calendars of climate models
    "zarr>=3,<4",
    "rioxarray>=0.18,<1",
    "scipy>=1.14,<2",  # reads NetCDF 3
]
BENCHMARKS = ["scikit-learn>=1.6,<2", "psutil>=6,<8", "scipy>=1.14,<2"]
DEMO = ["scikit-learn>=1.6,<2", "scikit-image>=0.25,<0.27"]
# For building the documentation and executing its notebooks.
DOCS = [
    "sphinx>=9,<10",
    "myst-nb>=1.4,<2",
    "furo>=2025.9",
    "sphinx-copybutton>=0.5,<1",
    "latex2mathml>=3.78,<4",
    "ipykernel>=6.30,<8",
    "nbclient>=0.10,<1",
]
TOOLS = [
    "build>=1.2",
    "mypy>=1.18,<3",
    "pytest>=8.3,<10",
    "pytest-xdist>=3.6,<4",
    # Formatting differs between minor versions of ruff.
    "ruff>=0.17.5,<0.18",
    "selenium>=4.30,<5",  # drives the browser that tests the page
    # The packaging test builds a wheel without build isolation, to work offline.
    "setuptools>=65",
    "trustme>=1.2,<2",  # certificates for the tests of TLS
    "twine>=6,<8",
    "types-grpcio>=1",
    "types-protobuf>=6",
    "wheel>=0.45",
]

setup(
    name="abp_tf",
    version=version(),
    description="Generative ConvNets learned by maximum likelihood with Langevin dynamics",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The abp_tf authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=[
        "alternating back-propagation",
        "cooperative learning",
        "energy-based models",
        "gap filling",
        "generative models",
        "inpainting",
        "Keras",
        "Langevin dynamics",
        "TensorFlow",
    ],
    python_requires=">=3.11,<3.14",
    packages=[
        *find_packages(include=["abp_tf", "abp_tf.*"]),
        *programs("train"),
        *programs("export"),
    ],
    package_dir={"abp_tf.train": "train", "abp_tf.export": "export"},
    package_data={
        "abp_tf": [
            "py.typed",
            "examples/README.md",
            "examples/digits.*",
            "serving/messages.proto",
            "serving/messages_pb2.pyi",
        ],
        "abp_tf.export.web": ["static/*"],
    },
    install_requires=REQUIRES,
    extras_require={
        "serving": SERVING,
        "page": PAGE,
        "demo": [*DEMO, *SERVING, *PAGE],
        "media": MEDIA,
        "datasets": DATASETS,
        "volumes": VOLUMES,
        "fields": FIELDS,
        "benchmarks": BENCHMARKS,
        "docs": DOCS,
        "dev": [
            *TOOLS,
            *DOCS,
            *DEMO,
            *SERVING,
            *PAGE,
            *BENCHMARKS,
            *MEDIA,
            *DATASETS,
            *VOLUMES,
            *FIELDS,
        ],
    },
    entry_points={"console_scripts": ["abp-tf = abp_tf.train.command:main"]},
    # There are no URLs yet, because the project has no address: project_urls={"Source": ..., ...}.
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Atmospheric Science",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
)
