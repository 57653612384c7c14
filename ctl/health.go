// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func endpointHealthCommand() *cli.Command {
	return &cli.Command{
		Name:  "health",
		Usage: "check that a member and its cluster can answer",
		Description: `Reads a key, for which most members must agree, and asks for alarms. Exit code
1 when one is not healthy.

Example:
  cleatctl endpoint health --cluster`,
		Flags:  []cli.Flag{clusterFlag()},
		Action: endpointHealth,
	}
}

// health is one endpoint's, with etcdctl's names in JSON.
type health struct {
	Endpoint string `json:"endpoint"`
	Health   bool   `json:"health"`
	Took     string `json:"took"`
	Error    string `json:"error,omitempty"`
}

func endpointHealth(c *cli.Context) error {
	out, err := newPrinter(c, endpointForms)
	if err != nil {
		return err
	}
	all, err := askAll(c, func(ctx context.Context, p place) (health, error) { return check(ctx, c, p), nil })
	if err != nil {
		return err
	}
	for _, each := range all {
		if !each.Health {
			err = errors.Join(err, fmt.Errorf("%s is unhealthy: %s", each.Endpoint, each.Error))
		}
	}
	return errors.Join(out.print(healthAnswer(all)), err)
}

func check(ctx context.Context, c *cli.Context, p place) health {
	verdict := health{Endpoint: p.endpoint}
	s, err := p.connect(c)
	if err != nil {
		verdict.Error = err.Error()
		return verdict
	}
	defer s.Close()
	start := time.Now()
	_, err = s.Get(ctx, "health")
	verdict.Took = time.Since(start).String()
	// A user who may not read the key has shown as well that members agree.
	if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
		verdict.Error = err.Error()
		return verdict
	}
	verdict.Error = s.alarms(ctx)
	verdict.Health = verdict.Error == ""
	return verdict
}

// alarms tells of active alarms in etcdctl's words; nothing when all is well.
func (s *session) alarms(ctx context.Context) string {
	reply, err := s.AlarmList(ctx)
	if err != nil {
		return "Unable to fetch the alarm list"
	}
	if len(reply.Alarms) == 0 {
		return ""
	}
	text := "Active Alarm(s): "
	for _, alarm := range reply.Alarms {
		text += alarm.GetAlarm().String() + " "
	}
	return text
}

func healthAnswer(all []health) answer {
	return answer{
		json: all,
		simple: func(p *printer) {
			for _, each := range all {
				if each.Health {
					p.linef("%s is healthy: successfully committed proposal: took = %s", each.Endpoint, each.Took)
				}
			}
		},
		fields: func(p *printer) {
			for _, each := range all {
				p.linef(`"Endpoint" : %q`, each.Endpoint)
				p.linef(`"Health" : %t`, each.Health)
				p.linef(`"Took" : %s`, each.Took)
				p.linef(`"Error" : %s`, each.Error)
				p.linef("")
			}
		},
		table: func() table {
			rows := table{{"endpoint", "health", "took", "error"}}
			for _, each := range all {
				rows = append(rows, []string{each.Endpoint, fmt.Sprint(each.Health), each.Took, each.Error})
			}
			return rows
		},
	}
}
