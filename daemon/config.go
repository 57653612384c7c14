// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/pki"
)

// ErrConfig marks what the administrator has to mend before the daemon can
// start: a setting, or a data directory that does not fit. cleatd then exits
// with code 2.
var ErrConfig = errors.New("configuration")

// Config is every setting of a member. Default has the values of one that is
// told nothing; Settings lists the names.
type Config struct {
	Name         string
	DataDir      string
	Socket       string
	ListenClient string // host:port; empty: the advertised host or loopback, port 2379
	ListenPeer   string // host:port; empty: the advertised host, port 2380
	ListenCA     string // host:port; empty: the advertised host, port 2381
	Advertise    string // the host that others reach this member by
	Join         string // host:port of a member to join at the first start
	TokenFile    string // the token for that; empty: the credential join-token
	LogLevel     slog.Level

	MaxRequestBytes       int64
	MaxTxnOps             int64
	WatchProgressInterval time.Duration
	ElectionTimeout       time.Duration
	HashInterval          time.Duration // 0: never
	CertTTL               time.Duration
	RaftLog               string
	AuthToken             string // as auth.ParseTokenSetting reads it
	AuthTokenTTL          int64  // seconds
	BcryptCost            int64
	ReserveBytes          int64  // -1: 5 % of the disk, at least 256 MiB, at most 2 GiB
	QuotaBytes            int64  // zero or less: none
	MemoryBytes           int64  // 0: what GOMEMLIMIT, the control group or the machine says
	TracingAddress        string // host:port or URL of an OTLP collector; empty: none
	TracingRate           int64  // requests in a million that are traced if their caller is not
	CompactionMode        string // periodic or revision
	ACMENames             []string
	ACMEAllow             []string
	ACMEDeny              []string
	CompactionRetention   string // a time span, hours or revisions; "0": all history; "": 24 hours or a million revisions
}

// Default returns the settings of a member that is told nothing.
func Default() Config {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "cleat"
	}
	dir := "/var/lib/cleat"
	if systemd := os.Getenv("STATE_DIRECTORY"); systemd != "" {
		dir, _, _ = strings.Cut(systemd, ":")
	}
	return Config{
		Name:                  name,
		DataDir:               dir,
		Socket:                "/run/cleat/cleat.sock",
		MaxRequestBytes:       1536 << 10,
		MaxTxnOps:             128,
		WatchProgressInterval: 10 * time.Minute,
		ElectionTimeout:       500 * time.Millisecond,
		HashInterval:          time.Minute,
		CertTTL:               30 * 24 * time.Hour,
		RaftLog:               "wal",
		AuthToken:             "simple",
		AuthTokenTTL:          300,
		BcryptCost:            auth.DefaultCost,
		ReserveBytes:          -1,
		CompactionMode:        periodic,
	}
}

// Validate checks what one setting alone cannot know, and names the settings at
// fault. Its errors wrap ErrConfig and are Faults.
func (c *Config) Validate() error { return c.faults().err() }

