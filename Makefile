# What people type. `make demo` first, `make test` before a change is sent.
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: help demo test unit lint image bench bench-waf fuzz e2e generate prerequisites clean

help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Serve a demonstration site on http://localhost:8080 (Ctrl-C stops it)
	@scripts/prerequisites demo
	@echo "building (some minutes the first time)"
	@binary=$$(scripts/static-binary fast) && exec "$$binary" up --demo

test: ## Everything: lints, unit and behaviour tests, generated files, charts, real Kubernetes
	@scripts/prerequisites test
	@scripts/test

unit: ## Only the tests that need nothing but Rust
	@scripts/test unit

lint: ## Only formatting, clippy, documentation, licences
	@scripts/test lint

e2e: ## Only the tests on a real API server and real nodes
	@scripts/prerequisites test
	@scripts/test e2e

image: ## The container image, as the OCI archive target/image/breakwater.tar
	@scripts/prerequisites image
	image/build

bench: ## The same load on us, nginx, HAProxy, Varnish and ATS, in one run (results in bench/results)
	@scripts/prerequisites bench
	$(CARGO) build --release --bin breakwater
	bench/run

bench-waf: ## The same requests and the same Core Rule Set on us and on nginx with libmodsecurity (bench/results/waf.md)
	@scripts/prerequisites bench-waf
	$(CARGO) build --release --bin breakwater
	bench/run waf

fuzz: ## Each fuzz target for FUZZ_SECONDS (20)
	@scripts/prerequisites fuzz
	fuzz/run

generate: ## Generated files: CRDs, chart copies, chart READMEs
	$(CARGO) run --quiet --bin breakwater -- crds --dir crds/yaml
	charts/sync-crds

prerequisites: ## Install what the targets need, by package name (Debian, as root)
	scripts/prerequisites all

clean: ## Remove what was built
	$(CARGO) clean
