// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// replace removes a member for good, and puts a new machine in its place.
func replace(c *cluster, d draw) func() {
	m := d.target(c)
	host := d.other(c, m)
	gone := fmt.Sprintf("%x", m.id)
	c.eventually("a member is removed", func(ctx context.Context) error {
		if _, err := host.ctl("member", "remove", gone); err != nil {
			return c.stillThere(ctx, host, m.id, err)
		}
		return nil
	})
	if code := m.end(); code != 2 {
		c.t.Errorf("member %d was removed and ended with code %d, want 2, and said:\n%s", m.place+1, code, m.said())
	}
	m.shut()
	return func() {
		if err := os.RemoveAll(filepath.Join(m.disk(), "data")); err != nil {
			c.t.Fatal(err)
		}
		m.machine++
		c.join(m, host)
	}
}

// stillThere says whether a removal that ended in an error has to be tried
// again: it may have been carried out all the same.
func (c *cluster) stillThere(ctx context.Context, host *member, id uint64, err error) error {
	list, e := host.client.MemberList(ctx)
	if e != nil {
		return err
	}
	for _, m := range list.Members {
		if m.ID == id {
			return err
		}
	}
	return nil
}
