// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ctl

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cleatd/cleat/admin"
)

// says are the findings as text.
func (f findings) says() string {
	var text strings.Builder
	for _, each := range f {
		fmt.Fprintf(&text, "%s %s: %s\n", each.Grade, each.Check, each.line())
	}
	return text.String()
}

// expect compares what the patient's last looks have found, and forgets it.
func (p *patient) expect(t *testing.T, name string, want ...string) {
	t.Helper()
	got := p.says()
	for _, f := range p.findings {
		if (f.Grade == warning || f.Grade == fault) && f.Mend == "" {
			t.Errorf("%s: there is no mend for %q", name, f.What)
		}
	}
	p.findings = nil
	if strings.Count(got, "\n") != len(want) {
		t.Errorf("%s: %d findings wanted, got\n%s", name, len(want), got)
	}
	for _, each := range want {
		if !strings.Contains(got, each) {
			t.Errorf("%s: no %q in\n%s", name, each, got)
		}
	}
}

func lay(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

func TestTheDoctorLooksWhoMayReadTheData(t *testing.T) {
	dir := t.TempDir()
	p := &patient{root: "/", dataDir: filepath.Join(dir, "data"), status: &admin.StatusResponse{}, pid: os.Getpid()}
	p.directory()
	p.expect(t, "one that is gone", "skipped directory: stat "+p.dataDir)
	lay(t, p.dataDir, "", 0o600)
	p.directory()
	p.expect(t, "a file", "fault directory: "+p.dataDir+" is no directory: choose another")
	if err := os.Remove(p.dataDir); err != nil {
		t.Fatal(err)
	}
	lay(t, filepath.Join(p.dataDir, "state", "1"), "", 0o600)
	p.directory()
	p.expect(t, "a good one", "ok directory: ")
	if err := os.Chmod(p.dataDir, 0o750); err != nil {
		t.Fatal(err)
	}
	p.directory()
	p.expect(t, "an open one", "fault directory: others than its owner may look into "+p.dataDir+" (mode 0750), where keys are: chmod 0700 "+p.dataDir)
	fresh := &patient{dataDir: filepath.Join(dir, "none")}
	fresh.directory()
	fresh.disk()
	fresh.expect(t, "before the first start", "the first start makes it", "skipped disk: ")
	if os.Getuid() != 0 {
		t.Skip("only root can give a file away")
	}
	if err := errors.Join(os.Chmod(p.dataDir, 0o700), os.Chown(filepath.Join(p.dataDir, "state", "1"), 64210, -1)); err != nil {
		t.Fatal(err)
	}
	p.directory()
	p.expect(t, "another's file", "fault directory: 1 name in the data directory do not belong to uid 0, such as "+p.dataDir+"/state/1: chown -R 0 "+p.dataDir)
}

func TestTheDoctorMeasuresTheDiskAndLeavesNothing(t *testing.T) {
	p := &patient{dataDir: t.TempDir(), settings: map[string]string{"reserve-bytes": "0"}}
	p.disk()
	if said := p.says(); !strings.Contains(said, " free; an fsync takes ") || !strings.Contains(said, "warning disk: no reserve is kept free") {
		t.Error(said)
	}
	if left, err := os.ReadDir(p.dataDir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	for d, want := range map[time.Duration]string{1234567: "1.23ms", 987: "987ns", 12345678901: "12.3s", 0: "0s"} {
		if got := rough(d).String(); got != want {
			t.Errorf("%v is told as %s, want %s", d, got, want)
		}
	}
}

func TestTheDoctorComparesLimits(t *testing.T) {
	p := &patient{root: t.TempDir(), pid: 7, settings: map[string]string{}}
	lay(t, filepath.Join(p.root, "proc/meminfo"), "MemFree: 1 kB\nMemTotal:        8388608 kB\n", 0o600)
	lay(t, filepath.Join(p.root, "proc/7/status"), "VmRSS:	   2048 kB\n", 0o600)
	lay(t, filepath.Join(p.root, "proc/7/limits"), "Limit  Soft  Hard\nMax open files            5000                 6000                 files\n", 0o600)
	lay(t, filepath.Join(p.root, "proc/7/fd/0"), "", 0o600)
	p.memory()
	p.files()
	p.expect(t, "alone", "ok memory: the machine has 8.0 GiB, the member takes 2.0 MiB", "ok files: 1 of at most 5000 files and connections are open")
	lay(t, filepath.Join(p.root, "proc/7/cgroup"), "0::/system.slice/cleatd.service\n", 0o600)
	lay(t, filepath.Join(p.root, "sys/fs/cgroup/system.slice/cleatd.service/memory.max"), "max\n", 0o600)
	lay(t, filepath.Join(p.root, "sys/fs/cgroup/system.slice/memory.max"), fmt.Sprintln(1<<30), 0o600)
	p.settings["memory-bytes"] = fmt.Sprint(1 << 30)
	p.memory()
	p.expect(t, "in a group", "ok memory: its control group may take 1.0 GiB")
	p.settings["memory-bytes"] = fmt.Sprint(2 << 30)
	p.memory()
	p.expect(t, "more than there is", "fault memory: memory-bytes is 2.0 GiB, but its control group may take 1.0 GiB")
	lay(t, filepath.Join(p.root, "proc/7/limits"), "Max open files            1024                 6000                 files\n", 0o600)
	p.files()
	p.expect(t, "few files", "warning files: 1 of at most 1024 files and connections are open: raise LimitNOFILE")
	p.pid = 0
	p.files()
	p.expect(t, "a member that is down", "skipped files: ")
}

// identify leaves the files of an identity in dir/pki, whose certificate ends
// when told.
func identify(t *testing.T, dir string, end time.Time) {
	t.Helper()
	var made []*x509.Certificate
	var keys []*ecdsa.PrivateKey
	for i := range 3 { // root, intermediate, member
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: i < 2, BasicConstraintsValid: true}
		parent, by := template, key
		if i > 0 {
			parent, by = made[i-1], keys[i-1]
		}
		if i == 2 {
			template.NotAfter = end
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		made, keys = append(made, certificate), append(keys, key)
	}
	der, err := x509.MarshalPKCS8PrivateKey(keys[2])
	if err != nil {
		t.Fatal(err)
	}
	authority, err := json.Marshal(map[string][]byte{"root": made[0].Raw, "intermediate": made[1].Raw})
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made[2].Raw})...)
	lay(t, filepath.Join(dir, "pki/member.pem"), string(text), 0o600)
	lay(t, filepath.Join(dir, "pki/ca.json"), string(authority), 0o600)
	lay(t, filepath.Join(dir, "pki/cluster.key"), "secret", 0o600)
}

