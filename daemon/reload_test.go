// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
)

// reloading is a member whose settings are the test's to change.
type reloading struct {
	*life
	said *sayings
	next atomic.Pointer[Config]
	bad  error // what reading the settings fails with
}

func beginReloading(t *testing.T, o Options) *reloading {
	t.Helper()
	r := &reloading{said: new(sayings)}
	o.Logger = slog.New(slog.NewTextHandler(r.said, &slog.HandlerOptions{Level: o.Level}))
	o.Reload = func() (Config, error) { return *r.next.Load(), r.bad }
	r.next.Store(&o.Config)
	r.life = begin(t, o)
	limit := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(limit) })
	return r
}

// with reloads the member with other settings.
func (r *reloading) with(change func(*Config)) outcome {
	r.t.Helper()
	c := *r.next.Load()
	change(&c)
	r.next.Store(&c)
	told := make(chan outcome, 1)
	select {
	case r.d.reloads <- told:
		return <-told
	case <-within(r.t).Done():
		r.t.Fatal("the member does not reload")
		return outcome{}
	}
}

// effects are what each setting that a reload changes does in the member. A new
// one needs a line here.
var effects = map[string]struct {
	value string
	seen  func(*reloading) error
}{
	"log-level": {"warn", func(r *reloading) error { return want(r.d.level.Level(), slog.LevelWarn) }},
	"max-request-bytes": {"2048", func(r *reloading) error {
		return wantError(r.put("k", 4096), rpctypes.ErrRequestTooLarge)
	}},
	"max-txn-ops": {"1", func(r *reloading) error {
		_, err := r.client.Txn(within(r.t)).Then(clientv3.OpGet("a"), clientv3.OpGet("b")).Commit()
		return wantError(err, rpctypes.ErrTooManyOps)
	}},
	"watch-progress-interval": {"100ms", func(r *reloading) error {
		// A stream of its own: the client puts watches of equal contexts on one.
		ctx := clientv3.WithRequireLeader(within(r.t))
		for n := range r.client.Watch(ctx, "idle", clientv3.WithProgressNotify()) {
			if n.IsProgressNotify() {
				return nil
			}
		}
		return errors.New("no notice of progress")
	}},
	"hash-interval": {"7m", func(r *reloading) error { return want(r.d.config().HashInterval, 7*time.Minute) }}, // and TestAPartBeginsAnewByOtherSettings
	"cert-ttl": {"100h", func(r *reloading) error {
		certificates := r.d.pki.Certificates()
		leaf := certificates[len(certificates)-1]
		return want(leaf.NotAfter.Sub(leaf.NotBefore).Round(time.Hour), 100*time.Hour)
	}},
	"auth-token-ttl": {"60", func(r *reloading) error { return want(r.d.config().tokenTTL(), time.Minute) }}, // and auth: TestTokensTakeOnAnotherLife
	"bcrypt-cost": {"5", func(r *reloading) error {
		hash, err := r.d.passwords.Hash(within(r.t), "x")
		if err != nil {
			return err
		}
		cost, err := bcrypt.Cost(hash)
		return errors.Join(err, want(cost, 5))
	}},
	"reserve-bytes": {fmt.Sprint(math.MaxInt64 / 2), func(r *reloading) error {
		return r.until(func() error { return wantError(r.put("k", 1), rpctypes.ErrNoSpace) })
	}},
	"quota-backend-bytes": {"1", func(r *reloading) error {
		s, err := r.client.Status(within(r.t), "unix://"+r.d.config().Socket)
		if err != nil {
			return err
		}
		return errors.Join(want(s.DbSizeQuota, 1), wantError(r.put("k", 1), rpctypes.ErrNoSpace))
	}},
	"memory-bytes": {"268435456", func(r *reloading) error { return want(debug.SetMemoryLimit(-1), 268435456) }},
	"distributed-tracing-sampling-rate": {"7", func(r *reloading) error {
		return want(r.d.sampler.Description(), "TraceIDRatioBased{7e-06}")
	}},
	"auto-compaction-mode":      {"revision", func(r *reloading) error { return want(r.d.newHistory(r.d.config()).keep, 1000000) }},
	"auto-compaction-retention": {"2h", func(r *reloading) error { return want(r.d.newHistory(r.d.config()).span, 2*time.Hour) }},
	"listen-client":             {"127.0.0.1:0 ", func(r *reloading) error { return nil }}, // TestDoorsMoveToWhatOverlapsToo
	"acme-names": {"*.example.internal", func(r *reloading) error {
		return want(len(r.d.config().ACMENames), 1) // and pki/ca: TestACMEIsOffWhileNoNamesAreAllowed
	}},
	"acme-allow":  {"127.0.0.0/8", func(r *reloading) error { return want(len(r.d.config().acmePolicy().Allow), 1) }},
	"acme-deny":   {"10.0.0.0/8,10.1.2.3", func(r *reloading) error { return want(len(r.d.config().acmePolicy().Deny), 2) }},
	"listen-ca":   {"", nil}, // TestTheCADoorComesMovesAndGoes
	"listen-peer": {"", nil}, // likewise
	"advertise":   {"", nil}, // likewise
}

