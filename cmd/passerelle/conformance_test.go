//go:build !nosandbox

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/conformance"
	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/testdata"
)

// A gateway that is right is conforme; a relay that breaks one thing makes
// exactly its own scenarios fail, and changes no other verdict.
func TestConformance(t *testing.T) {
	var hospital *relay
	r := newRoute(t, func(c *Config) {
		hospital, c.Establishments[0].Hospital = mllpRelay(t, c.Establishments[0].Hospital)
	})
	dir := t.TempDir()
	door, mllp := mllpRelay(t, r.m.MLLP[0])
	info := *r.w.info
	info.Gateway.MLLP = mllp
	file := filepath.Join(dir, "sandbox.json")
	if err := sim.WriteInfo(file, info); err != nil {
		t.Fatal(err)
	}
	judge := func(name, quiet string) (*conformance.Result, int) {
		t.Helper()
		out := filepath.Join(dir, name)
		var said bytes.Buffer
		code := run(t.Context(), []string{"conformance", "run", "--info", file, "--out", out, "--quiet", quiet}, &said, &said)
		res, err := conformance.Read(out)
		if err != nil {
			t.Fatalf("exit %d: %v\n%s", code, err, &said)
		}
		return res, code
	}

	right, code := judge("juste", "30s")
	automated := map[string]bool{}
	for _, one := range right.Requirements {
		for _, s := range one.Scenarios {
			if s.Mode != conformance.Automated {
				continue
			}
			automated[one.ID] = true
			if s.Verdict != conformance.Conform {
				t.Errorf("%s is %s: %s", s.ID, s.Verdict, s.Reason)
			}
			if s.Verdict == conformance.Conform && len(s.Evidence) == 0 && len(s.Assertions) == 0 {
				t.Errorf("%s is conforme without evidence", s.ID)
			}
		}
	}
	if code != 0 || len(automated) < 15 {
		t.Fatalf("exit %d, %d requirements automated", code, len(automated))
	}
	t.Logf("%d requirements automated over the wire", len(automated))
	reports(t, filepath.Join(dir, "juste"))
	if testing.Short() {
		t.Skip("the gateways made wrong on purpose are left out by -short")
	}
	for _, wrong := range wrongGateways() {
		t.Run(wrong.name, func(t *testing.T) {
			door.with(wrong.request, nil)
			hospital.with(wrong.toHospital, nil)
			quiet := "30s"
			if wrong.loses {
				quiet = "3s"
			}
			got, code := judge(strings.NewReplacer("/", "-", " ", "-").Replace(wrong.name), quiet)
			if code != exitWrong {
				t.Errorf("exit %d", code)
			}
			want := right.Verdicts()
			for _, id := range wrong.fails {
				if _, known := want[id]; !known {
					t.Fatalf("no scenario %s", id)
				}
				want[id] = conformance.NotConform
			}
			for id, verdict := range got.Verdicts() {
				if verdict != want[id] {
					t.Errorf("%s is %s, want %s", id, verdict, want[id])
				}
			}
		})
	}
}

// wrongGateway is a gateway that is right but for one thing: those that a relay
// makes of ours while it works. Those that are made of what was seen of ours are
// in TestConformanceWrong.
type wrongGateway struct {
	name                string
	fails               []string
	request, toHospital func([]byte) []byte
	loses               bool // something never comes: it is waited for
}

