// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
)

// Doors as systemd's FileDescriptorName= knows them.
const (
	doorSocket = "socket"
	doorClient = "client"
	doorPeer   = "peer"
	doorCA     = "ca"

	// doorsNet is what one unit calls the doors to the network, for it can give
	// all of its sockets but one name: the first is the client door, the second
	// the peer door, the third the ca door.
	doorsNet = "net"
)

// socketGroup is the group whose members may use the Unix socket.
const socketGroup = "cleat"

// doors are the listeners of a member, inherited from systemd or opened here.
// They outlive a join.
type doors struct {
	socket []*lasting

	mu      sync.Mutex // guards what follows
	network map[string][]*lasting
	at      map[string]string // where the network's doors are that were opened here
}

func (d *doors) client() []*lasting { return d.of(doorClient) }
func (d *doors) peer() []*lasting   { return d.of(doorPeer) }
func (d *doors) ca() []*lasting     { return d.of(doorCA) }

func (d *doors) of(name string) []*lasting {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.network[name]
}

// openDoors takes the inherited listeners by name. Errors wrap ErrConfig.
func openDoors(c Config) (*doors, error) {
	inherited, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("%w: inherited sockets: %v", ErrConfig, err)
	}
	d := &doors{network: map[string][]*lasting{}, at: map[string]string{}}
	if err := splitNet(inherited); err != nil {
		return nil, err
	}
	for name, listeners := range inherited {
		if !slices.Contains([]string{doorSocket, doorClient, doorPeer, doorCA}, name) {
			d.Close()
			return nil, fmt.Errorf("%w: inherited socket %q (%d of them): FileDescriptorName= must be %s, %s, %s, %s or %s",
				ErrConfig, name, len(listeners), doorSocket, doorClient, doorPeer, doorCA, doorsNet)
		}
		for _, l := range listeners {
			d.network[name] = append(d.network[name], last(l))
		}
	}
	d.socket = d.network[doorSocket]
	delete(d.network, doorSocket)
	if d.socket == nil {
		l, err := listenUnix(c.Socket)
		if err != nil {
			d.Close()
			return nil, err
		}
		d.socket = []*lasting{last(l)}
	}
	return d, nil
}

// splitNet gives the sockets of one unit the names of their doors.
func splitNet(inherited map[string][]net.Listener) error {
	listeners := inherited[doorsNet]
	if len(listeners) > 3 {
		return fmt.Errorf("%w: %d inherited sockets are called %q: want the client door, the peer door and the ca door, in this order; "+
			"give further ones a unit of their own with FileDescriptorName=%s, %s or %s", ErrConfig, len(listeners), doorsNet, doorClient, doorPeer, doorCA)
	}
	delete(inherited, doorsNet)
	for i, name := range []string{doorClient, doorPeer, doorCA}[:len(listeners)] {
		inherited[name] = append(inherited[name], listeners[i])
	}
	return nil
}

// listenUnix opens the socket at path. A file left behind by a daemon that was
// killed is removed; a socket that answers belongs to somebody.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("%w: socket: %v", ErrConfig, err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("%w: socket: %v", ErrConfig, err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%w: socket: %s exists and is not a socket", ErrConfig, path)
	default:
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("%w: socket: another process answers on %s", ErrConfig, path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("%w: socket: %v", ErrConfig, err)
		}
	}
	// Nobody gets in between bind and chmod: the umask closes the socket first.
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("%w: socket: %v", ErrConfig, err)
	}
	if err := shareWithGroup(path); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("%w: socket: %v", ErrConfig, err)
	}
	return l, nil
}

// shareWithGroup opens the socket to its group, and gives it to group cleat
// where there is one and we may.
func shareWithGroup(path string) error {
	if g, err := user.LookupGroup(socketGroup); err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil {
			_ = os.Chown(path, -1, gid) // not ours to give unless root or a member
		}
	}
	return os.Chmod(path, 0o660)
}

// socketGID returns the group of the Unix socket, whose members may use it.
func socketGID(path string) (uint32, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Gid, nil
}

// Close closes every listener.
func (d *doors) Close() {
	for _, l := range slices.Concat(d.socket, d.network[doorSocket], d.client(), d.peer(), d.ca()) {
		_ = l.Close() // nothing is lost with a listener
	}
}
