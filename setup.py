"""Packaging of tf_dvdgan.

In the repository `data_prep`, `tools` and `gin` are next to the package. Installed,
they are inside it, so that nothing with such a generic name lands in site-packages.
"""

import pathlib
import re

import setuptools
from setuptools.command import build_py

ROOT = pathlib.Path(__file__).parent
# Read, not imported: a build has none of the package's requirements.
_VERSION_FILE = (ROOT / "tf_dvdgan" / "version.py").read_text()
VERSION = re.search(r'__version__ = "([^"]+)"', _VERSION_FILE)[1]
INSIDE = {"data_prep": "tf_dvdgan.data_prep", "tools": "tf_dvdgan.tools"}
# They need a checkout: benchmarks against PyTorch, compilation for TPUs.
NOT_INSTALLED = ["benchmarks", "tpu_compiler"]
MODULES_NOT_INSTALLED = {("tf_dvdgan.tools", "tpu_preflight")}

PACKAGES = setuptools.find_packages(include=["tf_dvdgan", "tf_dvdgan.*"])
PACKAGE_DIR = {"tf_dvdgan": "tf_dvdgan", "tf_dvdgan.gin": "gin"}
for folder, package in INSIDE.items():
    PACKAGE_DIR[package] = folder
    PACKAGES.append(package)
    subpackages = setuptools.find_packages(folder, exclude=NOT_INSTALLED)
    PACKAGES += [f"{package}.{sub}" for sub in subpackages]
PACKAGES.append("tf_dvdgan.gin")  # only data: a module `gin` would hide gin-config


class BuildPy(build_py.build_py):
    """Builds the packages without the modules that need a checkout."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple]:
        """Lists (package, module, path) of a package's modules."""
        modules = super().find_package_modules(package, package_dir)
        return [found for found in modules if found[:2] not in MODULES_NOT_INSTALLED]


# Two lanes, chosen by the version of Python; constraints/ has a file for each, with the
# exact version and the hashes of all packages.
FIRST, SECOND = 'python_version < "3.12"', 'python_version >= "3.12"'
REQUIREMENTS = [
    # TensorFlow Addons and TensorFlow I/O fix these to each other.
    f"tensorflow==2.15.1; {FIRST}",
    f"keras==2.15.0; {FIRST}",
    f"tensorboard==2.15.2; {FIRST}",
    f"numpy>=1.26,<2; {FIRST}",
    # Moving average of weights; flow's warp, correlation.
    f"tensorflow-addons==0.23.0; {FIRST}",
    # Paths of s3://, az://, hdfs:// and http://.
    f"tensorflow-io==0.36.0; {FIRST}",
    # The last TensorFlow with wheels for TPUs, and its Keras 2.
    f"tensorflow==2.20.0; {SECOND}",
    f"tf-keras==2.20.1; {SECOND}",
    f"tensorboard==2.20.0; {SECOND}",
    f"numpy>=2; {SECOND}",
    f"s3fs>=2026.9; {SECOND}",  # s3:// paths
    f"adlfs>=2026.8; {SECOND}",  # az:// paths
    "absl-py",  # flags
    "gin-config==0.5.0",  # configs
    "apache-beam==2.77.0",  # data preparation
    "opencv-python-headless>=4.10,<5",  # resizes and encodes frames
    "av>=18",  # decodes and encodes videos
    "pillow>=10.1",  # GIF and PNG
    "scenedetect-headless==0.7.2",  # finds cuts in videos
    "scikit-learn>=1.4",  # VGAN's mixture and logistic regression; handwritten digits
    "jinja2>=3.1",  # the page of a run
    "tqdm>=4.66",  # progress bars
    "packaging>=23",  # reads requirements, for the doctor
    "setuptools<81",  # TensorBoard 2.15 imports pkg_resources
]
TORCH = ["torch==2.13.0"]  # reads .pt weights files; the baseline of benchmarks
EXPLORE = ["nicegui>=3.18,<4"]  # the explorer's page; includes every asset
OBJECTS = ["pymunk==7.3.1"]  # physics of the demo set of colliding objects
# API reference and pages; MyST reads Markdown, the theme Furo loads nothing.
DOCS = ["furo==2025.12.19", "myst-parser==5.2.0", "sphinx==9.0.4"]
TESTS = [
    f"{TORCH[0]}; {FIRST}",  # with its CUDA packages it is large: once is enough
    *EXPLORE,
    *OBJECTS,
    *DOCS,
    "build",  # makes the wheel that a test installs
    "flask-cors",  # for moto's server; its extra "server" has two dozen more
    "moto[s3]==5.2.5",  # an S3 server on this machine
    "mypy==2.4.1",  # type checker
    "prdc==0.2",  # density and coverage by their authors, to compare with
    "pytest",
    "pytest-cov",  # `make coverage`
    "pytest-xdist",  # both cores
    "pyyaml",  # reads the workflow that a test checks
    "ruff",
    "setuptools==80.9.0",  # as in pyproject.toml: a test builds without isolation
    "selenium==4.51.0",  # drives Chromium for the pages' tests
    # Serving's protos, for docs/serving.md; none are built for TensorFlow 2.20.
    f"tensorflow-serving-api==2.15.1; {FIRST}",
]