func want[T comparable](got, wanted T) error {
	if got != wanted {
		return fmt.Errorf("got %v, want %v", got, wanted)
	}
	return nil
}

func wantError(got, wanted error) error {
	if !errors.Is(got, wanted) {
		return fmt.Errorf("got %v, want %v", got, wanted)
	}
	return nil
}

// until asks again until the answer is nil, and returns the last.
func (r *reloading) until(ask func() error) error {
	limit := within(r.t)
	for {
		err := ask()
		if err == nil || limit.Err() != nil {
			return err
		}
	}
}

func TestEachSettingCountsWhenItsTableSaysSo(t *testing.T) {
	fixed := map[string]string{
		"name": "other", "data-dir": "/elsewhere", "socket": "/elsewhere.sock", "election-timeout": "7s",
		"auth-token": "simple,", "distributed-tracing-address": "localhost:4317",
		"join": "localhost:2380", "token-file": "/t",
	}
	r := beginReloading(t, options(t, shortDir(t)))
	for _, s := range Settings() {
		before := *r.d.config()
		set := func(value string) outcome {
			return r.with(func(c *Config) {
				if err := s.set(c, value); err != nil {
					t.Fatal(err)
				}
			})
		}
		switch s.Count {
		case Live:
			e, known := effects[s.Name]
			if !known {
				t.Errorf("%s: nothing here says what a reload does with it", s.Name)
			}
			if e.seen == nil || s.Name == "listen-client" {
				continue
			}
			o := set(e.value)
			if o.err != nil || len(o.changed) != 1 || o.changed[0].name != s.Name || o.waiting != nil {
				t.Errorf("%s: %+v", s.Name, o)
			}
			if err := e.seen(r); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
			if o := set(s.Text(&before)); o.err != nil {
				t.Errorf("%s, back: %v", s.Name, o.err)
			}
		case Restart, FirstStart:
			value, known := fixed[s.Name]
			if s.Name == "raft-log" {
				continue // another one is a fault: TestABadConfigurationIsRefusedAsAWhole
			}
			if !known {
				t.Errorf("%s: this test has no value for it", s.Name)
				continue
			}
			o := set(value)
			if o.err != nil || o.changed != nil || (len(o.waiting) == 1) != (s.Count == Restart) {
				t.Errorf("%s: %+v", s.Name, o)
			}
			if now := r.d.config(); s.Count == Restart && !s.same(&before, now) {
				t.Errorf("%s has become %s", s.Name, s.Text(now))
			}
			old := s.Text(&before)
			if old == "" {
				old = `""`
			}
			line := fmt.Sprintf("next start only\" setting=%s old=%s new=", s.Name, old)
			if said := strings.Contains(r.said.String(), line); said != (s.Count == Restart) {
				t.Errorf("%s: the log says so: %v", s.Name, said)
			}
			set(s.Text(&before))
		default:
			t.Errorf("%s does not say when it counts", s.Name)
		}
	}
	if err := r.until(func() error { return r.put("after", 10) }); err != nil {
		t.Error(err)
	}
}

