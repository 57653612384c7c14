// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// twins are a cluster of each program. What one is told the other is, so they
// have the same history.
type twins struct{ want, got *cluster }

// startTwins starts both on empty directories, until the test ends. Flags are
// those that both have.
func startTwins(t testing.TB, flags ...string) *twins {
	t.Helper()
	return (&twins{want: startEtcds(t, server{}, flags...), got: startCleatds(t, flags...)}).agreed()
}

// startMutualTwins is startTwins where etcd wants certificates, too.
func startMutualTwins(t testing.TB, flags ...string) *twins {
	t.Helper()
	certified, by := etcdCertificates(t)
	return (&twins{want: startEtcds(t, by, append(certified, flags...)...), got: startCleatds(t, flags...)}).agreed()
}

func (w *twins) agreed() *twins {
	w.want.leader()
	w.got.leader()
	return w
}

// startEtcds starts etcd three times, for clients that come like by.
func startEtcds(t testing.TB, by server, flags ...string) *cluster {
	t.Helper()
	c := &cluster{TB: t, name: etcdDoor.name, by: by, flags: flags, grow: growEtcd}
	var peers, all []string
	for i := range members {
		peers = append(peers, "http://"+freeAddress(t))
		all = append(all, fmt.Sprintf("m%d=%s", i, peers[i]))
	}
	var started []*member
	for i, peer := range peers {
		started = append(started, c.startEtcd(fmt.Sprint("m", i), peer, strings.Join(all, ","), "new"))
	}
	for _, m := range started { // no one of them answers before the others are there
		c.take(m)
	}
	t.Cleanup(c.end)
	return c
}

func (c *cluster) startEtcd(name, peer, all, state string) *member {
	c.Helper()
	door, client := c.by, "http://"
	if door.tls != nil {
		client = "https://"
	}
	door.address = freeAddress(c.TB)
	client += door.address
	args := append([]string{
		"--name=" + name, "--data-dir", filepath.Join(c.TempDir(), name), "--log-level=panic", "--unsafe-no-fsync",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=" + all, "--initial-cluster-state=" + state,
	}, inMemory(c.TB)...)
	said := run(c.TB, program(c.TB, etcd), append(args, c.flags...)...)
	return &member{process: said.process, peer: peer, doors: []server{door}}
}

// growEtcd adds a member and starts it.
func growEtcd(c *cluster, learner bool) *member {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	name, peer := fmt.Sprint("m", len(c.members)), "http://"+freeAddress(c.TB)
	var r *pb.MemberAddResponse
	eventually(c.TB, "etcd adds a member", func() (err error) { // it wants all to be connected for five seconds
		r, err = pb.NewClusterClient(c.members[0].control.conn).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{peer}, IsLearner: learner})
		return err
	})
	all := []string{name + "=" + peer}
	for _, m := range r.Members {
		if m.ID != r.Member.ID {
			all = append(all, m.Name+"="+m.PeerURLs[0])
		}
	}
	return c.startEtcd(name, peer, strings.Join(all, ","), "existing")
}

// startCleatds starts cleatd, and others that join it with its token.
func startCleatds(t testing.TB, flags ...string) *cluster {
	t.Helper()
	c := &cluster{TB: t, name: "cleat", flags: flags, grow: growCleatd}
	for range members {
		c.take(growCleatd(c, false))
	}
	t.Cleanup(c.end)
	return c
}

// growCleatd starts one more, which joins the first, if there is one.
func growCleatd(c *cluster, learner bool) *member {
	c.Helper()
	dir, err := os.MkdirTemp("", "cleat") // as in startCleatd
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "sock")
	args := append([]string{
		fmt.Sprint("--name=m", len(c.members)), "--data-dir=" + filepath.Join(dir, "data"), "--socket=" + path,
		"--listen-client=127.0.0.1:0", "--listen-peer=127.0.0.1:0", "--listen-ca=127.0.0.1:0", "--advertise=127.0.0.1",
	}, inMemory(c.TB)...)
	said := run(c.TB, program(c.TB, cleatd), append(args, c.flags...)...)
	found := said.await(c.TB, readyLine)
	var roots *tls.Config
	var bundle string
	if len(c.members) == 0 {
		bundle = filepath.Join(c.TempDir(), "alice")
		roots = issue(c.TB, path, bundle)
	} else {
		first := c.members[0].doors
		roots, bundle = first[atPort].tls, first[atPort].bundle
		invite := []string{"invite"}
		if learner {
			invite = append(invite, "--learner")
		}
		join := strings.Fields(c.ctl(first[atSocket].socket, invite...))
		c.ctl(path, join[1:]...)
		found = said.awaitAgain(c.TB, readyLine, 2)
	}
	return &member{process: said.process, doors: []server{{socket: path}, {address: found[2], tls: roots, bundle: bundle}}}
}

// ctl runs cleatctl at a socket.
func (c *cluster) ctl(path string, args ...string) string {
	c.Helper()
	command := exec.Command(program(c.TB, cleatctl), append([]string{"--socket", path}, args...)...)
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		c.Fatalf("cleatctl %s: %v: %s", args[0], err, &stderr)
	}
	return string(out)
}
