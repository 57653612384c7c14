// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"os/user"
	"slices"
	"strconv"

	"github.com/cleatd/cleat/state"
)

// socketUsers decides who may use the Unix socket: root, the daemon's own
// user, and members of the socket's group, supplementary groups included. All
// of them are the administrator there.
func socketUsers(path string, own int) func(uid uint32, gids []uint32) (state.Identity, error) {
	return func(uid uint32, gids []uint32) (state.Identity, error) {
		root := state.Identity{Root: true, Name: "root"}
		if uid == 0 || uid == uint32(own) {
			return root, nil
		}
		gid, err := socketGID(path)
		if err != nil {
			return state.Identity{}, fmt.Errorf("the socket's group is unknown: %w", err)
		}
		if slices.Contains(gids, gid) {
			return root, nil
		}
		return state.Identity{}, fmt.Errorf("uid %d is neither root nor in group %s: run as root, or join the group and log in again",
			uid, groupName(gid))
	}
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}
