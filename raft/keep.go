// SPDX-License-Identifier: Apache-2.0

//go:build !broken_acks

package raft

// keeping is the log store as it is: what it has taken is on the disk. A
// program of the fault tests breaks the rule, to show that they see it.
func keeping(s logStore) logStore { return s }
