// SPDX-License-Identifier: Apache-2.0

// Command cleatd is one member of a cleat cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/cleatd/cleat/daemon"
)

// version is set by the linker.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	app := &cli.App{
		Name: "cleatd", Usage: "one member of a cleat cluster", Version: version,
		HideHelpCommand: true, ArgsUsage: " ", Flags: flags(), Action: run,
		Commands:     []*cli.Command{checkCommand(), reloadCommand(), recoverCommand(), restoreCommand()},
		OnUsageError: usageError,
	}
	err := app.RunContext(ctx, argumentsLast(os.Args))
	if err == nil {
		return
	}
	daemon.LastWords(os.Stderr, err)
	if errors.Is(err, daemon.ErrConfig) {
		os.Exit(2)
	}
	os.Exit(1)
}

func usageError(_ *cli.Context, err error, _ bool) error {
	return fmt.Errorf("%w: %v", daemon.ErrConfig, err)
}
