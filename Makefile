# Everything a person types. Each target does its own set-up; `make help` lists them.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.cache/uv/bin:$(PATH)
export DEBIAN_FRONTEND := noninteractive

.DEFAULT_GOAL := help
.PHONY: help setup lab lab-down lab-status demo test test-more fault-matrix mutants figures lint sanity unit clean

help: ## list the targets
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15
	@echo 'benches:      $(patsubst tests/bench/%.py,bench-%,$(wildcard tests/bench/[a-z]*.py))'

setup: ## install system packages, the Python environment and the lab's image, where missing
	@scripts/setup.sh

lab: setup ## bring the lab up: seven real hosts on this machine
	@turnout lab up

lab-down: ## remove the lab's hosts and network (the image stays)
	@turnout lab down

lab-status: ## show the lab's hosts
	@turnout lab status

demo: setup ## a release, a release under load, a rollback and a refused release, on the lab
	@tests/demo/run

test: ## run the checks and tests, and show where the time goes
	@scripts/setup.sh --no-image
	@python tests/run.py

test-more: setup ## run the tests on the lab that take too long for every change
	@python tests/run.py more

lint: ## linters and type checks only (needs no lab)
	@scripts/setup.sh --no-image
	@python tests/run.py lint

unit: ## tests of the Python core only (needs no lab)
	@scripts/setup.sh --no-image
	@python tests/run.py unit

fault-matrix: setup ## cut deploys and rollbacks off at every task and at random moments, by every fault, under load
	@python tests/faults/matrix.py

mutants: ## break the code at random, one fault at a time, and see whether the tests notice (TARGETS=, MUTANTS=, SEED=)
	@scripts/setup.sh --no-image
	@tests/mutants/setup.sh
	@python tests/mutants/run.py

sanity: ## ansible-test's own checks over the collection as it is built (needs the network)
	@scripts/setup.sh --no-image
	@python tests/sanity/run.py --skip-test ansible-doc

bench-%: setup
	@test -f tests/bench/$*.py || { echo 'there is no bench "$*"; there are: $(patsubst tests/bench/%.py,%,$(wildcard tests/bench/[a-z]*.py))' >&2; exit 2; }
	@python tests/bench/$*.py

figures: ## run benches and write docs/figures.md from them (FIGURES='rollback switch', FIGURES=none: only the page)
	@scripts/setup.sh $(if $(filter none,$(FIGURES)),--no-image)
	@python tests/figures.py $(FIGURES)

clean: ## remove what set-up and tests made in this folder (the lab's image and hosts stay)
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .ansible dist
