// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/cleatd/cleat/client"
)

// elsewhere is a machine of somebody's, without a member.
type elsewhere struct{ config string }

// ctl runs cleatctl there.
func (e elsewhere) ctl(t testing.TB, line string) (stdout, stderr string, ok bool) {
	t.Helper()
	run := exec.Command(program(t, cleatctl), strings.Fields(line)...)
	run.Env = append(run.Environ(), "XDG_CONFIG_HOME="+e.config, "XDG_RUNTIME_DIR=/nonexistent")
	var out, talk bytes.Buffer
	run.Stdout, run.Stderr = &out, &talk
	err := run.Run()
	return out.String(), talk.String(), err == nil
}

func (e elsewhere) must(t testing.TB, line string) string {
	t.Helper()
	stdout, stderr, ok := e.ctl(t, line)
	if !ok {
		t.Fatalf("cleatctl %s: %s", line, stderr)
	}
	return stdout
}

// invited returns what a user elsewhere types.
func (m member) invited(t testing.TB, flags string) string {
	t.Helper()
	line, found := strings.CutPrefix(strings.TrimSpace(m.must(t, "token create "+flags)), "cleatctl ")
	if !found {
		t.Fatalf("token create prints %q", line)
	}
	return line
}

func withCADoor(t testing.TB, flags ...string) member {
	return startCleatd(t, append(append(reachable, "--listen-ca=127.0.0.1:0"), flags...)...)
}

func TestAUserElsewhereLogsInAndDoesWhatItsRolePermits(t *testing.T) {
	t.Parallel()
	m, alice := withCADoor(t), elsewhere{t.TempDir()}
	for _, line := range []string{
		"role add app", "role grant-permission app readwrite app/ --prefix", "user add root --no-password", "user grant-role root root", "auth enable",
	} {
		m.must(t, line)
	}
	login := m.invited(t, "--client alice --role app")
	if said := alice.must(t, login+" --context prod"); !strings.HasPrefix(said, "Context prod: user alice at https://127.0.0.1:") {
		t.Errorf("login says %q", said)
	}
	if got := alice.must(t, "put app/k v"); got != "OK\n" {
		t.Errorf("put: %q", got)
	}
	if got := m.must(t, "get app/k --print-value-only"); got != "v\n" {
		t.Errorf("at the socket: %q", got)
	}
	if _, why, ok := alice.ctl(t, "put other v"); ok || !strings.Contains(why, "permission denied") {
		t.Errorf("what the role does not permit: %v, %q", ok, why)
	}
	before := alice.must(t, "context show")
	if said := alice.must(t, "renew --all"); !strings.HasPrefix(said, "Context prod: not due before ") {
		t.Errorf("renew --all says %q", said)
	}
	if said := alice.must(t, "renew --force"); !strings.HasPrefix(said, "Context prod: renewed, good until ") {
		t.Errorf("renew --force says %q", said)
	}
	if after := alice.must(t, "context show"); after == before || alice.must(t, "get app/k --print-value-only") != "v\n" {
		t.Errorf("after the renewal:\n%s", after)
	}
	if status := m.must(t, "token list"); !strings.Contains(status, "used up, client, 0") || !strings.Contains(status, ", alice, ") {
		t.Errorf("tokens: %s", status)
	}
	alice.must(t, "logout")
	if _, why, ok := alice.ctl(t, "get app/k"); ok || !strings.Contains(why, "no member on this machine") {
		t.Errorf("after the logout: %v, %q", ok, why)
	}
	if left, err := filepath.Glob(filepath.Join(alice.config, "cleat", "contexts", "*")); err != nil || len(left) != 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

func TestEachReasonNotToLogInIsItsOwnLine(t *testing.T) {
	t.Parallel()
	m, other, bob := withCADoor(t), withCADoor(t, "--name=other"), elsewhere{t.TempDir()}
	good := m.invited(t, "--client bob")
	address := good[strings.LastIndex(good, " ")+1:]
	foreign := other.invited(t, "--client bob")
	elsewhereAddress := foreign[strings.LastIndex(foreign, " ")+1:]
	revoked, joining, short := m.invited(t, "--client bob"), strings.Fields(m.must(t, "invite"))[3], m.invited(t, "--client bob --ttl 1s")
	m.must(t, "token revoke "+strings.Fields(revoked)[2])
	eventually(t, "the token expires", func() error {
		if tokens := m.must(t, "token list"); !strings.Contains(tokens, "expired") {
			return fmt.Errorf("%s", tokens)
		}
		return nil
	})
	for _, c := range []struct{ name, line, want string }{
		{"a token of another cluster", strings.Replace(foreign, elsewhereAddress, address, 1), "has not the root that the token names"},
		{"a host of another cluster", strings.Replace(good, address, elsewhereAddress, 1), "has not the root that the token names"},
		{"a revoked token", revoked, "the token was revoked"},
		{"an expired token", short, "the token expired"},
		{"a machine's token", "login --token " + joining + " " + address, "the token is for something else"},
		{"a token cut off", "login --token " + strings.Fields(good)[2][:80] + " " + address, "it may be cut off"},
		{"nobody there", strings.Replace(good, address, "127.0.0.1:1", 1), "connection refused"},
		{"the client door", strings.Replace(good, address, m.client, 1), "log in at " + m.client},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, why, ok := bob.ctl(t, c.line)
			if ok || stdout != "" || strings.Count(why, "\n") != 1 || !strings.Contains(why, c.want) {
				t.Errorf("%q, %q", stdout, why)
			}
		})
	}
	if _, why, ok := m.ctl(t, "token create --client eve --role none"); ok || !strings.Contains(why, "nothing was made: role none") {
		t.Errorf("a role that there is not: %v, %q", ok, why)
	}
	if users := m.must(t, "user list"); strings.Contains(users, "eve") {
		t.Errorf("users: %s", users)
	}
	// None of it used the token up.
	bob.must(t, good)
	if _, why, ok := bob.ctl(t, good+" --context again"); ok || !strings.Contains(why, "the token is used up") {
		t.Errorf("a second login: %v, %q", ok, why)
	}
	if _, why, ok := bob.ctl(t, m.invited(t, "--client eve")); ok || !strings.Contains(why, "replace it with --force") {
		t.Errorf("in the place of a good context: %v, %q", ok, why)
	}
}

