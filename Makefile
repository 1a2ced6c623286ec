# make build   the server and the command, in build/
# make demo    everything from nothing, on loopback port 1053; Ctrl-C ends it
# make test    all tests; installs with apt the name servers and tools that they need
# make lint    format, vet, staticcheck, govulncheck
# make fuzz    every fuzz target for FUZZTIME
# make bench, make bench-directory   the measurements, each with its reference

GO       ?= go
BUILD    ?= build
FUZZTIME ?= 30s

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0

# Debian has its daemons in /usr/sbin, which is not on every PATH.
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin

.PHONY: build demo test peers lint fuzz bench bench-directory clean

build:
	$(GO) build -o $(BUILD)/ ./cmd/...

demo: build
	$(GO) build -o $(BUILD)/demo-server ./internal/demo
	$(BUILD)/demo-server -server $(BUILD)/coredns $(DEMOFLAGS)

# cmd/coredns links all of CoreDNS, which takes minutes with the race detector; the
# in-process servers of ./test run our code under it. Simulations run without it, so
# that they are many.
test: peers
	$(GO) vet ./...
	$(GO) test ./cmd/coredns
	$(GO) test ./certsource/directory -run '^TestSimulation$$' -seeds 10000
	$(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v '/cmd/coredns$$')

# peers installs what test/peers.txt lists, and only what is missing of it.
peers:
	@missing=$$(while read -r program package; do \
		command -v $$program >/dev/null || echo $$package; done < test/peers.txt | sort -u); \
	if [ -n "$$missing" ]; then \
		echo "installing" $$missing; \
		if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
		$$sudo apt-get update -q && \
		$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	fi

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
	@for tool in dnsperf taskset dnssec-keygen; do command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
		$$sudo apt-get update -q && \
		$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends dnsperf util-linux bind9-utils; \
	fi
	$(GO) run ./bench $(BENCHFLAGS)

bench-directory:
	$(GO) run ./bench/directory $(BENCHFLAGS)

clean:
	rm -rf $(BUILD) demo
