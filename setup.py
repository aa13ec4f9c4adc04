"""Installation of tinyclap: the package, and the extras that the recipes, metrics, plots and export need."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'^__version__ = "([^"]+)"', (ROOT / "tinyclap" / "__init__.py").read_text("utf-8"), re.M).group(1)
README = ROOT / "README.md"

# torchaudio 2.11.0 refuses a torch of another CUDA release; 2.11.1 takes any torch of the same CUDA major.
TORCH = "torch>=2.11"

# 0.6.0 depends on a release that was withdrawn, and 0.5.5 on numpy<2 and transformers<5
AAC_METRICS = "aac-metrics==0.5.4"

EXTRAS = {
    "train": [
        "speechbrain>=1.1,<2",
        TORCH,
        "torchaudio>=2.11.1",
        "hyperpyyaml>=1.2.3",
        "transformers>=5,<6",
        "pandas>=2.2",
        "safetensors>=0.4.3",
        "filelock>=3.13",
        "pyarrow>=17",  # target caches
        AAC_METRICS,  # CIDEr-D selects the best epoch of a captioner
    ],
    "metrics": [AAC_METRICS],
    "plots": ["matplotlib>=3.8"],
    "export": [TORCH, "safetensors>=0.4.3", "onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20", "tokenizers>=0.20"],
    "runtime": ["onnxruntime>=1.20", "tokenizers>=0.20"],
    # results of the commands in Parquet
    "parquet": ["pyarrow>=17"],
    # another engine for the same exported folders: quicker on most CPUs, and bf16 where the CPU has it
    "openvino": ["openvino>=2025.0", "onnxruntime>=1.20", "tokenizers>=0.20"],
    # target caches made on many machines
    "scale": ["ray[data]>=2.60"],
    # models on the Hugging Face hub: fetched, cached, published
    "hub": ["huggingface_hub>=1"],
    # tinyclap.adapters.sklearn, and the training of probes
    "sklearn": ["scikit-learn>=1.4"],
    "microphone": ["sounddevice>=0.4"],
    # the app of demo/, for hubs that host such
    "demo": ["gradio>=6,<7", "onnxruntime>=1.20", "tokenizers>=0.20", "filelock>=3.13"],
    # tests and pictures of the browser page, with the Chromium that the system has
    "browser": ["playwright>=1.50"],
    # the peers that benchmarks/ compares with
    "benchmarks": ["torchlibrosa>=0.1.0"],
    "dev": [
        "pytest>=8",
        "pytest-xdist>=3.6",
        "ruff>=0.12",
        "pre-commit>=4",
        "codespell>=2.3",
        "import-linter>=2.3",
        "jedi>=0.19",
        "mypy>=1.18",
        "pyright[nodejs]>=1.1.400",
    ],
}

setup(
    name="tinyclap",
    version=VERSION,
    description="Big audio-language models made tiny, by distillation of their audio encoder",
    long_description=README.read_text("utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The tinyclap authors",
    license="Apache-2.0",
    packages=find_packages(include=["tinyclap", "tinyclap.*"]),
    # the models that come with the package: no code, so no package of their own
    package_data={"tinyclap": ["py.typed", "shipped_models/*.md", "shipped_models/*/*", "shipped_models/*/banks/*"]},
    python_requires=">=3.11",
    install_requires=["numpy>=1.26", "soundfile>=0.12.1", "soxr>=0.5", "tqdm>=4.66", "shtab>=1.13"],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["tinyclap = tinyclap.cli.main:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Intended Audience :: Science/Research",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
