// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/pki"
)

// What systemd may hand over as credentials, each by its own name or by that with
// credentialPrefix, as system credentials have it that units import. The settings
// join and token-file come first.
const (
	joinCredential   = "join"        // HOST:PORT of the member to join
	tokenCredential  = "join-token"  // the token for that
	keyCredential    = "cluster.key" // instead of the file of that name in pki/
	credentialPrefix = "cleatd."
)

// credential returns the path of a credential, "" if there is none.
func credential(name string) (string, error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", nil
	}
	for _, file := range []string{name, credentialPrefix + name} {
		path := filepath.Join(dir, file)
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%w: credential %s: %v", ErrConfig, name, err)
		}
	}
	return "", nil
}

// joinAddress is the member to join at the first start: as the settings or else a
// credential say it, "" for none.
func joinAddress(c *Config) (string, error) {
	if c.Join != "" {
		return c.Join, nil
	}
	path, err := credential(joinCredential)
	if path == "" || err != nil {
		return "", err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%w: credential %s: %v", ErrConfig, joinCredential, err)
	}
	address := strings.TrimSpace(string(raw))
	if address == "" || !isHostPort(address) {
		return "", fmt.Errorf("%w: %s: %q is not HOST:PORT of a member to join", ErrConfig, path, address)
	}
	return address, nil
}

// tokenOf reads the token for a join, which the settings or a credential name.
func tokenOf(c *Config, address string) (pki.Token, error) {
	path := c.TokenFile
	if path == "" {
		var err error
		if path, err = credential(tokenCredential); err != nil {
			return pki.Token{}, err
		}
		if dir := os.Getenv("CREDENTIALS_DIRECTORY"); path == "" && dir != "" {
			path = filepath.Join(dir, tokenCredential) // where it is missed
		}
	}
	if path == "" {
		return pki.Token{}, fmt.Errorf("%w: join = %q needs token-file, or systemd's credential %s", ErrConfig, address, tokenCredential)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return pki.Token{}, fmt.Errorf("%w: token-file: %v", ErrConfig, err)
	}
	token, err := readToken(string(raw))
	if err != nil {
		return token, fmt.Errorf("%w: %s: %s", ErrConfig, path, status.Convert(err).Message())
	}
	return token, nil
}