// A configuration that is refused leaves everything as it was, whichever part of
// it is bad and whatever else it would have changed.
func TestABadConfigurationIsRefusedAsAWhole(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	r := beginReloading(t, options(t, shortDir(t)))
	pem := filepath.Join(r.d.pkiDir(), "member.pem")
	kept, err := os.ReadFile(pem)
	if err != nil {
		t.Fatal(err)
	}
	good := *r.next.Load()
	for name, c := range map[string]struct {
		change func(*Config)
		bad    error
		pem    []byte
		want   string
	}{
		"what cannot be read":   {bad: fmt.Errorf("%w: unknown key \"x\"", ErrConfig), want: "unknown key"},
		"a bad combination":     {change: func(c *Config) { c.CompactionMode, c.CompactionRetention = byRevision, "1h" }, want: "auto-compaction-retention"},
		"an address in use":     {change: func(c *Config) { c.ListenClient = busy.Addr().String() }, want: "address already in use"},
		"an address of nobody":  {change: func(c *Config) { c.ListenClient = "192.0.2.1:0" }, want: "listen-client"},
		"another log":           {change: func(c *Config) { c.RaftLog = "boltdb" }, want: "change the setting back"},
		"a key of no tokens":    {change: func(c *Config) { c.AuthToken = "jwt,sign-method=RS256,pub-key=/none" }, want: "auth-token"},
		"a damaged certificate": {pem: []byte("nonsense"), want: pem},
	} {
		t.Run(name, func(t *testing.T) {
			defer r.next.Store(&good)
			r.bad = c.bad
			if c.pem != nil {
				if err := os.WriteFile(pem, c.pem, 0o600); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := os.WriteFile(pem, kept, 0o600); err != nil {
						t.Error(err)
					}
				}()
			}
			door, errorsBefore := r.d.doors.client()[0], strings.Count(r.said.String(), "level=ERROR")
			o := r.with(func(now *Config) {
				now.MaxTxnOps, now.LogLevel = 1, slog.LevelError // good ones beside it
				if c.change != nil {
					c.change(now)
				}
			})
			r.bad = nil
			if o.err == nil || !strings.Contains(o.err.Error(), c.want) {
				t.Errorf("got %v, want %q", o.err, c.want)
			}
			if now := *r.d.config(); !reflect.DeepEqual(now, good) || r.d.level.Level() != slog.LevelInfo || r.d.doors.client()[0] != door {
				t.Errorf("something has changed: %+v", now)
			}
			if n := strings.Count(r.said.String(), "level=ERROR") - errorsBefore; n != 1 {
				t.Errorf("%d lines of the log are errors", n)
			}
			if s := r.d.statusText(); !strings.Contains(s, "refused: ") || !strings.Contains(s, c.want) || strings.Contains(s, "\n") {
				t.Errorf("systemd is told %q", s)
			}
		})
	}
	if o := r.with(func(c *Config) { c.MaxTxnOps = 7 }); o.err != nil || strings.Contains(r.d.statusText(), "refused") {
		t.Errorf("after a good one: %v, %s", o.err, r.d.statusText())
	}
}

