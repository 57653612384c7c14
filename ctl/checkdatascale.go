// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func checkDatascaleCommand() *cli.Command {
	return &cli.Command{
		Name:  "datascale",
		Usage: "try how much memory a member takes for so many keys",
		Description: `Puts 10000 (s), 100000 (m), 1000000 (l) or 3000000 (xl) keys of 1 KiB with their
values, and compares the memory of the first endpoint before and after.

Example:
  cleatctl check datascale --load=m --auto-compact`,
		Flags:  loadFlags("/etcdctl-check-datascale/"),
		Action: checkDatascale,
	}
}

// scaleLoad is how many keys, and by how many clients.
type scaleLoad struct{ keys, clients int }

var scaleLoads = map[string]scaleLoad{"s": {10_000, 50}, "m": {100_000, 200}, "l": {1_000_000, 500}, "xl": {3_000_000, 1000}}

const (
	residentMemory = "process_resident_memory_bytes"
	scaleKey       = 512 // bytes; and as many for the value
)

func checkDatascale(c *cli.Context) error {
	size, err := load(c, scaleLoads)
	if err != nil {
		return err
	}
	return try(c, size.clients, func(ctx context.Context, t *trial) error {
		before, err := t.memory(ctx)
		if err != nil {
			return t.unread("before", err)
		}
		t.say("Start data scale check for work load [%d key-value pairs, %d bytes per key-value, %d concurrent clients].", size.keys, 2*scaleKey, size.clients)
		result := t.pour(ctx, size)
		if ctx.Err() != nil {
			return errors.Join(errors.New("interrupted: nothing can be said of the memory"), t.tidy(aftermath))
		}
		after, err := t.memory(ctx)
		if err != nil {
			return errors.Join(t.unread("after", err), t.tidy(aftermath))
		}
		if err := t.tidy(aftermath); err != nil {
			return err
		}
		if t.failed(result) {
			return errors.New("puts have failed, so that nothing can be said of the memory")
		}
		t.say("PASS: Approximate system memory used : %.2f MB.", (after-before)/(1<<20))
		return nil
	})
}

func (t *trial) unread(when string, err error) error {
	t.say("FAIL: Could not read %s %s the put operations.", residentMemory, when)
	return err
}

// pour puts all keys as fast as it goes.
func (t *trial) pour(ctx context.Context, size scaleLoad) tally {
	puts := make(chan clientv3.Op, size.clients)
	var pouring sync.WaitGroup
	defer pouring.Wait()
	pouring.Go(func() {
		defer close(puts)
		for range size.keys {
			select {
			case puts <- randomPut(t.prefix, scaleKey, scaleKey):
			case <-ctx.Done():
				return
			}
		}
	})
	return t.put(ctx, t.c.Duration("command-timeout"), puts)
}

// memory reads what the first endpoint says of itself in its metrics.
func (t *trial) memory(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, t.c.Duration("command-timeout"))
	defer cancel()
	get, address, err := t.way.web()
	if err != nil {
		return 0, err
	}
	defer get.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	reply, err := get.Do(request)
	if err != nil {
		return 0, fmt.Errorf("read the member's metrics: %w", err)
	}
	defer reply.Body.Close()
	lines := bufio.NewScanner(reply.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), residentMemory+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("%s/metrics answers %s and has no %s", address, reply.Status, residentMemory), lines.Err())
}

// web is how the first endpoint is asked over HTTP.
func (d door) web() (client *http.Client, address string, err error) {
	transport := &http.Transport{}
	if d.socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", d.socket)
		}
		return &http.Client{Transport: transport}, "http://localhost", nil
	}
	_, address = whereTo(d.endpoints[0])
	if !d.secured(d.endpoints[0]) {
		return &http.Client{Transport: transport}, "http://" + address, nil
	}
	transport.TLSClientConfig, err = d.tls()
	return &http.Client{Transport: transport}, "https://" + address, err
}
