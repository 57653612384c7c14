// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
)

// AskReload has the member behind a socket read its settings and certificate again
// and writes to w what has come of it. The error is the reason if the member
// refuses them, or is not there.
func AskReload(ctx context.Context, socket string, w io.Writer) error {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("%w: socket: %v", ErrConfig, err)
	}
	defer conn.Close()
	r, err := admin.NewAdminClient(conn).Reload(ctx, new(admin.ReloadRequest))
	switch s := status.Convert(err); s.Code() {
	case codes.OK:
	case codes.FailedPrecondition:
		return fmt.Errorf("the new configuration is refused, the old one stays in force: %s", s.Message())
	case codes.Unavailable:
		return fmt.Errorf("no member answers at %s: %s; is cleatd running? If the setting socket has changed, that needs a restart", socket, whyUnavailable(socket, s))
	default:
		return fmt.Errorf("reload: %s", s.Message())
	}
	for _, c := range r.Changed {
		fmt.Fprintf(w, "%s: %s (was %s)\n", c.Name, told(c.New), told(c.Old))
	}
	for _, c := range r.Waiting {
		fmt.Fprintf(w, "%s: stays %s until the next start, then %s\n", c.Name, told(c.Old), told(c.New))
	}
	if len(r.Changed)+len(r.Waiting) == 0 {
		fmt.Fprintln(w, "No setting has changed.")
	}
	return nil
}

// whyUnavailable is the system's word for it, where it has one: grpc's is long.
func whyUnavailable(socket string, s *status.Status) string {
	conn, err := net.Dial("unix", socket)
	if err == nil {
		_ = conn.Close() // nothing was said on it
		return s.Message()
	}
	if cause := (*os.SyscallError)(nil); errors.As(err, &cause) {
		return cause.Err.Error()
	}
	return err.Error()
}

func told(value string) string {
	if value == "" {
		return "unset"
	}
	return value
}

var socketLine = regexp.MustCompile(`(?m)^[ \t]*socket[ \t]*=[ \t]*["']([^"'\n]*)["']`)

// SocketOf is the socket that a configuration names, as Load is given it, also
// where the rest is at fault: the member is to be asked all the same.
func SocketOf(path string, environ []string, flags map[string]string) string {
	socket := Default().Socket
	if raw, err := os.ReadFile(path); err == nil {
		var file struct{ Socket string }
		if toml.Unmarshal(raw, &file) == nil {
			socket = cmp.Or(file.Socket, socket)
		} else if named := socketLine.FindSubmatch(raw); named != nil {
			socket = string(named[1])
		}
	}
	for _, pair := range environ {
		if v, is := strings.CutPrefix(pair, "CLEATD_SOCKET="); is {
			socket = v
		}
	}
	return cmp.Or(flags["socket"], socket)
}
