// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cleatd/cleat/state"
)

// TestMain lets the test binary be a caller of the socket that
// CLEAT_TEST_CALL names, so that it can call as another user.
func TestMain(m *testing.M) {
	path := os.Getenv("CLEAT_TEST_CALL")
	if path == "" {
		os.Exit(m.Run())
	}
	if err := callSocket(path); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// callSocket calls once over gRPC, then once over HTTP/1.1.
func callSocket(path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("k")}); err != nil {
		return err
	}
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://cleat/version", nil)
	if err != nil {
		return err
	}
	reply, err := web.Do(r)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP: %s", reply.Status)
	}
	return nil
}

// callAs calls the socket as another user, or as this one if who is nil. The
// binary is run by /proc/self/exe: the user may not go where it lies.
func callAs(t *testing.T, socket string, who *syscall.Credential) {
	t.Helper()
	for dir := filepath.Dir(socket); who != nil && dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "CLEAT_TEST_CALL="+socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the call of %+v: %v: %s", who, err, said)
	}
}

func TestSocketKnowsWhoCalls(t *testing.T) {
	// Room is made for 32 groups at first, so more than those take another look.
	many := make([]uint32, 100)
	for i := range many {
		many[i] = 64301 + uint32(i)
	}
	for name, who := range map[string]*syscall.Credential{
		"a user without other groups": {Uid: 64300, Gid: 64300},
		"a user of one other group":   {Uid: 64300, Gid: 64300, Groups: many[:1]},
		"a user of 32 other groups":   {Uid: 64300, Gid: 64300, Groups: many[:32]},
		"a user of 33 other groups":   {Uid: 64300, Gid: 64300, Groups: many[:33]},
		"a user of many other groups": {Uid: 64300, Gid: 64300, Groups: many},
		"the user of this test":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			if who != nil && os.Getuid() != 0 {
				t.Skip("only root can call as another user")
			}
			type user struct {
				uid  uint32
				gids []uint32
			}
			asked := make(chan user, 2)
			s := startServer(t, func(c *Config) {
				c.SocketUsers = func(uid uint32, gids []uint32) (state.Identity, error) {
					asked <- user{uid, gids}
					return state.Identity{Name: "me"}, nil
				}
			})
			callAs(t, s.socket, who)
			want := user{uint32(os.Getuid()), append([]uint32{uint32(os.Getgid())}, groupsOfThisProcess(t)...)}
			if who != nil {
				want = user{who.Uid, append([]uint32{who.Gid}, who.Groups...)}
			}
			for _, protocol := range []string{"gRPC", "HTTP"} {
				if got := <-asked; got.uid != want.uid || !slices.Equal(got.gids, want.gids) {
					t.Errorf("%s: got %+v, want %+v", protocol, got, want)
				}
			}
		})
	}
}

func groupsOfThisProcess(t *testing.T) []uint32 {
	t.Helper()
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]uint32, len(groups))
	for i, g := range groups {
		out[i] = uint32(g)
	}
	return out
}
