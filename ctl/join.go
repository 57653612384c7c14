// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
)

// peerPort is where members listen for one another unless told otherwise.
const peerPort = "2380"

// joinTime is how long joining may take when no --command-timeout is given:
// the member makes its directory anew, and waits its turn at the cluster.
const joinTime = 2 * time.Minute

func joinCommand() *cli.Command {
	return &cli.Command{
		Name:      "join",
		Usage:     "make this machine's member one of the cluster that invited it",
		ArgsUsage: "HOST[:2380]",
		Description: `Takes the line that cleatctl invite printed on a member; HOST is that member. It
speaks to the socket of this machine's member, which makes its key here, checks
by the token that HOST is of the right cluster, and joins as a learner; when it
has caught up it votes, unless the invitation was for a learner. The command waits
for that: to end it changes nothing any more. A member with data refuses, and
nothing is changed, unless --discard throws that data away.

Examples:
  cleatctl join --token cleat1.SaZ….4Kc… 10.0.0.1:2380
  cleatctl join --token-file - --advertise 10.0.0.2 '[fd00::1]' < token`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "token", Usage: "join with this `TOKEN`; other users of this machine can see it while the command runs"},
			&cli.StringFlag{Name: "token-file", Usage: "read the token from `FILE`, - for standard input"},
			&cli.StringFlag{Name: "advertise", DefaultText: "the address from which HOST is reached", Usage: "let others reach this member at `HOST`; the ports are those of listen-peer and listen-client"},
			&cli.BoolFlag{Name: "no-wait", Usage: "end when the cluster has let it in, before it has caught up"},
			&cli.BoolFlag{Name: "discard", Usage: "throw away the data that this machine's member holds"},
		},
		Action: join,
	}
}

func join(c *cli.Context) error {
	request, err := joinRequest(c)
	if err != nil {
		return err
	}
	s, err := open(c, adminForms, chooseSocket)
	if err != nil {
		return err
	}
	defer s.Close()
	patience := joinTime
	if sourceOf(c, "command-timeout") != fromDefault {
		patience = c.Duration("command-timeout")
	}
	ctx, cancel := context.WithTimeout(c.Context, patience)
	defer cancel()
	reply, err := admin.NewAdminClient(s.ActiveConnection()).Join(ctx, request)
	if err != nil {
		return joinFailure(request.GetAddress(), err)
	}
	if err := s.admitted(reply); err != nil {
		return err
	}
	if c.Bool("no-wait") {
		return s.arrived(reply, false, false)
	}
	votes, err := s.awaitCaughtUp(reply)
	return errors.Join(s.arrived(reply, err == nil, votes), err)
}

// admitted tells a person at once that there is no way back.
func (s *session) admitted(r *admin.JoinResponse) error {
	if s.out.form == jsonForm {
		return nil
	}
	as := "a voter as soon as it has caught up"
	if r.GetLearner() {
		as = "a learner, which never votes"
	}
	return s.out.say("Member %x joined cluster %x: it is %s", r.GetMemberId(), r.GetClusterId(), as)
}

// arrived ends what is told of a join.
func (s *session) arrived(r *admin.JoinResponse, caughtUp, votes bool) error {
	if s.out.form == jsonForm {
		told, err := jsonOf(r)
		if err != nil {
			return err
		}
		fields := map[string]json.RawMessage{}
		if err := json.Unmarshal(told, &fields); err != nil {
			return fmt.Errorf("write as JSON: %w", err)
		}
		fields["caughtUp"] = json.RawMessage(strconv.FormatBool(caughtUp))
		return s.out.print(answer{json: fields})
	}
	switch {
	case !caughtUp:
		return nil
	case votes:
		return s.out.say("It has caught up, and votes")
	}
	return s.out.say("It has caught up, and has no vote")
}

