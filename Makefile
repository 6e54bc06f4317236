# make          what to run before a commit: fmt, lint, test
# make test     all tests, with the race detector; says which it leaves out for want of a program
# make fuzz     every fuzz target for FUZZTIME each
# make bench    every benchmark; with BASE=REV compared with those of that commit, by benchstat
# make torture  random traffic and sessions that come and go, over both drivers, for TORTURETIME each
# make apps     real applications behind the gateway (test/apps), also those that take long to install or to start
# make chaos    random peers, faults and reloads around the built program, for CHAOSTIME, 10 minutes by default
# make upgrades  thousands of sessions that move through upgrades, then upgrades among what else operators do for UPGRADESTIME, 5 minutes by default
# make scenarios  clients that flood, stall or don't read, at the size that the project promises for; make test runs them smaller
# make compare  Sluice beside nginx, HAProxy, Caddy and a relay in C (docs/benchmarks.md), under 20 minutes
# make compare-short  the same in under 3, rougher; ARGS="-only push -rounds 12" passes flags to either
# make bogo     BoringSSL's tests of TLS against tls/record (docs/tls.md); BORINGSSL=DIR is a checkout of BoringSSL
# make h2spec   h2spec's generic, http2 and hpack tests against the program, without TLS and with it
# make charts   the charts of the dashboard, as test/package-lock.json pins them
# make screenshots  the pictures of the dashboard in docs/, under traffic: takes six minutes
# make image    the container image, as sluice:latest, with the version and the revision of the checkout
# make run      the demo: three echo backends, the gateway, a page in the browser

SHELL := /bin/bash
GO       ?= go
FUZZTIME ?= 30s
TORTURETIME ?= 60s
CHAOSTIME ?= 10m
UPGRADESTIME ?= 5m
BASE     ?=
BENCH    ?= .
BORINGSSL ?=
SCENARIOS ?= Flood|Scenario|Ejected

# Modules of their own: what they need the program doesn't. TestTheMakefileNamesEveryModule keeps the list complete.
MODULES := bench deploy internal/pebble

.PHONY: all fmt lint test peers apps fuzz bench torture chaos upgrades scenarios compare compare-short bogo h2spec charts screenshots image run

all: fmt lint test

fmt:
	gofmt -w .

# staticcheck is pinned in a module file of its own, so that the program's go.mod has only what the
# program needs.
lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt -w is due for:" $$unformatted; exit 1; fi
	@set -e; for module in . $(MODULES); do \
		echo "vet, staticcheck: $$module"; \
		(cd $$module && $(GO) vet ./... && $(GO) tool -modfile=$(CURDIR)/internal/tools/tools.mod staticcheck ./...); \
	done
	@set -e; for os in darwin freebsd windows; do echo "vet: $$os"; GOOS=$$os $(GO) vet ./...; done

test: peers
	@for module in . $(MODULES); do (cd $$module && $(GO) mod download) || exit 1; done
	$(GO) test -race -shuffle=on -timeout 25m ./...
	@for module in $(MODULES); do (cd $$module && echo "$$module: go test" && $(GO) test ./...) || exit 1; done

# peers names each program that tests need and this machine lacks; with CI=true that is a failure.
# NEED is: a command that succeeds if it is there | what to install | the tests that need it.
define NEEDS
node --version && npm --version|nodejs npm|Node's ws as client and backend, the demo page, the dashboard
/usr/bin/python3 -c "import websockets"|python3-websockets|Python's websockets as client and backend
chromium --version|chromium|the demo page, the dashboard, Chromium over TLS
firefox-esr --version|firefox-esr|Firefox over TLS
command -v certutil|libnss3-tools|Chromium and Firefox over TLS
nginx -v|nginx|nginx in front
haproxy -v|haproxy|HAProxy in front, and as a peer over HTTP/2
nghttp --version && command -v nghttpx|nghttp2-client nghttp2-proxy|nghttp and nghttpx as peers over HTTP/2
/usr/bin/python3 -c "import h2, wsproto"|python3-h2 python3-wsproto|Python's h2 and wsproto as a client over HTTP/2
caddy version|caddy|the peers of the comparison
openssl version|openssl|TLS
gnutls-cli --version|gnutls-bin|GnuTLS as a TLS client
gcc --version && test -e /usr/include/gnutls/gnutls.h|gcc libc6-dev libgnutls28-dev|GnuTLS as a TLS backend
javac -version|openjdk-17-jdk-headless|Java as TLS client and backend
testssl --version|testssl.sh|TLS, its weaknesses
prometheus --version|prometheus|metrics as Prometheus reads them, and alerts
curl --version|curl|TLS
systemd-analyze --version|systemd|the check of deploy/sluice.service
unshare -rn true|util-linux, and the right to make namespaces|ports that run out
taskset --version|util-linux|the peers of the comparison
command -v mosquitto|mosquitto|Mosquitto behind the gateway
command -v nats-server|nats-server|NATS behind the gateway
command -v prosody|prosody|Prosody behind the gateway
command -v v2ray && command -v curl|curl v2ray|v2ray behind the gateway
command -v websocketd|websocketd|websocketd behind the gateway
command -v jupyter-server && test -e /usr/share/jupyter/kernels/python3|jupyter-server python3-ipykernel|Jupyter behind the gateway
command -v Xtigervnc && command -v websockify && command -v xterm && test -e /usr/share/novnc|novnc tigervnc-standalone-server websockify xfonts-base xterm|noVNC behind the gateway
endef
define LONG_NEEDS
test -x /usr/lib/rabbitmq/bin/rabbitmq-server|rabbitmq-server|RabbitMQ behind the gateway
endef
export NEEDS
export LONG_NEEDS

