// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Where each global flag's value came from, the weakest first. It decides
// which door is meant when --socket and --endpoints are both set.
type source int

const (
	fromDefault     source = iota
	fromEtcd               // ETCDCTL_*
	fromEnvironment        // CLEATCTL_*
	fromLine
)

const sourcesKey = "sources"

// globalFlags can stand anywhere on the line. Their names and defaults are
// etcdctl's; --socket is ours.
func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "socket", Usage: "reach the member by this Unix socket `PATH`", DefaultText: socketPaths()[0]},
		&cli.StringSliceFlag{Name: "endpoints", Usage: "reach members over the network at `HOST:PORT`, several with commas"},
		&cli.StringFlag{Name: "context", Usage: "go as cleatctl login has left it: the context `NAME`, or the directory of a bundle"},
		&cli.StringFlag{Name: "cacert", Usage: "check the member's certificate against this CA bundle `FILE`"},
		&cli.StringFlag{Name: "cert", Usage: "show the member this certificate `FILE`"},
		&cli.StringFlag{Name: "key", Usage: "the certificate's key `FILE`"},
		&cli.StringFlag{Name: "user", Usage: "act as this user, a `NAME` or NAME:PASSWORD"},
		&cli.StringFlag{Name: "password", Usage: "the user's `WORD`"},
		&cli.StringFlag{Name: "auth-jwt-token", Usage: "act as the user of this JWT `TOKEN`, instead of --user and --password"},
		&cli.DurationFlag{Name: "dial-timeout", Value: 2 * time.Second, Usage: "give up connecting after `TIME`; at a socket after 30s unless given"},
		&cli.DurationFlag{Name: "command-timeout", Value: 5 * time.Second, Usage: "give up a short command after `TIME`"},
		&cli.DurationFlag{Name: "keepalive-time", Value: 2 * time.Second, Usage: "ping the member each `TIME`"},
		&cli.DurationFlag{Name: "keepalive-timeout", Value: 6 * time.Second, Usage: "wait `TIME` for a ping's answer"},
		&cli.IntFlag{Name: "max-request-bytes", DefaultText: "2 MiB", Usage: "send requests of at most `N` bytes"},
		&cli.IntFlag{Name: "max-recv-bytes", DefaultText: "no limit", Usage: "take answers of at most `N` bytes"},
		&cli.StringFlag{Name: "write-out", Aliases: []string{"w"}, Value: "simple", Usage: "print in this `FORM`: simple, fields, json, table or protobuf"},
		&cli.BoolFlag{Name: "json", Usage: "print all answers as JSON, also those that are a line with -w json"},
		&cli.BoolFlag{Name: "hex", Usage: "print keys and values in hexadecimal"},
		&cli.StringFlag{Name: "discovery-srv", Aliases: []string{"d"}, Usage: "reach members by the SRV records of this `DOMAIN`"},
		&cli.StringFlag{Name: "discovery-srv-name", Usage: "`NAME` behind etcd-client and etcd-client-ssl in those records"},
		&cli.BoolFlag{Name: "insecure-discovery", Value: true, Usage: "=false: only records for TLS, and members' certificates made out to the domain"},
		&cli.BoolFlag{Name: "insecure-transport", Value: true, Usage: "=false: TLS also without --cacert, --cert and --key"},
		&cli.BoolFlag{Name: "insecure-skip-tls-verify", Usage: "take whoever answers for the member, and warn of it"},
		&cli.BoolFlag{Name: "debug", Usage: "tell on stderr what the client does"},
	}
}

// applyEnvironment fills each global flag that is not on the line from
// CLEATCTL_NAME or else, for scripts that come from etcd, ETCDCTL_NAME. An
// empty variable counts as none.
func applyEnvironment(c *cli.Context) error {
	sources := map[string]source{}
	for _, flag := range c.App.Flags {
		name := flag.Names()[0]
		if c.IsSet(name) {
			sources[name] = fromLine
			continue
		}
		value, variable, from := environment(name)
		if from == fromDefault {
			continue
		}
		if err := c.Set(name, value); err != nil {
			return misuse("%s=%q is no value for --%s: %v", variable, value, name, err)
		}
		sources[name] = from
	}
	c.App.Metadata[sourcesKey] = sources
	return nil
}

// outputForm is the form that -w names, or JSON with --json. Who names two forms
// on one line cannot mean both; a form in the environment is weaker than the line.
func outputForm(c *cli.Context) (string, error) {
	form, wide, short := c.String("write-out"), sourceOf(c, "write-out"), sourceOf(c, "json")
	if !c.Bool("json") || wide > short {
		return form, nil
	}
	if wide == short && form != jsonForm {
		return "", misuse("--json and --write-out %s exclude each other: give one of them", form)
	}
	return jsonForm, nil
}

func environment(name string) (value, variable string, from source) {
	suffix := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	for _, known := range []struct {
		prefix string
		from   source
	}{{"CLEATCTL_", fromEnvironment}, {"ETCDCTL_", fromEtcd}} {
		if value := os.Getenv(known.prefix + suffix); value != "" {
			return value, known.prefix + suffix, known.from
		}
	}
	return "", "", fromDefault
}

func sourceOf(c *cli.Context, name string) source {
	sources, _ := c.App.Metadata[sourcesKey].(map[string]source)
	return sources[name]
}
