# make run    the paper's selection on the embedded digits, from nothing but Python 3.11 and a package index
# make test   all tests, two files at a time
# make lint   format, lint, types and import directions
# make docs   the site, in build/website/site: no warning, no dead link, nothing fetched from elsewhere
# make bench  what ddeep costs, against goals: minutes, on a machine that does nothing else (BENCH_ARGS=--quick: a try)
# make gpu    the same of a GPU, and all tests that need one: eight minutes at the most, nothing to download
# make faults five hundred kills at random moments; whatever was lost is listed
# make fuzz   a hundred thousand damaged files for the readers of untrusted ones; what crashed them is kept in crashes/
# make PYTHON=python3.12 ...     with another Python
export PYTHON

.PHONY: run test lint docs faults fuzz bench gpu
.NOTPARALLEL:

run:
	@sh scripts/environment run
	.venv/bin/python -m ddeep run --model resnet20 --strategy paper

test:
	@sh scripts/environment test
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint:
	@sh scripts/environment test
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m ruff check .
	.venv/bin/python -m mypy
	.venv/bin/python -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

docs:
	@sh scripts/environment test
	.venv/bin/python -m website

faults:
	@sh scripts/environment test
	.venv/bin/python -m tests.robustness.faults.harness $(FAULT_ARGS)

bench:
	@sh scripts/environment test
	.venv/bin/python -m benchmarks $(BENCH_ARGS)

gpu:
	@sh scripts/environment test
	.venv/bin/python -m benchmarks.gpu $(BENCH_ARGS)

fuzz:
	@sh scripts/environment test
	.venv/bin/python -m tests.robustness.fuzz.harness $(FUZZ_ARGS)
