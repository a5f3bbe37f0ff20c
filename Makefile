GO ?= go
# Pinned: a new version's new checks come when we choose.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help test short lint fuzz demo chaos chaos-short servers

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: servers lint ## everything, on real servers, race detector on; what CI runs
	REDLOCK_TEST_REQUIRE=1 $(GO) test -race -count=1 -timeout 10m ./...
	$(GO) run ./cmd/redlock demo

short: ## the tests that need no server and little time
	$(GO) test -short ./...

lint: ## gofmt, go mod tidy, go vet and staticcheck
	@unformatted="$$(gofmt -l .)"; test -z "$$unformatted" || { echo "not gofmt-clean:"; echo "$$unformatted"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

fuzz: ## look for new inputs for a minute each
	$(GO) test -run '^$$' -fuzz FuzzAttempt -fuzztime 60s ./internal/protocol
	$(GO) test -run '^$$' -fuzz FuzzMargin -fuzztime 60s ./internal/protocol

demo: ## see it work
	$(GO) run ./cmd/redlock demo

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