func joinRequest(c *cli.Context) (*admin.JoinRequest, error) {
	if c.NArg() != 1 {
		return nil, misuse("join needs HOST, the member that invited: type the line that cleatctl invite printed there")
	}
	address, err := memberAddress(c.Args().First(), peerPort)
	if err != nil {
		return nil, err
	}
	advertise, err := advertised(c.String("advertise"))
	if err != nil {
		return nil, err
	}
	token, err := askedToken(c, "cleatctl invite")
	if err != nil {
		return nil, err
	}
	return &admin.JoinRequest{Token: token, Address: address, Advertise: advertise, Discard: c.Bool("discard")}, nil
}

// askedToken is the token on the line or in a file, which the command from makes.
func askedToken(c *cli.Context, from string) (string, error) {
	token, path := strings.TrimSpace(c.String("token")), c.String("token-file")
	switch {
	case token != "" && path != "":
		return "", misuse("--token and --token-file exclude each other: give one of them")
	case token != "":
		return token, nil
	case path == "":
		return "", misuse("%s needs --token TOKEN or --token-file FILE, from %s on a member", called(c), from)
	}
	var text []byte
	var err error
	if path == "-" {
		text, err = io.ReadAll(c.App.Reader)
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	if token = strings.TrimSpace(string(text)); token == "" {
		return "", fmt.Errorf("there is no token in %s: %s on a member prints one", path, from)
	}
	return token, nil
}

// memberAddress reads HOST or HOST:PORT, where HOST may be an IPv6 address with
// or without brackets, or all of it a URL as member list shows it.
func memberAddress(text, otherwise string) (string, error) {
	host, port, err := hostAndPort(strings.TrimSuffix(strings.TrimPrefix(text, "https://"), "/"))
	if err != nil {
		return "", misuse("%q is no address of a member: %v: give HOST or HOST:PORT, as 10.0.0.1:%s or [fd00::1]:%s", text, err, otherwise, otherwise)
	}
	if port == "" {
		port = otherwise
	}
	return net.JoinHostPort(host, port), nil
}

// advertised is --advertise, an IPv6 address without brackets.
func advertised(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	host, port, err := hostAndPort(text)
	if err == nil && port != "" {
		err = errors.New("a port is the setting listen-peer's")
	}
	if err != nil {
		return "", misuse("--advertise %q: %v: give the HOST by which the other members reach this one", text, err)
	}
	return host, nil
}

func hostAndPort(text string) (host, port string, err error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil {
		return bare, "", nil
	}
	host = text
	if strings.Contains(text, ":") {
		if host, port, err = net.SplitHostPort(text); err != nil {
			return "", "", errors.New("host and port cannot be told apart")
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", "", fmt.Errorf("%q is no port", port)
		}
	}
	if host == "" || strings.ContainsAny(host, " /[]@?#") {
		return "", "", errors.New("there is no host in it")
	}
	return host, port, nil
}

// joinAdvices pairs the beginnings of what is wrong with a join with what to
// try next, where the member does not say it. An answer comes as text: the
// sentinels stay in the member.
var joinAdvices = []struct{ part, next string }{
	{"not a join token", "type the whole line that cleatctl invite printed"},
	{"the token is for something else", "cleatctl login is for a user's token; " + newToken},
	{"the token is not for this cluster", "compare HOST with the line that cleatctl invite printed, or make a new one there"},
	{"token unknown", newToken},
	{"the token expired", newToken},
	{"the token is used up", newToken + "; --uses N lets several machines join"},
	{"the token was revoked", newToken},
	{"the clocks differ too much", "set this machine's clock (timedatectl shows it), then join again"},
}

const newToken = "make another with cleatctl invite on a member"

// joinFailure says what kept the member from joining.
func joinFailure(address string, err error) error {
	text := status.Convert(err).Message()
	for _, known := range joinAdvices {
		if strings.Contains(text, known.part) {
			return fmt.Errorf("join the cluster at %s: %s: %s", address, plainly(text), known.next)
		}
	}
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		return fmt.Errorf("join the cluster at %s: no answer in time, so it may still happen: look with cleatctl status; to join again with the same line is safe", address)
	case codes.Unimplemented:
		return fmt.Errorf("join the cluster at %s: %w", address, err)
	}
	return fmt.Errorf("join the cluster at %s: %s", address, plainly(text))
}
