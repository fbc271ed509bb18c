# Two commands do everything on a fresh machine with Python 3.11 or newer:
#   make demo   the main job on simulated payments, with a printed report and pictures in demo/
#   make test   the whole test suite, on two processors (PYTEST_ARGS="-n 0 tests/test_losses.py" for a part)
#   make docs   the documentation site, in docs/_build/html
#   make examples-all   every example, those that need Ray, Spark and the like included, in .venv-recipes
# Each makes its own virtual environment. PYTHON=python3.13 chooses another interpreter.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-lowest examples-all docs lint sanitize mutate cuda-check gpu dist dist-check clean

demo: $(VENV)/demo.stamp
	$(BIN)/python examples/fraud_detection.py --output demo

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest $(or $(PYTEST_ARGS),-n 2 --dist worksteal)

# The same with the lowest supported version of everything; tests of packages that are not in the list are skipped.
test-lowest: $(VENV)/lowest.stamp
	$(BIN)/python -m pytest $(or $(PYTEST_ARGS),-n 2 --dist worksteal)

# Packages of some size, so in an environment of their own; Spark needs a Java runtime besides. Not every package is
# there for the newest Python: PYTHON=python3.11 is the safe choice.
RECIPES_VENV ?= .venv-recipes
examples-all:
	$(MAKE) VENV=$(RECIPES_VENV) $(RECIPES_VENV)/recipes.stamp
	set -e; for example in examples/[!_]*.py; do echo "== $$example"; $(RECIPES_VENV)/bin/python $$example; done

# Warnings are errors: a link that leads nowhere, a docstring that is no reStructuredText.
docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -q -W --keep-going -E -d docs/_build/doctrees docs docs/_build/html

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/type_completeness.py

# The tests of the compiled kernels on a build with AddressSanitizer and UndefinedBehaviorSanitizer.
sanitize: $(VENV)/test.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check cmake ninja
	PATH="$(abspath $(BIN)):$$PATH" PYTHON="$(abspath $(BIN))/python" sh scripts/sanitize.sh $(PYTEST_ARGS)

# How many small faults in the package the tests notice; an hour or so. MUTATE_ARGS="--only losses --mutants 50": fewer.
mutate: $(VENV)/test.stamp
	$(BIN)/python scripts/mutate.py $(MUTATE_ARGS)

# The kernels for a GPU, where nvcc is found; no GPU is needed. Registers and what does not fit into them are printed.
NVCC ?= $(firstword $(wildcard /usr/local/cuda/bin/nvcc) nvcc)
cuda-check:
	for arch in sm_80 sm_90; do \
		$(NVCC) -std=c++17 -arch=$$arch -ftz=true -Xptxas -v -cubin -o /dev/null tests/kernels/focal_device.cu || exit 1; \
	done

# On a machine with an NVIDIA GPU: the tests that need one, then what is measured there; ten minutes or so. xgboost-cpu,
# which the extra `test` has, would hide the XGBoost with CUDA.
GPU_VENV ?= .venv-gpu
gpu:
	$(PYTHON) -m venv $(GPU_VENV)
	$(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[xgboost,lightgbm,cuda,dask,save]' \
		pandas pyarrow polars matplotlib tqdm 'pytest>=8' pytest-xdist pytest-timeout 'hypothesis>=6.100' 'mpmath>=1.3'
	$(GPU_VENV)/bin/python -m pytest -m gpu -n auto
	$(GPU_VENV)/bin/python benchmarks/gpu.py

# sdist and wheel of the last commit, in dist/: the same bytes wherever and whenever they are built.
DIST_VENV ?= .venv-dist
dist: $(DIST_VENV)/dist.stamp
	PYTHON=$(DIST_VENV)/bin/python sh scripts/dist.sh dist

# Built a second time elsewhere; looked into; installed, and its kernels tested by the tests of the unpacked sdist.
dist-check: dist
	PYTHON=$(DIST_VENV)/bin/python sh scripts/dist.sh build/dist-again
	$(DIST_VENV)/bin/python scripts/check_dist.py dist build/dist-again
	$(DIST_VENV)/bin/python -m twine check --strict dist/*
	$(DIST_VENV)/bin/cffconvert --validate
	rm -rf build/dist-src && mkdir -p build/dist-src
	tar -xzf dist/focal_boost-*.tar.gz -C build/dist-src --strip-components=1
	$(PYTHON) -m venv --clear build/dist-venv
	build/dist-venv/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl 'pytest>=8' 'hypothesis>=6.100' 'mpmath>=1.3'
	# From a folder without the sources, which would hide what is installed.
	cd build/dist-venv && FOCAL_BOOST_KERNELS=native bin/python -I -m pytest -q -c ../dist-src/pyproject.toml \
		--rootdir ../dist-src ../dist-src/tests/kernels/test_native.py ../dist-src/tests/kernels/test_threads.py \
		../dist-src/tests/kernels/test_derivatives.py

$(DIST_VENV)/dist.stamp: scripts/requirements-dist.txt
	$(PYTHON) -m venv $(DIST_VENV)
	$(DIST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement scripts/requirements-dist.txt
	touch $@

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "focal_boost needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/lowest.stamp: pyproject.toml tests/constraints-lowest.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement tests/constraints-lowest.txt --editable .
	touch $@

$(VENV)/%.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) $(RECIPES_VENV) $(DIST_VENV) $(GPU_VENV) build dist demo docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
