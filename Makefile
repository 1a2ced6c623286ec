# make build   the server and the command, in build/
# make demo    everything from nothing, on loopback port 1053; Ctrl-C ends it
# make test    all tests; installs with apt the name servers and tools that they need
# make deb, make rpm   packages, in build/
# make oci     a container image, as an OCI image layout in build/oci
# make lint    format, vet, staticcheck, govulncheck
# make fuzz    every fuzz target for FUZZTIME
# make bench, make bench-directory   the measurements, each with its reference

GO       ?= go
BUILD    ?= build
FUZZTIME ?= 30s

# Packages: their version, and how they are compiled.
VERSION      ?= 0.1.0
RELEASE      ?= 1
PACKAGEFLAGS ?= -trimpath

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
NFPM        = github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0
MD2MAN      = github.com/cpuguy83/go-md2man/v2@v2.0.7

# Debian has its daemons in /usr/sbin, which is not on every PATH.
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin

# What is built needs no C library: one compilation does for packages, images and tests.
# Only the race detector needs cgo.
export CGO_ENABLED = 0

# INSTALL installs the packages in $$missing, or says who can.
INSTALL = if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ]; then sudo=; \
		elif command -v sudo >/dev/null; then sudo=sudo; \
		else echo "programs are missing. As root:" >&2; \
			echo "apt-get install --no-install-recommends" $$missing >&2; exit 1; fi; \
		echo "installing" $$missing; \
		$$sudo apt-get update -q && \
		$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	fi

COMPILING = @echo "compiling CoreDNS: the first time, this takes some minutes"

.PHONY: build demo test peers lint fuzz bench bench-directory deb rpm oci clean

build:
	$(COMPILING)
	$(GO) build -o $(BUILD)/ ./cmd/...

demo: build
	$(GO) build -o $(BUILD)/demo-server ./internal/demo
	$(BUILD)/demo-server -server $(BUILD)/coredns -command $(BUILD)/smimea $(DEMOFLAGS)

# cmd/coredns links all of CoreDNS, which takes minutes with the race detector; the
# in-process servers of ./test run our code under it. Simulations run without it, so
# that they are many. The time is against tests that hang: a busy machine takes half an hour.
TEST = $(GO) test -timeout 1h
test: peers
	$(COMPILING)
	$(GO) vet ./...
	$(TEST) ./cmd/coredns
	$(TEST) ./certsource/directory -run '^TestSimulation$$' -seeds 10000
	$(TEST) ./plugin/internal/publish -run '^TestSimulation$$' -seeds 2000
	CGO_ENABLED=1 $(TEST) -race $$($(GO) list ./... | grep -v '/cmd/coredns$$')

# peers installs what test/peers.txt lists, and only what is missing of it.
peers:
	@missing=$$(while read -r program package; do \
		command -v $$program >/dev/null || echo $$package; done < test/peers.txt | sort -u); \
	$(INSTALL)

lint:
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "not formatted:" $$unformatted; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	@echo "$(GO) run $(GOVULNCHECK) ./..."; \
	out=$$($(GO) run $(GOVULNCHECK) ./... 2>&1); status=$$?; echo "$$out"; \
	case "$$out" in *"fetching vulnerabilities"*|*vuln.go.dev*) \
		if [ $$status = 1 ]; then echo "govulncheck: its database cannot be reached from here; going on without"; status=0; fi;; \
	esac; exit $$status

fuzz:
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

bench:
	@for tool in dnsperf taskset dnssec-keygen; do \
		command -v $$tool >/dev/null || missing="dnsperf util-linux bind9-utils"; done; \
	$(INSTALL)
	$(GO) run ./bench $(BENCHFLAGS)

bench-directory:
	$(GO) run ./bench/directory $(BENCHFLAGS)

deb rpm:
	$(COMPILING)
	@GO="$(GO)" BUILD="$(BUILD)" VERSION="$(VERSION)" RELEASE="$(RELEASE)" PACKAGEFLAGS="$(PACKAGEFLAGS)" \
		NFPM="$(NFPM)" MD2MAN="$(MD2MAN)" packaging/build $@

oci:
	$(COMPILING)
	@GO="$(GO)" BUILD="$(BUILD)" VERSION="$(VERSION)" PACKAGEFLAGS="$(PACKAGEFLAGS)" packaging/build oci

clean:
	rm -rf $(BUILD) demo
