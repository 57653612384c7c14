// SPDX-License-Identifier: Apache-2.0

// Package kv keeps multi-version keys and values on Pebble.
//
// Every write transaction that changes something raises the store's revision
// by one; a record keeps the revisions at which its key was created and last
// changed. Reads ask for the present or for any revision back to the last
// compaction, and the events between two revisions can be read again.
//
// The store has no write-ahead log: the raft log is it. A [Batch] holds the
// effects of whole log entries and their index in one Pebble batch, so that a
// crash leaves a prefix of the log. What a completed [Store.Flush] has covered
// is durable ([Store.DurableIndex]); the log must keep everything after it.
//
// # Layout
//
// Keys are encoded as CockroachDB's storage does it (package cockroachkvs,
// which comes with Pebble): bytes, a zero, and for a version eight bytes and
// their length; versions of one key lie together, newest first.
//
//	k<key> 00 <version>      -> format, sub-revision, record (mvccpb.KeyValue)
//	r<main><sub> 00          -> format, kind, key: the history in order
//	t<table><key> 00         -> side tables for state: leases, ledger, meta
//	m<name> 00               -> format, revision, applied index, compaction
//
// A version is the main revision shifted left by one, with the lowest bit set
// for a tombstone, so that counting keys reads no values.
//
// One goroutine writes, through one Batch at a time; any number read.
// Neighbours: state above writes, watch follows; nothing below but Pebble.
package kv
