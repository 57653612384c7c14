// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	text       = "-----BEGIN CLEAT CLUSTER KEY-----\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n-----END CLEAT CLUSTER KEY-----\n"
	passphrase = "six words that nobody else knows"
	cheap      = 10
)

func exported(t testing.TB) []byte {
	t.Helper()
	file, err := encrypt([]byte(text), passphrase, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAFileGivesBackWhatWasPutInAndShowsNothingOfIt(t *testing.T) {
	file := exported(t)
	got, err := Decrypt(file, passphrase)
	if err != nil || string(got) != text {
		t.Fatalf("read %q (%v)", got, err)
	}
	if !Is(file) || Is([]byte(text)) {
		t.Error("it is not known by its form")
	}
	if bytes.Contains(file, []byte("AQEBAQEB")) || bytes.Contains(file, []byte("CLUSTER")) {
		t.Error("the text can be read in the file")
	}
	again := exported(t)
	if bytes.Equal(file, again) {
		t.Error("two files are the same")
	}
	if _, err := Decrypt(append([]byte("\n"), append(file, '\n', '\n')...), passphrase); err != nil {
		t.Errorf("with lines around it: %v", err)
	}
}

func TestAWrongPassphraseOpensNothing(t *testing.T) {
	file := exported(t)
	for _, wrong := range []string{"", "six words that nobody else knew", passphrase + " "} {
		if got, err := Decrypt(file, wrong); !errors.Is(err, ErrPassphrase) || got != nil {
			t.Errorf("%q: %q, %v", wrong, got, err)
		}
	}
}

func TestAWeakPassphraseIsRefused(t *testing.T) {
	for _, weak := range []string{"", "short", strings.Repeat("ä", LeastPassphrase-1)} {
		if _, err := Encrypt([]byte(text), weak); !errors.Is(err, ErrWeak) {
			t.Errorf("%q: %v", weak, err)
		}
	}
}

func TestAChangedFileIsRefused(t *testing.T) {
	file := exported(t)
	for at := range file {
		for _, change := range []byte{1, 0x20} {
			damaged := bytes.Clone(file)
			damaged[at] ^= change
			if got, err := Decrypt(damaged, passphrase); err == nil && string(got) != text {
				t.Fatalf("byte %d changed: read %q", at, got)
			}
		}
	}
	for _, cut := range []int{0, 1, len(file) / 2, len(file) - 10} {
		if _, err := Decrypt(file[:cut], passphrase); !errors.Is(err, ErrFile) {
			t.Errorf("cut to %d bytes: %v", cut, err)
		}
	}
	if _, err := Decrypt(make([]byte, maxBytes+1), passphrase); !errors.Is(err, ErrFile) {
		t.Errorf("too large: %v", err)
	}
}

func TestAFileThatAsksForTooMuchWorkIsRefused(t *testing.T) {
	file := exported(t)
	dear := bytes.Replace(decodeArmor(t, file), []byte(" 10\n"), []byte(" 30\n"), 1)
	if _, err := Decrypt(dear, passphrase); !errors.Is(err, ErrFile) {
		t.Errorf("%v, want ErrFile", err)
	}
}

func decodeArmor(t *testing.T, file []byte) []byte {
	t.Helper()
	var lines []string
	for line := range strings.Lines(string(file)) {
		if !strings.HasPrefix(line, "---") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	command := exec.Command("base64", "-d")
	command.Stdin = strings.NewReader(strings.Join(lines, ""))
	raw, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Debian's age reads what we write. It takes a passphrase from a terminal only,
// which script(1) makes.
func TestAgeItselfReadsAFile(t *testing.T) {
	for _, program := range []string{"age", "script"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "export"), filepath.Join(dir, "key")
	if err := os.WriteFile(in, exported(t), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "script", "-qec", "age -d -o "+out+" "+in, "/dev/null")
	command.Stdin = strings.NewReader(passphrase + "\n")
	said, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != text {
		t.Errorf("age read %q (%v)", got, err)
	}
}

// Whatever lies in a file, it is read or refused by one of two errors, with
// bounded work.
func FuzzDecrypt(f *testing.F) {
	file := exported(f)
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add([]byte("age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 10\n"))
	f.Add([]byte(text))
	f.Fuzz(func(t *testing.T, file []byte) {
		if bytes.Contains(file, []byte(" 1")) && len(file) > 4<<10 {
			t.Skip("work that is allowed, but slow to fuzz")
		}
		got, err := Decrypt(file, passphrase)
		if err == nil && string(got) != text {
			t.Fatalf("read %q", got)
		}
		if err != nil && !errors.Is(err, ErrFile) && !errors.Is(err, ErrPassphrase) {
			t.Fatalf("unexpected error %v", err)
		}
	})
}
