// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"net"
	"slices"
	"testing"
)

// A new listener is open before the old one is closed, at an address that overlaps
// it too, and the members hear of it. (That connections stay is cmd/cleatd's to test.)
func TestDoorsMoveToWhatOverlapsToo(t *testing.T) {
	o := advertised(t, "one")
	r := beginReloading(t, o)
	_, port, err := net.SplitHostPort(r.d.doors.client()[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"0.0.0.0:" + port, "127.0.0.1:" + port, "127.0.0.1:0"} {
		old := r.d.doors.client()[0].Addr().String()
		if o := r.with(func(c *Config) { c.ListenClient = to }); o.err != nil || len(o.changed) != 1 {
			t.Fatalf("to %s: %+v", to, o)
		}
		now := r.d.doors.client()[0].Addr().String()
		c, err := net.Dial("tcp", now)
		if err != nil {
			t.Fatalf("after %s nobody is at %s: %v", old, now, err)
		}
		_ = c.Close()
		urls := []string{"https://" + net.JoinHostPort("127.0.0.1", portOf(t, now))}
		if err := r.until(func() error {
			if got := r.list()["one"].urls; !slices.Equal(got, urls) {
				return fmt.Errorf("the members know %v, want %v", got, urls)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	if _, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
		t.Error("the old door is open still")
	}
	if err := r.put("k", 1); err != nil {
		t.Error(err)
	}
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
