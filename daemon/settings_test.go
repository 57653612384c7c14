// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cleatd.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsBeatVariablesBeatTheFileBeatDefaults(t *testing.T) {
	path := writeConfig(t, "name = \"file\"\nmax-txn-ops = 7\ncert-ttl = \"1h\"\nlog-level = \"warn\"\n")
	environ := []string{"CLEATD_NAME=variable", "CLEATD_MAX_TXN_OPS=8", "HOME=/root"}
	c, err := Load(path, environ, map[string]string{"name": "flag"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "flag" || c.MaxTxnOps != 8 || c.CertTTL != time.Hour || c.LogLevel.String() != "WARN" || c.RaftLog != "wal" {
		t.Errorf("loaded %+v", c)
	}
}

func TestEachSettingCanBeSetFromEachPlace(t *testing.T) {
	valid := map[string]string{
		"name": "n", "data-dir": "/d", "socket": "/s", "advertise": "host", "listen-client": "[::1]:0",
		"listen-peer": "[::1]:0", "listen-ca": "[::1]:0", "join": "[::1]:2380", "token-file": "/t",
		"log-level": "error", "max-request-bytes": "2048", "max-txn-ops": "9", "watch-progress-interval": "1s",
		"election-timeout": "1s", "hash-interval": "0", "cert-ttl": "3s", "raft-log": "boltdb", "reserve-bytes": "0", "memory-bytes": "268435456",
		"auth-token": "jwt,sign-method=HS256,priv-key=/k", "auth-token-ttl": "60", "bcrypt-cost": "4",
		"distributed-tracing-address": "localhost:4317", "distributed-tracing-sampling-rate": "7",
		"quota-backend-bytes": "1", "auto-compaction-mode": "revision", "auto-compaction-retention": "7",
		"acme-names": "*.example.internal,10.0.0.0/8", "acme-allow": "127.0.0.0/8", "acme-deny": "10.1.2.3",
	}
	for _, s := range Settings() {
		value, known := valid[s.Name]
		if !known {
			t.Errorf("%s: this test has no value for it", s.Name)
			continue
		}
		line := s.Name + " = \"" + value + "\"\n"
		if s.Name == "max-txn-ops" {
			line = s.Name + " = " + value + "\n" // a number may be written as one
		}
		want := Default()
		if err := s.set(&want, value); err != nil {
			t.Fatal(err)
		}
		for place, load := range map[string]func() (Config, error){
			"file":     func() (Config, error) { return Load(writeConfig(t, line), nil, nil) },
			"variable": func() (Config, error) { return Load("", []string{s.Env() + "=" + value}, nil) },
			"flag":     func() (Config, error) { return Load("", nil, map[string]string{s.Name: value}) },
		} {
			got, err := load()
			if err != nil || !s.same(&got, &want) {
				t.Errorf("%s from %s: %+v, %v", s.Name, place, got, err)
			}
		}
		if defaults := Default(); s.same(&want, &defaults) {
			t.Errorf("%s: the test's value is the default, it proves nothing", s.Name)
		}
	}
}

func TestBadSettingsAreRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		file    string
		environ []string
		flags   map[string]string
		want    string
	}{
		"an unknown key":           {file: "nmae = \"x\"\n", want: `unknown key "nmae"`},
		"a name of no ACME":        {flags: map[string]string{"acme-names": "*"}, want: `flag --acme-names: ca: not a name`},
		"a list of numbers":        {file: "acme-names = [1]\n", want: "acme-names: want a list of texts"},
		"a list for one":           {file: "name = [\"x\"]\n", want: "want text or a number, not a list"},
		"a network that is none":   {flags: map[string]string{"acme-deny": "10.0.0.0/99"}, want: "no network"},
		"a table":                  {file: "[name]\nx = 1\n", want: "name"},
		"not TOML":                 {file: "name = \n", want: "cleatd.toml"},
		"an unknown variable":      {environ: []string{"CLEATD_NMAE=x"}, want: "CLEATD_NMAE"},
		"a number that is not one": {environ: []string{"CLEATD_MAX_TXN_OPS=many"}, want: `"many" is not a whole number`},
		"a span that is not one":   {flags: map[string]string{"cert-ttl": "3"}, want: "--cert-ttl"},
		"a level that is not one":  {flags: map[string]string{"log-level": "loud"}, want: `"loud"`},
		"a relative directory":     {flags: map[string]string{"data-dir": "here"}, want: "data-dir"},
		"a long socket":            {flags: map[string]string{"socket": "/" + strings.Repeat("x", 107)}, want: "at most 107"},
		"a relative socket":        {flags: map[string]string{"socket": "here"}, want: "socket"},
		"an unknown log":           {flags: map[string]string{"raft-log": "tape"}, want: `"tape" is neither wal nor boltdb`},
		"an address without port":  {flags: map[string]string{"listen-client": "127.0.0.1"}, want: "listen-client"},
		"a URL to advertise":       {flags: map[string]string{"advertise": "https://x"}, want: "advertise"},
		"an empty name":            {flags: map[string]string{"name": ""}, want: "name"},
		"a short interval":         {flags: map[string]string{"watch-progress-interval": "1ms"}, want: "watch-progress-interval"},
		"a short timeout":          {flags: map[string]string{"election-timeout": "1ms"}, want: "election-timeout"},
		"a short life":             {flags: map[string]string{"cert-ttl": "1ms"}, want: "cert-ttl"},
		"a tiny request":           {flags: map[string]string{"max-request-bytes": "1"}, want: "max-request-bytes"},
		"no operations":            {flags: map[string]string{"max-txn-ops": "0"}, want: "max-txn-ops"},
		"a cheap hash":             {flags: map[string]string{"bcrypt-cost": "3"}, want: "bcrypt-cost"},
		"no life of tokens":        {flags: map[string]string{"auth-token-ttl": "0"}, want: "auth-token-ttl"},
		"a negative reserve":       {flags: map[string]string{"reserve-bytes": "-2"}, want: "reserve-bytes"},
		"too little memory":        {flags: map[string]string{"memory-bytes": "1"}, want: "memory-bytes"},
		"too many traces":          {flags: map[string]string{"distributed-tracing-sampling-rate": "1000001"}, want: "distributed-tracing-sampling-rate"},
		"an unknown mode":          {flags: map[string]string{"auto-compaction-mode": "never"}, want: `auto-compaction-mode: "never"`},
		"a retention in no mode":   {flags: map[string]string{"auto-compaction-mode": "revision", "auto-compaction-retention": "1h"}, want: `auto-compaction-retention: "1h"`},
		"a name of no host":        {flags: map[string]string{"name": "a b"}, want: `flag --name: pki: name not accepted: "a b"`},
		"a host that is none":      {flags: map[string]string{"advertise": "a_b!"}, want: "advertise"},
		"a collector nowhere":      {flags: map[string]string{"distributed-tracing-address": "://x"}, want: "distributed-tracing-address"},
		"a tiny retention":         {flags: map[string]string{"auto-compaction-retention": "1ms"}, want: "auto-compaction-retention"},
	} {
		t.Run(name, func(t *testing.T) {
			path := ""
			if c.file != "" {
				path = writeConfig(t, c.file)
			}
			_, err := Load(path, c.environ, c.flags)
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want ErrConfig with %q", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

func TestTheClientDoorFollowsTheAdvertisedHost(t *testing.T) {
	for _, c := range []struct{ advertise, listen, want string }{
		{"", "", "127.0.0.1:2379"},
		{"db1", "", "db1:2379"},
		{"fd00::1", "", "[fd00::1]:2379"},
		{"[fd00::1]", "", "[fd00::1]:2379"},
		{"db1", "0.0.0.0:0", "0.0.0.0:0"},
	} {
		config := Config{Advertise: c.advertise, ListenClient: c.listen}
		if got := config.clientAddress(config.Advertise); got != c.want {
			t.Errorf("advertise %q, listen-client %q: %q, want %q", c.advertise, c.listen, got, c.want)
		}
	}
}

func TestAListInTheFileIsAListOfTexts(t *testing.T) {
	c, err := Load(writeConfig(t, "acme-names = [\"*.example.internal\", \"10.0.0.0/8\"]\n"), nil, nil)
	if err != nil || !slices.Equal(c.ACMENames, []string{"*.example.internal", "10.0.0.0/8"}) {
		t.Errorf("got %q, %v", c.ACMENames, err)
	}
}

func TestTheCADoorFollowsTheAdvertisedHost(t *testing.T) {
	for _, c := range []struct{ advertise, listen, want string }{
		{"", "", ""},
		{"", "127.0.0.1:0", "127.0.0.1:0"},
		{"fd00::1", "", "[fd00::1]:2381"},
		{"db1", "0.0.0.0:0", "0.0.0.0:0"},
	} {
		config := Config{Advertise: c.advertise, ListenCA: c.listen}
		if got := config.caAddress(config.Advertise); got != c.want {
			t.Errorf("advertise %q, listen-ca %q: %q, want %q", c.advertise, c.listen, got, c.want)
		}
	}
}

func FuzzConfigFile(f *testing.F) {
	f.Add("name = \"x\"\n")
	f.Add("max-txn-ops = 3\n[x]\n")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "f.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path, nil, nil); err != nil && !errors.Is(err, ErrConfig) {
			t.Errorf("%v is not ErrConfig", err)
		}
	})
}
