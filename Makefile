# Every command of the project; each does its own set-up, and quickly when there is nothing to do.
#
#   make demo   the flagship on real reviews, at http://127.0.0.1:8080     make clean-demo  forgets it
#   make test   all tests, simulation, storm, lints, doc: what .ci/run runs  make lint       lints only
#   make bench  every benchmark, one line of JSON each                  make doc     the API pages

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/millstream
data := $(cache)/data
demo_state := $(cache)/demo
# What streams_build_info says is running. Cargo compiles the facade anew when it changes, and
# nothing below, so only the demo is told.
revision = $(shell git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null || echo unknown)
simulation_seeds := 2000
# On one broker; `chaos --kills 100 --brokers 3` blows for a quarter of an hour.
storm := --kills 10 --freezes 2
# Suites whose server is not to be had, a line each; with CI=true they fail instead.
skipped := $(cache)/skipped-suites

# Compiled code lies outside the checkout, so that a fresh clone need not compile RocksDB again.
export CARGO_TARGET_DIR ?= $(cache)/target
export PATH := $(cache)/bin:$(PATH)
# These would replace the flags in .cargo/config.toml, and so compile RocksDB again.
unexport RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS

# One profile for all but benchmarks, which take RocksDB from it, because that takes a quarter of an
# hour per profile. The tests add their checks to the workspace's own crates only (Cargo.toml pins
# the shape of the others).
checked := CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
cargo := cargo --locked

.PHONY: help demo test bench lint doc clean-demo

help:
	@sed -n '3,5s/^# *//p' Makefile

demo:
	tests/setup/packages build
	apps/sentiment/fetch-data imdb
	@echo "The first build takes a quarter of an hour (RocksDB). Then: http://127.0.0.1:8080"
	SOURCE_REVISION=$(revision) \
		$(cargo) run --release -p sentiment -- run --input $(data)/imdb-mixed.tsv --state-dir $(demo_state)

test:
	tests/setup/packages build test
	tests/setup/kafka || [[ "$${CI:-}" != true ]] # Without it suites are skipped, and counted.
	apps/sentiment/fetch-data
	apps/retail/fetch-data
	: >$(skipped)
	SKIPPED_SUITES=$(skipped) $(checked) $(cargo) test --release --workspace
	$(checked) $(cargo) run --release -p millstream-tests --bin simulate -- --seeds $(simulation_seeds)
	SKIPPED_SUITES=$(skipped) $(checked) $(cargo) run --release -p millstream-tests --bin chaos -- $(storm)
	$(MAKE) --no-print-directory lint doc
	@sort -u $(skipped)
	@echo "$$(cut -d : -f 1 $(skipped) | sort -u | wc -l) suites skipped"

bench:
	tests/setup/packages build test
	tests/setup/peers
	tests/setup/kafka
	apps/sentiment/fetch-data
	rocksdb="$$(tests/setup/rocksdb)" && ROCKSDB_LIB_DIR="$$rocksdb" ROCKSDB_STATIC=1 \
		$(cargo) build --profile dist \
		-p sentiment -p millstream-tests -p millstream-kafka --bin sentiment --bin bench --examples
	$(CARGO_TARGET_DIR)/dist/bench $(NAMES)

lint:
	tests/setup/packages build
	$(cargo) fmt --all --check
	$(checked) $(cargo) clippy --release --workspace --all-targets -- -D warnings

doc:
	tests/setup/packages build
	RUSTDOCFLAGS="-D warnings" $(cargo) doc --release --workspace --no-deps

clean-demo:
	rm -rf $(demo_state)