// A program on etcd's client, which writes all the while on connections old and
// new, goes on over several lives of its certificate, and no request fails.
func TestAProgramGoesOnWhileItsBundleIsRenewed(t *testing.T) {
	t.Parallel()
	m, there := withCADoor(t), elsewhere{t.TempDir()}
	there.must(t, m.invited(t, "--client app --cert-ttl 2s")+" --context app")
	bundle, err := client.Load(filepath.Join(there.config, "cleat", "contexts", "app"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience+time.Duration(*lives)*4*time.Second)
	defer cancel()
	var writers sync.WaitGroup
	var puts atomic.Int64
	config := clientv3.Config{Endpoints: bundle.Endpoints(), TLS: bundle.TLS(), DialTimeout: patience, Logger: zap.NewNop()}
	for _, settings := range []clientv3.Config{config, {
		Endpoints: bundle.Endpoints(), DialTimeout: patience, Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(bundle.Credentials())},
	}} {
		writers.Go(func() { puts.Add(write(t, ctx, settings)) })
	}
	certificates := 0
	if err := bundle.Keep(ctx, func(_ *client.Bundle, err error) {
		if err != nil {
			t.Errorf("renew: %v", err)
		}
		if certificates++; certificates == *lives {
			cancel()
		}
	}); err != nil {
		t.Error(err)
	}
	writers.Wait()
	if certificates != *lives || puts.Load() < int64(*lives) {
		t.Errorf("%d certificates, %d puts", certificates, puts.Load())
	}
	t.Logf("%d certificates, %d puts", certificates, puts.Load())
}

// write puts until ctx ends, every hundredth time on a connection of its own, and
// returns how often.
func write(t *testing.T, ctx context.Context, config clientv3.Config) (done int64) {
	for ctx.Err() == nil {
		etcd, err := clientv3.New(config)
		if err != nil {
			t.Errorf("connect: %v", err)
			return done
		}
		for i := 0; i < 100 && ctx.Err() == nil; i++ {
			_, err := etcd.Put(ctx, "k", fmt.Sprint(i))
			if err != nil && ctx.Err() == nil {
				t.Errorf("put: %v", err)
			}
			done++
		}
		_ = etcd.Close() // what matters was said before
	}
	return done
}

func TestADaemonRenewsAllContexts(t *testing.T) {
	t.Parallel()
	m, there := withCADoor(t), elsewhere{t.TempDir()}
	for _, name := range []string{"a", "b"} {
		there.must(t, m.invited(t, "--client "+name+" --cert-ttl 4s")+" --context "+name)
	}
	run := exec.Command(program(t, cleatctl), "renew", "--all", "--daemon")
	run.Env = append(run.Environ(), "XDG_CONFIG_HOME="+there.config)
	said := &output{}
	run.Stdout, run.Stderr = said, said
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = run.Process.Signal(syscall.SIGTERM)
		if err := run.Wait(); err != nil {
			t.Errorf("ended with %v:\n%s", err, said)
		}
	}()
	eventually(t, "both are renewed twice", func() error {
		if strings.Count(said.String(), "Context a: renewed") < 2 || strings.Count(said.String(), "Context b: renewed") < 2 {
			return fmt.Errorf("it said\n%s", said)
		}
		return nil
	})
}
