// SPDX-License-Identifier: Apache-2.0

package state

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// A scenario is a file of commands, each followed by what it answered. The
// answers are reviewed as diffs and rewritten with -update. A command is a verb
// and a request in protobuf's text form; the verbs are below.
func TestScenariosAnswerAsWritten(t *testing.T) {
	for _, path := range scenarioFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := runScenario(t, commandLines(string(raw)))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(raw) {
				t.Errorf("answers differ; run with -update and read the diff\n%s", got)
			}
		})
	}
}

// The grouping of commands into entries and batches is chance; the state must
// not depend on it.
func TestStateDoesNotDependOnHowCommandsAreGrouped(t *testing.T) {
	for _, path := range scenarioFiles(t) {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		alone, together := newMachine(t), newMachine(t)
		oneByOne := applyGrouped(t, alone, commandLines(string(raw)), 1)
		atOnce := applyGrouped(t, together, commandLines(string(raw)), math.MaxInt)
		if len(oneByOne) != len(atOnce) {
			t.Fatalf("%s: %d answers alone, %d in a batch", path, len(oneByOne), len(atOnce))
		}
		for i := range oneByOne {
			if string(oneByOne[i]) != string(atOnce[i]) {
				t.Errorf("%s: command %d answers %x alone, %x in a batch", path, i, oneByOne[i], atOnce[i])
			}
		}
		if a, b := hashOf(t, alone), hashOf(t, together); a != b {
			t.Errorf("%s: hash %v one by one, %v in one batch", path, a, b)
		}
		if a, b := rulesText(t, alone), rulesText(t, together); a != b {
			t.Errorf("%s: rules\n%s one by one\n%s in one batch", path, a, b)
		}
	}
}

// applyGrouped applies the commands of lines, up to most of them in an entry. An
// expiry begins another, since it refers to leases that were applied before.
func applyGrouped(t *testing.T, m *Machine, lines []string, most int) (results [][]byte) {
	t.Helper()
	var group [][]byte
	index := uint64(0)
	flush := func() {
		if len(group) > 0 {
			index++
			results = append(results, m.Apply([]Entry{{Index: index, Commands: group}})...)
			group = nil
		}
	}
	for _, line := range lines {
		if len(group) == most || strings.HasPrefix(line, "expire ") {
			flush()
		}
		if c, _, isCommand := parseCommand(t, m, line); isCommand {
			group = append(group, c)
		}
	}
	flush()
	return results
}

func scenarioFiles(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios in testdata: %v", err)
	}
	return paths
}

// commandLines drops the answers of an earlier run.
func commandLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, "  ") {
			lines = append(lines, line)
		}
	}
	return lines
}

func runScenario(t *testing.T, lines []string) string {
	t.Helper()
	m := newMachine(t)
	index := uint64(0)
	var out strings.Builder
	for _, line := range lines {
		fmt.Fprintln(&out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		command, response, isCommand := parseCommand(t, m, line)
		if !isCommand {
			out.WriteString(query(t, m, line))
			continue
		}
		index++
		results := m.Apply([]Entry{{Index: index, Commands: [][]byte{command}}})
		if len(results) != 1 {
			t.Fatalf("%s: %d results", line, len(results))
		}
		fmt.Fprintf(&out, "  %s\n", answer(t, results[0], response))
	}
	return out.String()
}

// parseCommand turns a line into a command and the message it answers with.
func parseCommand(t *testing.T, m *Machine, line string) (command []byte, response proto.Message, isCommand bool) {
	t.Helper()
	root, line := asked(t, line)
	verb, body, _ := strings.Cut(line, " ")
	switch verb {
	case "auth":
		r := message(t, body)
		return AuthCommand(root, r), &pb.AuthUserAddResponse{}, true // all have a header only
	case "put":
		return PutCommand(root, parse(t, body, &pb.PutRequest{})), &pb.PutResponse{}, true
	case "delete":
		return DeleteRangeCommand(root, parse(t, body, &pb.DeleteRangeRequest{})), &pb.DeleteRangeResponse{}, true
	case "txn":
		return TxnCommand(root, parse(t, body, &pb.TxnRequest{})), &pb.TxnResponse{}, true
	case "compact":
		return CompactCommand(root, parse(t, body, &pb.CompactionRequest{})), &pb.CompactionResponse{}, true
	case "grant":
		return LeaseGrantCommand(root, parse(t, body, &pb.LeaseGrantRequest{})), &pb.LeaseGrantResponse{}, true
	case "revoke":
		return LeaseRevokeCommand(root, parse(t, body, &pb.LeaseRevokeRequest{})), &pb.LeaseRevokeResponse{}, true
	case "expire":
		return ExpireCommand(refs(t, m, body)), &pb.LeaseRevokeResponse{}, true
	}
	return nil, nil, false
}

// asked cuts off who does what a line says: "as NAME@REVISION", the revision
// being that of the rules, or else the administrator.
func asked(t *testing.T, line string) (Identity, string) {
	t.Helper()
	who, is := strings.CutPrefix(line, "as ")
	if !is {
		return Identity{Root: true}, line
	}
	who, rest, _ := strings.Cut(who, " ")
	name, revision, _ := strings.Cut(who, "@")
	return Identity{Name: name, Revision: uint64(numbers(t, revision)[0])}, rest
}

// message reads the name of a request of the Auth service and its text.
func message(t *testing.T, text string) proto.Message {
	t.Helper()
	name, body, _ := strings.Cut(text, " ")
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("etcdserverpb.Auth" + name + "Request"))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return parse(t, body, kind.New().Interface())
}

