# Short names for the plain commands, which every target prints as it runs them.
# After the first `make`:  . .venv/bin/activate  and use snakemake, pytest and jupyter directly.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
THREADS ?= 1
export PATH := $(CURDIR)/.venv/bin:$(PATH)
SHELL := /bin/bash
ONE_COUNT := OMP_NUM_THREADS=$(THREADS) MKL_NUM_THREADS=$(THREADS) NUMBA_NUM_THREADS=$(THREADS) PARASPIKE_THREADS=$(THREADS) OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0

.PHONY: all test test-cuda test-peers lab fetch bench bench-cuda lint clean
.DELETE_ON_ERROR:

all: .venv/installed
	snakemake
	snakemake --report results/$$(python -m paraspike.pipeline.closing --run)/report.zip
	@python -m paraspike.pipeline.closing

test: .venv/installed
	$(ONE_COUNT) pytest -n 2 --dist loadfile --durations=10

# The CUDA backend's tests: on the GPU, or under Triton's interpreter where there is none; and without the
# interpreter on a device that computes nothing.
test-cuda: .venv/triton
	TRITON_INTERPRET=$$(python -c 'import torch; print(int(not torch.cuda.is_available()))') \
	$(ONE_COUNT) pytest -n 2 --dist loadfile --durations=10 -rs tests/test_backends.py $$(find tests -name 'test_*cuda*.py' | sort)
	$(ONE_COUNT) pytest -rs tests/test_fake_cuda.py

# The tests that compare with other SNN libraries, beside all of those that `make bench` installs.
test-peers: .venv-bench/installed
	.venv-bench/bin/python -c 'import sys; from paraspike.papers.multithreading_peer import installed; sys.exit(not installed())'
	$(ONE_COUNT) .venv-bench/bin/python -m pytest -rs tests/benchmarks tests/learning tests/papers/test_multithreading.py

lab: .venv/installed
	$(ONE_COUNT) jupyter lab notebooks

fetch: .venv/installed
	python -m paraspike.datasets fetch $(DATASET)

# make bench BENCH="w2 w1 --threads 2": a selection; `python -m benchmarks --help` names the rest.
bench: .venv-bench/installed
	.venv-bench/bin/python -m benchmarks $(BENCH)

# make bench-cuda BENCH="layer networks": parts of it; `python -m benchmarks.cuda --help` names the rest.
# Without a GPU it only says why it cannot run, and needs no peers for that.
GPU := $(wildcard /dev/nvidiactl /dev/dxg)
bench-cuda: $(if $(GPU),.venv-bench,.venv)/installed
	$(if $(GPU),.venv-bench,.venv)/bin/python -m benchmarks.cuda $(BENCH)

lint: .venv/installed
	ruff check
	snakefmt --check Snakefile workflow
	snakemake --lint

clean:
	rm -rf results/scratch results/smoke-* results/quick-* results/.checkpoints .pytest_cache .ruff_cache

.venv/installed: envs/cpu.txt envs/peers.txt pyproject.toml
	$(PYTHON) -m venv .venv || { $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --python .venv/bin/python install pip; }
	.venv/bin/python -m pip install --disable-pip-version-check -q -r envs/cpu.txt
	.venv/bin/python -m pip install --disable-pip-version-check -q --no-deps -r envs/peers.txt
	.venv/bin/python -m pip install --disable-pip-version-check -q --no-deps -e .
	touch $@

.venv/triton: envs/triton.txt .venv/installed
	.venv/bin/python -c 'import triton' 2>/dev/null || .venv/bin/python -m pip install --disable-pip-version-check -q --no-deps -r envs/triton.txt
	touch $@

.venv-bench/installed: envs/cpu.txt envs/bench.txt envs/peers.txt pyproject.toml
	$(PYTHON) -m venv .venv-bench || { $(PYTHON) -m venv --without-pip .venv-bench && $(PYTHON) -m pip --python .venv-bench/bin/python install pip; }
	echo '*' > .venv-bench/.gitignore
	.venv-bench/bin/python -m pip install --disable-pip-version-check -q -r envs/cpu.txt
	.venv-bench/bin/python -m pip install --disable-pip-version-check -q --no-deps -r envs/bench.txt
	.venv-bench/bin/python -m pip install --disable-pip-version-check -q --no-deps -e .
	touch $@
