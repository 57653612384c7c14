// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// login is who a client says it is: a token, or a name with its password, or
// nothing, for whom the certificate or the socket speaks.
type login struct{ name, password, token string }

// askedLogin is what the flags say. A token is stronger than a name.
func askedLogin(c *cli.Context) (login, error) {
	if token := c.String("auth-jwt-token"); token != "" {
		return login{token: token}, nil
	}
	return namedLogin(c, "user", "password")
}

// namedLogin reads two flags, and asks for a missing password only where a
// person can answer.
func namedLogin(c *cli.Context, nameFlag, passwordFlag string) (login, error) {
	who := login{name: c.String(nameFlag), password: c.String(passwordFlag)}
	if who.name == "" || who.password != "" {
		return who, nil
	}
	if name, password, ok := strings.Cut(who.name, ":"); ok {
		return login{name: name, password: password}, nil
	}
	input, ok := c.App.Reader.(*os.File)
	if !ok || !term.IsTerminal(int(input.Fd())) {
		return login{}, misuse("--%s %s needs --%s, or --%s %s:PASSWORD", nameFlag, who.name, passwordFlag, nameFlag, who.name)
	}
	_, _ = c.App.ErrWriter.Write([]byte("Password of " + who.name + ": "))
	typed, err := term.ReadPassword(int(input.Fd()))
	_, _ = c.App.ErrWriter.Write([]byte("\n"))
	who.password = string(typed)
	return who, err
}