peers:
	@missing=0; \
	if [ "$(MAKECMDGOALS)" = apps ]; then NEEDS="$$NEEDS"$$'\n'"$$LONG_NEEDS"; fi; \
	while IFS='|' read -r probe packages tests; do \
		if ! PATH="$$PATH:/usr/sbin" sh -c "$$probe" >/dev/null 2>&1; then \
			echo "missing: $$packages; left out: tests of $$tests"; missing=1; \
		fi; \
	done <<< "$$NEEDS"; \
	if [ $$missing = 1 ] && [ "$$CI" = true ]; then echo "CI=true: every test must run"; exit 1; fi
	@for directory in test test/apps; do \
		if command -v npm >/dev/null; then (cd $$directory && npm ci --no-audit --no-fund --loglevel=error) || exit 1; fi; \
	done

apps: peers
	SLUICE_TEST_LONG=true $(GO) test ./test/apps -count 1 -v -timeout 20m

# go test fuzzes one target of one package at a time.
fuzz:
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's#/[^/]+:func # #' | sort -u | while read -r room target; do \
		echo "$$room $$target"; \
		$(GO) test "$$room" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) || exit 1; \
	done

# benchstat is pinned beside staticcheck.
bench:
	@set -e -o pipefail; out=$$(mktemp -d); \
	trap 'if [ -e $$out/base ]; then git worktree remove --force $$out/base; fi; rm -rf $$out' EXIT; \
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(if $(BASE),6,1) ./... | tee $$out/new.txt; \
	if [ -n "$(BASE)" ]; then \
		git worktree add -q --detach $$out/base $(BASE); \
		(cd $$out/base && $(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count 6 ./...) > $$out/old.txt; \
		$(GO) tool -modfile=internal/tools/tools.mod benchstat $$out/old.txt $$out/new.txt; \
	fi

torture:
	$(GO) test ./proxy/driver -count 1 -v -timeout 30m -run 'Torture' -torture $(TORTURETIME)
	$(GO) test ./proxy/driver -count 1 -v -timeout 30m -run 'Churn' -churn $(TORTURETIME) -churn.sessions 10000

chaos:
	$(GO) test ./test -count 1 -v -timeout 24h -run 'TestChaos$$' -chaos $(CHAOSTIME)

upgrades:
	SLUICE_TEST_LONG=true $(GO) test ./test -count 1 -v -timeout 60m -parallel 1 -run 'TestUpgradesThat|TestIdleSessionsMove|TestUpgradesAmong' -upgrades $(UPGRADESTIME)

scenarios: peers
	SLUICE_TEST_LONG=true $(GO) test ./test -count 1 -v -timeout 60m -run '$(SCENARIOS)'

# Those of its tests that concern records, alerts and messages after the handshake of TLS 1.3.
BOGO := KeyUpdate-*;TooManyKeyUpdates;AppDataBeforeTLS13KeyChange*;SendEmptyRecords*;SendUserCanceledAlerts*;SendWarningAlerts-TLS13;$\
	SendBogusAlertType;SendInvalidRecordType;SendPostHandshakeChangeCipherSpec-TLS13;SendEmptySessionTicket-TLS13;Alert;DoubleAlert;$\
	FragmentAlert;ShimSendAlert-*;Shutdown-Runner-*;Shutdown-Shim-KeyUpdate-*;Unclean-*;LargeMessage;LargePlaintext*;LargeCiphertext;$\
	TLS-TLS13-*Record;TLS13-RecordPadding-TLS;TLSFatalBadPackets;Renegotiate-Client-TLS13

bogo:
	@test -d "$(BORINGSSL)/ssl/test/runner" || { echo "BORINGSSL=DIR has to name a checkout of BoringSSL"; exit 1; }
	@set -e; out=$$(mktemp -d); trap 'rm -rf $$out' EXIT; \
	$(GO) build -o $$out/bogoshim ./tls/record/bogoshim; \
	cd "$(BORINGSSL)/ssl/test/runner"; \
	$(GO) test . -count 1 -v -args -shim-path $$out/bogoshim -shim-config $(CURDIR)/tls/record/bogoshim/config.json \
		-allow-unimplemented -skip '*DTLS*;*QUIC*' -test '$(BOGO)'

# h2spec is pinned beside staticcheck. make test runs it too.
h2spec:
	$(GO) test ./test -count 1 -v -run 'TestH2spec$$'

charts:
	cd test && npm ci --no-audit --no-fund --loglevel=error
	cp test/node_modules/uplot/dist/uPlot.iife.min.js test/node_modules/uplot/dist/uPlot.min.css test/node_modules/uplot/LICENSE internal/dashboard/uplot/

screenshots: peers
	SLUICE_TEST_SCREENSHOTS=$(CURDIR)/docs/pictures $(GO) test ./test -run TestScreenshotsOfTheDashboard -count 1 -timeout 20m -v

# Not by "go run", which passes no SIGTERM on.
compare compare-short:
	cd bench && $(GO) build -o trial/compare ./compare
	bench/trial/compare $(if $(filter compare-short,$@),-short) $(ARGS)

image:
	docker build -t sluice --build-arg VERSION=$$(git describe --tags --always --dirty) --build-arg REVISION=$$(git rev-parse HEAD) .

run:
	$(GO) run ./cmd/sluice demo
