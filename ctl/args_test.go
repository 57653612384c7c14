// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// leaves are the commands that do something, with the words that name them.
func leaves(commands []*cli.Command, words ...string) map[string]*cli.Command {
	found := map[string]*cli.Command{}
	for _, command := range commands {
		path := append(slices.Clip(words), command.Name)
		if len(command.Subcommands) == 0 {
			found[strings.Join(path, " ")] = command
		}
		for name, leaf := range leaves(command.Subcommands, path...) {
			found[name] = leaf
		}
	}
	return found
}

func sorted(found map[string]*cli.Command) []string {
	var names []string
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// typed is what a person means, whatever the order it is typed in.
type typed struct {
	command string
	flags   map[string]string
	args    []string
	rest    []string // behind the separator
	split   bool
}

// Flags may be typed anywhere and in each spelling; the command gets the same
// flags and the same arguments in the same order.
func TestFlagsMeanTheSameInAnyOrder(t *testing.T) {
	for seed := range uint64(1000) {
		random := rand.New(rand.NewPCG(seed, 1))
		want := invent(random)
		line := spell(random, want)
		if got := run(t, line); got != describe(want) {
			t.Fatalf("seed %d: cleatctl %q\n got %s\nwant %s", seed, line, got, describe(want))
		}
	}
}

func invent(random *rand.Rand) typed {
	app := newApp(nil, io.Discard, io.Discard)
	all := leaves(app.Commands)
	names := sorted(all)
	want := typed{command: names[random.IntN(len(names))], flags: map[string]string{}}
	for _, flag := range append(slices.Clone(all[want.command].Flags), app.Flags...) {
		if random.IntN(3) == 0 {
			want.flags[flag.Names()[0]] = value(random, flag)
		}
	}
	for range random.IntN(4) {
		want.args = append(want.args, []string{"foo", "", "-", "get", "help", "prefix", "a=b"}[random.IntN(7)])
	}
	if want.split = random.IntN(2) == 0; want.split {
		for range random.IntN(4) {
			want.rest = append(want.rest, []string{"-1", "--prefix", "--", "-w", "plain", "--nonsense=1"}[random.IntN(6)])
		}
	}
	return want
}

func value(random *rand.Rand, flag cli.Flag) string {
	switch flag.(type) {
	case *cli.BoolFlag:
		return fmt.Sprint(random.IntN(3) > 0)
	case *cli.UintFlag:
		return fmt.Sprint(random.IntN(100))
	case *cli.Int64Flag, *cli.IntFlag:
		return fmt.Sprint(random.IntN(100) - 50)
	case *cli.DurationFlag:
		return fmt.Sprintf("%ds", random.IntN(60))
	}
	return []string{"x", "-y", "--prefix", "a=b", "get"}[random.IntN(5)]
}

// spell writes the command's words and the arguments in their order and the
// flags anywhere among them.
func spell(random *rand.Rand, want typed) []string {
	chunks := [][]string{}
	for _, word := range append(strings.Fields(want.command), want.args...) {
		chunks = append(chunks, []string{word})
	}
	for name, value := range want.flags {
		at := random.IntN(len(chunks) + 1)
		chunks = slices.Insert(chunks, at, spellFlag(random, name, value))
	}
	line := slices.Concat(chunks...)
	if want.split {
		line = append(append(line, separator), want.rest...)
	}
	return line
}

func spellFlag(random *rand.Rand, name, value string) []string {
	short := map[string]string{"write-out": "-w", "interactive": "-i", "listen": "-l", "discovery-srv": "-d"}[name]
	spellings := [][]string{{"--" + name + "=" + value}}
	switch isSwitch := value == "true" || value == "false"; {
	case value == "true":
		spellings = append(spellings, []string{"--" + name})
		if short != "" {
			spellings = append(spellings, []string{short})
		}
	case name == "prefix": // of make-mirror and check, which may stand behind it here
	case !isSwitch:
		spellings = append(spellings, []string{"--" + name, value})
		if short != "" {
			spellings = append(spellings, []string{short, value}, []string{short + "=" + value}, []string{short + value})
		}
	}
	return spellings[random.IntN(len(spellings))]
}

// run gives the line to the real commands, whose actions only tell what they got.
func run(t *testing.T, line []string) string {
	t.Helper()
	app := newApp(nil, io.Discard, io.Discard)
	var got string
	for name, leaf := range leaves(app.Commands) {
		leaf.Action = func(c *cli.Context) error {
			seen := typed{command: name, flags: map[string]string{}, args: c.Args().Slice()}
			for _, flag := range append(slices.Clone(leaf.Flags), app.Flags...) {
				if name := flag.Names()[0]; c.IsSet(name) {
					seen.flags[name] = shown(c, name)
				}
			}
			got = describe(seen)
			return nil
		}
	}
	arranged, err := arrange(app, append([]string{"cleatctl"}, line...))
	if err != nil {
		t.Fatalf("cleatctl %q: %v", line, err)
	}
	if err := app.Run(arranged); err != nil {
		t.Fatalf("cleatctl %q, arranged as %q: %v", line, arranged, err)
	}
	return got
}

func shown(c *cli.Context, name string) string {
	if name == "endpoints" {
		return strings.Join(c.StringSlice(name), ",")
	}
	return fmt.Sprint(c.Value(name))
}

func describe(s typed) string {
	args := s.args
	if s.split && s.command == "watch" {
		args = append(slices.Clip(args), separator)
	}
	return fmt.Sprintf("%s %v %q", s.command, s.flags, append(slices.Clip(args), s.rest...))
}

func FuzzArrangeNeverPanicsAndHasNothingLeftToDo(f *testing.F) {
	f.Add("get\x00foo\x00--prefix\x00-wjson")
	f.Add("--\x00get\x00-")
	f.Add("-w\x00=\x00-=")
	f.Fuzz(func(t *testing.T, joined string) {
		app := newApp(nil, io.Discard, io.Discard)
		once, err := arrange(app, append([]string{"cleatctl"}, strings.Split(joined, "\x00")...))
		if err != nil || slices.Contains(once, "watch") {
			return // watch keeps its separator as an argument
		}
		twice, err := arrange(app, once)
		if err != nil || !slices.Equal(once, twice) {
			t.Fatalf("%q arranged again is %q, %v", once, twice, err)
		}
	})
}

// sift decides about values before it knows the command, so a name must mean
// the same kind of flag everywhere.
func TestAFlagNameIsOneKindOfFlagEverywhere(t *testing.T) {
	app := newApp(nil, io.Discard, io.Discard)
	kinds := map[string]string{}
	check := func(where string, flags []cli.Flag) {
		for _, flag := range flags {
			for _, name := range flag.Names() {
				if name == "prefix" && takesValue(flag) && (where == "make-mirror" || strings.HasPrefix(where, "check ")) {
					continue // the next test's
				}
				kind := fmt.Sprintf("%s %v", flag.Names()[0], takesValue(flag))
				if before, ok := kinds[name]; ok && before != kind {
					t.Errorf("--%s of %s is %s, elsewhere %s", name, where, kind, before)
				}
				kinds[name] = kind
			}
		}
	}
	check("cleatctl", append(app.Flags, cli.HelpFlag, cli.VersionFlag))
	for name, leaf := range leaves(app.Commands) {
		check(name, leaf.Flags)
	}
}

func TestPrefixHasAValueBehindTheCommandsWhereItHasOne(t *testing.T) {
	for line, want := range map[string]string{
		"get --prefix a":                      `get map[prefix:true] ["a"]`,
		"--prefix get a":                      `get map[prefix:true] ["a"]`,
		"make-mirror --prefix a d":            `make-mirror map[prefix:a] ["d"]`,
		"make-mirror d --prefix=a":            `make-mirror map[prefix:a] ["d"]`,
		"--prefix=a make-mirror d":            `make-mirror map[prefix:a] ["d"]`,
		"check --prefix a perf":               `check perf map[prefix:a] []`,
		"check perf --prefix get":             `check perf map[prefix:get] []`,
		"check datascale --prefix a -- b":     `check datascale map[prefix:a] ["b"]`,
		"role grant-p a read --prefix k":      `role grant-permission map[prefix:true] ["a" "read" "k"]`,
		"get make-mirror --prefix check -w x": `get map[prefix:true write-out:x] ["make-mirror" "check"]`,
	} {
		if got := run(t, strings.Fields(line)); got != want {
			t.Errorf("cleatctl %s\n got %s\nwant %s", line, got, want)
		}
	}
}

// etcdctl takes the beginning of a command's name for it, and ours are not in
// the way.
func TestACommandMayBeShortened(t *testing.T) {
	for line, want := range map[string]string{
		"compact 5": "compaction", "mem li": "member list", "t": "txn", "r l": "role list", "le g 5": "lease grant",
		"endp --cluster st": "endpoint status", "g me": "get", "ali": "", "d": "", "e": "", "c": "", "tok l": "token list",
	} {
		app := newApp(nil, io.Discard, io.Discard)
		var got string
		for name, leaf := range leaves(app.Commands) {
			leaf.Action = func(*cli.Context) error { got = name; return nil }
		}
		arranged, err := arrange(app, append([]string{"cleatctl"}, strings.Split(line, " ")...))
		if err != nil {
			t.Fatalf("cleatctl %s: %v", line, err)
		}
		if err := app.Run(arranged); got != want || (err == nil) != (want != "") {
			t.Errorf("cleatctl %s is %q, not %q: %v", line, got, want, err)
		}
	}
}

func TestMisuseIsRefusedWithCodeTwoAndNothingOnStdout(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"nosuch", `there is no command "nosuch"`},
		{"lease nosuch", `there is no command "nosuch"`},
		{"get", "get needs KEY"},
		{"get a b c", "get needs KEY"},
		{"get a --nope", "unknown flag --nope"},
		{"get a --physical", `flag --physical is not one of "get`},
		{"get a -x", "unknown flag -x"},
		{"get a --rev", "flag --rev needs a value"},
		{"get a --rev x", `--rev "x" is not a whole number`},
		{"get a --command-timeout x", `--command-timeout "x" is not a duration, as 90s or 1h30m`},
		{"get a --limit 99999999999999999999", "--limit 99999999999999999999 is beyond what it may be: give a whole number"},
		{"get a --prefix=maybe", `--prefix "maybe" is not true or false`},
		{"get a --prefix --from-key", "exclude each other"},
		{"get a b --prefix", "give KEY alone"},
		{"get a --keys-only --count-only", "exclude each other"},
		{"get a --count-only", "--count-only needs -w fields"},
		{"get a --print-value-only -w json", "--print-value-only needs -w simple"},
		{"get a --order up", "--order is ASCEND or DESCEND"},
		{"get a --sort-by size", "--sort-by is KEY"},
		{"get a --consistency x", "--consistency is l or s"},
		{"get a --min-mod-rev 5 --max-mod-rev 4", "--min-mod-rev 5 is above --max-mod-rev 4"},
		{"get a -w yaml", "-w yaml is no form of get"},
		{"get a -w table", "-w table is no form of get"},
		{"put", "put needs KEY and VALUE"},
		{"put a", "put needs KEY and VALUE"}, // stdin is empty
		{"put a b c", "put needs KEY and VALUE"},
		{"put a b --ignore-value", "give KEY alone"},
		{"put a b --lease zz", `"zz" is no lease id`},
		{"del", "del needs KEY"},
		{"txn x", "txn takes no argument"},
		{"watch", "watch needs KEY"},
		{"watch --", "watch needs a COMMAND"},
		{"watch a b c", "watch needs KEY"},
		{"watch a b --prefix", "give KEY alone"},
		{"lease grant", "lease grant needs TTL"},
		{"lease grant x", "lease grant needs TTL"},
		{"lease revoke", "lease revoke needs one lease ID"},
		{"lease keep-alive xyz", `"xyz" is no lease id`},
		{"compaction", "compaction needs REVISION"},
		{"endpoint health -w protobuf", "-w protobuf is no form of endpoint health"},
		{"cert issue", "cert issue needs NAME"},
		{"cert issue ../a", "cert issue needs NAME"},
		{"cert issue a --ttl=-1s", "is in the past"},
		{"cert issue a --endpoints h:1", "speaks to the socket only"},
		{"status x", "status takes no argument"},
		{"completion ksh", "completion needs the shell's name"},
		{"get a --socket /x --endpoints h:1", "--socket and --endpoints exclude each other"},
		{"get a --endpoints=,", "--endpoints is empty"},
		{"get a --endpoints h:1 --cert c", "--cert needs --key"},
		{"get a --endpoints h:1 --key k", "--key needs --cert"},
		{"get a --cacert c", "--cacert needs --endpoints"},
		{"auth enable x", "auth enable takes no argument"}, {"auth status -w fields", "-w fields is no form of auth status"},
		{"user add", "user add needs NAME"}, {"user add x", "this is none"}, {"user add :x", "NAME before the colon"}, {"user passwd x", "this is none"},
		{"user add x --interactive=false", "user add found no password on stdin"}, {"user passwd x --interactive=false", "user passwd found no password on stdin"},
		{"user get", "user get needs NAME"}, {"user list -w fields", "-w fields is no form"}, {"user grant-role a", "user grant-role needs USER and ROLE"},
		{"role add", "role add needs NAME"}, {"role list x", "takes no argument"}, {"role grant-permission a read", "needs ROLE"},
		{"role grant-permission a see k", `"see" is none of read`}, {"role grant-permission a read k z --prefix", "give KEY alone"},
		{"role grant-permission a read k z y", "needs ROLE"}, {"role revoke-permission a", "needs ROLE"}, {"role revoke-permission a k --prefix --from-key", "exclude each other"},
		{"get a --password p", "--password needs --user"},
		{"alarm list x", "alarm list takes no argument"}, {"alarm disarm -w table", "-w table is no form of alarm disarm"},
		{"defrag x", "defrag takes no argument"}, {"downgrade validate", "needs VERSION"}, {"downgrade enable 3.6 3.5", "needs VERSION"},
		{"downgrade cancel 3.6", "takes no argument"}, {"downgrade cancel -w fields", "-w fields is no form"},
		{"lock", "lock needs NAME"}, {"lock a --ttl 0", "--ttl is at least 1 second, not 0"}, {"lock a -w table", "-w table is no form"},
		{"elect", "elect needs NAME"}, {"elect a", "needs PROPOSAL"}, {"elect a b -l", "only watches"}, {"elect a b c", "elect needs NAME"},
		{"make-mirror", "needs DESTINATION"}, {"make-mirror h:1 --dest-prefix a --no-dest-prefix", "exclude each other"},
		{"make-mirror h:1 --max-txn-ops 0", "--max-txn-ops is at least 1"}, {"make-mirror h:1 --rev=-1", "not -1"}, {"--prefix make-mirror h:1", "--prefix needs a value"},
		{"make-mirror h:1 --dest-key k", "go together"}, {"make-mirror h:1 --dest-password p", "--dest-password needs --dest-user"},
		{"make-mirror h:1 --dest-user u", "--dest-user u needs --dest-password"},
		{"snapshot restore f --wal-dir w", "the log lies in the data directory"}, {"snapshot restore f --initial-cluster a=https://a:1,b=https://b:1", "has one member"},
		{"check perf --load huge", `not "huge"`}, {"check perf x", "takes no argument"}, {"check perf --duration 1ms", "at least 1s"},
		{"check datascale --load huge", `not "huge"`}, {"options x", "takes no argument"},
		{"get a --socket /x -d example.com", "exclude each other"},
	} {
		t.Run(c.line, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := Main(append([]string{"cleatctl"}, strings.Fields(c.line)...), strings.NewReader(""), &stdout, &stderr)
			if code != exitMisused || stdout.Len() > 0 || !strings.Contains(stderr.String(), c.want) || !strings.HasPrefix(stderr.String(), "cleatctl: ") {
				t.Fatalf("exit code %d, stdout %q, stderr %q; want 2, none, and %q", code, &stdout, &stderr, c.want)
			}
		})
	}
}
