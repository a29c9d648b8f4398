# Everything a developer runs by hand. CI runs .ci/run.
export CGO_ENABLED := 0
LDFLAGS := -s -w -buildid=
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)

.PHONY: all others test crash mixed soak agreement integration pkcs11 race bench fuzz codecs clean

all:
	go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS) -X main.version=$(VERSION)' -o bin/ ./cmd/...

# Boxes of other kinds than this one: most have 32 bits, some run Windows. And
# the machines some people write code on.
others:
	GOARCH=arm GOARM=7 go vet ./...
	GOOS=windows GOARCH=amd64 go vet ./...
	GOOS=darwin GOARCH=arm64 go build ./...

test:
	go test ./...

# Every crash point of sixty histories of the disk log, instead of the three of
# the plain test.
crash:
	go test ./buffer -run Every -histories 60

# Three protocols on one line under late, lost and damaged replies: a hundred
# thousand polls, or a million.
mixed:
	go test ./drivers/line -run MixedLine -v -args -polls 100000

# Everything one can do to a log afterwards must be told, and nothing be said of honest
# ones: a million mutations, a hundred thousand logs and 300 boxes with power cuts; or ten million.
tamper:
	go test ./uplink/verify -run Tamper -v -timeout 30m -args -mutations 1000000 -honest 100000
	go test ./agent -run HonestBox -v -args -boxes 300

soak:
	go test ./drivers/line -run MixedLine -v -timeout 60m -args -polls 1000000
	go test ./uplink/lender -run Backlog -v -timeout 10m -args -backlog 20000
	go test ./uplink/verify -run Tamper -v -timeout 120m -args -mutations 10000000 -honest 100000

# Ten thousand logs, whole and damaged, on which the verifier in Go and the one
# in Python must agree; SEED=2 makes others.
SEED := 1
agreement:
	go test -tags integration -timeout 20m ./uplink/verify -run Agreement -v -args -logs 10000 -seed $(SEED)

# The packages with tests on real parts, one after the other.
integration:
	go test -tags integration -timeout 20m -p 1 \
		$$(git grep -l '^//go:build integration' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's|^|./|')

# Keys in a PKCS #11 token, SoftHSM here. The only part that needs C.
pkcs11:
	CGO_ENABLED=1 go vet -tags 'integration pkcs11' ./uplink/custody/pkcs11
	CGO_ENABLED=1 go test -tags 'integration pkcs11' ./uplink/custody/pkcs11

race:
	CGO_ENABLED=1 go test -race -short ./...

bench:
	go test -run '^$$' -bench . -benchmem ./...

fuzz:
	@for pkg in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime 10s $$pkg || exit 1; \
		done; \
	done

# What comes off a wire, a minute for each codec. At the end of the minute go test
# now and then takes its own deadline for a failure; that one has no failing input.
codecs:
	@log=$$(mktemp); for f in dlt645:FuzzDescribe cjt188:FuzzDescribe iec62056:FuzzDescribe modbus:FuzzDescribeFrame; do \
		go test -run '^$$' -fuzz "^$${f#*:}\$$" -fuzztime 60s ./drivers/$${f%:*} >$$log 2>&1; ok=$$?; tail -3 $$log; \
		if [ $$ok -ne 0 ] && { grep -q 'Failing input' $$log || ! grep -q 'context deadline exceeded' $$log; }; then cat $$log; exit 1; fi; \
	done

clean:
	rm -rf bin
