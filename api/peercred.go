// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// credentials are what the kernel says of the process at the other end of a
// Unix socket, at the time it connected.
type peerCredentials struct {
	uid  uint32
	gids []uint32 // the primary group first, then the supplementary ones
}

func readPeerCredentials(c *net.UnixConn) (peerCredentials, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return peerCredentials{}, fmt.Errorf("peer credentials: %w", err)
	}
	var (
		p    peerCredentials
		fail error
	)
	err = raw.Control(func(fd uintptr) {
		var u *unix.Ucred
		if u, fail = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); fail != nil {
			return
		}
		var groups []uint32
		groups, fail = peerGroups(int(fd))
		p = peerCredentials{uid: u.Uid, gids: append([]uint32{u.Gid}, groups...)}
	})
	if err := errors.Join(err, fail); err != nil {
		return peerCredentials{}, fmt.Errorf("peer credentials: %w", err)
	}
	return p, nil
}

// peerGroups returns the supplementary groups: without them "usermod -aG"
// would let nobody in. The kernel says how much room it wants when the buffer
// is too small.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups)) * 4
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ERANGE && int(size/4) > len(groups):
			groups = make([]uint32, size/4)
		default:
			return nil, errno
		}
	}
}
