// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func moveLeaderCommand() *cli.Command {
	return &cli.Command{
		Name:      "move-leader",
		Usage:     "hand leadership to another member",
		ArgsUsage: "ID",
		Description: `Asks the leader if it is among --endpoints, else the first of them. A member that
is stopped hands leadership on by itself.

Example:
  cleatctl move-leader 8211f1d0f64f3269`,
		Action: moveLeader,
	}
}

func moveLeader(c *cli.Context) error {
	target, err := memberID(c)
	if err != nil {
		return err
	}
	out, err := newPrinter(c, keyForms)
	if err != nil {
		return err
	}
	way, err := chooseDoor(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("command-timeout"))
	defer cancel()
	s, leader, err := findLeader(ctx, c, way)
	if err != nil {
		return err
	}
	defer s.Close()
	reply, err := s.MoveLeader(ctx, target)
	if err != nil {
		return fmt.Errorf("move leadership from %x to %x: %w", leader, target, err)
	}
	message := (*pb.MoveLeaderResponse)(reply)
	return out.print(answer{
		json:    message,
		message: message,
		simple:  func(p *printer) { p.linef("Leadership transferred from %x to %x", leader, target) },
		fields:  func(p *printer) { p.header(message.GetHeader()) },
	})
}

// findLeader opens a session with the leader, or when it is not among the
// endpoints with the first member that answers and knows who leads.
func findLeader(ctx context.Context, c *cli.Context, way door) (s *session, leader uint64, err error) {
	var failed []error
	for _, endpoint := range way.endpoints {
		next, status, err := askStatus(ctx, c, place{endpoint, way.to(endpoint)})
		if err != nil {
			failed = append(failed, err)
			continue
		}
		leads := status.GetLeader() == status.GetHeader().GetMemberId()
		if !leads && (s != nil || status.GetLeader() == 0) {
			next.Close()
			continue
		}
		if s != nil {
			s.Close()
		}
		if s, leader = next, status.GetLeader(); leads {
			break
		}
	}
	if s == nil {
		failed = append(failed, errors.New("no member that answers knows a leader: see cleatctl endpoint status --cluster"))
		return nil, 0, errors.Join(failed...)
	}
	return s, leader, nil
}

func askStatus(ctx context.Context, c *cli.Context, p place) (*session, *pb.StatusResponse, error) {
	s, err := p.connect(c)
	if err != nil {
		return nil, nil, fmt.Errorf("get the status of %s: %w", p.endpoint, err)
	}
	status, err := s.Status(ctx, p.way.endpoints[0])
	if err != nil {
		s.Close()
		return nil, nil, fmt.Errorf("get the status of %s: %w", p.endpoint, err)
	}
	return s, (*pb.StatusResponse)(status), nil
}
