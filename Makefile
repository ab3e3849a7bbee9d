# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Needs Debian 12 with Python 3.11, make, and the package registries; nothing else.

UV_VERSION := 0.13.9
# Networks with an authority of their own: what the machine trusts, uv trusts.
export UV_SYSTEM_CERTS := 1
UV := .tools/bin/uv
PY := .venv/bin/python
PROTO := $(wildcard proto/twinward/wire/v1/*.proto)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check bench evidence clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

setup: .venv/.generated ## install what is needed into .tools and .venv

demo: setup ## one hospital and its twins, then three that learn together, as a story (ARGS=--exit stops it)
	@.venv/bin/twinward demo --dir .demo $(ARGS)

test: setup ## the whole suite but the slow part (under 20 min on 2 cores)
	@$(PY) -m pytest -q -m "not slow" -n 2 --dist loadfile $(ARGS)

test-all: setup ## every test
	@$(PY) -m pytest -q -n 2 --dist loadfile $(ARGS)

check: setup ## formatting, lint, types, architecture, wire contract
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/buf lint
	@$(UV) lock --check --quiet

bench: setup ## every quick benchmark, one JSON object each
	@for name in twin vault ingest federation live streams; do $(PY) -m bench.$$name --quick --json || exit 1; done

evidence: setup ## all validation anew: docs/evidence (needs TWINWARD_DATA; some hours)
	@for name in skill skill_shanghai skill_cgmacros heart glucose_models recovery whatif whatif_people sensitivity \
	  circulation drugs risk metabolism anatomy patient cases rows; do \
	  echo "$$name"; full=; [ $$name = cases ] && full=--full; $(PY) -m bench.$$name $$full --write || exit 1; done

clean: ## stop the demo's node and remove what was built
	@for node in coordinator st-clare st-brice node; do \
	  if [ -f .demo/$$node/node.toml ] && [ -x .venv/bin/twinward ]; then \
	    noun=node; [ $$node = coordinator ] && noun=coordinator; \
	    .venv/bin/twinward --node .demo/$$node $$noun down || true; fi; done
	@rm -rf .demo .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@rm -f twinward/wire/v1/*_pb2*.py twinward/wire/v1/*_pb2*.pyi

$(UV):
	@infra/hooks/bootstrap $(UV_VERSION)

.venv/.synced: $(UV) pyproject.toml uv.lock
	@$(UV) sync --frozen --quiet --no-install-project --extra federation --extra imaging --extra jobs
	@touch $@

.venv/.generated: .venv/.synced $(PROTO)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" $(PY) -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. \
	  --mypy_out=quiet:. --mypy_grpc_out=quiet:. $(PROTO)
	@$(UV) sync --frozen --quiet --extra federation --extra imaging --extra jobs
	@touch $@
