// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"
)

// ErrAsk: there is nobody to ask for a passphrase, or what they typed twice
// differs.
var ErrAsk = errors.New("export: no passphrase")

// Passphrase reads the first line of a file, or asks at the terminal if file is
// "": what the prompt says, and twice if it is for a new file.
func Passphrase(file, prompt string, twice bool) (string, error) {
	if file != "" {
		return firstLine(file)
	}
	terminal, err := openTerminal()
	if err != nil {
		return "", fmt.Errorf("%w: there is no terminal to ask at: give --passphrase-file", ErrAsk)
	}
	defer func() { _ = terminal.Close() }() // nothing was written that matters
	typed, err := ask(terminal, prompt)
	if err != nil || !twice {
		return typed, err
	}
	again, err := ask(terminal, "Again")
	if err == nil && again != typed {
		err = fmt.Errorf("%w: the two differ", ErrAsk)
	}
	return typed, err
}

func openTerminal() (*os.File, error) {
	if runtime.GOOS == "windows" {
		return os.OpenFile("CONIN$", os.O_RDWR, 0)
	}
	return os.OpenFile("/dev/tty", os.O_RDWR, 0)
}

func ask(terminal *os.File, prompt string) (string, error) {
	_, _ = fmt.Fprintf(os.Stderr, "%s: ", prompt) // who does not see it can type all the same
	typed, err := term.ReadPassword(int(terminal.Fd()))
	_, _ = fmt.Fprintln(os.Stderr)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAsk, err)
	}
	defer clear(typed)
	return string(typed), nil
}

func firstLine(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAsk, err)
	}
	defer clear(text)
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("%w: the first line of %s is empty", ErrAsk, file)
	}
	return line, nil
}

// Read returns the text of a cluster.key that is in a file, in plain, or
// exported, for which it needs the passphrase. The error is ErrAsk, ErrPassphrase,
// ErrFile, or the disk's.
func Read(path, passphraseFile string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if !Is(text) {
		if len(text) > maxBytes || !bytes.Contains(text, []byte("CLUSTER KEY")) {
			return nil, fmt.Errorf("%s: %w; give a file that cleatctl ca key export has written, or a cluster.key", path, ErrFile)
		}
		return text, nil
	}
	passphrase, err := Passphrase(passphraseFile, "Passphrase of "+path, false)
	if err != nil {
		return nil, err
	}
	if text, err = Decrypt(text, passphrase); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}
