// SPDX-License-Identifier: Apache-2.0

// Package backup writes the state as an etcd snapshot and makes a state of one,
// so that people can come from etcd, and leave to it, at any time.
//
// [Save] writes what etcd 3.7 would have in its file: all keys with their
// history since the compaction, leases, users and roles, members, alarms. It
// reads the state at one moment and holds nobody up. The records lie by key and
// the file goes by revision, so they are sorted on the way: in memory up to some
// MiB, beyond that in a file beside the one that is made.
//
// [Restore] reads a file of etcd 3.4 to 3.7, or of ours, and fills an empty
// state. It checks all of the file before it writes anything.
//
// What holds: HashKV is the same before and after, in whichever direction.
// Neighbours: backup/file below knows the pages; daemon above knows the
// directory, the log and the disk.
package backup
