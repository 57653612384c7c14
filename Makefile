# SPDX-License-Identifier: Apache-2.0
# `make` alone lists what there is to make.

SHELL   := /bin/bash
TAGS    := nobadger,nomysql,nopgx,nobbolt
LDFLAGS := $(shell sh packaging/version.sh ldflags)
# What packages are made for.
ARCHES  ?= amd64 arm64

# packaging/dev/setup.sh leaves a Go of its own here when the machine has none.
export PATH    := $(CURDIR)/.build/go/bin:$(PATH)
# All that is built has the same flags, so that nothing is compiled twice but
# for the race detector.
export GOFLAGS     := -buildvcs=false -trimpath -tags=$(TAGS)
export CGO_ENABLED := 0

# Only root can run the fault tests.
FAULTY = $(if $(filter 0,$(shell id -u)),faulty)

.PHONY: help
help: ## list the targets
	@awk -F ': .*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## install what building and testing need (as root; otherwise say what is missing)
	@sh packaging/dev/setup.sh install

.PHONY: build
build: setup ## build bin/cleatd and bin/cleatctl
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: run
run: build ## start a member below ./run, show what it does, stay in the foreground
	@sh packaging/dev/run.sh

.PHONY: run-cluster
run-cluster: build ## start three members below ./run/cluster that join with one token, stay in the foreground
	@sh packaging/dev/run-cluster.sh

.PHONY: peers
peers: setup ## build the real etcd, etcdctl and etcdutl that tests compare with
	cd test/peers && GOFLAGS='-buildvcs=false -trimpath' go build -o ../../.build/peers/ tool
	ln -sf server .build/peers/etcd

.PHONY: step
step: setup ## build smallstep's step, which tests have ask for certificates
	cd test/step && GOFLAGS='-buildvcs=false -trimpath' go build -ldflags '-s -w' -o ../../.build/step/ tool

.PHONY: faulty
faulty: setup ## build the programs of the fault tests: with a clock that jumps, and with a rule broken
	sh packaging/dev/faulty.sh '$(TAGS)'

.PHONY: formatted
formatted: setup
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt these: $$unformatted"; exit 1; }

.PHONY: check
check: formatted ## gofmt, vet and staticcheck
	go vet ./...
	cd test/tools && GOFLAGS='-buildvcs=false -trimpath' go build -o ../../.build/tools/ tool
	.build/tools/staticcheck -tags $(TAGS) ./...

.PHONY: elsewhere
elsewhere: setup ## compile cleatctl for the systems on which it only asks
	GOOS=windows GOARCH=amd64 go build -o /dev/null ./cmd/cleatctl
	GOOS=darwin GOARCH=arm64 go build -o /dev/null ./cmd/cleatctl

.PHONY: test
test: build peers step formatted packages $(FAULTY) ## everything that must pass, `make check` too
	@bash packaging/dev/test.sh

.PHONY: lab
lab: packages ## install, start, upgrade, unplug and remove the packages on booted Debian machines (as root)
	@sh packaging/dev/lab.sh '$(TAGS)' $(LAB)

.PHONY: faults
faults: build faulty ## break members, disks, clocks and network for longer than `make test` does, and tell for how long nobody could write
	CHECK=1 sh packaging/dev/run-cluster.sh
	go test -timeout 60m -count 1 ./test/crash -run Writ -kills 500
	go test -timeout 30m -count 1 -v ./test/crash -run 'LeadersDie|RollingRestart' -failovers 50
	go test -timeout 30m -count 1 -v ./test/faults -for 10m

.PHONY: long
long: build peers ## the scenes of a day with lives as long as described, and long comparisons
	go test -timeout 60m -count 1 ./test/session -letter -lives 100
	go test -timeout 60m -count 1 ./test/compat -v -run Random -ops 1000000
	go test -timeout 60m -count 1 -v ./api -run StopsReading -events 1000000
	go test -timeout 60m -count 1 -v ./daemon -run ThousandsOfLeases -leases 100000
	go test -timeout 60m -count 1 -v ./test/crash -run JoinsLate -keys 2500000 -value 2048

.PHONY: bench
bench: build peers ## measure cleat beside etcd; writes docs/bench
	go run ./internal/bench $(BENCH)

.PHONY: nfpm
nfpm: setup
	cd packaging/tools && GOFLAGS='-buildvcs=false -trimpath' go build -o ../../.build/tools/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm

.PHONY: stage
stage: build
	@sh packaging/stage.sh $(ARCHES)

.PHONY: deb
deb: stage nfpm ## build dist/*.deb for ARCHES (amd64 arm64)
	@sh packaging/package.sh deb $(ARCHES)

.PHONY: rpm
rpm: stage nfpm ## build dist/*.rpm for ARCHES (amd64 arm64)
	@sh packaging/package.sh rpm $(ARCHES)

.PHONY: packages
packages: ARCHES = $(shell go env GOHOSTARCH)
packages: deb rpm

.PHONY: dist
dist: setup ## build dist/*.tar.gz and *.zip: cleatctl for Linux, macOS and Windows, with SHA256SUMS
	@sh packaging/dist.sh

.PHONY: reproducible
reproducible: build nfpm ## build packages and archives in two other places, and compare
	@sh packaging/reproducible.sh $(ARCHES)

.PHONY: lint-packages
lint-packages: deb rpm ## lintian, rpmlint, mandoc and systemd-analyze on the packages
	@sh packaging/dev/lint.sh

.PHONY: fuzz
fuzz: ## fuzz each decoder for FUZZTIME (10s)
	@sh packaging/dev/fuzz.sh $(or $(FUZZTIME),10s)

.PHONY: generate
generate: ## make the generated sources anew (needs protoc)
	go generate ./...

.PHONY: clean
clean: ## remove what was built and run
	rm -rf bin dist run .build
