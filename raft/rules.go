// SPDX-License-Identifier: Apache-2.0

//go:build !broken_reads

package raft

// readsConfirmed says that a read waits until the leader has made sure that it
// leads. A program of the fault tests breaks the rule, to show that they see it.
const readsConfirmed = true