func TestTheDoctorReadsTheCertificates(t *testing.T) {
	p := &patient{dataDir: t.TempDir()}
	p.certificates()
	p.expect(t, "before the first start", "ok certificates: there are none yet")
	end := time.Now().Add(time.Hour)
	identify(t, p.dataDir, end)
	p.certificates()
	p.expect(t, "good ones", "ok certificates: key and chain are good until "+end.UTC().Format(time.RFC3339))
	key := filepath.Join(p.dataDir, "pki/cluster.key")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	p.certificates()
	p.expect(t, "a key for all", "fault certificates: others than its owner may read "+key+" (mode 0644): chmod 0600 "+key)
	identify(t, p.dataDir, time.Now().Add(-time.Minute))
	p.certificates()
	p.expect(t, "one that ended", "certificate has expired")
	strange, err := os.ReadFile(filepath.Join(p.dataDir, "pki/ca.json"))
	if err != nil {
		t.Fatal(err)
	}
	identify(t, p.dataDir, end)
	lay(t, filepath.Join(p.dataDir, "pki/ca.json"), string(strange), 0o600)
	p.certificates()
	p.expect(t, "another CA's", "signed by unknown authority")
	lay(t, filepath.Join(p.dataDir, "pki/member.pem"), "nothing", 0o600)
	p.certificates()
	p.expect(t, "rubbish", "member.pem: tls: failed to find any PEM data")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	identify(t, p.dataDir, end)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	p.certificates()
	p.expect(t, "no cluster key", "cluster.key: no such file")
}

func TestTheDoctorTriesTheDoorsOfAll(t *testing.T) {
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(open.Addr().String())
	p := &patient{patience: time.Minute, status: &admin.StatusResponse{MemberId: 1, Doors: &admin.Doors{Client: "0.0.0.0:" + port, Peer: gone}}}
	p.status.Members = []*admin.MemberStatus{{Id: 2, Name: "two"}}
	p.members = []*pb.Member{
		{ID: 1, PeerURLs: []string{"https://" + gone}},
		{ID: 2, PeerURLs: []string{"https://" + open.Addr().String()}, ClientURLs: []string{"https://" + gone}},
	}
	p.ports(t.Context())
	p.expect(t, "some", "ok ports: 2 doors of this member and the others",
		"fault ports: the peer door of this member does not take connections at "+gone+" (connect: connection refused): look which process",
		"fault ports: the client door of two (2) does not take connections at "+gone+" (connect: connection refused): open the port")
	p.status.Members = []*admin.MemberStatus{{Id: 2, Ahead: durationpb.New(-3 * time.Millisecond), RoundTrip: durationpb.New(2 * time.Millisecond)}}
	p.clock()
	p.expect(t, "clocks", "it is at most 4ms from the clocks of 1 other member")
	p.status.Version = "v" + Version
	p.versions()
	p.status.Version = "9.9"
	p.versions()
	p.expect(t, "versions", "ok version: ", "warning version: the member runs 9.9, and this program is "+Version)
}

