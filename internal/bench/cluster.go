// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A cluster is members of one contender that agree; the first led when it was
// gathered. One alone is a cluster, too.
type cluster []*member

// launch starts n members of c below root and returns when each of them answers
// a linearizable get.
func launch(ctx context.Context, c contender, root string, n int) (cluster, error) {
	var all cluster
	for range n {
		m, err := newMember(c, root)
		if err != nil {
			all.close()
			return nil, err
		}
		all = append(all, m)
	}
	for _, m := range all {
		m.fellows = all
	}
	if err := all.open(ctx); err != nil {
		all.close()
		err = fmt.Errorf("start %s: %w", c.name, err)
		for _, m := range all {
			err = fmt.Errorf("%w: %s", err, &m.said)
		}
		return nil, err
	}
	return all, nil
}

func (all cluster) open(ctx context.Context) error {
	if err := all[0].gather(ctx, all); err != nil {
		return err
	}
	trusted, err := all[0].trust(ctx, all[0])
	if err != nil {
		return err
	}
	for _, m := range all {
		m.tls = trusted
		if err := m.answers(ctx); err != nil {
			return err
		}
	}
	if len(all) == 1 {
		return nil
	}
	return all.leaderFirst(ctx)
}

// leaderFirst puts the leader in front, where the measures look for it.
func (all cluster) leaderFirst(ctx context.Context) error {
	for i, m := range all {
		client, err := m.client(ctx)
		if err != nil {
			return err
		}
		status, err := client.Status(ctx, m.address)
		if err = errors.Join(err, client.Close()); err != nil {
			return err
		}
		if status.Leader == status.Header.MemberId {
			all[0], all[i] = all[i], all[0]
			return nil
		}
	}
	return errors.New("no member leads")
}

func (all cluster) close() {
	for _, m := range all {
		m.close()
	}
}

func (all cluster) pids() (pids []int) {
	for _, m := range all {
		pids = append(pids, m.pid())
	}
	return pids
}

// together starts members that were told of one another.
func together(_ context.Context, all cluster) error {
	for _, m := range all {
		if err := m.start(); err != nil {
			return err
		}
	}
	return nil
}

// joining starts the first cleat member, has it invite the others, and returns
// when all of them vote.
func joining(s settings) func(context.Context, cluster) error {
	return func(ctx context.Context, all cluster) error {
		if err := together(ctx, all); err != nil || len(all) == 1 {
			return err
		}
		for _, m := range all {
			if err := m.await(ctx, func() error {
				_, err := m.ctl(ctx, s, "endpoint", "health")
				return err
			}); err != nil {
				return err
			}
		}
		said, err := all[0].ctl(ctx, s, "invite", fmt.Sprintf("--uses=%d", len(all)-1))
		if err != nil {
			return err
		}
		line := strings.Fields(string(said))
		if len(line) < 2 || line[1] != "join" {
			return fmt.Errorf("cleatctl invite printed %q", said)
		}
		for _, m := range all[1:] {
			if _, err := m.ctl(ctx, s, line[1:]...); err != nil {
				return err
			}
		}
		return all[0].await(ctx, func() error { return all[0].voters(ctx, s, len(all)) })
	}
}

// voters returns nil when n members have started and none learns.
func (m *member) voters(ctx context.Context, s settings, n int) error {
	said, err := m.ctl(ctx, s, "member", "list", "-w", "json")
	if err != nil {
		return err
	}
	var list clientv3.MemberListResponse
	if err := json.Unmarshal(said, &list); err != nil {
		return err
	}
	for _, each := range list.Members {
		if each.IsLearner || each.Name == "" {
			n = 0
		}
	}
	if len(list.Members) != n {
		return fmt.Errorf("not all members vote yet: %s", said)
	}
	return nil
}

// ctl runs cleatctl at the member's socket.
func (m *member) ctl(ctx context.Context, s settings, args ...string) ([]byte, error) {
	if _, err := os.Stat(m.socket()); err != nil {
		return nil, err
	}
	said, err := exec.CommandContext(ctx, s.cleatctl, append([]string{"--socket", m.socket()}, args...)...).Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		err = fmt.Errorf("cleatctl %s: %w: %s", args[0], err, failed.Stderr)
	}
	return said, err
}
