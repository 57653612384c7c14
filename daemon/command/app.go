// SPDX-License-Identifier: Apache-2.0

// Package command is cleatd's command line: what an administrator or a unit
// types becomes settings, and a failure becomes one line and an exit code. It
// decides nothing else; package daemon does. It is apart from cmd/cleatd so
// that the manual can be made of the same words as --help.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/daemon"
)

// Build is what the linker says of this program.
type Build struct{ Version, Commit string }

// Main runs one command line, args[0] being the program's name, and returns
// the process's exit code.
func (b Build) Main(args []string, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := b.App().RunContext(ctx, argumentsLast(args))
	if err == nil {
		return 0
	}
	daemon.LastWords(stderr, err)
	if errors.Is(err, daemon.ErrConfig) {
		return 2
	}
	return 1
}

// App describes the command line.
func (b Build) App() *cli.App {
	return &cli.App{
		Name: "cleatd", Usage: "one member of a cleat cluster",
		Version:         fmt.Sprintf("%s (commit %s, %s)", b.Version, b.Commit, runtime.Version()),
		HideHelpCommand: true, ArgsUsage: " ", Flags: flags(), Action: b.run,
		Commands:     []*cli.Command{checkCommand(), reloadCommand(), b.recoverCommand(), b.restoreCommand()},
		OnUsageError: usageError,
	}
}

func usageError(_ *cli.Context, err error, _ bool) error {
	return fmt.Errorf("%w: %v", daemon.ErrConfig, err)
}