func wrongGateways() []wrongGateway {
	zam := func(m []byte, event string) bool { return strings.Contains(field(m, "MSH", 9), "^"+event+"^") }
	swapped := map[string]string{"Y": "N", "N": "Y"}
	swap := func(event string) func([]byte) []byte {
		return func(m []byte) []byte {
			if !zam(m, event) {
				return m
			}
			return edited(m, "OBX", func(f []string) {
				if f[1] == "1" {
					f[5] = swapped[f[5][:1]] + f[5][1:]
				}
			})
		}
	}
	told := map[string]string{} // Z02 by answered message: MSH-10 of the first
	return []wrongGateway{
		{name: "fail/an identity that is not qualified passes", fails: []string{"INS/va1.53.P1", "INS/va1.53.P2"}, request: func(m []byte) []byte {
			return edited(m, "PID", func(f []string) {
				if strings.Contains(f[3], "INS-NIR") && f[32] == "PROV" {
					f[32] = "VALI"
				}
			})
		}},
		{name: "fail/INVISIBLE_PATIENT is not read", fails: []string{"INTRA/va1.02.01"}, request: func(m []byte) []byte {
			return edited(m, "OBX", func(f []string) {
				if strings.HasPrefix(f[3], "INVISIBLE_PATIENT") {
					f[5] = "N" + f[5][1:]
				}
			})
		}},
		{name: "fail/Z02 says the contrary", fails: []string{"CDA/HL7.02.P1"}, toHospital: swap("Z02")},
		{name: "fail/Z01 says the contrary", fails: []string{"CDA/HL7.02.01"}, toHospital: swap("Z01")},
		{name: "fail/the second Z02 is lost", fails: []string{"CDA/HL7.02.P1"}, loses: true,
			toHospital: func(m []byte) []byte {
				if !zam(m, "Z02") {
					return m
				}
				first, known := told[field(m, "OBX", 4)]
				if known && first != field(m, "MSH", 10) {
					return nil
				}
				told[field(m, "OBX", 4)] = field(m, "MSH", 10)
				return m
			}},
	}
}

// reports reads what a run left, as a person and a machine would.
func reports(t *testing.T, out string) {
	t.Helper()
	for _, name := range []string{"run.json", "rapport.html", "junit.xml"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"rapport.html", "junit.xml"} {
		data, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range testdata.Patients() {
			if p.Matricule != "" && bytes.Contains(data, []byte(p.Matricule)) {
				t.Errorf("%s shows a matricule", name)
			}
		}
		if bytes.Contains(data, []byte("Bearer ")) {
			t.Errorf("%s shows a token", name)
		}
	}
	before, _ := os.ReadFile(filepath.Join(out, "rapport.html"))
	if code := run(t.Context(), []string{"conformance", "report", out}, io.Discard, io.Discard); code != 0 {
		t.Errorf("report: exit %d", code)
	}
	if after, _ := os.ReadFile(filepath.Join(out, "rapport.html")); !bytes.Equal(before, after) {
		t.Error("the report rendered again is another")
	}
	if code := run(t.Context(), []string{"conformance", "diff", out, out}, io.Discard, io.Discard); code != 0 {
		t.Errorf("diff with itself: exit %d", code)
	}
}

// The exit status tells a wrong target from our own failure.
func TestConformanceExit(t *testing.T) {
	dir := t.TempDir()
	nobody := sim.Info{Version: 1, Patients: testdata.Patients(), Personas: testdata.Personas()}
	nobody.Gateway.MLLP, nobody.Hospital.Messages = "127.0.0.1:1", "http://127.0.0.1:1/messages"
	file := filepath.Join(dir, "personne.json")
	if err := sim.WriteInfo(file, nobody); err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		name string
		args []string
		want int
	}{
		{"fail/no target", []string{"run", "--out", filepath.Join(dir, "a")}, exitUsage},
		{"fail/absent file", []string{"run", "--info", filepath.Join(dir, "absent"), "--out", filepath.Join(dir, "b")}, exitUsage},
		{"fail/nobody answers", []string{"run", "--info", file, "--out", filepath.Join(dir, "c")}, exitFailure},
		{"fail/report of nothing", []string{"report", filepath.Join(dir, "absent")}, exitUsage},
		{"fail/diff of nothing", []string{"diff", dir, dir}, exitFailure},
		{"ok/list", []string{"list"}, 0},
		{"ok/list for a machine", []string{"list", "--json"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var said bytes.Buffer
			if code := run(t.Context(), append([]string{"conformance"}, tt.args...), &said, &said); code != tt.want {
				t.Errorf("case %d: exit %d, want %d\n%s", i, code, tt.want, &said)
			}
		})
	}
	t.Run("ok/only untested is 4", func(t *testing.T) {
		res := &conformance.Result{Requirements: []conformance.JudgedRequirement{{Nature: "DOIT", Scenarios: []conformance.Judged{
			{Mode: conformance.Automated, Verdict: conformance.Conform}, {Mode: conformance.Automated, Verdict: conformance.NotTested}}}}}
		if err := statusOf(res, false); fmt.Sprint(err) != fmt.Sprint(errUntested) {
			t.Errorf("%v", err)
		}
	})
}
