// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Setting is one name that the configuration file, the environment and the
// command line share.
type Setting struct {
	Name  string // the TOML key and the flag; CLEATD_NAME in the environment
	Count Count  // from when on a change counts
	Usage string
	field func(*Config) any // points to a string, int64, time.Duration, slog.Level or list of strings
}

// Count is from when on a change of a setting counts.
type Count int

const (
	Live       Count = iota + 1 // a reload changes it in the running member
	Restart                     // the next start
	FirstStart                  // the first start of an empty data directory
)

// String is what the table of settings shows.
func (c Count) String() string {
	return map[Count]string{Live: "reload", Restart: "restart", FirstStart: "first start"}[c]
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
	case *[]string:
		quoted := make([]string, len(*p))
		for i, one := range *p {
			quoted[i] = strconv.Quote(one)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return ""
}

// Settings returns all settings in the order in which help shows them.
func Settings() []Setting {
	return []Setting{
		{"name", Restart, "this member's name (default: the host name)", func(c *Config) any { return &c.Name }},
		{"data-dir", Restart, "where the member keeps everything (default: /var/lib/cleat)", func(c *Config) any { return &c.DataDir }},
		{"socket", Restart, "the Unix socket for local clients (default: /run/cleat/cleat.sock)", func(c *Config) any { return &c.Socket }},
		{"advertise", Live, "the host that others reach this member by; the client and peer doors then listen on it, and so does the ca door", func(c *Config) any { return &c.Advertise }},
		{"listen-client", Live, "HOST:PORT of the client door, port 0 for any (default: 127.0.0.1:2379)", func(c *Config) any { return &c.ListenClient }},
		{"listen-peer", Live, "HOST:PORT of the door for other members, port 0 for any (default: the advertised host, port 2380)", func(c *Config) any { return &c.ListenPeer }},
		{"listen-ca", Live, "HOST:PORT of the door for step and ACME clients, port 0 for any (default: the advertised host, port 2381)", func(c *Config) any { return &c.ListenCA }},
		{"join", FirstStart, "HOST:PORT of a member whose cluster to join when the data directory is empty", func(c *Config) any { return &c.Join }},
		{"token-file", FirstStart, "the file with the token for join (default: systemd's credential join-token)", func(c *Config) any { return &c.TokenFile }},
		{"log-level", Live, "debug, info, warn or error (default: info)", func(c *Config) any { return &c.LogLevel }},
		{"max-request-bytes", Live, "the largest request (default: 1572864)", func(c *Config) any { return &c.MaxRequestBytes }},
		{"max-txn-ops", Live, "the most operations in one transaction (default: 128)", func(c *Config) any { return &c.MaxTxnOps }},
		{"watch-progress-interval", Live, "how often an idle watcher that asked hears that it has missed nothing (default: 10m)", func(c *Config) any { return &c.WatchProgressInterval }},
		{"election-timeout", Restart, "how long a silent leader is trusted at least (default: 500ms)", func(c *Config) any { return &c.ElectionTimeout }},
		{"hash-interval", Live, "how often the leader compares all members' data, if it has changed, at no more than 5 % of a core; 0: never (default: 1m)", func(c *Config) any { return &c.HashInterval }},
		{"cert-ttl", Live, "the life of the member's certificate, which renews itself at 50 to 80 % of it (default: 720h)", func(c *Config) any { return &c.CertTTL }},
		{"raft-log", Restart, "wal or boltdb: what keeps the log; fixed once the data directory exists (default: wal)", func(c *Config) any { return &c.RaftLog }},
		{"auth-token", Restart, "simple, or jwt,sign-method=NAME,pub-key=FILE,priv-key=FILE,ttl=5m: the tokens of users who log in; alike on all members (default: simple)", func(c *Config) any { return &c.AuthToken }},
		{"auth-token-ttl", Live, "how many seconds a simple token lasts after it was last shown (default: 300)", func(c *Config) any { return &c.AuthTokenTTL }},
		{"bcrypt-cost", Live, "how hard passwords are to guess, and to check: each step doubles both (default: 10)", func(c *Config) any { return &c.BcryptCost }},
		{"reserve-bytes", Live, "free disk below which writes are refused; -1: 5 %, at least 256 MiB, at most 2 GiB (default: -1)", func(c *Config) any { return &c.ReserveBytes }},
		{"quota-backend-bytes", Live, "what keys, leases and history may take on disk; 0: as much as there is beyond the reserve (default: 0)", func(c *Config) any { return &c.QuotaBytes }},
		{"memory-bytes", Live, "the memory that this member may take, by which it decides how many and how large requests it answers at once; 0: GOMEMLIMIT, else 9/10 of the control group's, else half of the machine's (default: 0)", func(c *Config) any { return &c.MemoryBytes }},
		{"acme-names", Live, "the names that ACME clients get certificates for: host names, *.DOMAIN for what is below one, addresses, networks (default: none, ACME is off)", func(c *Config) any { return &c.ACMENames }},
		{"acme-allow", Live, "networks where ACME's names may lead although they are loopback or link-local (default: none)", func(c *Config) any { return &c.ACMEAllow }},
		{"acme-deny", Live, "networks where ACME's names may not lead, beside loopback, link-local and multicast (default: none)", func(c *Config) any { return &c.ACMEDeny }},
		{"distributed-tracing-address", Restart, "HOST:PORT, or http:// or https:// URL, of a collector that takes OpenTelemetry spans over OTLP/gRPC (default: none)", func(c *Config) any { return &c.TracingAddress }},
		{"distributed-tracing-sampling-rate", Live, "requests in a million that are traced although their caller is not (default: 0)", func(c *Config) any { return &c.TracingRate }},
		{"auto-compaction-mode", Live, "periodic or revision: what auto-compaction-retention counts (default: periodic)", func(c *Config) any { return &c.CompactionMode }},
		{"auto-compaction-retention", Live, "how much history is kept: a time span, a number of hours, or of revisions; 0: all, until you compact (default: 24h, or 1000000 revisions)", func(c *Config) any { return &c.CompactionRetention }},
	}
}

// set reads a value as text, as all three sources have it. A bad one changes
// nothing.
func (s Setting) set(c *Config, v string) error {
	switch p := s.field(c).(type) {
	case *string:
		*p = v
	case *[]string:
		*p = nil
		if list := strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' }); len(list) != 0 {
			*p = list
		}
	case *int64:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", v)
		}
		*p = n
	case *time.Duration:
		d, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("%q is not a time span such as 500ms or 10m", v)
		}
		*p = d
	case *slog.Level:
		if err := p.UnmarshalText([]byte(v)); err != nil {
			return fmt.Errorf("%q is not one of debug, info, warn, error", v)
		}
	}
	return nil
}

// Text is the setting's value as a person would write it.
func (s Setting) Text(c *Config) string {
	switch p := s.field(c).(type) {
	case *string:
		return *p
	case *slog.Level:
		return strings.ToLower(p.String())
	case *[]string:
		return strings.Join(*p, ",")
	default:
		return fmt.Sprint(reflect.ValueOf(p).Elem())
	}
}

// copy gives one configuration another's value.
func (s Setting) copy(to, from *Config) {
	reflect.ValueOf(s.field(to)).Elem().Set(reflect.ValueOf(s.field(from)).Elem())
}

// same says whether two configurations agree on the setting.
func (s Setting) same(a, b *Config) bool {
	return reflect.DeepEqual(s.field(a), s.field(b))
}
