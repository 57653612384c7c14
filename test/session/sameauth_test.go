// SPDX-License-Identifier: Apache-2.0

package session

import (
	"strings"
	"testing"
)

// authSteps are users and roles in a form; name keeps those of one form apart
// from those of another.
func authSteps(form, name string) []step {
	listed := form // what etcdctl has in each form but this
	if strings.Contains(form, "fields") {
		listed = ""
	}
	var all []step
	for _, line := range []string{
		"user add NAME:word FORM", "user add NAMEhost --no-password FORM", "user add NAMEflag --new-user-password=word FORM",
		"role add NAME FORM", "role add NAMEempty FORM", "role get NAME FORM",
		"role grant-permission NAME read a FORM", "role grant-permission NAME write w/ --prefix FORM", "role grant-permission NAME readwrite k z FORM",
		"role grant-permission NAME READ zz --from-key FORM", "role grant-permission NAME readwrite '' --prefix FORM", "role grant-permission NAME write '' FORM",
		"role get NAME FORM", "role get root FORM", "role list FORM", "user list LISTED",
		"user grant-role NAME NAME FORM", "user grant-role NAME NAMEempty FORM", "user grant-role NAMEhost NAME FORM",
		"user get NAME LISTED", "user get NAMEflag LISTED", "user get NAME --detail FORM", "auth status LISTED",
		"role revoke-permission NAME a FORM", "role revoke-permission NAME w/ --prefix FORM", "role revoke-permission NAME k z FORM", "role revoke-permission NAME zz --from-key FORM",
		"user revoke-role NAME NAMEempty FORM", "role delete NAME FORM", "user delete NAMEhost FORM", "user delete NAMEflag FORM", "user get NAME LISTED",
	} {
		line = strings.NewReplacer("FORM", form, "LISTED", listed, "NAME", name).Replace(line)
		all = append(all, step{line: strings.TrimSpace(line)})
	}
	return append(all, step{line: "user passwd " + name + " --interactive=false " + form, stdin: "another\n"},
		step{line: "user add " + name + "asked --interactive=false " + form, stdin: "word\n"})
}

func TestCleatctlPrintsEtcdctlsBytesOfUsers(t *testing.T) {
	first, second := twins(t)
	theirs := &side{path: program(t, etcdctl), endpoint: first}
	ours := &side{path: program(t, cleatctl), endpoint: second}
	all := []step{{line: "user add root:root"}, {line: "role add root"}}
	for form, name := range map[string]string{"": "a", "-w fields": "b", "-w json": "c", "-w protobuf": "d"} {
		all = append(all, authSteps(form, name)...)
	}
	all = append(all, step{line: "role delete root"}, step{line: "auth enable"}, step{line: "auth status --user root:root"},
		step{line: "put k v --user=root:root"}, step{line: "get k --user root --password root"}, step{line: "user list --user root:root"},
		step{line: "auth disable --user root:root"}, step{line: "auth status"}, step{line: "auth enable"}, step{line: "auth disable --user root:root"})
	for _, s := range all {
		got, want := ours.run(t, s), theirs.run(t, s)
		if got != want {
			t.Errorf("%s\ncleatctl: %q\n etcdctl: %q", s.line, got, want)
		}
		if want == "" {
			t.Errorf("%s: etcdctl prints nothing, so nothing is compared", s.line)
		}
	}
}
