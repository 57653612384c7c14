// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/urfave/cli/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func endpointCommand() *cli.Command {
	return &cli.Command{
		Name:  "endpoint",
		Usage: "ask each member how it is",
		Description: `Example:
  cleatctl endpoint status --cluster -w table`,
		Subcommands: []*cli.Command{endpointHealthCommand(), endpointStatusCommand(), endpointHashKVCommand()},
	}
}

func clusterFlag() cli.Flag {
	return &cli.BoolFlag{Name: "cluster", Usage: "ask every member of the cluster, not only the one spoken to"}
}

// place is one endpoint to ask: what to call it, and the way to it.
type place struct {
	endpoint string
	way      door
}

// places are the endpoints given, or with --cluster those that the member
// spoken to knows of. Its own it answers for through the door already open,
// so that a cluster of one needs no certificate.
func places(ctx context.Context, c *cli.Context) ([]place, error) {
	way, err := chooseDoor(c)
	if err != nil {
		return nil, err
	}
	if c.Bool("cluster") {
		return clusterPlaces(ctx, c, way)
	}
	var out []place
	for _, endpoint := range way.endpoints {
		out = append(out, place{endpoint, way.to(endpoint)})
	}
	return out, nil
}

// to is the way to one of the door's endpoints.
func (d door) to(endpoint string) door {
	d.endpoints = []string{endpoint}
	return d
}

func clusterPlaces(ctx context.Context, c *cli.Context, way door) ([]place, error) {
	connected, err := way.connect(c)
	if err != nil {
		return nil, err
	}
	defer connected.Close()
	// As this member knows them: the question is most wanted when most are down.
	reply, err := connected.MemberList(ctx, clientv3.WithSerializable())
	if err != nil {
		return nil, fmt.Errorf("list the cluster's members: %w", err)
	}
	var out []place
	for _, member := range reply.Members {
		for _, url := range member.ClientURLs {
			there := way
			if way.socket == "" || member.ID != reply.Header.MemberId {
				there = door{endpoints: []string{url}, files: way.files, trust: way.trust}
			}
			out = append(out, place{url, there})
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no member has an address on the network: leave --cluster out")
	}
	return out, nil
}

// connect opens a session with the one member at this place.
func (p place) connect(c *cli.Context) (*session, error) {
	connected, err := p.way.connect(c)
	if err != nil {
		return nil, err
	}
	return &session{Client: connected, c: c}, nil
}

// askAll asks all places at once. It returns their answers in the order of the
// places, and joined the failures of those that gave none.
func askAll[T any](c *cli.Context, ask func(context.Context, place) (T, error)) ([]T, error) {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("command-timeout"))
	defer cancel()
	all, err := places(ctx, c)
	if err != nil {
		return nil, err
	}
	answers, failures := make([]T, len(all)), make([]error, len(all))
	var asking sync.WaitGroup
	for i, each := range all {
		asking.Go(func() { answers[i], failures[i] = ask(ctx, each) })
	}
	asking.Wait()
	var good []T
	for i := range all {
		if failures[i] == nil {
			good = append(good, answers[i])
		}
	}
	return good, errors.Join(failures...)
}