// rulesText is all of users and roles, as it lies on disk.
func rulesText(t *testing.T, m *Machine) string {
	t.Helper()
	var out strings.Builder
	err := m.store.Scan(tableAuth, nil, func(key, value []byte) error {
		fmt.Fprintf(&out, "  %q %q\n", key, value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// query answers the verbs that only look: range, txn-read, events, leases.
func query(t *testing.T, m *Machine, line string) string {
	t.Helper()
	who, line := asked(t, line)
	verb, body, _ := strings.Cut(line, " ")
	switch verb {
	case "rules":
		return rulesText(t, m)
	case "range":
		r, err := m.Range(who, parse(t, body, &pb.RangeRequest{}), nil)
		if err != nil {
			return fmt.Sprintf("  error: %v\n", err)
		}
		return fmt.Sprintf("  rev=%d %s\n", r.Revision, textOf(t, appendRange(nil, r), &pb.RangeResponse{}))
	case "read":
		r, err := m.Txn(who, parse(t, body, &pb.TxnRequest{}), nil)
		if err != nil {
			return fmt.Sprintf("  error: %v\n", err)
		}
		return fmt.Sprintf("  rev=%d %s\n", r.Revision, textOf(t, r.Payload, &pb.TxnResponse{}))
	case "events":
		return events(t, m, numbers(t, body)[0])
	case "keys":
		keys, err := m.LeaseKeys(who, numbers(t, body)[0])
		return fmt.Sprintf("  %q %v\n", keys, err)
	}
	t.Fatalf("unknown verb in %q", line)
	return ""
}

func events(t *testing.T, m *Machine, from int64) string {
	t.Helper()
	found, _, err := m.Store().Events(kv.Range{Key: []byte{0}, End: []byte{0}}, from, m.Store().Revision(), math.MaxInt32)
	if err != nil {
		return fmt.Sprintf("  error: %v\n", err)
	}
	var out strings.Builder
	for _, e := range found {
		kind := "PUT"
		if e.Delete {
			kind = "DELETE"
		}
		fmt.Fprintf(&out, "  %s %s mod=%d\n", kind, e.Record.Key(), e.Record.ModRevision())
	}
	return out.String()
}

func answer(t *testing.T, result []byte, response proto.Message) string {
	t.Helper()
	reply, err := ParseResult(result)
	if err != nil {
		return "error: " + err.Error()
	}
	return strings.TrimSpace(fmt.Sprintf("rev=%d %s", reply.Revision, textOf(t, reply.Payload, response)))
}

// textOf decodes wire bytes and prints them; protobuf varies its spaces on
// purpose, so they are folded.
func textOf(t *testing.T, wire []byte, m proto.Message) string {
	t.Helper()
	proto.Reset(m)
	if err := proto.Unmarshal(wire, m); err != nil {
		t.Fatalf("%T does not decode: %v", m, err)
	}
	return strings.Join(strings.Fields(prototext.MarshalOptions{}.Format(m)), " ")
}

func parse[M proto.Message](t *testing.T, text string, m M) M {
	t.Helper()
	if err := prototext.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return m
}

// refs refers to the leases of these IDs; to no grant if there is none.
func refs(t *testing.T, m *Machine, ids string) []lease.Ref {
	t.Helper()
	var out []lease.Ref
	for _, id := range numbers(t, ids) {
		l, _ := m.Leases().Lookup(id)
		out = append(out, lease.Ref{ID: id, Granted: l.Granted})
	}
	return out
}

func numbers(t *testing.T, text string) []int64 {
	t.Helper()
	var out []int64
	for _, f := range strings.Fields(text) {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}
