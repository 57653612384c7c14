// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// callSocket is what the test binary does when it is a caller of a socket: it
// puts a key over gRPC and one over HTTP/1.1, and prints how each went.
func callSocket(path string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	fmt.Println("gRPC:", putOverGRPC(ctx, path))
	fmt.Println("HTTP:", putOverHTTP(ctx, path))
}

func putOverGRPC(ctx context.Context, path string) string {
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_, err = pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("grpc")})
	return status.Code(err).String() + " " + status.Convert(err).Message()
}

func putOverHTTP(ctx context.Context, path string) string {
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://cleat/v3/kv/put", strings.NewReader(`{"key":"aHR0cA=="}`))
	if err != nil {
		return err.Error()
	}
	reply, err := web.Do(r)
	if err != nil {
		return err.Error()
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(reply.StatusCode, " ", string(body))
}

// calledBy lets another user call the socket and returns what it was told.
// The binary is run by /proc/self/exe: the user may not go where it lies.
func (p *process) calledBy(who syscall.Credential) string {
	p.t.Helper()
	cmd := exec.CommandContext(limited(p.t), "/proc/self/exe")
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "CLEAT_TEST_CALL="+p.socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &who}
	said, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("uid %d: %v: %s", who.Uid, err, said)
	}
	return string(said)
}

// openWay lets every user reach what is in a directory of the test.
func openWay(t *testing.T, dir string) {
	t.Helper()
	for ; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// The kernel says who calls, and the socket's group may: also by the
// supplementary groups, which is what usermod -aG gives.
func TestTheSocketServesItsGroupAndTellsStrangersWhy(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can call as another user")
	}
	const group, uid = 64201, 64210
	dir := t.TempDir()
	openWay(t, dir)
	p := start(t, dir, nil).ready()
	if err := os.Chown(p.socket, -1, group); err != nil {
		t.Fatal(err)
	}
	served := func(who syscall.Credential) {
		t.Helper()
		said := p.calledBy(who)
		if !strings.Contains(said, "gRPC: OK") || !strings.Contains(said, "HTTP: 200 ") {
			t.Errorf("%+v was told:\n%s", who, said)
		}
	}
	served(syscall.Credential{Uid: uid, Gid: group})
	served(syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{uid + 1, group}})

	// The file's mode lets anybody connect now; the daemon still asks who it is.
	if err := os.Chmod(p.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	const why = "cleat: uid 64210 may not use this socket: uid 64210 is neither root nor in group 64201: " +
		"run as root, or join the group and log in again"
	said := p.calledBy(syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{uid + 1}})
	if !strings.Contains(said, "gRPC: PermissionDenied "+why) || !strings.Contains(said, "HTTP: 403 "+why) {
		t.Errorf("a stranger was told:\n%s", said)
	}
	r, err := p.client().Get(limited(t), "grpc")
	if err != nil || len(r.Kvs) != 1 || r.Kvs[0].Version != 2 {
		t.Errorf("after two puts of members and one of a stranger: %+v %v", r, err)
	}
}