// No request, watch or lease notices a hundred reloads with changing limits. Ever
// larger requests need another grpc server each time.
func TestAHundredReloadsFailNoRequest(t *testing.T) {
	r := beginReloading(t, options(t, shortDir(t)))
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	lease, err := r.client.Grant(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	alive, err := r.client.KeepAlive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	events := r.client.Watch(ctx, "put/", clientv3.WithPrefix())
	large, err := clientv3.New(clientv3.Config{
		Endpoints: r.client.Endpoints(), DialTimeout: patience, MaxCallSendMsgSize: 32 << 20, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	if _, err := large.Put(ctx, "large", ""); err != nil { // its connection is from before the limits
		t.Fatal(err)
	}
	var puts atomic.Int64
	done := make(chan struct{}) // a put
	var working sync.WaitGroup
	stop := make(chan struct{})
	for worker := range 4 {
		working.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := r.client.Put(ctx, fmt.Sprintf("put/%d", worker), fmt.Sprint(n)); err != nil {
					t.Errorf("put %d of worker %d: %v", n, worker, err)
					return
				}
				puts.Add(1)
				select {
				case done <- struct{}{}:
				default:
				}
				if _, err := r.client.KeepAliveOnce(ctx, lease.ID); err != nil {
					t.Errorf("renewal %d of worker %d: %v", n, worker, err)
					return
				}
			}
		})
	}
	for n := range 100 {
		o := r.with(func(c *Config) {
			c.MaxRequestBytes = int64(1+n%4+n/10)<<20 + 1
			c.MaxTxnOps = int64(10 + n%3)
			c.QuotaBytes = int64(n%2) << 40
			c.MemoryBytes = int64(n%3) * (512 << 20)
			c.BcryptCost = int64(4 + n%2)
			c.HashInterval = time.Duration(n%3) * time.Minute
			c.WatchProgressInterval = time.Duration(1+n%5) * time.Minute
		})
		if o.err != nil || len(o.changed) == 0 {
			t.Fatalf("reload %d: %+v", n, o)
		}
		select {
		case <-done:
		case <-ctx.Done():
			t.Fatalf("no put gets through after reload %d", n)
		}
	}
	if _, err := large.Put(ctx, "large", strings.Repeat("x", 8<<20)); err != nil {
		t.Error(err)
	}
	close(stop)
	working.Wait()
	for seen := int64(0); seen < puts.Load(); {
		select {
		case w := <-events:
			if w.Err() != nil || w.Canceled {
				t.Fatalf("the watch ends after %d of %d events: %v", seen, puts.Load(), w.Err())
			}
			seen += int64(len(w.Events))
		case <-ctx.Done():
			t.Fatalf("the watch has %d of %d events", seen, puts.Load())
		}
	}
	for len(alive) > 0 {
		if k, open := <-alive; !open || k == nil {
			t.Fatal("the stream of renewals has ended")
		}
	}
	if ttl, err := r.client.TimeToLive(ctx, lease.ID); err != nil || ttl.TTL <= 0 {
		t.Errorf("the lease: %+v, %v", ttl, err)
	}
}

// A door that was not there at the start needs another one.
func TestAFirstPeerDoorWaitsForTheNextStart(t *testing.T) {
	r := beginReloading(t, options(t, shortDir(t)))
	o := r.with(func(c *Config) { c.Advertise = "localhost" })
	if o.err != nil || o.changed != nil || len(o.waiting) != 1 || o.waiting[0] != (change{"advertise", "", "localhost"}) {
		t.Errorf("%+v", o)
	}
	if r.d.config().Advertise != "" || r.d.doors.peer() != nil {
		t.Error("it counts already")
	}
}

// Settings that a loop goes by count when they change, and others do not disturb it.
func TestAPartBeginsAnewByOtherSettings(t *testing.T) {
	r := beginReloading(t, options(t, shortDir(t)))
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	began := make(chan time.Duration)
	ended := make(chan error, 1)
	go func() {
		ended <- r.d.whileSame(ctx, []string{"hash-interval"}, func(ctx context.Context, c *Config) error {
			began <- c.HashInterval
			if c.HashInterval == 0 {
				return nil // it has nothing to do
			}
			<-ctx.Done()
			return nil
		})
	}()
	<-began
	for _, every := range []time.Duration{time.Hour, 0, 2 * time.Hour} {
		r.with(func(c *Config) { c.MaxTxnOps++ }) // not its
		r.with(func(c *Config) { c.HashInterval = every })
		if got := <-began; got != every {
			t.Errorf("it goes by %v, want %v", got, every)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
