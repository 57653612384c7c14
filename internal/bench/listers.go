// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
)

// The listers are a process of their own, so that what they receive is in
// nobody's way within the one that puts and takes times; and it is as nice as
// can be, since it shares the cores with the member. They leave the answers
// encoded. The process lists until its standard input ends, and then says how
// it went.
const listersVariable = "BENCH_LISTERS"

// told is what the listers say in the end.
type told struct{ Listed, Refused, Failed float64 }

// listing is the process as its parent sees it.
type listing struct {
	cmd   *exec.Cmd
	input io.Closer
	said  *json.Decoder
}

func (b bench) startListers(m *member) (*listing, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := b.trusted(m)
	cmd := exec.Command(self, m.address, c.authority, c.certificate, c.key)
	cmd.Env = append(os.Environ(), listersVariable+"=1")
	cmd.Stderr = b.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	l := &listing{cmd: cmd, input: input, said: json.NewDecoder(output)}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return l, nil
}

// end has the listers stop, and returns what they say.
func (l *listing) end() (t told, err error) {
	if err := l.input.Close(); err != nil {
		return t, err
	}
	if err := l.said.Decode(&t); err != nil {
		return t, fmt.Errorf("what the listers say: %w", err)
	}
	return t, nil
}

func (l *listing) kill() {
	_ = l.cmd.Process.Kill() // It may have ended already.
	_ = l.cmd.Wait()         // How it ended tells nothing.
}

// list is the process's life.
func list(args []string) error {
	if len(args) != 4 {
		return errors.New("the listers want an address and three files")
	}
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19); err != nil {
		return err
	}
	config, err := credentials{args[1], args[2], args[3]}.load()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent, or when it says so
		stop()
	}()
	var listed, refused, failed atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range listers {
		conn, err := grpc.NewClient(args[0], grpc.WithTransportCredentials(grpccredentials.NewTLS(config)),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.ForceCodecV2(received{encoding.GetCodecV2("proto")})))
		if err != nil {
			return err
		}
		defer conn.Close()
		group.Go(func() error {
			for ctx.Err() == nil {
				switch err := listOnce(ctx, conn); {
				case err == nil:
					listed.Add(1)
				case ctx.Err() != nil:
				case status.Code(err) == codes.ResourceExhausted:
					refused.Add(1)
				default:
					failed.Add(1)
				}
			}
			return nil
		})
	}
	_ = group.Wait() // none returns an error
	return json.NewEncoder(os.Stdout).Encode(told{float64(listed.Load()), float64(refused.Load()), float64(failed.Load())})
}

func listOnce(ctx context.Context, conn *grpc.ClientConn) error {
	request := &pb.RangeRequest{Key: []byte(listPrefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(listPrefix))}
	var size int
	err := conn.Invoke(ctx, pb.KV_Range_FullMethodName, request, &size)
	if err == nil && size < listKeys*listValue {
		return errShort
	}
	return err
}
