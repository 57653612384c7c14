// SPDX-License-Identifier: Apache-2.0

// Command cleatctl drives a cleat member: over its Unix socket when nothing
// else is said, over the network with --endpoints.
package main

import (
	"os"

	"github.com/cleatd/cleat/ctl"
)

func main() {
	os.Exit(ctl.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
