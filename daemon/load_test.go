// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A check tells all that is wrong at once, each with its place, in one line.
func TestACheckListsEveryFaultWithItsPlace(t *testing.T) {
	dir := t.TempDir()
	path := writeConfig(t, `# a comment
name = ""
"max-txn-ops" = "many"
nmae = "x"

cert-ttl = 3.5
hash-interval = "-1s"
auto-compaction-retention = "1x"
`)
	_, err := Check(path, []string{"CLEATD_BCRYPT_COST=99", "CLEATD_COLOUR=red"}, map[string]string{
		"raft-log": "tape", "data-dir": dir, "auth-token": "jwt,pub-key=/none",
	})
	var faults Faults
	if !errors.As(err, &faults) || !errors.Is(err, ErrConfig) {
		t.Fatalf("%v", err)
	}
	var got []string
	for _, f := range faults {
		got = append(got, strings.ReplaceAll(f.String(), path, "FILE"))
	}
	for _, want := range []string{
		`FILE:2: name: "" must have 1 to 64 characters`,
		`FILE:3: max-txn-ops: "many" is not a whole number`,
		`FILE:4: unknown key "nmae"; see cleatd --help for the names`,
		`FILE:6: cert-ttl: want text or a number, not a number with a point`,
		`FILE:7: hash-interval: -1s is negative`,
		`FILE:8: auto-compaction-retention: "1x" is neither hours nor a time span from 1s to 100 years`,
		`variable CLEATD_BCRYPT_COST: 99 is not between 4 and 31`,
		`unknown variable CLEATD_COLOUR; see cleatd --help for the names`,
		`flag --raft-log: "tape" is neither wal nor boltdb`,
	} {
		i := slices.Index(got, want)
		if i < 0 {
			t.Errorf("nothing says %q", want)
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	if len(got) != 1 || !strings.HasPrefix(got[0], "auth-token: ") {
		t.Errorf("beside them: %q", got)
	}
}

func TestACheckLooksAtWhatTheFirstStartNeeds(t *testing.T) {
	empty, own := t.TempDir(), t.TempDir()
	member := `{"format": 1, "cluster_id": "1", "member_id": "2", "raft_log": "boltdb"}`
	if err := os.WriteFile(filepath.Join(own, "member.json"), []byte(member), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	for name, c := range map[string]struct {
		flags map[string]string
		want  string
	}{
		"nothing":                         {flags: map[string]string{"data-dir": empty}},
		"a join without a token":          {flags: map[string]string{"data-dir": empty, "join": "a:1"}, want: "token-file"},
		"a token that is not there":       {flags: map[string]string{"data-dir": empty, "join": "a:1", "token-file": "/none"}, want: "/none"},
		"a join that is long done":        {flags: map[string]string{"data-dir": own, "raft-log": "boltdb", "join": "a:1", "token-file": "/none"}},
		"a directory with another log":    {flags: map[string]string{"data-dir": own}, want: `was made with raft-log = "boltdb"`},
		"a directory that was never made": {flags: map[string]string{"data-dir": filepath.Join(empty, "none")}},
	} {
		_, err := Check("", nil, c.flags)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestTheSocketIsFoundInAFileWithFaults(t *testing.T) {
	broken := writeConfig(t, "name = \nsocket = \"/broken.sock\"\n")
	whole := writeConfig(t, "nmae = 1\nsocket = '/whole.sock'\n")
	for _, c := range []struct {
		path  string
		env   []string
		flags map[string]string
		want  string
	}{
		{"", nil, nil, Default().Socket},
		{"/none", nil, nil, Default().Socket},
		{broken, nil, nil, "/broken.sock"},
		{whole, nil, nil, "/whole.sock"},
		{whole, []string{"CLEATD_SOCKET=/env.sock"}, nil, "/env.sock"},
		{whole, []string{"CLEATD_SOCKET=/env.sock"}, map[string]string{"socket": "/flag.sock"}, "/flag.sock"},
	} {
		if got := SocketOf(c.path, c.env, c.flags); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestCredentialsTellWhatToJoin(t *testing.T) {
	for name, c := range map[string]struct {
		files     map[string]string
		settings  Config
		want, err string
	}{
		"none":                       {},
		"by its name":                {files: map[string]string{"join": "db1:2380\n"}, want: "db1:2380"},
		"by the name of an import":   {files: map[string]string{"cleatd.join": "db1:2380"}, want: "db1:2380"},
		"the setting before it":      {files: map[string]string{"join": "db1:2380"}, settings: Config{Join: "db2:2380"}, want: "db2:2380"},
		"one that is no address":     {files: map[string]string{"join": "db1\n"}, err: `"db1" is not HOST:PORT`},
		"an empty one":               {files: map[string]string{"join": ""}, err: `"" is not HOST:PORT`},
		"one that is not ours":       {files: map[string]string{"other": "x"}},
		"another's name and nothing": {files: map[string]string{"cleat.join": "db1:2380"}},
	} {
		dir := t.TempDir()
		for file, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o400); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("CREDENTIALS_DIRECTORY", dir)
		got, err := joinAddress(&c.settings)
		if got != c.want || c.err == "" && err != nil || c.err != "" && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
