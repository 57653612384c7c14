// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// etcdctls are etcdctl's commands. It takes the beginning of a name for the name
// when no other of its commands begins so, which scripts use ("compact"). Ours
// do not stand in the way of that.
var etcdctls = strings.Fields(`alarm auth check compaction completion defrag del downgrade elect endpoint get lease lock
	make-mirror member move-leader options put role snapshot txn user version watch`)

// find is the command that a word names, by all of its name or by its beginning.
func find(commands []*cli.Command, word string) *cli.Command {
	var begin, theirs []*cli.Command
	for _, command := range commands {
		if command.HasName(word) {
			return command
		}
		if word != "" && strings.HasPrefix(command.Name, word) {
			begin = append(begin, command)
			if slices.Contains(etcdctls, command.Name) {
				theirs = append(theirs, command)
			}
		}
	}
	switch {
	case len(theirs) == 1:
		return theirs[0]
	case len(begin) == 1:
		return begin[0]
	}
	return nil
}
