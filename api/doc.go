// SPDX-License-Identifier: Apache-2.0

// Package api is the door through which clients come: etcd's v3 services over
// gRPC, and the JSON gateway, health, version and metrics over HTTP/1.1.
//
// There are two doors. The Unix socket speaks plaintext; the kernel says who
// is calling. The client port speaks TLS and demands a certificate. Behind
// both doors gRPC has grpc-go's own transport; it is never served through
// net/http, which costs several times the processor time of a small request:
//
//	socket ── peer credentials ── preface ──┬── "PRI * HTTP/2.0…" ── grpc
//	                                        └── anything else ────── net/http
//	TLS ───── handshake ────────── ALPN ────┬── h2 ───────────────── grpc
//	                                        └── http/1.1 ─────────── net/http
//	net/http ── /v3/… ── gateway ── in-process connection ────────── grpc
//
// A door finishes everything that tells who the caller is, and only then hands
// the connection on; grpc and net/http receive connections whose caller is
// known (identity.go). The gateway's in-process connections carry their caller
// the same way, so no header that a client could send is ever believed but a
// token, which proves itself (login.go).
//
// A request is checked as etcd checks it (check.go), turned into a command for
// raft or a read of state, and answered. Answers are spliced: state and kv give
// the message in wire form, this package puts the header in front, and the
// codec passes the bytes through (codec.go, reply.go). Nothing is decided here;
// faults are translated by one table (errors.go).
//
// Neighbours: raft orders writes, state applies them and answers reads, watch
// follows history, lease keeps time; daemon makes the listeners and calls
// [Server.ServeSocket] and [Server.ServeTLS].
package api
