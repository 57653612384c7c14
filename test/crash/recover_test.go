// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Two of three are gone for good. The one that is left goes on alone with what
// it has, says what may be lost, and takes the others in again.
func TestTheLeaderThatIsLeftIsRecoveredWhileItRuns(t *testing.T) {
	c := startTrio(t)
	left := c.healthy()
	c.put(left, "k", "1")
	others := c.others(left)
	for _, i := range others {
		c.members[i].kill()
	}
	// Nobody agrees to this any more; it is in the leader's log all the same.
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	_, err := c.clients[left].Put(ctx, "k", "2")
	cancel()
	if err == nil {
		t.Fatal("a write was acknowledged without a majority")
	}

	said := c.recoverRunning(left)
	c.named(said, left, others)
	if !strings.Contains(said, "entries of its log count; they were not known to be agreed upon") {
		t.Errorf("it does not say what was not agreed upon:\n%s", said)
	}
	if r, err := c.clients[left].Get(within(t), "k"); err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "2" {
		t.Errorf("what it had: %v, %v", r, err)
	}
	c.rejoin(left, others)
}

func TestTheMemberThatIsLeftIsRecoveredWhileItIsStopped(t *testing.T) {
	c := startTrio(t)
	leader := c.healthy()
	c.put(leader, "k", "1")
	c.healthy()
	left := (leader + 1) % 3
	if _, err := c.clients[left].Get(within(t), "k"); err != nil { // it has heard of it
		t.Fatal(err)
	}
	for _, p := range c.members {
		p.kill()
	}
	said, err := c.homes[left].cleatd(t, "recover", "--force-new-cluster")
	if err != nil {
		t.Fatalf("cleatd recover: %v:\n%s", err, said)
	}
	others := c.others(left)
	c.named(said, left, others)
	if !strings.Contains(said, "start it") || !strings.Contains(said, "is lost") {
		t.Errorf("recover says:\n%s", said)
	}
	c.members[left] = c.homes[left].start(t)
	if r, err := c.clients[left].Get(within(t), "k"); err != nil || len(r.Kvs) != 1 {
		t.Errorf("what it had: %v, %v", r, err)
	}
	c.rejoin(left, others)
}

func (c *trio) others(i int) []int { return []int{(i + 1) % 3, (i + 2) % 3} }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (c *trio) put(i int, key, value string) {
	c.t.Helper()
	if _, err := c.clients[i].Put(within(c.t), key, value); err != nil {
		c.t.Fatal(err)
	}
}

// recoverRunning has cleatctl recover a member as soon as that has noticed that
// nobody leads.
func (c *trio) recoverRunning(i int) (said string) {
	c.t.Helper()
	ctx := within(c.t)
	for {
		out, err := exec.Command(filepath.Join(filepath.Dir(program(c.t)), "cleatctl"),
			"--socket", c.homes[i].socket(), "recover", "--force-new-cluster").CombinedOutput()
		if err == nil {
			return string(out)
		}
		if !strings.Contains(string(out), "the cluster has a leader") || ctx.Err() != nil {
			c.t.Fatalf("cleatctl recover: %v: %s", err, out)
		}
	}
}

// named fails unless a recovery named who goes on and both that may have had
// more, each in a line of its own.
func (c *trio) named(said string, left int, others []int) {
	c.t.Helper()
	if !strings.Contains(said, fmt.Sprintf("ember %x is a cluster of its own now", c.ids[left])) &&
		!strings.Contains(said, fmt.Sprintf("ember %016x is a cluster of its own now", c.ids[left])) {
		c.t.Errorf("the recovery of %x says:\n%s", c.ids[left], said)
	}
	for _, i := range others {
		found := false
		for line := range strings.Lines(said) {
			found = found || strings.Contains(line, fmt.Sprintf("%x", c.ids[i])) && strings.Contains(line, fmt.Sprint("m", i+1))
		}
		if !found {
			c.t.Errorf("the recovery does not name m%d, member %x, as lost:\n%s", i+1, c.ids[i], said)
		}
	}
}

// rejoin starts the lost members again. They are strangers that give up what
// they had, and then the same as all.
func (c *trio) rejoin(left int, others []int) {
	c.t.Helper()
	for _, i := range others {
		c.members[i] = c.homes[i].start(c.t)
		line := strings.Fields(c.homes[left].ctl(c.t, "invite"))
		c.homes[i].ctl(c.t, append([]string{"join", "--discard"}, line[2:]...)...)
	}
	c.healthy()
	for i := range c.clients {
		c.put(i, fmt.Sprint("at ", i), "again")
	}
	for _, i := range others {
		r, err := c.clients[i].Get(within(c.t), "at ", clientv3.WithPrefix())
		if err != nil || len(r.Kvs) != 3 {
			c.t.Errorf("at m%d: %v, %v", i+1, r, err)
		}
		same(c.t, c.clients[left], c.clients[i])
	}
}

// cleatd runs another of its commands on the directory of a member.
func (h home) cleatd(t *testing.T, args ...string) (said string, err error) {
	t.Helper()
	command := exec.Command(program(t), append(args, "--name=one", "--data-dir="+filepath.Join(h.dir, "data"))...)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err = command.Run()
	return out.String(), err
}
