# SPDX-License-Identifier: MIT OR Apache-2.0
# The front door. On a new Debian 12 or 13 machine, as root: make demo, make test.

CARGO ?= cargo
KERNELS = 5.10 6.1 6.12 7.2

help:
	@echo 'make demo     build, then show the tools on this kernel'
	@echo 'make test     build, then run every test: unit, command line, live, virtual machines'
	@echo 'make build    release programs in target/release'
	@echo 'make check    formatting, clippy, clang warnings, stale man pages'
	@echo 'make parity   run the classics and ours side by side: an hour; PARITY_KERNELS, PARITY_TOOLS narrow it'
	@echo 'make bench    what the tools cost beside their peers; writes bench/results.md (BENCH_TOOLS, BENCH_RUNS, BENCH_ONLY)'
	@echo 'make matrix   which hook alternative works on which kernel'
	@echo 'make man      man pages and completions from the command definitions'
	@echo 'make deb rpm  packages in target/packages (make dist: static tarball and checksums)'
	@echo 'make install  what make programs has built: DESTDIR, PREFIX, PROG_PREFIX, PROG_SUFFIX, FORM=tools|multicall'
	@echo 'make try-deb  the .deb in a clean Debian, in the place of bpfcc-tools; try-rpm, try-tarball; reproduce: the same bytes twice'
	@echo 'make deps     only install what building needs (make deps-test: what testing needs)'

deps:
	@sh packaging/install-deps.sh build

deps-test:
	@sh packaging/install-deps.sh build test

build: deps
	$(CARGO) build --locked --release

demo: build
	@sh packaging/install-deps.sh demo
	target/release/bpfcc-demo

# The kernels first, so that none is missing in the middle. clang's warnings
# are errors here.
test: deps-test kernels
	BPF_WERROR=1 $(CARGO) build --locked --workspace
	BPF_WERROR=1 $(CARGO) test --locked --workspace -- --skip vm::
	BPF_WERROR=1 $(CARGO) test --locked --package bpfcc-tests --test suite -- vm:: --nocapture

kernels: deps-test
	tests/vm/vmrun --fetch $(KERNELS)

check: deps
	$(CARGO) fmt --check
	BPF_WERROR=1 $(CARGO) clippy --locked --all-targets -- -D warnings
	BPF_WERROR=1 $(CARGO) xtask man --check

# Everything live; writes tests/parity/captures and docs/compat-with-bcc.md.
parity:
	@sh packaging/install-deps.sh build test parity
	$(CARGO) build --locked --workspace
	target/debug/bpfcc-parity $(if $(PARITY_KERNELS),--kernels "$(PARITY_KERNELS)") $(if $(PARITY_TOOLS),--tools "$(PARITY_TOOLS)")

matrix: deps-test kernels
	$(CARGO) build --locked --workspace
	$(CARGO) xtask matrix

# What is compared is what is installed: release programs against Debian's.
# BENCH_TOOLS="opensnoop tcplife", BENCH_RUNS=3, BENCH_ONLY=ns,rss measure less.
bench: deps
	@sh packaging/install-deps.sh bench
	$(CARGO) build --locked --release --workspace
	target/release/bpfcc-bench \
		$(foreach tool,$(BENCH_TOOLS),--tools $(tool)) \
		$(foreach figures,$(BENCH_ONLY),--only $(figures)) \
		$(if $(BENCH_RUNS),--runs $(BENCH_RUNS)) $(BENCH_ARGS)

man:
	$(CARGO) xtask man

# What packages hold: small, and the same for the same source.
export PROG_PREFIX PROG_SUFFIX DESTDIR PREFIX FORM PROGRAMS ZSHDIR
HOST = $(shell rustc -vV | sed -n 's/^host: //p')

programs: deps
	CARGO=$(CARGO) packaging/dist.sh dynamic
	$(CARGO) xtask size target/$(HOST)/dist

install:
	packaging/install.sh

deps-package:
	@sh packaging/install-deps.sh build package

deb: deps-package programs
	packaging/deb.sh

rpm: deps-package programs
	packaging/rpm.sh

dist: deps
	CARGO=$(CARGO) packaging/dist.sh static bpfcc-rs
	packaging/tarball.sh

try-deb: deb
	packaging/try-deb.sh

try-rpm: rpm
	packaging/try-rpm.sh

try-tarball: dist
	packaging/try-tarball.sh

reproduce: deps
	packaging/reproduce.sh

.PHONY: help deps deps-test build demo test kernels check parity matrix bench man \
	programs install deps-package deb rpm dist try-deb try-rpm try-tarball reproduce
