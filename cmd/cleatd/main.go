// SPDX-License-Identifier: Apache-2.0

// Command cleatd is one member of a cleat cluster.
package main

import (
	"os"

	"github.com/cleatd/cleat/daemon/command"
)

// The linker sets these.
var (
	version = "devel"
	commit  = "unknown"
)

func main() {
	os.Exit(command.Build{Version: version, Commit: commit}.Main(os.Args, os.Stderr))
}
