// SPDX-License-Identifier: Apache-2.0

package session

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// alarm raises an alarm of a member that there need not be.
func alarm(t *testing.T, endpoint string, member uint64, kind pb.AlarmType) {
	t.Helper()
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = pb.NewMaintenanceClient(conn).Alarm(t.Context(), &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: member, Alarm: kind})
	if err != nil {
		t.Fatal(err)
	}
}

// alarmed is a step with an alarm raised before it; of several etcd has no order.
// The text form of protobuf, which etcdctl prints, has one space or two, as the
// build decides.
func (s *side) alarmed(t *testing.T, line string) string {
	t.Helper()
	alarm(t, s.endpoint, 0xabcdef0123456789, pb.AlarmType_NOSPACE)
	return strings.ReplaceAll(s.run(t, step{line: line}), "  alarm:", " alarm:")
}

func TestCleatctlPrintsEtcdctlsBytesOfUpkeep(t *testing.T) {
	first, second := twins(t)
	theirs := &side{path: program(t, etcdctl), endpoint: first}
	ours := &side{path: program(t, cleatctl), endpoint: second}
	for _, form := range []string{"", " --hex", " -w simple", " -w fields", " -w fields --hex", " -w json", " -w protobuf"} {
		for _, line := range []string{"alarm list", "alarm disarm"} {
			got, want := ours.alarmed(t, line+form), theirs.alarmed(t, line+form)
			if got != want || want == "" {
				t.Errorf("%s\ncleatctl: %q\n etcdctl: %q", line+form, got, want)
			}
		}
		for _, line := range []string{"alarm list", "alarm disarm"} { // there is none any more
			if got, want := ours.run(t, step{line: line + form}), theirs.run(t, step{line: line + form}); got != want {
				t.Errorf("%s without an alarm\ncleatctl: %q\n etcdctl: %q", line+form, got, want)
			}
		}
	}
	for _, form := range []string{"", " -w json", " -w protobuf"} {
		for differs := "again"; differs != ""; {
			atFullVersion(t, first)
			atFullVersion(t, second)
			differs = ""
			for _, line := range []string{"downgrade validate 3.6", "downgrade enable 3.6.0", "downgrade cancel"} {
				got, want := ours.run(t, step{line: line + form}), theirs.run(t, step{line: line + form})
				if got != want || want == "" {
					differs = fmt.Sprintf("%s\ncleatctl: %q\n etcdctl: %q", line+form, got, want)
				}
			}
			if differs != "" && clusterVersion(t, first)+clusterVersion(t, second) == "3.7.03.7.0" {
				t.Fatal(differs)
			}
		}
	}
}

// clusterVersion is what an etcd takes its cluster for. It looks every five
// seconds whether that is to be lowered or raised: between enable and cancel, if
// it comes to that.
func clusterVersion(t *testing.T, address string) string {
	t.Helper()
	r, err := http.Get("http://" + address + "/version")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var told struct{ Etcdcluster string }
	if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
		t.Fatal(err)
	}
	return told.Etcdcluster
}

func atFullVersion(t *testing.T, address string) {
	t.Helper()
	for end := time.Now().Add(patience); !strings.HasPrefix(clusterVersion(t, address), "3.7."); {
		if time.Now().After(end) {
			t.Fatalf("etcd stays at %s", clusterVersion(t, address))
		}
	}
}

func TestBothClientsKeepUpTheSameServer(t *testing.T) {
	socket := "unix://" + startCleatd(t).socket
	for _, endpoint := range []string{startEtcd(t), socket} {
		theirs := &side{path: program(t, etcdctl), endpoint: endpoint}
		ours := &side{path: program(t, cleatctl), endpoint: endpoint}
		for _, line := range []string{"defrag", "defrag -w json", "defrag --cluster"} {
			if strings.HasSuffix(line, "--cluster") && endpoint == socket {
				continue // etcdctl has no certificate for what it is told then
			}
			got, want := ours.run(t, step{line: line}), theirs.run(t, step{line: line})
			if got != want || want == "" {
				t.Errorf("%s of %s\ncleatctl: %q\n etcdctl: %q", line, endpoint, got, want)
			}
		}
		got, want := ours.alarmed(t, "alarm list"), theirs.alarmed(t, "alarm list")
		if got != want || strings.Count(want, "NOSPACE") != 1 {
			t.Errorf("alarm list of %s\ncleatctl: %q\n etcdctl: %q", endpoint, got, want)
		}
		ours.run(t, step{line: "alarm disarm"})
		for _, line := range []string{"downgrade validate 3.7", "downgrade validate x", "downgrade enable 3.4", "alarm list"} {
			got, said := ours.exit(t, step{line: line})
			want, told := theirs.exit(t, step{line: line})
			if got != want {
				t.Errorf("%s of %s\ncleatctl ends with %d: %s\n etcdctl ends with %d: %s", line, endpoint, got, said, want, told)
			}
		}
	}
}

// A member that is down does not keep the others from being asked.
func TestDefragGoesOnBehindAMemberThatIsDown(t *testing.T) {
	endpoint, dead := startEtcd(t), freeAddress(t)
	command := exec.Command(program(t, cleatctl), "--endpoints="+dead+","+endpoint, "defrag", "--dial-timeout=500ms")
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if command.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "cleatctl: defragment "+dead) || !strings.Contains(string(out), "member["+endpoint+"]. took ") {
		t.Errorf("%v\nstdout %s\nstderr %s", err, out, &stderr)
	}
}
