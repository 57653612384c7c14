#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes lock.pb.go, election.pb.go, and of each the service (_grpc.pb.go) and its
# JSON (.pb.gw.go, by gateway.yaml). It needs protoc (Debian: protobuf-compiler);
# the plugins are built here, at fixed versions. Of etcd's own messages protoc
# need only know the names: their Go is etcd's.
set -eu
cd "$(dirname "$0")"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin GOFLAGS= go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$bin GOFLAGS= go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
GOBIN=$bin GOFLAGS= go install github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-grpc-gateway@v2.29.0
mkdir -p "$bin/etcd"
cat > "$bin/etcd/rpc.proto" <<-END
	syntax = "proto3";
	package etcdserverpb;
	option go_package = "go.etcd.io/etcd/api/v3/etcdserverpb";
	message ResponseHeader {}
END
cat > "$bin/etcd/kv.proto" <<-END
	syntax = "proto3";
	package mvccpb;
	option go_package = "go.etcd.io/etcd/api/v3/mvccpb";
	message KeyValue {}
END
PATH=$bin:$PATH protoc -I . -I "$bin/etcd" \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative \
	--grpc-gateway_out=. --grpc-gateway_opt=paths=source_relative,grpc_api_configuration=gateway.yaml \
	lock.proto election.proto
