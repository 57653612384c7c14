// SPDX-License-Identifier: Apache-2.0

// Command cleatd is one member of a cleat cluster.
package main

import (
	"os"
	"runtime/debug"

	"github.com/cleatd/cleat/daemon/command"
)

// The linker sets these.
var (
	version = "devel"
	commit  = "unknown"
)

func main() {
	// Go ends what crashes, or is ended by the watchdog, with code 2, which here
	// means that only a person can help, and systemd starts no such member again.
	// A crash is an end by a signal instead.
	debug.SetTraceback("crash")
	os.Exit(command.Build{Version: version, Commit: commit}.Main(os.Args, os.Stderr))
}