func (c *Config) faults() (found Faults) {
	refuse := func(bad bool, name, format string, args ...any) {
		if bad {
			found = append(found, Fault{Setting: name, What: fmt.Sprintf(format, args...)})
		}
	}
	refuse(c.Name == "" || len(c.Name) > 64, "name", "%q must have 1 to 64 characters", c.Name)
	if err := pki.CheckHosts(c.Name); err != nil && len(found) == 0 {
		refuse(true, "name", "%v; it is a name in this member's certificate", err)
	}
	refuse(!filepath.IsAbs(c.DataDir), "data-dir", "%q is not an absolute path", c.DataDir)
	refuse(!filepath.IsAbs(c.Socket), "socket", "%q is not an absolute path", c.Socket)
	refuse(len(c.Socket) > 107, "socket", "%q has %d bytes; the kernel takes at most 107", c.Socket, len(c.Socket))
	refuse(c.MaxRequestBytes < 1<<10 || c.MaxRequestBytes > 32<<20, "max-request-bytes", "%d is not between 1024 and 33554432", c.MaxRequestBytes)
	refuse(c.MaxTxnOps < 1 || c.MaxTxnOps > 1<<20, "max-txn-ops", "%d is not between 1 and 1048576", c.MaxTxnOps)
	refuse(c.WatchProgressInterval < 100*time.Millisecond, "watch-progress-interval", "%v is less than 100ms", c.WatchProgressInterval)
	refuse(c.ElectionTimeout < 50*time.Millisecond || c.ElectionTimeout > time.Minute, "election-timeout", "%v is not between 50ms and 1m", c.ElectionTimeout)
	refuse(c.HashInterval < 0, "hash-interval", "%v is negative", c.HashInterval)
	refuse(c.CertTTL < time.Second || c.CertTTL > 10*365*24*time.Hour, "cert-ttl", "%v is not between 1s and 10 years", c.CertTTL)
	refuse(c.RaftLog != "wal" && c.RaftLog != "boltdb", "raft-log", "%q is neither wal nor boltdb", c.RaftLog)
	refuse(c.AuthTokenTTL < 1 || c.AuthTokenTTL > 365*24*60*60, "auth-token-ttl", "%d is not between 1 and 31536000 seconds", c.AuthTokenTTL)
	refuse(c.BcryptCost < auth.MinCost || c.BcryptCost > auth.MaxCost, "bcrypt-cost", "%d is not between %d and %d", c.BcryptCost, auth.MinCost, auth.MaxCost)
	refuse(c.ReserveBytes < -1, "reserve-bytes", "%d is negative", c.ReserveBytes)
	refuse(c.MemoryBytes != 0 && c.MemoryBytes < 128<<20, "memory-bytes", "%d is neither 0 nor at least 134217728", c.MemoryBytes)
	refuse(c.TracingRate < 0 || c.TracingRate > perMillion, "distributed-tracing-sampling-rate", "%d is not between 0 and 1000000", c.TracingRate)
	refuse(c.CompactionMode != periodic && c.CompactionMode != byRevision, "auto-compaction-mode", "%q is neither %s nor %s", c.CompactionMode, periodic, byRevision)
	if _, _, err := retention(c.CompactionMode, c.CompactionRetention); err != nil {
		refuse(c.CompactionMode == periodic || c.CompactionMode == byRevision, "auto-compaction-retention", "%v", err)
	}
	return slices.Concat(found, c.addressFaults(), c.acmeFaults())
}

func (c *Config) addressFaults() (found Faults) {
	if !isHost(c.Advertise) {
		return Faults{{Setting: "advertise", What: fmt.Sprintf("%q is not a host name or address alone; ports are those of listen-peer, listen-client and listen-ca", c.Advertise)}}
	}
	if c.Advertise != "" {
		if err := pki.CheckHosts("localhost", trimBrackets(c.Advertise)); err != nil {
			found = append(found, Fault{Setting: "advertise", What: err.Error()})
		}
	}
	if a := c.TracingAddress; a != "" && !isWebURL(a) && (strings.Contains(a, "://") || !isHostPort(a)) {
		found = append(found, Fault{Setting: "distributed-tracing-address", What: fmt.Sprintf("%q is neither HOST:PORT nor an http:// or https:// URL", a)})
	}
	for _, a := range [][2]string{{"listen-client", c.clientAddress(c.Advertise)}, {"listen-peer", c.peerAddress(c.Advertise)}, {"listen-ca", c.caAddress(c.Advertise)}, {"join", c.Join}} {
		if _, _, err := net.SplitHostPort(a[1]); a[1] != "" && err != nil {
			found = append(found, Fault{Setting: a[0], What: fmt.Sprintf("%v; want HOST:PORT", err)})
		}
	}
	return found
}

// isHost says that a text may be a host's name or address, without a port.
func isHost(text string) bool {
	return !strings.ContainsAny(text, " /") && strings.Count(text, ":") != 1
}

func isHostPort(text string) bool {
	_, _, err := net.SplitHostPort(text)
	return err == nil
}

func isWebURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// clientAddress is where the client door listens: as told, or on the
// advertised host, or on loopback until there is one.
func (c *Config) clientAddress(advertise string) string {
	if c.ListenClient != "" {
		return c.ListenClient
	}
	if advertise == "" {
		advertise = "127.0.0.1"
	}
	return net.JoinHostPort(trimBrackets(advertise), "2379")
}

// peerAddress is where the peer door listens: as told, or on the advertised
// host. A member that nobody can reach needs none.
func (c *Config) peerAddress(advertise string) string {
	if c.ListenPeer != "" || advertise == "" {
		return c.ListenPeer
	}
	return net.JoinHostPort(trimBrackets(advertise), "2380")
}

// minLeaseTTL is the shortest lease in seconds: as many whole ones as two
// failed elections take, and never under the two that etcd's defaults give.
func (c *Config) minLeaseTTL() int64 {
	ttl := int64((c.ElectionTimeout*3/2 + time.Second - 1) / time.Second)
	return max(ttl, 2)
}

// requestTimeout bounds a proposal without a deadline of its own, as etcd's
// 5 s + 2 election timeouts do at its default of one second.
func (c *Config) requestTimeout() time.Duration {
	return max(7*time.Second, 5*time.Second+2*c.ElectionTimeout)
}
