# Every target creates the virtual environment $(VENV) with what it needs, and requires only
# Python >= 3.11 with venv. To use another interpreter in a separate environment:
# make test PYTHON=python3.13 VENV=.venv313
PYTHON ?= python3
VENV ?= .venv

# There is one process per core, so each uses a single BLAS thread.
PYTEST = OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m pytest
SPHINX = $(VENV)/bin/python -m sphinx -W --keep-going -j auto
SANITIZERS = -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
# What is checked for plain English. A single file: $(VENV)/bin/python .ci/check_prose.py FILE
PROSE = *.rst docs/*.rst examples/*.rst examples/*/*.rst examples/*/*.py skrbm/*.py \
	skrbm/_units/*.py
FIT = import skrbm; skrbm.show_versions(); \
	skrbm.BernoulliRBMEstimator(2, n_iter=1).fit([[0, 1], [1, 0]])

.PHONY: demo test test-quick test-dask test-oldest lint format sanitize release-check docs
.PHONY: docs-quick pages clean
.NOTPARALLEL: # in one call, targets run one after the other

# Two terminals may run two targets at the same time, for example demo and test. Alone should
# run clean, format, sanitize and release-check, and of docs, docs-quick and pages one at a
# time, since they write the same folders. Installations write to skrbm/ and $(VENV), so each
# waits for the one before. The core is compiled once, not for each extra, since a running
# process must not lose it.
INSTALL = @+$(PYTHON) .ci/locked.py .make.lock $(MAKE) --no-print-directory

demo:
	$(INSTALL) $(VENV)/examples.stamp
	@echo "Running examples/features/plot_digits.py, about 15 seconds ..."
	@OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python examples/features/plot_digits.py

test:
	$(INSTALL) $(VENV)/test.stamp
	@echo "The tests take about 5 minutes on two idle cores (make test-quick: half as long)."
	$(PYTEST) -n auto

# All tests but those marked as slow and those of the examples in docs
test-quick:
	$(INSTALL) $(VENV)/test.stamp
	$(PYTEST) -n auto -m "not slow" skrbm tests

# `make test` skips these where Dask is not installed.
test-dask:
	$(INSTALL) $(VENV)/test-dask.stamp
	$(PYTEST) -n auto tests/test_dask.py tests/test_tables_on_shards.py

# The oldest supported versions, without the compiled core. They need Python 3.11 or 3.12.
test-oldest: export SKRBM_COMPILED = 0
test-oldest:
	$(INSTALL) $(VENV)-oldest/test.stamp
	$(VENV)-oldest/bin/python -c "import skrbm; skrbm.show_versions()"
	OPENBLAS_NUM_THREADS=1 $(VENV)-oldest/bin/python -m pytest -n auto

lint:
	$(INSTALL) $(VENV)/lint.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/clang-format --dry-run --Werror skrbm/core/*
	$(VENV)/bin/mypy
	$(VENV)/bin/codespell . .ci .github
	$(VENV)/bin/doc8 --quiet *.rst docs
	$(VENV)/bin/python .ci/check_prose.py $(PROSE)

format:
	$(INSTALL) $(VENV)/lint.stamp
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i skrbm/core/*

# The core with sanitizers, in a folder of its own. Python is not linked with them, and leaks.
# The test that forks is left out: if another thread holds a lock of the allocator of libasan
# at the fork, the child waits for it forever (with libasan before LLVM 18).
sanitize:
	$(INSTALL) $(VENV)/test.stamp
	rm -rf build $(VENV)/sanitized
	SKRBM_COMPILED=1 SKRBM_CFLAGS="$(SANITIZERS)" \
		$(VENV)/bin/python -m pip install --quiet --no-deps --target $(VENV)/sanitized .
	SKRBM_COMPILED=1 PYTHONPATH=$(VENV)/sanitized ASAN_OPTIONS=detect_leaks=0 \
		LD_PRELOAD=$$(gcc -print-file-name=libasan.so) \
		$(VENV)/bin/python -P -m pytest tests/test_binary_rows.py \
		--deselect tests/test_binary_rows.py::test_a_forked_child_has_threads_of_its_own
	rm -rf build

# What is released, from a clean copy of the last commit. Build the sdist, and the wheel from
# it, and print what they lack of the files in Git. Install the wheel, compare the versions,
# run the first example of the README, and install the sdist with a compiler that fails. The
# option -I keeps Python from importing the checkout.
release-check:
	$(INSTALL) $(VENV)/dist.stamp
	rm -rf dist $(VENV)/release
	mkdir $(VENV)/release
	git archive HEAD | tar -xC $(VENV)/release
	$(VENV)/bin/python -m build --outdir dist $(VENV)/release
	$(VENV)/bin/python -m twine check --strict dist/*
	tar -tzf dist/*.tar.gz | cut -d/ -f2- >$(VENV)/sdist.txt
	! git ls-tree -r --name-only HEAD | grep -v '^\.git\|^\.pre-commit' | \
		grep -vxFf $(VENV)/sdist.txt
	$(PYTHON) -m zipfile -l dist/*.whl | cut -d' ' -f1 >$(VENV)/wheel.txt
	! git ls-tree -r --name-only HEAD skrbm | grep 'py[^/]*$$' | grep -vxFf $(VENV)/wheel.txt
	$(PYTHON) -m venv --clear $(VENV)/user
	$(VENV)/user/bin/python -m pip install --quiet dist/*.whl pandas
	$(VENV)/user/bin/python -I -W error -c "$(FIT)"
	$(VENV)/user/bin/python -I $(VENV)/release/.ci/check_release.py $(VENV)/release
	CC=/bin/false SKRBM_COMPILED= $(VENV)/user/bin/python -m pip install --quiet --no-deps \
		--no-cache-dir --force-reinstall dist/*.tar.gz
	SKRBM_COMPILED= $(VENV)/user/bin/python -I -W error -c \
		"$(FIT); assert skrbm._native.core is None"

docs:
	$(INSTALL) $(VENV)/docs.stamp
	@echo "The documentation takes about 2 minutes on two idle cores, most of it for the"
	@echo "examples of the gallery (make docs-quick: half a minute, without their pictures)."
	$(SPHINX) docs docs/_build
	$(VENV)/bin/python .ci/check_pages.py docs/_build

docs-quick:
	$(INSTALL) $(VENV)/docs.stamp
	$(SPHINX) -q -D plot_gallery=0 docs docs/_build
	$(VENV)/bin/python .ci/check_pages.py docs/_build

# Look at the pages that `make docs` built in Chromium. Only root can install it here. axe,
# if npm can get it, checks that they are accessible.
pages: docs/_build/index.html
	$(INSTALL) $(VENV)/pages.stamp
	@{ command -v chromium && command -v chromedriver; } >/dev/null || \
		{ test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y \
			--no-install-recommends chromium chromium-driver fonts-dejavu-core >/dev/null; } || \
		{ echo "Install chromium and chromedriver, as root with apt-get, or make can."; exit 1; }
	cd $(VENV) && npm pack --silent --fetch-retries=1 axe-core@4 && \
		tar -xzf axe-core-4*.tgz package/axe.min.js || true
	$(VENV)/bin/python .ci/check_pages.py docs/_build --axe $(VENV)/package/axe.min.js

docs/_build/index.html:
	$(MAKE) docs-quick

# The compiled core is built where there is a C compiler. Python compiles the modules of the
# other packages when they are first imported, which takes less time than all of them.
$(VENV)/core.stamp: pyproject.toml setup.py $(wildcard skrbm/core/*)
	@test -x $(VENV)/bin/python || { echo "Creating $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing skrbm, and compiling its core ..."
	@$(VENV)/bin/python -m pip install --quiet --no-compile --editable .
	@touch $@

# skrbm itself must be there, so that this adds packages only.
$(VENV)/%.stamp: $(VENV)/core.stamp
	@echo "Installing what the extra '$*' needs ..."
	@cd $(VENV) && bin/python -c "import skrbm" || { echo "Run make clean first."; exit 1; }
	@$(VENV)/bin/python -m pip install --quiet --no-compile "skrbm[$*]"
	@touch $@

$(VENV)-oldest/%.stamp: pyproject.toml .ci/oldest.txt
	@echo "Creating $(VENV)-oldest ..."
	@$(PYTHON) -m venv --clear $(VENV)-oldest
	@$(VENV)-oldest/bin/python -m pip install --quiet --no-compile --editable ".[$*]" \
		--constraint .ci/oldest.txt
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest docs/_build docs/generated docs/gallery build dist skrbm/*.so
	rm -f .make.lock
