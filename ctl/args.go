// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The library stops reading flags at the first argument and knows a flag only
// at the level that declares it. People write "get foo --prefix -w json". So a
// command line is put in the library's order before it sees it:
//
//	cleatctl [global flags] command [its flags] [subcommand [its flags]] -- arguments
//
// A name means the same kind of flag at every level, with a value or without:
// that is what lets one walk from left to right tell values from arguments
// before the command is known. A test holds every command to it. The exception
// is etcdctl's --prefix, which is a switch, but takes a value of make-mirror and
// check: behind those words it does, and before them with "=".

const separator = "--"

// sifted is a command line taken apart.
type sifted struct {
	flags []givenFlag
	words []string // what is not a flag, before the separator
	rest  []string // everything behind the separator, untouched
	split bool     // there was a separator
}

type givenFlag struct {
	name, value string
	bare        bool // given as a switch, whose value is its being there
}

// text is the flag as one token, so that no value is taken for a flag.
func (f givenFlag) text() string { return "--" + f.name + "=" + f.value }

// known maps each name and alias of the flags to the flag.
type known map[string]cli.Flag

// add keeps the first flag of each name.
func (k known) add(flags []cli.Flag) {
	for _, f := range flags {
		for _, name := range f.Names() {
			if _, there := k[name]; !there {
				k[name] = f
			}
		}
	}
}

func (k known) addAll(commands []*cli.Command) {
	for _, command := range commands {
		k.add(command.Flags)
		k.addAll(command.Subcommands)
	}
}

// behind is what the names mean once a command's word was read.
func (k known) behind(command *cli.Command) known {
	names := known{}
	names.addAll([]*cli.Command{command})
	for name, flag := range k {
		if _, there := names[name]; !there {
			names[name] = flag
		}
	}
	return names
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// arrange puts args in the library's order.
func arrange(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 || args[len(args)-1] == completionRequest {
		return args, nil
	}
	names := known{}
	names.add([]cli.Flag{cli.HelpFlag, cli.VersionFlag})
	names.add(app.Flags)
	names.addAll(app.Commands)
	line, err := sift(names, app.Commands, args[1:])
	if err != nil {
		return nil, err
	}
	if len(line.words) > 0 && line.words[0] == "help" {
		line.words = line.words[1:]
		line.flags = []givenFlag{{name: "help", value: "true", bare: true}}
	}
	levels, words := resolve(app, line.words)
	placed, err := assign(levels, line.flags)
	if err != nil {
		return nil, err
	}
	return append(append(args[:1:1], placed...), tail(levels, words, line)...), nil
}

// sift takes tokens apart. Each flag comes back under its first name. The words
// may begin with one of the commands.
func sift(names known, commands []*cli.Command, tokens []string) (sifted, error) {
	var line sifted
	for i := 0; i < len(tokens); i++ {
		token := tokens[i]
		if token == separator {
			line.rest, line.split = tokens[i+1:], true
			break
		}
		if len(token) < 2 || token[0] != '-' {
			line.words = append(line.words, token)
			command := find(commands, token)
			if commands = nil; command != nil {
				names, commands = names.behind(command), command.Subcommands
			}
			continue
		}
		flag, name, value, attached := readFlag(names, token)
		if flag == nil {
			return line, misuse("unknown flag %s: see --help; an argument that begins with - goes behind --", name)
		}
		switch {
		case attached:
		case !takesValue(flag):
			value = "true"
		case i+1 == len(tokens):
			return line, misuse("flag %s needs a value", token)
		default:
			i++
			value = tokens[i]
		}
		line.flags = append(line.flags, givenFlag{flag.Names()[0], value, !attached && !takesValue(flag)})
	}
	return line, nil
}

// readFlag knows --name, --name=value, -n, -n=value and -nvalue. The flag is
// nil when there is none of that name.
func readFlag(names known, token string) (flag cli.Flag, name, value string, attached bool) {
	name, value, attached = strings.Cut(token, "=")
	bare := strings.TrimPrefix(strings.TrimPrefix(name, "-"), "-")
	if flag, ok := names[bare]; ok && bare != "" {
		return flag, name, value, attached
	}
	if token[1] == '-' {
		return nil, name, "", false
	}
	if flag, ok := names[token[1:2]]; ok && takesValue(flag) {
		return flag, token[:2], token[2:], true
	}
	return nil, name, "", false
}

// level is a place where flags can stand: the program or a command.
type level struct {
	name    string // empty for the program
	flags   known
	command *cli.Command
}

// resolve finds the command that words begin with, level by level, and
// returns the words that are its arguments.
func resolve(app *cli.App, words []string) ([]level, []string) {
	top := level{flags: known{}}
	top.flags.add(app.Flags)
	top.flags.add([]cli.Flag{cli.VersionFlag})
	levels, commands := []level{top}, app.Commands
	for len(words) > 0 {
		command := find(commands, words[0])
		if command == nil {
			break
		}
		next := level{name: command.Name, flags: known{}, command: command}
		next.flags.add(command.Flags)
		levels, words, commands = append(levels, next), words[1:], command.Subcommands
	}
	return levels, words
}

// assign lays each flag at the deepest level that has it; help belongs to the
// deepest level of all.
func assign(levels []level, flags []givenFlag) ([]string, error) {
	at := make([][]string, len(levels))
	for _, flag := range flags {
		depth := len(levels) - 1
		for ; depth >= 0 && flag.name != "help"; depth-- {
			if _, ok := levels[depth].flags[flag.name]; ok {
				break
			}
		}
		if depth >= 0 && flag.bare && takesValue(levels[depth].flags[flag.name]) {
			return nil, misuse("flag --%s needs a value: put it behind %s, or write --%s=VALUE", flag.name, strings.TrimSpace(path(levels)), flag.name)
		}
		if depth < 0 {
			return nil, misuse("flag --%s is not one of %q: see cleatctl %s--help", flag.name, path(levels), path(levels))
		}
		at[depth] = append(at[depth], flag.text())
	}
	var out []string
	for depth, level := range levels {
		if level.name != "" {
			out = append(out, level.name)
		}
		out = append(out, at[depth]...)
	}
	return out, nil
}

func path(levels []level) string {
	var text strings.Builder
	for _, level := range levels[1:] {
		text.WriteString(level.name + " ")
	}
	return text.String()
}

// ownsSeparator tells a command whose own usage has the separator in it.
func ownsSeparator(command *cli.Command) bool {
	return strings.Contains(command.ArgsUsage, "["+separator+" ")
}

// tail is the arguments. A command that gives the separator a meaning of its
// own gets it as an argument.
func tail(levels []level, words []string, line sifted) []string {
	last := levels[len(levels)-1].command
	if line.split && last != nil && ownsSeparator(last) {
		words = append(slices.Clip(words), separator)
	}
	words = append(slices.Clip(words), line.rest...)
	if len(words) == 0 {
		return nil
	}
	return append([]string{separator}, words...)
}
