// SPDX-License-Identifier: Apache-2.0

//go:build broken_reads

package raft

const readsConfirmed = false
