# Two commands do everything on a machine with Python 3.11 or newer: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Neighbours stay together, so that what a module or a room starts once is not started in both processes.
AT_ONCE = -n 2 --dist worksteal
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check lint slow web bench bench-gpu bench-serve soak embedded-model migration wire clean

demo: $(VENV)/run.stamp        ## install, then the main job: reinforcement fine-tuning of the embedded model
	$(BIN)/tunesmith demo

test: $(VENV)/dev.stamp        ## every test but those that take minutes
	$(BIN)/pytest -m "not slow and not gpu" $(AT_ONCE)

clients: $(BIN)/python         ## the clients that some tests drive, in environments of their own; without them those are skipped
	$(BIN)/python scripts/client_environments.py

web: $(BIN)/python             ## the two JavaScript libraries of the web page, from npm as package-lock.json pins them
	npm ci --ignore-scripts --no-audit --no-fund
	$(BIN)/python scripts/web_libraries.py

method-matrix: $(VENV)/dev.stamp clients ## docs/method_matrix.md anew, from what the Tinker SDK finds
	$(BIN)/pytest tests/clients/test_method_matrix.py --write-matrix

slow: $(VENV)/dev.stamp        ## the tests that take minutes, and those of wires and pages on PostgreSQL
	$(BIN)/pytest -m "slow and not gpu" $(AT_ONCE)

lint: $(VENV)/dev.stamp        ## format, lint, types, import contracts
	$(BIN)/ruff format --check src tests scripts bench examples
	$(BIN)/ruff check src tests scripts bench examples
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint                    ## in under two minutes, what must pass before a commit
	$(BIN)/pytest -m "not thorough and not slow and not gpu" $(AT_ONCE)

bench: $(VENV)/bench.stamp     ## against TRL on this machine; writes bench/RESULTS.md
	$(BIN)/python -m bench

bench-gpu: $(VENV)/bench.stamp ## the same on a CUDA device, where there is one
	$(BIN)/python -m bench.gpu

bench-serve: $(VENV)/dev.stamp clients ## `tunesmith serve` under the load of real clients, and how fast processes start; their parts of bench/RESULTS.md
	$(BIN)/python -m bench.serve
	$(BIN)/python -m bench.starts

soak: $(VENV)/dev.stamp        ## the server under everything at once, then the long tests of reliability; make soak MINUTES=1
	missed=0; $(BIN)/python -m bench.soak --minutes $(or $(MINUTES),10) || missed=1; \
	$(BIN)/python -m bench.endurance || missed=1; exit $$missed

embedded-model: $(VENV)/dev.stamp ## train the model that ships with the package, from nothing
	$(BIN)/python scripts/make_embedded_model.py

migration: $(VENV)/dev.stamp   ## the next revision of the database from what the row classes have become: make migration m="why"
	$(BIN)/python scripts/make_migration.py "$(m)"
	$(BIN)/ruff format -q src/tunesmith/services/migrations

wire: $(VENV)/dev.stamp        ## the Tinker messages' Python from wire.proto
	$(BIN)/pip install -q "grpcio-tools==1.76.0"
	$(BIN)/python -m grpc_tools.protoc -Isrc --python_out=src --pyi_out=src src/tunesmith/server/dialects/tinker/wire.proto

# The pip that comes with a Python takes twice as long as a newer one.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip

$(VENV)/run.stamp: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/bench.stamp: $(VENV)/dev.stamp
	$(BIN)/pip install -q -c constraints.txt -e ".[bench]"
	touch $@

clean:
	rm -rf $(VENV) .venv-clients node_modules src/tunesmith/server/web/static/lib build dist .pytest_cache .mypy_cache .ruff_cache
