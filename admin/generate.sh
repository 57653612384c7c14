#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes admin.pb.go and admin_grpc.pb.go from admin.proto. It needs protoc
# (Debian: protobuf-compiler); the two plugins are built here, at fixed versions,
# so that everybody's output is the same.
set -eu
cd "$(dirname "$0")"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin GOFLAGS= go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$bin GOFLAGS= go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
PATH=$bin:$PATH protoc \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative \
	admin.proto
