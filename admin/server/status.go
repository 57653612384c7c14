// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"os"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
)

// Status tells what this member is and how it is doing. It waits for other
// members only if it is asked for them.
func (s *Server) Status(ctx context.Context, r *admin.StatusRequest) (*admin.StatusResponse, error) {
	own, err := s.Own(r.Metrics)
	if err != nil {
		return nil, fault(s.log, "Status", err)
	}
	if !r.Members || s.config.Members == nil {
		return own, nil
	}
	members := s.config.Members(ctx, r.Metrics)
	for _, m := range members {
		if m.Id == own.MemberId {
			m.Status = proto.CloneOf(own)
		}
	}
	own.Members = members
	return own, nil
}

// Own is what this member tells of itself to anybody who may ask.
func (s *Server) Own(metrics []string) (*admin.StatusResponse, error) {
	c := s.config
	agreed := c.Node.Status()
	total, inUse := c.Store.Size()
	own := &admin.StatusResponse{
		Version:      c.Version,
		ClusterId:    c.ClusterID,
		MemberId:     c.MemberID,
		Name:         c.Name,
		Doors:        c.Doors(),
		Certificates: certificates(c.Authority),
		Raft: &admin.Raft{
			Leader: agreed.Leader, Term: agreed.Term, Applied: agreed.Applied, Commit: agreed.Commit, Learner: agreed.Learner,
		},
		Database: &admin.Database{
			Size: total, SizeInUse: inUse, Revision: c.Store.Revision(), Compacted: c.Store.Compacted(), Quota: c.quota(),
		},
		Space:   c.Space(),
		Started: timestamppb.New(s.started),
		Process: &admin.Process{Pid: int64(os.Getpid()), DataDir: c.DataDir},

		ClusterKey: clusterKey(c.Authority),
	}
	if step := c.Authority.Rotating(); step != "" {
		own.Rotation = string(step)
	}
	if c.Alarms != nil {
		own.Alarms = c.Alarms()
	}
	var err error
	if own.Metrics, err = s.metrics(metrics); err != nil {
		return nil, err
	}
	own.Time = timestamppb.Now() // last: the caller compares it with when the answer came
	return own, nil
}

// metrics are those of these names that there are.
func (s *Server) metrics(names []string) ([][]byte, error) {
	if len(names) == 0 || s.config.Metrics == nil {
		return nil, nil
	}
	families, err := s.config.Metrics.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	var wanted [][]byte
	for _, family := range families {
		if !slices.Contains(names, family.GetName()) {
			continue
		}
		raw, err := proto.Marshal(family)
		if err != nil {
			return nil, fmt.Errorf("encode the metric %s: %w", family.GetName(), err)
		}
		wanted = append(wanted, raw)
	}
	return wanted, nil
}

func certificates(a *pki.Authority) []*admin.Certificate {
	var out []*admin.Certificate
	for _, c := range a.Certificates() {
		out = append(out, &admin.Certificate{
			Kind:      c.Kind,
			NotBefore: timestamppb.New(c.NotBefore),
			NotAfter:  timestamppb.New(c.NotAfter),
			Serial:    c.SerialNumber.String(),
		})
	}
	return out
}

func (c Config) quota() int64 {
	if c.Quota == nil {
		return 0
	}
	return c.Quota()
}
