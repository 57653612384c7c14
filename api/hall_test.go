// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// counted is a listener that tells how many it has let in.
type counted struct {
	net.Listener
	in atomic.Int64
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.in.Add(1)
	}
	return c, err
}

// Whoever the kernel has let in cannot be given to the next process any more, so
// they are answered, also if they get to their question only when the member has
// begun to stop. To gRPC the answer may be GOAWAY, before any call is made: the
// client then makes another connection by itself, which is the next process's.
func TestWhoHasComeInIsAnsweredByAMemberThatStops(t *testing.T) {
	ca := newAuthority(t)
	bundle := ca.clientConfig(ca.issue(t, "alice", time.Now().Add(time.Hour)))
	bundle.ServerName = "127.0.0.1"
	type dialer = func(context.Context, string) (net.Conn, error)
	for name, ask := range map[string]func(ctx context.Context, dial dialer, trust *tls.Config) error{
		"over HTTP/1.1": func(ctx context.Context, dial dialer, trust *tls.Config) error {
			raw, err := dial(ctx, "")
			if err != nil {
				return err
			}
			defer raw.Close()
			if trust != nil {
				raw = tls.Client(raw, trust)
			}
			client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return raw, nil }}}
			r, err := client.Get("http://cleat/version")
			if err != nil {
				return err
			}
			defer r.Body.Close()
			if text, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK {
				return fmt.Errorf("%s %q %w", r.Status, text, err)
			}
			return nil
		},
		"over gRPC": func(ctx context.Context, dial dialer, trust *tls.Config) error {
			how := insecure.NewCredentials()
			if trust != nil {
				how = credentials.NewTLS(trust)
			}
			conn, err := grpc.NewClient("passthrough:///127.0.0.1", grpc.WithContextDialer(dial), grpc.WithTransportCredentials(how))
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("k")})
			return err
		},
	} {
		for _, door := range []string{"unix", "tcp"} {
			t.Run(name+" at "+door, func(t *testing.T) {
				s := startServer(t, nil)
				s.hall.wordLimit = stopLimit
				s.hall.shutLimit = stopLimit
				inner, err := net.Listen(door, map[string]string{"unix": t.TempDir() + "/s", "tcp": "127.0.0.1:0"}[door])
				if err != nil {
					t.Fatal(err)
				}
				l, trust := &counted{Listener: inner}, bundle
				if door == "unix" {
					trust = nil
					s.serve(t, func() error { return s.ServeSocket(l) })
				} else {
					s.serve(t, func() error { return s.ServeTLS(l, ca.serverConfig(t)) })
				}
				next := startServer(t, nil)
				after := map[string]string{"unix": next.socket, "tcp": startTLS(t, next, ca.serverConfig(t))}[door]
				stopped := make(chan struct{})
				comeIn := func(ctx context.Context, _ string) (net.Conn, error) {
					if s.stopping() {
						return net.Dial(door, after)
					}
					c, err := net.Dial(door, inner.Addr().String())
					if err != nil {
						return nil, err
					}
					eventually(t, func() error {
						if l.in.Load() == 0 {
							return errors.New("nobody has come in")
						}
						return nil
					})
					go func() {
						defer close(stopped)
						s.Stop(context.Background())
					}()
					eventually(t, func() error {
						if !s.stopping() {
							return errors.New("not stopping yet")
						}
						return nil
					})
					return c, nil
				}
				if err := ask(t.Context(), comeIn, trust); err != nil {
					t.Error(err)
				}
				<-stopped
			})
		}
	}
}
