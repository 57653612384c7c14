// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
)

// again ends a member and starts it as a version that reads up to a format.
func (l *life) again(newest uint32) *life {
	l.t.Helper()
	o := Options{Config: *l.d.config(), Level: l.d.level, Logger: l.d.log, newest: newest}
	o.Config.ListenPeer = l.d.doors.peer()[0].Addr().String() // where the others look
	if err := l.end(); err != nil {
		l.t.Fatal(err)
	}
	return begin(l.t, o)
}

func TestAClusterOfTwoFormatsServesUntilAllReadTheNewer(t *testing.T) {
	members := three(t)
	for i := range members {
		members[i] = members[i].again(2)
		for j, l := range members {
			if _, err := l.client.Put(within(t), fmt.Sprint(i, j), "v"); err != nil {
				t.Fatalf("put at %d after %d members were upgraded: %v", j, i+1, err)
			}
			// Linearizable, so the member has applied all that was agreed.
			if got, err := l.client.Get(within(t), fmt.Sprint(i, j)); err != nil || len(got.Kvs) != 1 {
				t.Fatalf("get at %d after %d members were upgraded: %v, %v", j, i+1, got, err)
			}
			if format := l.d.machine.Format(); format != 1 && i < 2 {
				t.Fatalf("member %d is at format %d after %d members were upgraded", j, format, i+1)
			}
		}
	}
	for _, l := range members {
		l.reports(func(*admin.StatusResponse) error {
			if format := l.d.machine.Format(); format != 2 {
				return fmt.Errorf("format %d", format)
			}
			return nil
		})
	}

	old := begin(t, advertised(t, "old"))
	by := members[0].invite(&admin.InviteRequest{})
	_, err := old.administer().Join(within(t), &admin.JoinRequest{Token: by.Token, Address: by.Address})
	text := "the cluster has format 2, that machine's cleatd reads up to 1"
	if err == nil || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("an older version joined: %v", err)
	}

	o := Options{Config: *members[2].d.config(), Level: members[2].d.level, Logger: members[2].d.log}
	if err := members[2].end(); err != nil {
		t.Fatal(err)
	}
	back, err := Open(t.Context(), o)
	if err == nil {
		_ = back.Close()
	}
	if text = "the cluster has format 2, this cleatd reads up to 1"; !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), text) {
		t.Errorf("an older version on newer data: %v", err)
	}
}
