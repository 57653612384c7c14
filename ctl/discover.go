// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// discover asks DNS for the members, under the names that etcd's tools use: one
// for those with TLS, one for those without.
func discover(c *cli.Context, dns *net.Resolver) ([]string, error) {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("dial-timeout"))
	defer cancel()
	suffix := ""
	if name := c.String("discovery-srv-name"); name != "" {
		suffix = "-" + name
	}
	domain := c.String("discovery-srv")
	endpoints, err := records(ctx, dns, "https", "etcd-client-ssl"+suffix, domain)
	if c.Bool("insecure-discovery") {
		plain, failed := records(ctx, dns, "http", "etcd-client"+suffix, domain)
		endpoints, err = append(endpoints, plain...), errors.Join(err, failed)
	}
	if len(endpoints) > 0 {
		return endpoints, nil
	}
	return nil, fmt.Errorf("find members by DNS: %w: give --endpoints, or add records of this name", err)
}

func records(ctx context.Context, dns *net.Resolver, scheme, service, domain string) ([]string, error) {
	_, found, err := dns.LookupSRV(ctx, service, "tcp", domain)
	if err != nil {
		return nil, err
	}
	var endpoints []string
	for _, record := range found {
		host := net.JoinHostPort(strings.TrimSuffix(record.Target, "."), strconv.Itoa(int(record.Port)))
		endpoints = append(endpoints, scheme+"://"+host)
	}
	return endpoints, nil
}
