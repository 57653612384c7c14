// SPDX-License-Identifier: Apache-2.0

// Package ctl is the command-line tool: what an administrator types, and what
// scripts written for etcdctl call.
//
// Its one rule is that a script must be able to rely on it. The result, and
// nothing else, goes to stdout, byte for byte as etcdctl prints it; talk goes
// to stderr behind "cleatctl: " and says what to try next; the exit code is 0
// for done, 1 for failed and 2 for a command line that makes no sense, which
// is found out before anything is sent.
//
// Each noun has its file, with its flags beside their use. What they share:
// args.go puts a command line in order, global.go and door.go find and open
// the way to a member, print.go writes answers in the form that -w names, and
// errors.go turns a failure into advice. A member is reached through etcd's
// own client; what etcd's API lacks is asked of package admin.
package ctl

import (
	"fmt"
	"io"
	"runtime"

	"github.com/urfave/cli/v2"
)

// Version and Commit are this build's; the linker sets them.
var (
	Version = "0.0.0-dev"
	Commit  = "unknown"
)

// Main runs one command line, args[0] being the program's name, and returns
// the process's exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := newApp(stdin, stdout, stderr)
	line, err := arrange(app, args)
	if err == nil {
		err = app.Run(line)
	}
	return report(stderr, err)
}

// App describes the command line, for the manual.
func App() *cli.App { return newApp(nil, io.Discard, io.Discard) }

func newApp(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:                  "cleatctl",
		Usage:                 "drive a cleat member",
		Version:               fmt.Sprintf("%s (commit %s, %s)", Version, Commit, runtime.Version()),
		Reader:                stdin,
		Writer:                stdout,
		ErrWriter:             stderr,
		Flags:                 globalFlags(),
		Before:                applyEnvironment,
		HideHelpCommand:       true,
		EnableBashCompletion:  true,
		CustomAppHelpTemplate: appHelp,
		ExitErrHandler:        func(*cli.Context, error) {}, // report decides the exit code
		OnUsageError:          asMisuse,
		Action:                unknownCommand,
		Commands: []*cli.Command{
			putCommand(), getCommand(), delCommand(), txnCommand(), watchCommand(),
			leaseCommand(), compactionCommand(), endpointCommand(), memberCommand(), moveLeaderCommand(), snapshotCommand(),
			authCommand(), userCommand(), roleCommand(), alarmCommand(), defragCommand(), downgradeCommand(),
			lockCommand(), electCommand(), makeMirrorCommand(), checkCommand(), optionsCommand(),
			inviteCommand(), joinCommand(), recoverCommand(), tokenCommand(), certCommand(), caCommand(), auditCommand(), loginCommand(), logoutCommand(), contextCommand(), renewCommand(),
			statusCommand(), doctorCommand(), topCommand(), versionCommand(), completionCommand(),
		},
	}
	hideFalse(app.Flags)
	for _, command := range app.Commands {
		finish(command)
	}
	return app
}

// finish gives a command what all commands share. The help subcommand, which
// the library would add to each, would swallow the key of "get help".
func finish(command *cli.Command) {
	command.HideHelpCommand = true
	command.CustomHelpTemplate = commandHelp
	hideFalse(command.Flags)
	command.OnUsageError = asMisuse
	if len(command.Subcommands) > 0 {
		command.Action = unknownCommand
		command.CustomHelpTemplate = groupHelp
	}
	for _, sub := range command.Subcommands {
		finish(sub)
	}
}

// hideFalse keeps help from saying of every switch that it is off.
func hideFalse(flags []cli.Flag) {
	for _, f := range flags {
		if sw, ok := f.(*cli.BoolFlag); ok {
			sw.DisableDefaultText = true
		}
	}
}

// unknownCommand is the action of what only groups commands: without a word
// it shows help, with one it says that there is no such command.
func unknownCommand(c *cli.Context) error {
	if word := c.Args().First(); word != "" {
		return misuse("there is no command %q: see %s --help", word, c.Command.HelpName)
	}
	return cli.ShowSubcommandHelp(c)
}
