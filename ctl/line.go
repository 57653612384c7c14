// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"flag"
	"io"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// txn and watch -i read lines that look like commands: put key "a value".

// words splits a line at spaces. 'x' is x as it stands; "x" may have the
// escapes of a Go string.
func words(line string) ([]string, error) {
	var out []string
	for {
		line = strings.TrimSpace(line)
		if line == "" {
			return out, nil
		}
		word, rest, err := nextWord(line)
		if err != nil {
			return nil, err
		}
		out, line = append(out, word), rest
	}
}

func nextWord(line string) (word, rest string, err error) {
	switch line[0] {
	case '"':
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return "", "", misuse("no end of the quotation, or an unknown escape, in %s", line)
		}
		word, err = strconv.Unquote(quoted)
		return word, line[len(quoted):], err
	case '\'':
		word, rest, found := strings.Cut(line[1:], "'")
		if !found {
			return "", "", misuse("no end of the quotation in %s", line)
		}
		return word, rest, nil
	}
	if end := strings.IndexAny(line, " \t"); end >= 0 {
		return line[:end], line[end:], nil
	}
	return line, "", nil
}

// parseLine reads the words behind a command's name as that command does and
// returns the context that its action would get.
func parseLine(c *cli.Context, command *cli.Command, tokens []string) (*cli.Context, error) {
	names := known{}
	names.add(command.Flags)
	line, err := sift(names, nil, tokens)
	if err != nil {
		return nil, err
	}
	set := flag.NewFlagSet(command.Name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, each := range command.Flags {
		if err := each.Apply(set); err != nil {
			return nil, err
		}
	}
	var flags []string
	for _, each := range line.flags {
		flags = append(flags, each.text())
	}
	at := []level{{}, {name: command.Name, command: command}}
	if err := set.Parse(append(flags, tail(at, line.words, line)...)); err != nil {
		return nil, misuse("%s: %v", command.Name, err)
	}
	parsed := cli.NewContext(c.App, set, nil)
	parsed.Command = command
	return parsed, nil
}
