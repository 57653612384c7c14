// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func alarmCommand() *cli.Command {
	return &cli.Command{
		Name:  "alarm",
		Usage: "what keeps members from taking writes",
		Description: `NOSPACE is a disk or quota that is used up, and goes by itself when there is room
again. CORRUPT means that members differ in what they hold.

Example:
  cleatctl alarm list
  cleatctl alarm disarm`,
		Subcommands: []*cli.Command{
			{
				Name:  "list",
				Usage: "list the alarms",
				Description: `Example:
  cleatctl alarm list`,
				Action: alarmList,
			},
			{
				Name:  "disarm",
				Usage: "take all alarms back",
				Description: `Prints those it took back. A member whose disk is still full lists its alarm on.

Example:
  cleatctl alarm disarm`,
				Action: alarmDisarm,
			},
		},
	}
}

func alarmList(c *cli.Context) error {
	return alarms(c, "list the alarms", func(ctx context.Context, s *session) (*clientv3.AlarmResponse, error) {
		return s.AlarmList(ctx)
	})
}

func alarmDisarm(c *cli.Context) error {
	return alarms(c, "disarm the alarms", func(ctx context.Context, s *session) (*clientv3.AlarmResponse, error) {
		return s.AlarmDisarm(ctx, &clientv3.AlarmMember{}) // all of all members
	})
}

func alarms(c *cli.Context, act string, ask func(context.Context, *session) (*clientv3.AlarmResponse, error)) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := ask(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", act, err)
		}
		return s.out.print(alarmAnswer((*pb.AlarmResponse)(reply)))
	})
}

func alarmAnswer(r *pb.AlarmResponse) answer {
	return answer{
		json:    r,
		message: r,
		simple: func(p *printer) {
			for _, each := range r.GetAlarms() {
				p.linef("memberID:%d alarm:%s", each.GetMemberID(), each.GetAlarm())
			}
		},
		fields: func(p *printer) {
			p.header(r.GetHeader())
			id := `"MemberID" : %d`
			if p.hex {
				id = `"MemberID" : %x`
			}
			for _, each := range r.GetAlarms() {
				p.linef(id, each.GetMemberID())
				p.linef(`"AlarmType" : %s`, each.GetAlarm())
				p.linef("")
			}
		},
	}
}
