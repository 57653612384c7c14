// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleatd/cleat/state"
)

func TestTheSocketIsForRootTheDaemonsUserAndTheSocketsGroup(t *testing.T) {
	const daemon, stranger = 1200, 1300
	path := filepath.Join(t.TempDir(), "socket")
	if err := os.WriteFile(path, nil, 0o660); err != nil {
		t.Fatal(err)
	}
	group := uint32(os.Getegid())
	if os.Geteuid() == 0 {
		group = 1201
		if err := os.Chown(path, -1, int(group)); err != nil {
			t.Fatal(err)
		}
	}
	refusal := fmt.Sprintf("uid %d is neither root nor in group %s: run as root, or join the group and log in again", stranger, groupName(group))
	for name, c := range map[string]struct {
		uid     uint32
		gids    []uint32
		refusal string
	}{
		"root":                              {uid: 0, gids: []uint32{0}},
		"the daemon's own user":             {uid: daemon, gids: []uint32{group + 1}},
		"a member by the primary group":     {uid: stranger, gids: []uint32{group}},
		"a member by a supplementary group": {uid: stranger, gids: []uint32{group + 1, group + 2, group}},
		"a stranger with other groups":      {uid: stranger, gids: []uint32{group + 1, group + 2}, refusal: refusal},
		"a stranger without groups":         {uid: stranger, refusal: refusal},
	} {
		t.Run(name, func(t *testing.T) {
			who, err := socketUsers(path, daemon)(c.uid, c.gids)
			if c.refusal == "" {
				if want := (state.Identity{Root: true, Name: "root"}); err != nil || who != want {
					t.Errorf("got %+v, %v; want the administrator", who, err)
				}
				return
			}
			if err == nil || err.Error() != c.refusal || who != (state.Identity{}) {
				t.Errorf("got %+v, %v; want nobody and %q", who, err, c.refusal)
			}
		})
	}
}

func TestASocketThatIsGoneLetsOnlyRootAndTheDaemonsUserIn(t *testing.T) {
	users := socketUsers(filepath.Join(t.TempDir(), "gone"), 1200)
	for _, uid := range []uint32{0, 1200} {
		if _, err := users(uid, nil); err != nil {
			t.Errorf("uid %d: %v", uid, err)
		}
	}
	if who, err := users(1300, []uint32{0}); err == nil || !strings.Contains(err.Error(), "the socket's group is unknown") {
		t.Errorf("a stranger: got %+v, %v", who, err)
	}
}
