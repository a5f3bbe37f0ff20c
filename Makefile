GO ?= go
# Pinned: a new version's new checks come when we choose.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help test short lint sim fuzz demo peers chaos chaos-short servers

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: servers lint ## everything, on real servers, race detector on; what CI runs
	REDLOCK_TEST_REQUIRE=1 $(GO) test -race -count=1 -timeout 10m ./...
	REDLOCK_TEST_REQUIRE=1 $(GO) test -run '^$$' -bench . -benchtime 1x ./bench
	cd bench/peers && REDLOCK_TEST_REQUIRE=1 $(GO) test -count=1 ./...
	$(MAKE) --no-print-directory sim
	$(GO) run ./cmd/redlock demo

short: ## the tests that need no server and little time
	$(GO) test -short ./...

lint: ## gofmt, go mod tidy, go vet and staticcheck
	@unformatted="$$(gofmt -l .)"; test -z "$$unformatted" || { echo "not gofmt-clean:"; echo "$$unformatted"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	cd bench/peers && $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

# Without the race detector, under which the tests of package sim do much less: a
# world has one goroutine. A run that breaks a promise ends with status 10.
sim: ## the simulator in a minute or so: every story, a swarm, explorations, mutants
	@dir="$$(mktemp -d)" && trap 'rm -rf "$$dir"' EXIT && set -e && \
	$(GO) build -o "$$dir/redlock" ./cmd/redlock && sim="$$dir/redlock sim" && \
	$$sim run --all && \
	$$sim swarm --seeds 3000 2>/dev/null && \
	$$sim explore && \
	$$sim mutants && \
	expect() { status=0; "$$@" >"$$dir/out" 2>&1 || status=$$?; test $$status = 10 || { cat "$$dir/out"; exit 1; }; } && \
	expect $$sim swarm --seeds 100 --without restart-guard --store "$$dir/run.json" && \
	expect $$sim replay "$$dir/run.json" && \
	$$sim shrink "$$dir/run.json" --store "$$dir/small.json" && \
	expect $$sim replay "$$dir/small.json"
	$(GO) test -count=1 -run 'TestShortcutsMissNothing|TestSwarm|TestShrinking' ./sim

fuzz: ## look for new inputs for a minute each
	$(GO) test -run '^$$' -fuzz FuzzAttempt -fuzztime 60s ./internal/protocol
	$(GO) test -run '^$$' -fuzz FuzzMargin -fuzztime 60s ./internal/protocol

demo: ## see it work
	$(GO) run ./cmd/redlock demo

peers: servers ## measure redlock beside its peers, in about six minutes
	cd bench/peers && $(GO) run . -json ../results/latest.json -check

chaos-short: servers ## break real servers under the lock, a few stories; a part of make test
	REDLOCK_TEST_REQUIRE=1 $(GO) test -race -count=1 -timeout 5m ./sim/chaos

chaos: servers ## all stories on real servers, and a soak of three minutes
	$(GO) run ./cmd/redlock chaos run --all
	$(GO) run ./cmd/redlock chaos soak --for 3m

# The real servers the tests start, and the C compiler the race detector needs.
# They are installed where apt and the rights are there; elsewhere the tests say
# what is missing.
servers:
	@missing=""; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	command -v mariadbd >/dev/null || missing="$$missing mariadb-server"; \
	command -v java >/dev/null || missing="$$missing default-jre-headless"; \
	test -e /usr/share/java/zookeeper.jar || missing="$$missing libzookeeper-java"; \
	command -v $$($(GO) env CC) >/dev/null || missing="$$missing gcc libc6-dev"; \
	test -z "$$missing" && exit 0; \
	if ! command -v apt-get >/dev/null; then echo "please install:$$missing" >&2; exit 1; fi; \
	sudo=""; test "$$(id -u)" = 0 || sudo=sudo; \
	echo "installing$$missing"; \
	$$sudo apt-get update -qq && \
	$$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $$missing >/dev/null
