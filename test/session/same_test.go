// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// side is one client and where it is pointed at.
type side struct {
	path, endpoint string
	lease          string // the last one granted
}

// step is a command both sides run.
type step struct {
	line  string // split at spaces; $LEASE is the side's own, '' an empty word
	stdin string
	reads bool // changes nothing
}

// On two copies of one etcd, whose ids, revisions and terms are therefore the
// same, cleatctl prints what etcdctl prints.
func TestCleatctlPrintsEtcdctlsBytes(t *testing.T) {
	first, second := twins(t)
	theirs := &side{path: program(t, etcdctl), endpoint: first}
	ours := &side{path: program(t, cleatctl), endpoint: second}
	for _, s := range steps() {
		got, want := ours.run(t, s), theirs.run(t, s)
		if got != want {
			t.Errorf("%s\n%s\ncleatctl: %q\n etcdctl: %q", s.line, s.stdin, got, want)
		}
		if want == "" && !strings.HasPrefix(s.line, "get none") {
			t.Errorf("%s: etcdctl prints nothing, so nothing is compared", s.line)
		}
	}
}

// What only one server can answer alike: its size, its place in its log.
func TestCleatctlPrintsEtcdctlsBytesOfEndpoints(t *testing.T) {
	endpoint := startEtcd(t)
	for _, s := range endpointSteps() {
		got := (&side{path: program(t, cleatctl), endpoint: endpoint}).run(t, s)
		want := (&side{path: program(t, etcdctl), endpoint: endpoint}).run(t, s)
		if got != want || want == "" {
			t.Errorf("%s\ncleatctl:\n%s\netcdctl:\n%s", s.line, got, want)
		}
	}
}

// Both clients read the same from a member of ours. With --cluster etcdctl asks
// the addresses for clients elsewhere, and has no certificate for them here.
func TestBothClientsReadTheSameFromCleatd(t *testing.T) {
	m := startCleatd(t)
	theirs := &side{path: program(t, etcdctl), endpoint: "unix://" + m.socket}
	ours := &side{path: program(t, cleatctl), endpoint: "unix://" + m.socket}
	for _, s := range append(endpointSteps(), steps()...) {
		if strings.Contains(s.line, "--cluster") {
			continue
		}
		want := theirs.run(t, s)
		if ours.lease = theirs.lease; !s.reads {
			continue
		}
		if got := ours.run(t, s); got != want {
			t.Errorf("%s\ncleatctl: %q\n etcdctl: %q", s.line, got, want)
		}
	}
}

// twins starts two etcds from copies of one data directory.
func twins(t *testing.T) (first, second string) {
	t.Helper()
	origin := t.TempDir()
	peer := "http://" + freeAddress(t)
	run := func(dir string) (address string, stop func()) {
		client := "http://" + freeAddress(t)
		command := exec.Command(program(t, etcd), "--data-dir", dir, "--log-level=panic",
			"--listen-client-urls", client, "--advertise-client-urls", "http://localhost:1",
			"--listen-peer-urls", "http://"+freeAddress(t), "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		address = strings.TrimPrefix(client, "http://")
		healthy(t, address)
		return address, func() { _ = command.Process.Signal(syscall.SIGTERM); _ = command.Wait() }
	}
	_, stop := run(origin)
	stop()
	var addresses []string
	for range 2 {
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
			t.Fatal(err)
		}
		address, stop := run(dir)
		t.Cleanup(stop)
		addresses = append(addresses, address)
	}
	return addresses[0], addresses[1]
}

func steps() []step {
	var all []step
	for i, form := range []string{"", " -w simple", " -w fields", " -w json", " -w protobuf", " --hex", " -w fields --hex", " -w json --hex"} {
		all = append(all, writeSteps(form, i)...)
		for _, line := range readLines() {
			all = append(all, step{line: line + form, reads: true})
		}
		all = append(all,
			step{line: "get a --prefix --count-only -w fields", reads: true},
			step{line: "get a --prefix --print-value-only", reads: true},
			step{line: "get a --prefix --print-value-only --hex", reads: true})
		all = append(all, leaseSteps(form)...)
	}
	return append(all, step{line: "compaction 9"}, step{line: "compaction 12 --physical"})
}

// writeSteps change something; n keeps what they write apart from form to form.
func writeSteps(form string, n int) []step {
	return []step{
		{line: fmt.Sprintf("put a%d <one>&\x7f%s", n, form)},
		{line: fmt.Sprintf("put a%d two --prev-kv%s", n, form)},
		{line: fmt.Sprintf("put a%d --ignore-value --prev-kv%s", n, form)},
		{line: fmt.Sprintf("put b%d%s", n, form), stdin: "from\nstdin \x00\xff"},
		{line: fmt.Sprintf("put --prev-kv%s -- b%d -dash", form, n)},
		{line: "del none" + form},
		{line: fmt.Sprintf("put c%d x%s", n, form)},
		{line: fmt.Sprintf("put d%d x%s", n, form)},
		{line: "del c d --range --prev-kv" + form},
		{line: "del d --prefix --prev-kv" + form},
		{line: "txn" + form, stdin: fmt.Sprintf("mod(\"a%d\") > \"0\"\nvalue(\"a%d\") = \"two\"\n\nput u%d \"a value\" --prev-kv\nget a --prefix --limit=2\ndel t0 --prev-kv\n\nput never x\n\n", n, n, n)},
		{line: "txn" + form, stdin: fmt.Sprintf("ver(\"a%d\") = \"77\"\ncreate(\"none\") != \"0\"\n\nput never x\n\nget a%d\ndel none\nput 't u' 'v \"w\"'\n\n", n, n)},
		{line: "txn -i" + form, stdin: "\nget a0\n\n\n"},
	}
}

