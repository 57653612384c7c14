// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"

	"github.com/urfave/cli/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// session is what an action works with: a client and a printer.
type session struct {
	*clientv3.Client
	out *printer

	c *cli.Context
}

// open checks the form of the output, so that nothing is changed whose result
// cannot be shown, and connects.
func open(c *cli.Context, forms []string, choose func(*cli.Context) (door, error)) (*session, error) {
	out, err := newPrinter(c, forms)
	if err != nil {
		return nil, err
	}
	way, err := choose(c)
	if err != nil {
		return nil, err
	}
	connected, err := way.connect(c)
	if err != nil {
		return nil, err
	}
	return &session{Client: connected, out: out, c: c}, nil
}

// Close ends the connection. What it could fail with no longer matters.
func (s *session) Close() { _ = s.Client.Close() }

// short opens a session for one call, which must end within the command's time.
func short(c *cli.Context, forms []string, call func(context.Context, *session) error) error {
	return through(c, forms, chooseDoor, call)
}

// onSocket is short for what members answer on the socket only.
func onSocket(c *cli.Context, forms []string, call func(context.Context, *session) error) error {
	return through(c, forms, chooseSocket, call)
}

func through(c *cli.Context, forms []string, choose func(*cli.Context) (door, error), call func(context.Context, *session) error) error {
	s, err := open(c, forms, choose)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("command-timeout"))
	defer cancel()
	return call(ctx, s)
}

// clientLogger is silent unless --debug: what matters of a failed call is in
// its error, and scripts read stderr.
func clientLogger(c *cli.Context) *zap.Logger {
	if !c.Bool("debug") {
		return zap.NewNop()
	}
	encoder := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(c.App.ErrWriter), zap.DebugLevel)).Named("client")
}
