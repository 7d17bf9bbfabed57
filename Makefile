# Everything CI runs is a target here. `make demo` and `make test` need only a python3 of 3.11 or newer.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Compiled modules are kept, whatever the environment says: pytest rewrites 300 files otherwise, in
# every worker of every run, and a gate that starts compiles itself.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo pictures test test-fast test-interpreters check format lint lint-language types imports messages bench-proxy bench-soak bench-line bench-opening bench-poll bench-stream bench-million bench-challenge bench-page bench-autotune bench-recovery fuzz contract integration chaos chaos-faults clean

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("gatekeeper needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	touch $(READY)

demo: $(READY)  ## a sample shop behind a gate with a crowd in line
	$(BIN)/gatekeeper demo

pictures: $(READY)  ## the pictures of the README, taken from the running demo
	$(BIN)/python -m tests.browser.pictures

# Two more than cores: many tests wait, for a timeout or a rate. Two run the browser tests.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
test: $(READY)  ## every test, on real Valkey, NATS and sockets
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

# One more than cores: a few tests wait, and each process collects all of them.
FAST_JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
test-fast: $(READY)  ## what needs no running gate of its own: under a minute, a fifth of the examples
	HYPOTHESIS_PROFILE=fast $(BIN)/python -m pytest --numprocesses $(FAST_JOBS) --dist worksteal \
		tests/unit tests/property tests/contract tests/conformance $(ARGS)

# What depends on the interpreter: `re`, asyncio, ssl. The rest runs on the default one alone.
PORTABLE := tests/unit tests/property tests/conformance tests/integration/proxy
test-interpreters:  ## the same promises on the system's Python and on the newest one found
	found=$$(.ci/interpreters $(PYTHON)) || exit 1; for each in $$found; do \
	  $(MAKE) test VENV=.venv-$${each%%:*} PYTHON=$${each#*:} ARGS="$(PORTABLE)" || exit 1; done

check: format lint types imports test  ## what CI runs, before `make test-interpreters`

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY) lint-language  ## ruff, and plain English
	$(BIN)/ruff check .

lint-language: $(READY)  ## plain English, by the word list .ci/plain_english.toml
	$(BIN)/python .ci/plain_english.py

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

messages: $(READY)  ## today's words of the pages into every catalogue, for translators
	$(BIN)/python -m tests.catalogues

bench-proxy: $(READY)  ## what forwarding costs beside nginx, HAProxy, Caddy, Envoy and ClientSession
	benchmarks/install-peers $(BIN)
	$(BIN)/python benchmarks/proxy.py $(ARGS)

bench-soak: $(READY)  ## 10,000 clients held, and a minute at saturation with origin restarts
	$(BIN)/python -m benchmarks.soak $(ARGS)

bench-line: $(READY)  ## 40,000 in line before ten replicas: order, rate, news of a release, polling
	$(BIN)/python -m benchmarks.line $(ARGS)

bench-opening: $(READY)  ## 100,000 in a prequeue before ten replicas: draw, opening, requests, rate
	$(BIN)/python -m benchmarks.opening $(ARGS)

bench-poll: $(READY)  ## what a poll and an arrival cost compared with the simplest gate
	$(BIN)/python benchmarks/poll.py $(ARGS)

bench-stream: $(READY)  ## what a waiting visitor costs on an event stream, compared with polling
	$(BIN)/python -m benchmarks.streaming $(ARGS)

bench-challenge: $(READY)  ## what proof of work costs a phone, and a bot farm
	$(BIN)/python -m benchmarks.challenge

bench-page: $(READY)  ## a page with 60 assets in Chromium: direct, through the gate, through the edge
	$(BIN)/python -m benchmarks.page_load $(ARGS)

bench-autotune: $(READY)  ## autotune before origins of known capacity, beside a constant rate
	$(BIN)/python -m benchmarks.autotune $(ARGS)

bench-recovery: $(READY)  ## a store that comes back empty, 40,000 in line: first release, positions shown
	$(BIN)/python -m benchmarks.recovery $(ARGS)

bench-million: $(READY)  ## a million in one room: bytes, heartbeats, releases, ghosts
	$(BIN)/python benchmarks/million.py $(ARGS)

SECONDS ?= 60
fuzz: $(READY)  ## each target, coverage-guided (make fuzz SECONDS=60); properties with 20 times the examples
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet 'atheris>=3,<4'
	for target in plain response chunks token; do $(BIN)/python -m tests.fuzz.fuzz $$target $(SECONDS) || exit 1; done
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest --numprocesses auto --dist worksteal --timeout 3600 \
		-m hypothesis tests/unit tests/property tests/contract tests/conformance $(ARGS)

STORE ?=
contract: $(READY)  ## the scripts on a store of yours: make contract STORE=redis://host:6379
	$(if $(STORE),GATEKEEPER_TEST_STORE_URL=$(STORE)) $(BIN)/python -m pytest tests/contract $(ARGS)

integration: $(READY)  ## the integration tests on a store of yours: make integration STORE=redis://host:6379
	$(if $(STORE),GATEKEEPER_TEST_STORE_URL=$(STORE)) $(BIN)/python -m pytest tests/integration \
		$(if $(STORE),-m "not valkey") $(ARGS)

chaos: SECONDS = 120
chaos: $(READY)  ## ten minutes of a sale in which much goes wrong: make chaos SEED=7
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) --seconds $(SECONDS) $(ARGS)

chaos-faults: SECONDS = 30
chaos-faults: $(READY)  ## the same on gates broken on purpose: each must be found out
	$(BIN)/python -m tests.chaos --faults --seconds $(SECONDS) $(ARGS)

clean:
	rm -rf $(VENV) .venv-* artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis
