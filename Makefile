# Every target is one libra-monai subcommand; on Windows call those (see README.md).
PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
TORCH_INDEX ?=
LIBRA = $(VENV)/bin/libra-monai

.PHONY: install label demo test test-slow tiny-model bench doctor

install:
	@$(PYTHON) -m libra_monai install --venv "$(VENV)" --extras "$(EXTRAS)" --torch-index "$(TORCH_INDEX)"

label: install
	@$(LIBRA) label --install

demo: install
	@$(LIBRA) demo

test: install
	@$(LIBRA) test

test-slow: install
	@$(LIBRA) test --slow

tiny-model: install
	@$(LIBRA) tiny-model

bench: install
	@$(LIBRA) bench

doctor: install
	@$(LIBRA) doctor
