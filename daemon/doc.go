// SPDX-License-Identifier: Apache-2.0

// Package daemon wires one member together: it reads the settings, takes the
// data directory, opens store, log, agreement, certificates and doors in an
// order that has reasons, and closes them in the reverse one.
//
// [Open] is the page to read first: a list of steps from top to bottom. What
// is decided here is only who knows whom; every rule lives in the room it
// concerns. Nothing imports daemon but the main of cleatd and the tests that
// run whole members.
package daemon