setuptools.setup(
    name="tf_dvdgan",
    version=VERSION,
    description="Adversarial video generation in TensorFlow 2: DVD-GAN and companions",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=PACKAGES,
    package_dir=PACKAGE_DIR,
    cmdclass={"build_py": BuildPy},
    package_data={
        "tf_dvdgan": ["py.typed"],
        "tf_dvdgan.pretrained": ["*/*", "*.weights.h5", "README.md"],
        "tf_dvdgan.gin": ["*.gin", "**/*.gin", "**/**/*.gin"],
        "tf_dvdgan.evaluation.runs": ["*.csv"],
        "tf_dvdgan.explorer": ["*.css"],
        "tf_dvdgan.report": ["*.html", "*.css", "*.js"],
    },
    install_requires=REQUIREMENTS,
    extras_require={
        "gpu": [
            f"tensorflow[and-cuda]==2.15.1; {FIRST}",
            f"tensorflow[and-cuda]==2.20.0; {SECOND}",
        ],
        "weights": TORCH,
        "docs": DOCS,
        "explore": EXPLORE,
        "objects": OBJECTS,
        "tests": TESTS,
    },
    entry_points={
        "console_scripts": [
            "tf_dvdgan=tf_dvdgan.run:run",
            "tf_dvdgan_prepare=tf_dvdgan.data_prep.prepare:run",
            "tf_dvdgan_sample=tf_dvdgan.tools.sample:run",
            "tf_dvdgan_predict=tf_dvdgan.tools.predict:run",
            "tf_dvdgan_classify=tf_dvdgan.tools.classify:run",
            "tf_dvdgan_units=tf_dvdgan.tools.units:run",
            "tf_dvdgan_convert_weights=tf_dvdgan.tools.convert_weights:run",
            "tf_dvdgan_train_classifier=tf_dvdgan.tools.train_classifier:run",
            "tf_dvdgan_score=tf_dvdgan.tools.score:run",
            "tf_dvdgan_interpolate=tf_dvdgan.tools.interpolate:run",
            "tf_dvdgan_report=tf_dvdgan.tools.report:run",
            "tf_dvdgan_explore=tf_dvdgan.tools.explore:run",
            "tf_dvdgan_export=tf_dvdgan.tools.export:run",
            "tf_dvdgan_copy_run=tf_dvdgan.tools.copy_run:run",
            "tf_dvdgan_inspect_tfrecord=tf_dvdgan.tools.inspect_tfrecord:run",
            "tf_dvdgan_plan=tf_dvdgan.tools.plan:run",
            "tf_dvdgan_doctor=tf_dvdgan.tools.doctor:run",
            "tf_dvdgan_benchmark=tf_dvdgan.tools.benchmark:run",
            "tf_dvdgan_make_demo_videos=tf_dvdgan.tools.make_demo_videos:run",
            "tf_dvdgan_demo=tf_dvdgan.tools.demo:run",
        ]
    },
)
