// SPDX-License-Identifier: Apache-2.0

// Package state is the replicated state machine: the only place where agreed
// commands change anything.
//
// A command is one version byte, one kind byte, the identity of who asked, and
// a body. raft carries it as bytes; [Machine.Apply] decodes it, dispatches it
// to kv, lease and auth, and commits the effects of whole log entries together with
// their index in one batch, so that a crash leaves a prefix of the log and
// nothing in between.
//
// Apply cannot fail. A request's fault (a missing lease, a compacted revision)
// is a result, the same on every member; a disk's fault stops the member. No
// clock, map order or random number is read here: time inside a command is the
// proposer's.
//
// Who may do what is decided here as well: a write when it is applied, by the
// rules as the commands before it left them; a read by the rules of the state
// that it sees (rules.go).
//
// Answers leave in wire form: a result carries the response message without
// its header, which differs from member to member and is put in front of it by
// the door that sends it.
//
// Neighbours: kv, lease and auth below, raft and the doors above.
package state
