// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// strangers is how many come at once.
	strangers = 10000
	// knocking says to another life of the test at which door it is all of them.
	knocking = "CLEAT_TEST_CA_KNOCKING"
)

// BenchmarkPutsBesideStrangers tells how long puts take at the socket of a member
// at whose ca door 10,000 strangers with as many addresses knock, each every ten
// seconds. They are a process of the lowest priority, since elsewhere they would
// have processors of their own:
//
//	go test ./test/ca -run '^$' -bench Strangers -benchtime 1x
func BenchmarkPutsBesideStrangers(b *testing.B) {
	home := b.TempDir()
	said := startMember(b, home, "m1")
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + filepath.Join(home, "s")}, Logger: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for b.Loop() {
		idle := percentiles(b, c)
		leave := come(b, doorOf.FindStringSubmatch(said.String())[1])
		busy := percentiles(b, c)
		came, handshakes := leave()
		b.ReportMetric(float64(idle[0].Microseconds()), "idle-p50-µs")
		b.ReportMetric(float64(idle[1].Microseconds()), "idle-p99-µs")
		b.ReportMetric(float64(busy[0].Microseconds()), "beside-p50-µs")
		b.ReportMetric(float64(busy[1].Microseconds()), "beside-p99-µs")
		b.ReportMetric(float64(came), "came")
		b.ReportMetric(float64(handshakes), "handshakes")
	}
}

// come returns when each of the strangers has come once, and how to end them.
func come(b *testing.B, door string) (leave func() (came, handshakes int64)) {
	b.Helper()
	p := exec.Command("/proc/self/exe")
	p.Env = append(os.Environ(), knocking+"="+door)
	p.Stderr = os.Stderr
	in, err := p.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
	told := bufio.NewReader(out)
	if line, err := told.ReadString('\n'); line != "all\n" {
		b.Fatalf("strangers said %q, %v", line, err)
	}
	return func() (came, handshakes int64) {
		_ = in.Close() // which ends them
		if _, err := fmt.Fscan(told, &came, &handshakes); err != nil {
			b.Error(err)
		}
		if err := p.Wait(); err != nil {
			b.Error(err)
		}
		return came, handshakes
	}
}

// knock is all of the strangers, until stdin ends.
func knock(door string) error {
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	var all, first sync.WaitGroup
	var came, handshakes atomic.Int64
	first.Add(strangers)
	for n := range strangers {
		all.Go(func() {
			for once := first.Done; ctx.Err() == nil; once = func() {} {
				if handshake(ctx, n, door) {
					handshakes.Add(1)
				}
				came.Add(1)
				once()
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Second):
				}
			}
		})
	}
	first.Wait()
	fmt.Println("all")
	_, _ = io.Copy(io.Discard, os.Stdin) // its end is what counts
	stop()
	all.Wait()
	fmt.Println(came.Load(), handshakes.Load())
	return nil
}

// handshake is one attempt from the n-th address.
func handshake(ctx context.Context, n int, door string) bool {
	from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(n>>8), byte(n))}
	d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}, Config: &tls.Config{InsecureSkipVerify: true}}
	c, err := d.DialContext(ctx, "tcp", door)
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was said
	return true
}

// percentiles are the median and the 99th of two thousand puts.
func percentiles(b *testing.B, c *clientv3.Client) [2]time.Duration {
	b.Helper()
	var took []time.Duration
	for n := range 2000 {
		began := time.Now()
		if _, err := c.Put(b.Context(), fmt.Sprint("k", n%100), "v"); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return [2]time.Duration{took[len(took)/2], took[len(took)*99/100]}
}