func TestTheDoctorLooksAtTheUnits(t *testing.T) {
	p := &patient{root: t.TempDir(), socket: "/run/cleat/cleat.sock", patience: time.Minute}
	p.systemd(t.Context())
	p.expect(t, "no systemd", "skipped systemd: systemd does not run this machine")
	lay(t, filepath.Join(p.root, "run/systemd/system/x"), "", 0o600)
	programs := t.TempDir()
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	const good = "Type=notify\nWatchdogUSec=1min\nMainPID=7\nId=cleatd.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\n" +
		"Listen=/run/cleat/cleat.sock (Stream)\nId=cleatd.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n"
	for name, c := range map[string]struct {
		change []string
		want   []string
	}{
		"all is well": {nil, []string{"ok systemd: cleatd.service and cleatd.socket are enabled"}},
		"no units": {[]string{"LoadState=loaded", "LoadState=not-found"},
			[]string{"there is no unit cleatd.service", "there is no unit cleatd.socket"}},
		"not enabled": {[]string{"UnitFileState=enabled", "UnitFileState=disabled"},
			[]string{"cleatd.service is disabled, so the member does not start with the machine: systemctl enable", "cleatd.socket is disabled"}},
		"failed":         {[]string{"ActiveState=active\nUnitFileState=enabled\n\n", "ActiveState=failed\nUnitFileState=enabled\n\n"}, []string{"fault systemd: cleatd.service has failed"}},
		"a simple one":   {[]string{"Type=notify", "Type=simple", "WatchdogUSec=1min", "WatchdogUSec=0"}, []string{"is of type simple", "has no watchdog"}},
		"another socket": {[]string{"/run/cleat/cleat.sock", "/run/other.sock"}, []string{"listens on /run/other.sock (Stream), and not on /run/cleat/cleat.sock"}},
	} {
		lay(t, filepath.Join(programs, "systemctl"), "#!/bin/sh\ncat <<'END'\n"+strings.NewReplacer(c.change...).Replace(good)+"END\n", 0o700)
		p.systemd(t.Context())
		p.expect(t, name, c.want...)
	}
	lay(t, filepath.Join(programs, "systemctl"), "#!/bin/sh\nexit 3\n", 0o700)
	p.systemd(t.Context())
	p.expect(t, "one that does not tell", "skipped systemd: systemctl does not tell: exit status 3")
}

func TestTheDoctorWorksWithoutAMember(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	code, stdout, stderr := cleatctl(t, "doctor", "--json", "--socket", "/nonexistent")
	var told struct{ Findings findings }
	if err := json.Unmarshal([]byte(stdout), &told); err != nil || code != exitFailed || !strings.HasPrefix(stderr, "cleatctl: ") {
		t.Fatalf("exit code %d, %v: %q, %q", code, err, stdout, stderr)
	}
	if said := told.Findings.says(); !strings.Contains(said, "fault member: the member does not answer: there is no socket /nonexistent") || !strings.Contains(said, "skipped configuration: find cleatd") {
		t.Error(said)
	}
	if _, stdout, _ := cleatctl(t, "doctor", "--socket", "/nonexistent"); !strings.Contains(stdout, "\nfault    member         the member does not answer: ") {
		t.Error(stdout)
	}
}

func TestTheDoctorHasTheSettingsChecked(t *testing.T) {
	programs := t.TempDir()
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	file := filepath.Join(t.TempDir(), "cleatd.toml")
	lay(t, file, "", 0o664)
	lay(t, filepath.Join(programs, "cleatd"), `#!/bin/sh
test "$1 $2 $3 $4" = "check --json --config `+file+`" || exit 1
echo '{"data-dir":"/nowhere"}'
`, 0o700)
	_, stdout, _ := cleatctl(t, "doctor", "--socket", "/nonexistent", "--config", file)
	for _, want := range []string{"the settings are good (" + file + ")", "others than its owner may change " + file, "there is no /nowhere yet"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	lay(t, filepath.Join(programs, "cleatd"), "#!/bin/sh\necho 'cleatd: configuration: name: too long' >&2; exit 2\n", 0o700)
	if _, stdout, _ := cleatctl(t, "doctor", "--socket", "/nonexistent", "--config", file); !strings.Contains(stdout, "cleatd does not take its settings ("+file+"): configuration: name: too long: correct it") {
		t.Error(stdout)
	}
}

func TestTheDoctorKnowsBothGenerationsOfARotation(t *testing.T) {
	dir := t.TempDir()
	identify(t, dir, time.Now().Add(time.Minute))
	read := func() (ca struct{ Root, Intermediate []byte }) {
		raw, err := os.ReadFile(filepath.Join(dir, "pki/ca.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &ca); err != nil {
			t.Fatal(err)
		}
		return ca
	}
	old := read()
	identify(t, dir, time.Now().Add(time.Minute))
	now := read()
	// The member's certificate is of the one that does not issue, before it moves.
	raw, err := json.Marshal(map[string]any{
		"root": old.Root, "intermediate": old.Intermediate,
		"rotation": map[string]any{"other": map[string]any{"root": now.Root, "intermediate": now.Intermediate}},
	})
	if err != nil {
		t.Fatal(err)
	}
	lay(t, filepath.Join(dir, "pki/ca.json"), string(raw), 0o600)
	if _, err := chainOf(filepath.Join(dir, "pki"), time.Now()); err != nil {
		t.Error(err)
	}
}
