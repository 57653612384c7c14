// SPDX-License-Identifier: Apache-2.0

package session

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// listed is a line of cobra's lists of commands, flagged one of its flags.
	listed  = regexp.MustCompile(`(?m)^  ([a-z-]+) +\S`)
	flagged = regexp.MustCompile(`(?m)^ +(?:-(\w), )?--([a-z-]+)(?: (\w+))?  `)
)

// commandsOf walks a peer's help from command to command.
func commandsOf(t *testing.T, peer string, path ...string) []string {
	t.Helper()
	help := must(t, program(t, peer), append(slices.Clone(path), "--help")...)
	all := []string{strings.Join(path, " ")}
	_, list, found := strings.Cut(help, "Available Commands:\n")
	if !found && len(path) == 0 {
		_, list, found = strings.Cut(help, "ommands\n") // in groups, each with a name
	}
	if !found {
		return all
	}
	list, _, _ = strings.Cut(list, "Flags:\n")
	for _, line := range listed.FindAllStringSubmatch(list, -1) {
		if line[1] != "help" {
			all = append(all, commandsOf(t, peer, append(slices.Clone(path), line[1])...)...)
		}
	}
	return all
}

// Each flag that etcdctl's help tells of, ours tells of too, in both spellings,
// and it takes a value where etcdctl's does.
func TestEveryFlagOfEtcdctlIsThere(t *testing.T) {
	t.Parallel()
	commands := commandsOf(t, etcdctl)
	if len(commands) < 60 {
		t.Fatalf("only %d commands were found: %q", len(commands), commands)
	}
	for _, command := range commands[1:] {
		if slices.ContainsFunc(commands, func(other string) bool { return strings.HasPrefix(other, command+" ") }) {
			continue // the flags of a group are looked for at what it groups
		}
		path := strings.Fields(command)
		theirs := must(t, program(t, etcdctl), append(path, "--help")...)
		ours := must(t, program(t, cleatctl), append(path, "--help")...)
		compareFlags(t, command, theirs, ours)
	}
	compareFlags(t, "options", must(t, program(t, etcdctl), "options"), must(t, program(t, cleatctl), "options"))
}

func compareFlags(t *testing.T, command, theirs, ours string) {
	t.Helper()
	for _, flag := range flagged.FindAllStringSubmatch(theirs, -1) {
		short, name, kind := flag[1], flag[2], flag[3]
		pattern := `--` + name
		if kind != "" {
			pattern += ` [A-Z_:|a-z]+`
		}
		if short != "" {
			pattern += `.*-` + short + `\b`
		}
		if !regexp.MustCompile(pattern + `[\s,]`).MatchString(ours) {
			t.Errorf("%s has --%s (-%s, %s), cleatctl's help shows no %s:\n%s", command, name, short, kind, pattern, ours)
		}
	}
}

// The shortest beginning that etcdctl takes for a command, cleatctl takes too.
func TestEveryShortNameOfEtcdctlIsThere(t *testing.T) {
	t.Parallel()
	var names []string
	for _, command := range commandsOf(t, etcdctl)[1:] {
		if !strings.Contains(command, " ") {
			names = append(names, command)
		}
	}
	names = append(names, "help")
	for _, name := range names {
		for n := 1; n < len(name); n++ {
			if name == "help" || slices.ContainsFunc(names, func(other string) bool { return other != name && strings.HasPrefix(other, name[:n]) }) {
				continue
			}
			if got := must(t, program(t, cleatctl), name[:n], "--help"); !strings.HasPrefix(got, "cleatctl "+name+" - ") {
				t.Errorf("cleatctl %s is %s, not %s", name[:n], got, name)
			}
			break
		}
	}
}

// The table of docs/etcdctl.md has a line for whatever etcdctl and etcdutl have.
func TestEveryCommandOfTheirsIsInTheTable(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "etcdctl.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			for _, name := range strings.Split(cells[1], ",") {
				rows[strings.Trim(strings.TrimSpace(name), "`")] = line
			}
		}
	}
	for _, peer := range []string{etcdctl, etcdutl} {
		for _, command := range commandsOf(t, peer)[1:] {
			row, ok := rows[filepath.Base(peer)+" "+command]
			if !ok {
				t.Errorf("docs/etcdctl.md has no row of %s %s", filepath.Base(peer), command)
				continue
			}
			help := must(t, program(t, peer), append(strings.Fields(command), "--help")...)
			help, _, _ = strings.Cut(help, "Global Flags:")
			for _, flag := range flagged.FindAllStringSubmatch(help, -1) {
				if flag[2] != "help" && !strings.Contains(row, "`--"+flag[2]+"`") {
					t.Errorf("docs/etcdctl.md says nothing of --%s of %s %s", flag[2], filepath.Base(peer), command)
				}
			}
		}
	}
	for _, peer := range [][]string{{etcdctl, "options"}, {etcdutl, "--help"}} {
		for _, flag := range flagged.FindAllStringSubmatch(must(t, program(t, peer[0]), peer[1]), -1) {
			if name := filepath.Base(peer[0]) + " --" + flag[2]; flag[2] != "help" && rows[name] == "" {
				t.Errorf("docs/etcdctl.md has no row of %s", name)
			}
		}
	}
}

// The other way round: what the table says cleatctl has, it has.
func TestTheTableSaysNothingOfCommandsThatThereAreNot(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "etcdctl.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile("`cleatctl ([a-z -]+[a-z])`").FindAllStringSubmatch(string(raw), -1) {
		words := strings.Fields(found[1])
		words = slices.DeleteFunc(words, func(word string) bool { return strings.HasPrefix(word, "-") })
		out, err := exec.Command(program(t, cleatctl), append(words, "--help")...).Output()
		if err != nil || !strings.HasPrefix(string(out), "cleatctl "+strings.Join(words, " ")+" - ") {
			t.Errorf("there is no cleatctl %s: %v %s", found[1], err, out)
		}
	}
}
