// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// checked runs cleatd check with these flags.
func checked(t *testing.T, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(limited(t), os.Args[0], append([]string{"check"}, args...)...)
	cmd.Env = append(append(os.Environ(), "CLEAT_TEST_MAIN=1"), environ...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), said.String(), cmd.ProcessState.ExitCode()
}

func TestCheckTellsTheSettingsThatWouldCount(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "cleatd.toml")
	if err := os.WriteFile(file, []byte("name = \"one\"\nlog-level = \"warn\"\nelection-timeout = \"2s\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	stdout, stderr, code := checked(t, []string{"CLEATD_MAX_TXN_OPS=7"}, "--config", file, "--data-dir", data, "--json")
	var got map[string]string
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 {
		t.Fatalf("code %d, %v: %q, %q", code, err, stdout, stderr)
	}
	for name, want := range map[string]string{
		"name": "one", "log-level": "warn", "election-timeout": "2s", "max-txn-ops": "7", "data-dir": data, "reserve-bytes": "-1", "raft-log": "wal",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if stdout, _, code := checked(t, nil, "--config", file, "--data-dir", data); code != 0 || stdout != "The configuration is good.\n" {
		t.Errorf("code %d, %q", code, stdout)
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("check has made the data directory")
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cleatd.toml")
	if err := os.WriteFile(file, []byte("max-txn-ops = 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"max-txn-ops: 0 is not between": {"--config", file},
		"no such file":                  {"--config", file + ".none"},
		"auth-token":                    {"--auth-token", "jwt,sign-method=RS256,priv-key=" + file + ".none"},
		"unexpected argument":           {"one"},
		"election-timeout":              {"--election-timeout", "long"},
	} {
		if stdout, stderr, code := checked(t, nil, args...); code != 2 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%q: code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}
