// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// notJSON are the commands without an answer in JSON, each with its reason.
var notJSON = map[string]string{
	"completion":      "a shell reads it",
	"options":         "a page of help",
	"make-mirror":     "it tells how many keys it has copied, as etcdctl, until it is ended",
	"check perf":      "a report for a person, as etcdctl's",
	"check datascale": "likewise",
	"cert crl":        "a file, in PEM or DER",
	"ca key decrypt":  "a key, for the next program in a pipe",

	"downgrade validate": "a cleat member refuses every version",
	"downgrade enable":   "likewise",
}

// endless are those that go on until they are ended: the first line counts.
var endless = map[string]bool{"watch": true, "lock": true, "elect": true}

// The walk: each command of cleatctl with arguments that it succeeds with, in an
// order in which they do. {NAME} is what an earlier answer had, which matched
// the pattern behind its line; {two} is the other member's id.
var walk = []struct{ line, stdin, name, pattern string }{
	{line: "version"},
	{line: "put k v"},
	{line: "get k"},
	{line: "txn", stdin: "value(\"k\") = \"v\"\n\nput k w\n\n\n"},
	{line: "watch k --rev=1"},
	{line: "del k"},
	{line: "compaction 2"},
	{line: "lease grant 60", name: "lease", pattern: `"ID":(\d+)`},
	{line: "lease list"},
	{line: "lease timetolive {lease}"},
	{line: "lease keep-alive {lease} --once"},
	{line: "lease revoke {lease}"},
	{line: "alarm list"},
	{line: "alarm disarm"},
	{line: "defrag"},
	{line: "downgrade cancel"},
	{line: "lock door"},
	{line: "elect head me"},
	{line: "endpoint health"},
	{line: "endpoint status"},
	{line: "endpoint hashkv"},
	{line: "member list"},
	{line: "member add three --learner --peer-urls=https://three:2380", name: "three", pattern: `"member":{"ID":(\d+)`},
	{line: "member update {three} --peer-urls=https://drei:2380"},
	{line: "member remove {three}"},
	{line: "move-leader {two}"},
	{line: "snapshot save {dir}/backup.db"},
	{line: "snapshot status {dir}/backup.db"},
	{line: "snapshot restore {dir}/backup.db --data-dir={dir}/restored"},
	{line: "role add r"},
	{line: "role grant-permission r readwrite k"},
	{line: "role get r"},
	{line: "role list"},
	{line: "user add u:secret"},
	{line: "user grant-role u r"},
	{line: "user get u"},
	{line: "user list"},
	{line: "user passwd u --interactive=false", stdin: "other\n"},
	{line: "user revoke-role u r"},
	{line: "user delete u"},
	{line: "role revoke-permission r k"},
	{line: "role delete r"},
	{line: "user add root:secret"},
	{line: "auth enable"},
	{line: "auth status"},
	{line: "auth disable"},
	{line: "invite", name: "token", pattern: `"id":"([0-9a-f]+)"`},
	{line: "token list"},
	{line: "token revoke {token}"},
	{line: "cert issue alice --out={dir}"},
	{line: "cert list"},
	{line: "cert show {dir}/alice.crt"},
	{line: "status", name: "ca", pattern: `"ca":"([^"]+)"`},
	{line: "token step --client alice"},
	{line: "token create --client alice", name: "login", pattern: `"token":"([^"]+)"`},
	{line: "login {ca} --token={login}"},
	{line: "context list"},
	{line: "context use 127.0.0.1"},
	{line: "context show"},
	{line: "renew --force"},
	{line: "logout"},
	{line: "cert revoke alice"},
	{line: "ca key export {dir}/key.age --passphrase-file={dir}/pass"},
	{line: "ca lock"},
	{line: "ca unlock {dir}/key.age --passphrase-file={dir}/pass"},
	{line: "ca key rotate"},
	{line: "ca import --csr"},
	{line: "ca rotate --root --until=trusted"},
	{line: "ca key rotate"}, // which seals the keys of both roots anew
	{line: "ca rotate --continue --until=issuing"},
	{line: "ca rotate --abort"},
	{line: "ca status"},
	{line: "audit --since=1h --act=keys"},
	{line: "status"},
	{line: "doctor"},
	{line: "top --once --interval=100ms"},
}

// apart are commands that are seen elsewhere in this test.
var apart = map[string]bool{"join": true, "member promote": true, "recover": true}

// calm are the flags of a member that leads on while the machine has little time:
// what is looked at here is neither.
func calm(name string) []string {
	return append(slices.Clone(reachable), "--listen-ca=127.0.0.1:0", "--name="+name, "--election-timeout=5s")
}

