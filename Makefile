# Each target does its own set-up; all it needs is Python 3.11 or later. Arguments go in ARGS: make demo ARGS="--once"
ARGS =
PYTHON =
RUN = @PYTHON="$(PYTHON)" sh scripts/setup run && exec .venv/bin/perennial
DEV = @PYTHON="$(PYTHON)" sh scripts/setup dev && exec .venv/bin/python -m

.PHONY: help demo serve test check bench format features clean

help:
	@echo "make demo    the whole main job against three stand-in stores; ARGS=\"--once\" ends afterwards"
	@echo "make serve   the app itself"
	@echo "make test    all tests"
	@echo "make check   format, lint, types, import arrows"
	@echo "make bench   how fast, beside what the machine can do; ARGS=\"--quick\" is short"
	@echo "make format  puts the code into the form that check asks for"
	@echo "make features  every statement that must work, its tests and whether they pass"
	@echo "make clean   removes the virtual environment and caches; data stays"

demo:
	$(RUN) demo $(ARGS)

serve:
	$(RUN) serve $(ARGS)

test:
	$(DEV) pytest -n 2 --dist loadfile $(ARGS)

# All four speak, also when an earlier one has something to say.
check:
	@PYTHON="$(PYTHON)" sh scripts/setup dev
	@status=0; \
	.venv/bin/python -m ruff format --check . || status=1; \
	.venv/bin/python -m ruff check . || status=1; \
	.venv/bin/python -m mypy || status=1; \
	.venv/bin/python -m scripts.house || status=1; \
	exit $$status

bench:
	$(DEV) benchmarks $(ARGS)

format:
	@PYTHON="$(PYTHON)" sh scripts/setup dev
	@.venv/bin/python -m ruff check --select I --fix --quiet .
	@.venv/bin/python -m ruff format .

features:
	@scripts/features $(ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
