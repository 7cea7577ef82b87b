//go:build !nosandbox

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/testdata"
)

// The command against a sandbox, as a person runs it.
func TestSubmit(t *testing.T) {
	r := newRoute(t, nil)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	info := filepath.Join(dir, "info.json")
	i := *r.w.info
	i.Gateway.HTTPS = "https://" + r.m.HTTPS
	if err := sim.WriteInfo(info, i); err != nil {
		t.Fatal(err)
	}
	doc := func(n int, o testdata.CDAOptions) []byte { o.ID = testdata.DocumentID(n); return testdata.CDA(o) }
	first := write("premier.xml", doc(1, testdata.CDAOptions{}))
	next := write("suivant.xml", doc(2, testdata.CDAOptions{Replaces: testdata.DocumentID(1)}))
	closed := write("ferme.xml", doc(3, testdata.CDAOptions{Patient: testdata.PatientByID(testdata.PatientClosed)}))
	mailed := write("courrier.xml", doc(4, testdata.CDAOptions{}))
	pdf := write("cr.pdf", testdata.PDF("Compte rendu", []string{"Rien."}))
	page := write("page.xml", []byte("une phrase"))
	strange := write("enveloppe.json", []byte(`{"action":"new","inconnu":1}`))
	where := []string{"--url", "https://" + r.m.HTTPS, "--cert", i.TLS.MachineCert, "--key", i.TLS.MachineKey, "--ca", i.TLS.CA}
	tests := []struct {
		name string
		args []string
		code int
		want []string // in the output
		not  string
	}{
		{"ok/dry run keeps nothing", []string{"--info", info, "--dry-run", first}, 0, []string{"premier.xml : accepté\n"}, "soumission"},
		{"ok/followed to its end", []string{"--info", info, "--follow", first}, 0, []string{"premier.xml : accepté, soumission ", "accepted  ok", "Le DMP a répondu", "→ remis\n"}, ""},
		{"ok/again deposits nothing", append([]string{"--follow", first}, where...), 0, []string{"→ remis\n"}, ""},
		{"ok/letter, in English", []string{"--info", info, "--lang", "en", mailed, "--to", testdata.Personas()[0].Mailbox, "--no-dmp"}, 0, []string{"courrier.xml : accepted, submission "}, "accepté"},
		{"ok/replacement", []string{"--info", info, "--follow", next}, 0, []string{"→ remis"}, ""},
		{"fail/closed DMP", []string{"--info", info, "--follow", closed}, 1, []string{"→ échec [DMPClosed]"}, ""},
		{"fail/refused", []string{"--info", info, "--envelope", strange, first}, 1, []string{"premier.xml : refusé", "HTTP-UNKNOWN-FIELD /inconnu"}, ""},
		{"fail/not a CDA, and the next is judged", []string{"--info", info, "--dry-run", page, first}, 1, []string{"premier.xml : accepté\n", "CDA-XML"}, ""},
		{"fail/no envelope for a PDF", []string{"--info", info, pdf}, 2, []string{"--envelope"}, ""},
		{"fail/no gateway", []string{first}, 2, []string{"--info FICHIER"}, ""},
		{"fail/nobody answers", []string{"--url", "https://127.0.0.1:1", "--cert", i.TLS.MachineCert, "--key", i.TLS.MachineKey, "--ca", i.TLS.CA, first}, 3, []string{"passerelle :"}, ""},
		{"fail/a stranger's certificate", []string{"--url", "https://" + r.m.HTTPS, "--cert", i.TLS.ClientCert, "--key", i.TLS.ClientKey, "--ca", i.TLS.CA, first}, 3, []string{"401"}, ""},
		{"fail/nothing to follow", []string{"--info", info, "--dry-run", "--follow", first}, 2, []string{"--dry-run"}, ""},
		{"fail/envelope given and deduced", []string{"--info", info, "--envelope", strange, "--delete", first}, 2, []string{"--delete"}, ""},
		{"fail/no such file", []string{"--info", info, "absent.xml"}, 2, []string{"absent.xml"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			code := run(t.Context(), append([]string{"submit"}, tt.args...), &out, &out)
			if code != tt.code {
				t.Errorf("exit %d, want %d", code, tt.code)
			}
			for _, w := range tt.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("no %q in\n%s", w, &out)
				}
			}
			if tt.not != "" && strings.Contains(out.String(), tt.not) {
				t.Errorf("%q in\n%s", tt.not, &out)
			}
			if p := testdata.Patients()[0]; strings.Contains(out.String(), p.Matricule) || strings.Contains(out.String(), p.BirthName) {
				t.Errorf("it names the patient:\n%s", &out)
			}
		})
	}
	if n := len(r.submissions()); n != 4+1 {
		t.Errorf("%d submissions", n)
	}

	var out bytes.Buffer
	if code := run(t.Context(), []string{"submit", "--info", info, "--json", "--follow", "--delete", next}, &out, &out); code != 0 {
		t.Fatalf("exit %d: %s", code, &out)
	}
	var one submitted
	if err := json.Unmarshal(out.Bytes(), &one); err != nil || one.State != "done" || one.Verdict != "accepted" || len(one.Events) < 2 {
		t.Errorf("%v %+v", err, one)
	}
}

// submissions are all that the gateway lists.
func (r *route) submissions() []listed {
	r.t.Helper()
	var page struct {
		Submissions []listed `json:"submissions"`
	}
	r.getJSON(r.client, "https://"+r.m.HTTPS+"/v1/submissions?limit=200", &page)
	return page.Submissions
}

// A timeline that breaks off is taken up after the last event that was seen.
func TestSubmitFollowsAgain(t *testing.T) {
	var asked []string
	front := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Last-Event-ID"))
		if len(asked) == 1 {
			_, _ = w.Write([]byte("id: 7\nevent: timeline\ndata: {\"seq\":7,\"step\":\"accepted\",\"outcome\":\"ok\"}\n\n: encore là\n\n"))
			return
		}
		_, _ = w.Write([]byte("event: state\ndata: {\"state\":\"partial\",\"code\":\"X\"}\n\n"))
	})
	server := newServer(t, front)
	s := &sender{&submitCmd{Lang: "fr"}, &env{ctx: t.Context(), out: &bytes.Buffer{}}, server, http.DefaultClient, time.Millisecond}
	out := submitted{ID: "s-1"}
	if err := s.follow(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Join(asked, ",") != ",7" || out.State != "partial" || len(out.Events) != 1 {
		t.Errorf("asked %q, %+v", asked, out)
	}
}

func newServer(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}