func TestEveryCommandAnswersInJSON(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir()) // of the contexts
	one, two := startCleatd(t, calm("one")...), startCleatd(t, calm("two")...)
	known := map[string]string{"dir": t.TempDir()}
	if err := os.WriteFile(filepath.Join(known["dir"], "pass"), []byte("six words that nobody else knows\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	line := strings.Fields(one.must(t, "invite"))
	answer := two.inJSON(t, strings.Join(line[1:], " "), "")
	known["two"] = hexadecimal(t, answer["memberId"])
	if answer["caughtUp"] != true {
		t.Errorf("join: %v", answer)
	}

	walked := map[string]bool{}
	for _, step := range walk {
		line := filled(t, step.line, known)
		command := commandOf(line)
		walked[command] = true
		if endless[command] {
			one.firstInJSON(t, line)
			continue
		}
		answer := one.inJSON(t, line, step.stdin)
		if step.name == "" {
			continue
		}
		raw, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(step.pattern).FindSubmatch(raw)
		if found == nil {
			t.Fatalf("%s: no %s in %s", line, step.pattern, raw)
		}
		if known[step.name] = string(found[1]); strings.Contains(step.pattern, `\d`) {
			known[step.name] = hexadecimal(t, string(found[1]))
		}
	}

	one.promoted(t)
	two.recovered(t, one)
	for _, command := range commands(t, "") {
		if !walked[command] && !apart[command] && notJSON[command] == "" {
			t.Errorf("%s is not walked over: give it a line in walk, or a reason in notJSON", command)
		}
		if notJSON[command] != "" && (walked[command] || apart[command]) {
			t.Errorf("%s answers, in spite of a reason not to", command)
		}
	}
}

// inJSON runs a command with --json and returns its answer, an object or
// the last of several.
func (m member) inJSON(t *testing.T, line, stdin string) (answer map[string]any) {
	t.Helper()
	run := exec.Command(program(t, cleatctl), append([]string{"--json", "--command-timeout=1m", "--socket", m.socket}, strings.Fields(line)...)...)
	run.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	run.Stderr = &stderr
	out, err := run.Output()
	if err != nil {
		t.Errorf("cleatctl %s: %v: %s%s", line, err, out, &stderr)
	}
	if len(bytes.TrimSpace(out)) == 0 {
		t.Errorf("cleatctl %s --json prints nothing", line)
	}
	for each := range bytes.Lines(out) {
		answer = object(t, line, each)
	}
	return answer
}

// object reads a line of JSON: an object, or a list of them, of which the first
// counts.
func object(t *testing.T, line string, text []byte) map[string]any {
	t.Helper()
	var read any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&read); err != nil {
		t.Errorf("cleatctl %s --json: %v in %q", line, err, text)
		return nil
	}
	if list, ok := read.([]any); ok && len(list) > 0 {
		read = list[0]
	}
	answer, ok := read.(map[string]any)
	if !ok {
		t.Errorf("cleatctl %s --json prints %q, which is no object", line, text)
	}
	return answer
}

func (m member) firstInJSON(t *testing.T, line string) {
	t.Helper()
	run := exec.Command(program(t, cleatctl), append([]string{"--json", "--socket", m.socket}, strings.Fields(line)...)...)
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	first, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Errorf("cleatctl %s: %v", line, err)
	}
	object(t, line, first)
	_ = run.Process.Kill() // it may have ended
	_ = run.Wait()         // by that signal
}

// promoted sees member promote of a machine that joined by announcement.
func (m member) promoted(t *testing.T) {
	t.Helper()
	three := startCleatd(t, calm("late")...)
	added := m.inJSON(t, "member add late --learner --peer-urls=https://late:2380", "")
	id := hexadecimal(t, added["member"].(map[string]any)["ID"])
	line := strings.Fields(m.must(t, "invite --member "+id))
	three.inJSON(t, strings.Join(line[1:], " "), "")
	m.inJSON(t, "member promote "+id, "")
	m.must(t, "member remove "+id)
}

// recovered sees recover of a member whose only other one is lost.
func (m member) recovered(t *testing.T, other member) {
	t.Helper()
	pid, _ := other.process(t)
	endProcess(t, pid)
	eventually(t, "the leader is missed", func() error {
		if status, _, _ := m.ctl(t, "status"); !strings.Contains(status, "no leader is known") {
			return fmt.Errorf("%s", status)
		}
		return nil
	})
	if answer := m.inJSON(t, "recover --force-new-cluster", ""); answer["removed"] == nil {
		t.Errorf("recover: %v", answer)
	}
}

// filled puts what is known into a line.
func filled(t *testing.T, line string, known map[string]string) string {
	t.Helper()
	for name, value := range known {
		line = strings.ReplaceAll(line, "{"+name+"}", value)
	}
	if strings.Contains(line, "{") {
		t.Fatalf("not known yet: %s", line)
	}
	return line
}

// hexadecimal is an id as the command line takes it.
func hexadecimal(t *testing.T, id any) string {
	t.Helper()
	var n uint64
	if _, err := fmt.Sscan(fmt.Sprint(id), &n); err != nil {
		t.Fatalf("%v is no id: %v", id, err)
	}
	return fmt.Sprintf("%x", n)
}

// commandOf is the command that a line begins with: groups have two words.
func commandOf(line string) string {
	words := strings.Fields(line)
	switch words[0] {
	case "ca":
		if words[1] == "key" {
			return strings.Join(words[:3], " ")
		}
		return words[0] + " " + words[1]
	case "lease", "endpoint", "member", "snapshot", "role", "user", "auth", "token", "cert", "context", "alarm", "check", "downgrade":
		return words[0] + " " + words[1]
	}
	return words[0]
}

var inHelp = regexp.MustCompile(`(?m)^  (\S+)  +\S`)

// commands are all that cleatctl has below a group, as its help tells.
func commands(t *testing.T, group string) (all []string) {
	t.Helper()
	out, err := exec.Command(program(t, cleatctl), append(strings.Fields(group), "--help")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(out), "\nCommands:\n")
	if !found {
		return []string{group}
	}
	list, _, _ = strings.Cut(list, "\n\n")
	list, _, _ = strings.Cut(list, "\nFlags")
	for _, each := range inHelp.FindAllStringSubmatch(list, -1) {
		all = append(all, commands(t, strings.TrimSpace(group+" "+each[1]))...)
	}
	return all
}
