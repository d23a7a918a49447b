# `make check` is what a change must pass; the README's two commands are what a newcomer runs.
.PHONY: check fuzz reliability format lint types layers docs outputs tests check-torch benchmarks fidelity on-gpu published wheel

PYTHON ?= python

check: lint types layers docs tests

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lint:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

layers:
	$(PYTHON) -c "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"

# The documentation site, in site/. A broken link, a page that is not in the navigation or an asset of another host is an
# error. NO_MKDOCS_2_WARNING: the theme's notice about a later version is none of ours.
docs:
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

# Runs the commands that README.md and docs/ show, and writes their output into the pages.
outputs:
	$(PYTHON) -m docsite.outputs

tests:
	$(PYTHON) -m pytest

# 10,000 fuzzed inputs with a seed of their own: FUZZ_SEED=7 repeats a run.
FUZZ_SEED ?= $(shell date +%s)

fuzz:
	MEMPROF_FUZZ_KEEP=1 MEMPROF_FUZZ_CASES=10000 MEMPROF_FUZZ_SEED=$(FUZZ_SEED) $(PYTHON) -m pytest tests/reliability/test_fuzz.py

# The campaigns of docs/reliability.md, about half an hour: RELIABILITY="--only kills --kills 20" runs a part of them.
reliability:
	$(PYTHON) -m tests.reliability $(RELIABILITY)

# The wheel for Linux on x86-64, with the phantom compiled for each major version of CUDA: no compiler is needed to use it.
# The headers come from NVIDIA's packages, about 1.5 GB to download once.
HEADERS := build/headers
HEADERS_12 := nvidia-cuda-runtime-cu12==12.8.90 nvidia-cuda-nvcc-cu12==12.8.93 nvidia-cudnn-cu12==9.10.2.21
HEADERS_13 := nvidia-cuda-runtime==13.0.96 nvidia-cuda-crt==13.0.88 nvidia-cudnn-cu13==9.24.0.43

wheel: $(HEADERS)/cuda12 $(HEADERS)/cuda13
	MEMPROF_PREBUILT=$(HEADERS) $(PYTHON) -m pip wheel --no-deps --wheel-dir dist .

$(HEADERS)/cuda12:
	$(PYTHON) -m pip install -q --no-deps --target $@ $(HEADERS_12)

$(HEADERS)/cuda13:
	$(PYTHON) -m pip install -q --no-deps --target $@ $(HEADERS_13)

# The tests with an older torch, in an environment that is made once and kept: by default 2.9.1, the oldest supported, which
# comes with CUDA 12.8 and cuDNN 9.10.2 (`make tests` has CUDA 13.0 and cuDNN 9.24). About 3 GB to download, half an hour to run.
# TORCH="2.11.0" TORCHVISION="0.26.0" are others; PYTEST="-n 1 tests/phantom" goes to pytest.
TORCH ?= 2.9.1
TORCHVISION ?= 0.24.1
OLDER := .check-torch/$(TORCH)

check-torch: $(OLDER)/installed
	$(OLDER)/bin/memprof doctor
	$(OLDER)/bin/python -m pytest $(addprefix --ignore=tests/,page plots report results) $(PYTEST)

$(OLDER)/installed: pyproject.toml
	$(PYTHON) -m venv $(OLDER)
	printf 'torch==$(TORCH)\ntorchvision==$(TORCHVISION)\n' > $(OLDER)/constraints.txt
	$(OLDER)/bin/python -m pip install -q -c $(OLDER)/constraints.txt -e '.[test]'
	touch $@

benchmarks:
	$(PYTHON) -m benchmarks

# FIDELITY="--cudnn FOLDER --python FILE" puts other versions beside this environment's
fidelity:
	$(PYTHON) -m benchmarks.fidelity $(FIDELITY)

# Figures that other projects published, reproduced. It continues where it was stopped. PUBLISHED="--only peft" runs a part.
# litgpt and torchtune ask for older versions of other packages. They get an environment of their own, which sees this one.
PUBLISHED_ENVIRONMENT := .published
PUBLISHED_PACKAGES := litgpt==0.5.3 torchtune==0.6.1 torchao==0.9.0 omegaconf antlr4-python3-runtime==4.9.3 tiktoken blobfile \
	sentencepiece kagglehub
SEE_THIS := 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))'

published: $(PUBLISHED_ENVIRONMENT)/installed
	$(PYTHON) -m benchmarks.published --python $(PUBLISHED_ENVIRONMENT)/bin/python $(PUBLISHED)

$(PUBLISHED_ENVIRONMENT)/installed:
	$(PYTHON) -m venv $(PUBLISHED_ENVIRONMENT)
	$(PUBLISHED_ENVIRONMENT)/bin/python -m pip install -q --no-deps $(PUBLISHED_PACKAGES)
	$(PYTHON) -c $(SEE_THIS) > $$(echo $(PUBLISHED_ENVIRONMENT)/lib/python*/site-packages)/environment.pth
	touch $@

# On a machine with a GPU, at most 12 minutes: ON_GPU="--only verify" runs a part, ON_GPU="--gpu t4 --seconds 60 --output /tmp/records"
# tries it on a phantom.
on-gpu:
	$(PYTHON) -m benchmarks.on_gpu $(ON_GPU)
