# demo, test and docs create the virtual environment $(VENV) and require only Python >= 3.11
# with venv. To use another interpreter in a separate environment:
# make test PYTHON=python3.13 VENV=.venv313
PYTHON ?= python3
VENV ?= .venv

.PHONY: demo test docs clean

demo: $(VENV)/examples.stamp
	@echo "Running examples/features/plot_digits.py ..."
	@$(VENV)/bin/python examples/features/plot_digits.py

# There is one process per core, so each uses a single BLAS thread.
test: $(VENV)/test.stamp
	OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto

docs: $(VENV)/docs.stamp
	$(VENV)/bin/python -m sphinx -W --keep-going -j auto docs docs/_build

# The compiled core is built where there is a C compiler. Python compiles the modules of the
# other packages when they are first imported, which takes less time than all of them.
$(VENV)/%.stamp: pyproject.toml setup.py $(wildcard skrbm/core/*)
	@test -x $(VENV)/bin/python || { echo "Creating $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing skrbm with the extra '$*', and compiling its core ..."
	@$(VENV)/bin/python -m pip install --quiet --no-compile --editable ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) docs/_build docs/generated docs/gallery build skrbm/*.so
