// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func endpointStatusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show each member's id, version, size, leader and place in the log",
		Description: `The simple form lists endpoint, ID, version, storage version, db size, in use,
percentage not in use, quota, is leader, is learner, raft term, raft index,
raft applied index, errors, downgrade target version and downgrade enabled.

Example:
  cleatctl endpoint status -w table`,
		Flags:  []cli.Flag{clusterFlag()},
		Action: endpointStatus,
	}
}

// memberStatus is one endpoint's, with etcdctl's names in JSON.
type memberStatus struct {
	Endpoint string
	Status   *pb.StatusResponse
}

func endpointStatus(c *cli.Context) error {
	out, err := newPrinter(c, endpointForms)
	if err != nil {
		return err
	}
	all, failed := askAll(c, func(ctx context.Context, p place) (memberStatus, error) {
		s, err := p.connect(c)
		if err != nil {
			return memberStatus{}, fmt.Errorf("get the status of %s: %w", p.endpoint, err)
		}
		defer s.Close()
		reply, err := s.Status(ctx, p.way.endpoints[0])
		if err != nil {
			return memberStatus{}, fmt.Errorf("get the status of %s: %w", p.endpoint, err)
		}
		return memberStatus{p.endpoint, (*pb.StatusResponse)(reply)}, nil
	})
	return errors.Join(out.print(statusAnswer(all)), failed)
}

func statusAnswer(all []memberStatus) answer {
	return answer{
		json: all,
		simple: func(p *printer) {
			for _, each := range all {
				p.linef("%s", strings.Join(each.row(), ", "))
			}
		},
		fields: func(p *printer) {
			for _, each := range all {
				p.status(each)
			}
		},
		table: func() table {
			rows := table{{
				"endpoint", "ID", "version", "storage version", "db size", "in use", "percentage not in use", "quota",
				"is leader", "is learner", "raft term", "raft index", "raft applied index", "errors",
				"downgrade target version", "downgrade enabled",
			}}
			for _, each := range all {
				rows = append(rows, each.row())
			}
			return rows
		},
	}
}

// row is the member in a table. The share not in use is a whole percentage,
// rounded up, which is how etcdctl's arithmetic comes out.
func (m memberStatus) row() []string {
	r := m.Status
	unused := int64(0)
	if r.GetDbSize() > 0 {
		unused = 100 - r.GetDbSizeInUse()*100/r.GetDbSize()
	}
	return []string{
		m.Endpoint,
		fmt.Sprintf("%x", r.GetHeader().GetMemberId()),
		r.GetVersion(),
		r.GetStorageVersion(),
		humanize.Bytes(uint64(r.GetDbSize())),
		humanize.Bytes(uint64(r.GetDbSizeInUse())),
		fmt.Sprintf("%d%%", unused),
		humanize.Bytes(uint64(r.GetDbSizeQuota())),
		fmt.Sprint(r.GetLeader() == r.GetHeader().GetMemberId()),
		fmt.Sprint(r.GetIsLearner()),
		fmt.Sprint(r.GetRaftTerm()),
		fmt.Sprint(r.GetRaftIndex()),
		fmt.Sprint(r.GetRaftAppliedIndex()),
		strings.Join(r.GetErrors(), ", "),
		r.GetDowngradeInfo().GetTargetVersion(),
		fmt.Sprint(r.GetDowngradeInfo().GetEnabled()),
	}
}

// status is a member in the fields form.
func (p *printer) status(m memberStatus) {
	r := m.Status
	p.header(r.GetHeader())
	p.linef(`"Version" : %q`, r.GetVersion())
	p.linef(`"StorageVersion" : %q`, r.GetStorageVersion())
	p.linef(`"DBSize" : %d`, r.GetDbSize())
	p.linef(`"DBSizeInUse" : %d`, r.GetDbSizeInUse())
	p.linef(`"DBSizeQuota" : %d`, r.GetDbSizeQuota())
	p.linef(`"Leader" : %d`, r.GetLeader())
	p.linef(`"IsLearner" : %t`, r.GetIsLearner())
	p.linef(`"RaftIndex" : %d`, r.GetRaftIndex())
	p.linef(`"RaftAppliedIndex" : %d`, r.GetRaftAppliedIndex())
	p.linef(`"Errors" : %v`, r.GetErrors())
	p.linef(`"Endpoint" : %q`, m.Endpoint)
	p.linef(`"DowngradeTargetVersion" : %q`, r.GetDowngradeInfo().GetTargetVersion())
	p.linef(`"DowngradeEnabled" : %t`, r.GetDowngradeInfo().GetEnabled())
	p.linef("")
}