func readLines() []string {
	return []string{
		"get a0", "get none", "get a --prefix", "get '' --prefix", "get '' --from-key --limit=2", "get a0 a2", "get --limit 1 a --prefix",
		"get a --from-key --order=DESCEND", "get a --prefix --sort-by=MODIFY --order=descend", "get a --prefix --sort-by create",
		"get a --prefix --sort-by=VALUE --order=ASCEND", "get a --prefix --sort-by=VERSION", "get a --prefix --keys-only", "get a0 --rev=3",
		"get a0 --consistency=s", "get '' --prefix --stream", "get '' --prefix --min-mod-rev=4 --max-mod-rev=9",
		"get '' --prefix --min-create-rev=2 --max-create-rev=4",
	}
}

func leaseSteps(form string) []step {
	return []step{
		{line: "lease grant 1000" + form},
		{line: "lease grant 1000"},
		{line: "put leased x --lease=$LEASE" + form},
		{line: "put leased y --ignore-lease --prev-kv"},
		{line: "get leased --hex", reads: true},
		{line: "lease timetolive $LEASE" + form, reads: true},
		{line: "lease timetolive $LEASE --keys" + form, reads: true},
		{line: "lease timetolive 123" + form, reads: true},
		{line: "lease keep-alive --once $LEASE" + form, reads: true},
		{line: "lease keep-alive 123", reads: true},
		{line: "lease revoke $LEASE" + strings.ReplaceAll(form, " -w protobuf", "")}, // etcdctl has no such form
	}
}

func endpointSteps() []step {
	var all []step
	for _, form := range []string{"", " -w fields", " -w json", " -w table", " -w fields --hex"} {
		for _, line := range []string{"endpoint health", "endpoint status", "endpoint hashkv", "endpoint hashkv --rev 1", "endpoint --cluster health", "endpoint status --cluster"} {
			all = append(all, step{line: line + form, reads: true})
		}
	}
	return append(all, step{line: "lease list", reads: true}, step{line: "lease list -w json", reads: true}, step{line: "lease list -w fields", reads: true})
}

// run returns what a side prints, without what cannot be the same: where it
// is pointed at, lease ids, and times.
func (s *side) run(t *testing.T, each step) string {
	t.Helper()
	args := []string{"--endpoints=" + s.endpoint}
	for _, word := range strings.Fields(each.line) {
		args = append(args, strings.ReplaceAll(strings.ReplaceAll(word, "''", ""), "$LEASE", s.lease))
	}
	command := exec.Command(s.path, args...)
	command.Stdin = strings.NewReader(each.stdin)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	if err != nil {
		t.Errorf("%s %s: %v: %s", filepath.Base(s.path), each.line, err, &stderr)
	}
	if found := granted.FindSubmatch(out); found != nil {
		s.lease = string(found[1])
	}
	return s.normal(string(out))
}

var (
	granted = regexp.MustCompile(`^lease ([0-9a-f]{16}) granted`)
	leases  = regexp.MustCompile(`"(ID|id|lease|Lease|PrevLease)"( ?: ?)(\d{15,}|[0-9a-f]{16})\b`)
	grant   = regexp.MustCompile(`"(ID|id)"( ?: ?)\w+`)
	seconds = regexp.MustCompile(`(remaining\(|"TTL" : |"ttl":)\d+`)
	took    = regexp.MustCompile(`(took = |\]\. took |"Took" : |"took":"|│ +true │ +)[\d.]+[mµn]?s`)
	drawing = regexp.MustCompile(`(─+| +)`)
)

func (s *side) normal(text string) string {
	text = strings.ReplaceAll(text, s.endpoint, "HERE")
	if s.lease != "" {
		text = strings.ReplaceAll(text, s.lease, "LEASE")
	}
	text = leases.ReplaceAllString(text, `"$1"${2}LEASE`)
	text = grant.ReplaceAllString(text, `"$1"${2}LEASE`)
	text = seconds.ReplaceAllString(text, "${1}TTL")
	if took.MatchString(text) {
		// The width of a table follows the time's.
		text = drawing.ReplaceAllStringFunc(took.ReplaceAllString(text, "${1}TOOK"), func(run string) string { return string([]rune(run)[:1]) })
	}
	return text
}
