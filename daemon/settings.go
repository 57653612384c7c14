// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Setting is one name that the configuration file, the environment and the
// command line share.
type Setting struct {
	Name  string // the TOML key and the flag; CLEATD_NAME in the environment
	Usage string
	field func(*Config) any // points to a string, int64, time.Duration or slog.Level
}

// Env returns the setting's environment variable.
func (s Setting) Env() string {
	return "CLEATD_" + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// TOML returns the setting's value in c as the configuration file has it.
func (s Setting) TOML(c *Config) string {
	switch p := s.field(c).(type) {
	case *int64:
		return strconv.FormatInt(*p, 10)
	case *time.Duration:
		text := p.String()
		for _, zero := range []string{"m0s", "h0m"} { // 10m0s: people write 10m
			if strings.HasSuffix(text, zero) {
				text = text[:len(text)-2]
			}
		}
		return strconv.Quote(text)
	case *slog.Level:
		return strconv.Quote(strings.ToLower(p.String()))
	case *string:
		return strconv.Quote(*p)
	}
	return ""
}

// Settings returns all settings in the order in which help shows them.
func Settings() []Setting {
	return []Setting{
		{"name", "this member's name (default: the host name)", func(c *Config) any { return &c.Name }},
		{"data-dir", "where the member keeps everything (default: /var/lib/cleat)", func(c *Config) any { return &c.DataDir }},
		{"socket", "the Unix socket for local clients (default: /run/cleat/cleat.sock)", func(c *Config) any { return &c.Socket }},
		{"advertise", "the host that others reach this member by; the client and peer doors then listen on it", func(c *Config) any { return &c.Advertise }},
		{"listen-client", "HOST:PORT of the client door, port 0 for any (default: 127.0.0.1:2379)", func(c *Config) any { return &c.ListenClient }},
		{"listen-peer", "HOST:PORT of the door for other members, port 0 for any (default: the advertised host, port 2380)", func(c *Config) any { return &c.ListenPeer }},
		{"join", "HOST:PORT of a member whose cluster to join when the data directory is empty", func(c *Config) any { return &c.Join }},
		{"token-file", "the file with the token for join (default: systemd's credential join-token)", func(c *Config) any { return &c.TokenFile }},
		{"log-level", "debug, info, warn or error (default: info)", func(c *Config) any { return &c.LogLevel }},
		{"max-request-bytes", "the largest request (default: 1572864)", func(c *Config) any { return &c.MaxRequestBytes }},
		{"max-txn-ops", "the most operations in one transaction (default: 128)", func(c *Config) any { return &c.MaxTxnOps }},
		{"watch-progress-interval", "how often an idle watcher that asked hears that it has missed nothing (default: 10m)", func(c *Config) any { return &c.WatchProgressInterval }},
		{"election-timeout", "how long a silent leader is trusted at least (default: 500ms)", func(c *Config) any { return &c.ElectionTimeout }},
		{"hash-interval", "how often the leader compares all members' data, if it has changed, at no more than 5 % of a core; 0: never (default: 1m)", func(c *Config) any { return &c.HashInterval }},
		{"cert-ttl", "the life of the member's certificate, which renews itself at 50 to 80 % of it (default: 720h)", func(c *Config) any { return &c.CertTTL }},
		{"raft-log", "wal or boltdb: what keeps the log; fixed once the data directory exists (default: wal)", func(c *Config) any { return &c.RaftLog }},
		{"auth-token", "simple, or jwt,sign-method=NAME,pub-key=FILE,priv-key=FILE,ttl=5m: the tokens of users who log in; alike on all members (default: simple)", func(c *Config) any { return &c.AuthToken }},
		{"auth-token-ttl", "how many seconds a simple token lasts after it was last shown (default: 300)", func(c *Config) any { return &c.AuthTokenTTL }},
		{"bcrypt-cost", "how hard passwords are to guess, and to check: each step doubles both (default: 10)", func(c *Config) any { return &c.BcryptCost }},
		{"reserve-bytes", "free disk below which writes are refused; -1: 5 %, at least 256 MiB, at most 2 GiB (default: -1)", func(c *Config) any { return &c.ReserveBytes }},
		{"quota-backend-bytes", "what keys, leases and history may take on disk; 0: as much as there is beyond the reserve (default: 0)", func(c *Config) any { return &c.QuotaBytes }},
		{"memory-bytes", "the memory that this member may take, by which it decides how many and how large requests it answers at once; 0: GOMEMLIMIT, else 9/10 of the control group's, else half of the machine's (default: 0)", func(c *Config) any { return &c.MemoryBytes }},
		{"distributed-tracing-address", "HOST:PORT, or http:// or https:// URL, of a collector that takes OpenTelemetry spans over OTLP/gRPC (default: none)", func(c *Config) any { return &c.TracingAddress }},
		{"distributed-tracing-sampling-rate", "requests in a million that are traced although their caller is not (default: 0)", func(c *Config) any { return &c.TracingRate }},
		{"auto-compaction-mode", "periodic or revision: what auto-compaction-retention counts (default: periodic)", func(c *Config) any { return &c.CompactionMode }},
		{"auto-compaction-retention", "how much history is kept: a time span, a number of hours, or of revisions; 0: all, until you compact (default: 24h, or 1000000 revisions)", func(c *Config) any { return &c.CompactionRetention }},
	}
}

// set reads a value as text, as all three sources have it.
func (s Setting) set(c *Config, v string) (err error) {
	switch p := s.field(c).(type) {
	case *string:
		*p = v
	case *int64:
		if *p, err = strconv.ParseInt(v, 10, 64); err != nil {
			return fmt.Errorf("%q is not a whole number", v)
		}
	case *time.Duration:
		if *p, err = time.ParseDuration(v); err != nil {
			return fmt.Errorf("%q is not a time span such as 500ms or 10m", v)
		}
	case *slog.Level:
		if err = p.UnmarshalText([]byte(v)); err != nil {
			return fmt.Errorf("%q is not one of debug, info, warn, error", v)
		}
	}
	return nil
}

// same says whether two configurations agree on the setting.
func (s Setting) same(a, b *Config) bool {
	return reflect.DeepEqual(s.field(a), s.field(b))
}

// Load builds the configuration: defaults, then the file (none if path is
// empty), then CLEATD_* variables, then flags, each stronger than the one
// before. Its errors wrap ErrConfig and name the setting and where it stood.
func Load(path string, environ []string, flags map[string]string) (Config, error) {
	c := Default()
	if path != "" {
		if err := c.readFile(path); err != nil {
			return c, err
		}
	}
	if err := c.readEnviron(environ); err != nil {
		return c, err
	}
	for _, s := range Settings() {
		v, given := flags[s.Name]
		if !given {
			continue
		}
		if err := s.set(&c, v); err != nil {
			return c, fmt.Errorf("%w: flag --%s: %v", ErrConfig, s.Name, err)
		}
	}
	return c, c.Validate()
}

func (c *Config) readFile(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrConfig, err)
	}
	var keys map[string]any
	if err := toml.Unmarshal(raw, &keys); err != nil {
		return fmt.Errorf("%w: %s: %v", ErrConfig, path, err)
	}
	for _, s := range Settings() {
		v, given := keys[s.Name]
		if !given {
			continue
		}
		delete(keys, s.Name)
		switch v.(type) {
		case string, int64:
		default:
			return fmt.Errorf("%w: %s: %s: want text or a number, not %T", ErrConfig, path, s.Name, v)
		}
		if err := s.set(c, fmt.Sprint(v)); err != nil {
			return fmt.Errorf("%w: %s: %s: %v", ErrConfig, path, s.Name, err)
		}
	}
	for _, name := range sortedKeys(keys) {
		return fmt.Errorf("%w: %s: unknown key %q; see cleatd --help for the names", ErrConfig, path, name)
	}
	return nil
}

func (c *Config) readEnviron(environ []string) error {
	values := make(map[string]string)
	for _, pair := range environ {
		if name, v, ok := strings.Cut(pair, "="); ok && strings.HasPrefix(name, "CLEATD_") {
			values[name] = v
		}
	}
	delete(values, "CLEATD_CONFIG")
	for _, s := range Settings() {
		v, given := values[s.Env()]
		if !given {
			continue
		}
		delete(values, s.Env())
		if err := s.set(c, v); err != nil {
			return fmt.Errorf("%w: variable %s: %v", ErrConfig, s.Env(), err)
		}
	}
	for _, name := range sortedKeys(values) {
		return fmt.Errorf("%w: unknown variable %s; see cleatd --help for the names", ErrConfig, name)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
