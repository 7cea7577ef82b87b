package conformance

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/testdata"
)

func defaultCatalogue(t *testing.T) *Catalogue {
	t.Helper()
	c, err := LoadCatalogue(DefaultCatalogue)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCatalogue(t *testing.T) {
	c := defaultCatalogue(t)
	data, err := catalogueFiles.ReadFile("catalogue/" + DefaultCatalogue + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.SHA256) != 64 || c.Requirements[0].Scenarios[0].Origin != "DSR" {
		t.Errorf("%+v", c.Requirements[0])
	}
	tests := []struct{ name, old, new, want string }{
		{"ok/as it is", "", "", ""},
		{"fail/not YAML", "format: 1", "format: [", "CONF-CATALOGUE"},
		{"fail/unknown field", "format: 1", "format: 1\nautre: 2", "autre"},
		{"fail/format", "format: 1", "format: 2", "format 1"},
		{"fail/id", "id: CDA/HL7.01\n", "id: cda.1\n", "not an id"},
		{"fail/twice", "id: MSS/CONF.15\n", "id: MSS/CONF.14\n", "stands twice"},
		{"fail/unknown check", "check: mss-ins\n", "check: mss-nothing\n", "no check"},
		{"fail/check of nobody", "check: mss-ins\n", "check: mss-nil\n", "serves no scenario"},
		{"fail/nature", "nature: PEUT", "nature: PEUT-ETRE", "nature"},
		{"fail/confidence", "confidence: PUB", "confidence: SURE", "confidence"},
		{"fail/mode", "mode: external", "mode: elsewhere", "mode"},
		{"fail/no proof", `proof: "certificat du CNDA."`, `proof: ""`, "proof"},
		{"fail/origin", "origin: Passerelle", "origin: Ailleurs", "origin"},
		{"fail/scenario of another", "id: MSS/CONF.14.01", "id: MSS/CONF.15.09", "not its own"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changed := data
			if tt.old != "" {
				if changed = bytes.Replace(data, []byte(tt.old), []byte(tt.new), 1); bytes.Equal(changed, data) {
					t.Fatal("nothing was changed")
				}
			}
			_, err := ParseCatalogue("essai", changed)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	t.Run("fail/no such edition", func(t *testing.T) {
		if _, err := LoadCatalogue("autre"); err == nil {
			t.Error("an edition that does not exist was read")
		}
	})
}

// Every id of the catalogue is one of the programme, with its scenario.
func TestIdentifiers(t *testing.T) {
	root := os.Getenv("PASSERELLE_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "data")
	}
	f, err := os.Open(filepath.Join(root, "segur", "requirement-ids.csv"))
	if err != nil {
		t.Skip("the reference data are not here: ", err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	scenarios := map[string]string{}
	aliases := map[string]string{}
	for _, r := range rows[1:] {
		key := strings.SplitN(r[column["rem"]], "(", 2)[0] + " " + strings.TrimPrefix(r[column["id"]], "SC.")
		scenarios[key] += r[column["scenarios"]] + ";"
		aliases[key] += r[column["va1_id"]] + ";"
	}
	for _, r := range defaultCatalogue(t).Requirements {
		key := r.REM + " " + r.ID
		known, ok := scenarios[key]
		if !ok {
			t.Errorf("%s is not an id of the sheet %s", r.ID, r.REM)
		}
		if r.Alias != "" && !strings.Contains(aliases[key], r.Alias+";") {
			t.Errorf("%s: alias %s, the sheet says %s", r.ID, r.Alias, aliases[key])
		}
		for _, s := range r.Scenarios {
			if s.Origin == "DSR" && !slices.Contains(strings.Split(known, ";"), s.ID) {
				t.Errorf("%s is not a scenario of %s: %s", s.ID, r.ID, known)
			}
		}
	}
}

func TestVerdict(t *testing.T) {
	tests := []struct {
		name  string
		build func(v *judgement)
		want  Verdict
	}{
		{"ok/all hold", func(v *judgement) { v.that(true, "un") }, Conform},
		{"fail/nothing verified", func(*judgement) {}, NotTested},
		{"fail/something missing", func(v *judgement) { v.that(true, "un"); v.need(false, "manque") }, NotTested},
		{"fail/one is wrong", func(v *judgement) { v.that(true, "un"); v.that(false, "deux"); v.need(false, "manque") }, NotConform},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := &judgement{}
			tt.build(v)
			if got, why := v.verdict(); got != tt.want || (got != Conform) != (why != "") {
				t.Errorf("%s %q, want %s", got, why, tt.want)
			}
		})
	}
}

// canned is a result with one scenario of each verdict.
func canned() *Result {
	at := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	one := func(id, nature, mode string, v Verdict) JudgedRequirement {
		return JudgedRequirement{ID: id, DSR: "D", REM: "PFI", Profile: "Général", Nature: nature, Theme: "T", Text: "Texte <b> de " + id, Verdict: v,
			Scenarios: []Judged{{ID: id + ".01", Title: "Scénario", Origin: "DSR", Mode: mode, Verdict: v, Reason: "parce que 280076311310118",
				Assertions: []Assertion{{v == Conform, "vu 2800763113101"}}, Evidence: []int{1}}}}
	}
	return &Result{Format: 1, Tool: "essai", Began: at, Ended: at, DSR: "D", Product: Product{Name: "Produit"}, Secrets: []string{"280076311310118"},
		Requirements: []JudgedRequirement{one("AA.01", "DOIT", Automated, Conform), one("AA.02", "PEUT", Automated, NotConform),
			one("AA.03", "DOIT", External, NotTested), one("AA.04", "DOIT", Automated, NotConcern)}}
}

func TestOutcome(t *testing.T) {
	set := func(i int, v Verdict) func(*Result) {
		return func(r *Result) { r.Requirements[i].Verdict, r.Requirements[i].Scenarios[0].Verdict = v, v }
	}
	tests := []struct {
		name   string
		change func(*Result)
		all    bool
		want   Verdict
	}{
		{"ok/a PEUT that fails changes nothing", func(*Result) {}, false, Conform},
		{"fail/external proof awaited, all counted", func(*Result) {}, true, NotTested},
		{"fail/automated and not tested", set(0, NotTested), false, NotTested},
		{"fail/a DOIT fails", set(0, NotConform), false, NotConform},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := canned()
			tt.change(r)
			if got := r.Outcome(tt.all); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestReports(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, evidenceFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	r := canned()
	clock := func() time.Time { return r.Began }
	rec := &recorder{dir: dir, clock: clock}
	rec.add(Exchange{Channel: "mllp", Label: "Message 280076311310118"}, []byte("PID|280076311310118\rOBX|"+strings.Repeat("QUFB", 60)+"|<script>"), []byte("MSA|AA"))
	rec.add(Exchange{Channel: "mllp"}, []byte("MSA|AA"), nil)
	var err error
	if r.Exchanges, err = rec.kept(); err != nil {
		t.Fatal(err)
	}
	if r.Exchanges[0].Received.File != r.Exchanges[1].Sent.File {
		t.Error("the same bytes are kept twice")
	}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, htmlFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{"280076311310118", "2800763113101", "<script>", "QUFBQUFB", "<b>", "http://", "https://"} {
		if bytes.Contains(page, []byte(hidden)) {
			t.Errorf("the report shows %q", hidden)
		}
	}
	for _, shown := range []string{`lang="fr"`, "AA.01", "240 caractères", "conforme", "sans objet", "PID|•••"} {
		if !bytes.Contains(page, []byte(shown)) {
			t.Errorf("the report lacks %q", shown)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, junitFile))
	if err != nil {
		t.Fatal(err)
	}
	var suites junitSuites
	if err := xml.Unmarshal(data, &suites); err != nil || suites.Tests != 4 || suites.Failures != 0 || suites.Skipped != 3 {
		t.Errorf("%+v %v", suites, err)
	}
	if bytes.Contains(data, []byte("2800763113101")) {
		t.Error("JUnit shows a matricule")
	}
	again, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(r, again); len(d) != 0 {
		t.Errorf("%+v", d)
	}
	raw, err := os.ReadFile(filepath.Join(dir, runFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"fail/not JSON": []byte("{"), "fail/format": bytes.Replace(raw, []byte(`"format": 1`), []byte(`"format": 9`), 1),
		"fail/verdict": bytes.ReplaceAll(raw, []byte(`"verdict": "conforme"`), []byte(`"verdict": "parfait"`)),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), runFile)
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Read(path); err == nil {
				t.Error("it was read")
			}
		})
	}
}

// A run file of others names no file outside its folder.
func TestExcerptStaysInside(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("confidentiel"), 0o600); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(dir, "run")
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := canned().excerpt(inside, Bytes{File: "../secret"}); strings.Contains(got, "confidentiel") {
		t.Error(got)
	}
}

func TestDiff(t *testing.T) {
	before, after := canned(), canned()
	for i, v := range []Verdict{NotTested, Conform, NotConform, Conform} {
		after.Requirements[i].Scenarios[0].Verdict = v
	}
	after.Requirements[3].Scenarios[0].ID = "AA.04.02"
	want := []Change{{"AA.01.01", Conform, NotTested, true}, {"AA.02.01", NotConform, Conform, false}, {"AA.03.01", NotTested, NotConform, true},
		{"AA.04.01", NotConcern, "", false}, {"AA.04.02", "", Conform, false}}
	if got := Diff(before, after); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestElide(t *testing.T) {
	line := strings.Repeat("A", 76)
	tests := []struct{ name, in, want string }{
		{"ok/plain", "PID|1\rPV1|", "PID|1\nPV1|"},
		{"ok/one long run", "x|" + strings.Repeat("B", 200) + "|y", "x|…(200 caractères)…|y"},
		{"ok/lines of a mail", "z:\r\n\r\n" + line + "\r\n" + line + "\r\nQQ==\r\n--fin", "z:\n\n…(156 caractères)…\n--fin"},
		{"ok/bytes that are no text", "a\xff\x0bb\x1c", "a·b"},
		{"ok/short word", "abc def", "abc def"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := elide([]byte(tt.in), 10000); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestTarget(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	people := `"personas":[{"id":"dr-delmas","mailbox":"a@test-ci-sis.mssante.fr"}],"patients":[`
	for i, p := range testdata.Patients() {
		if i > 0 {
			people += ","
		}
		people += `{"id":"` + p.ID + `","matricule":"` + p.Matricule + `"}`
	}
	good := `{"version":1,"gateway":{"mllp":"127.0.0.1:1"},"hospital":{"messages":"http://127.0.0.1:1/messages"},` + people + `]}`
	write("bac.json", good)
	product := "name: Autre passerelle\nsandbox: bac.json\nmllp: 127.0.0.1:2\nprofiles: [Général]\nnot_applicable: [{id: TBB/va1.01, reason: porté par le DPI}]\n"
	tests := []struct {
		name, file, text string
		read             func(string) (Target, error)
		want             string
	}{
		{"ok/sandbox", "a.json", good, ReadInfo, ""},
		{"fail/version", "b.json", strings.Replace(good, `"version":1`, `"version":2`, 1), ReadInfo, "version"},
		{"fail/not JSON", "c.json", "{", ReadInfo, "CONF-TARGET"},
		{"fail/no gateway", "d.json", strings.Replace(good, "127.0.0.1:1", "", 1), ReadInfo, "gateway.mllp"},
		{"fail/other people", "e.json", strings.Replace(good, "pat-trois", "inconnu", 1), ReadInfo, "pat-trois"},
		{"ok/product", "f.yaml", product, ReadProduct, ""},
		{"fail/product without a sandbox", "g.yaml", "name: X\n", ReadProduct, "sandbox"},
		{"fail/sans objet without a reason", "h.yaml", strings.Replace(product, "porté par le DPI", `" "`, 1), ReadProduct, "reason"},
		{"fail/unknown field", "i.yaml", product + "autre: 1\n", ReadProduct, "autre"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.read(write(tt.file, tt.text))
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if tt.name == "ok/product" {
				reason, yes := got.concerned(Requirement{ID: "TBB/va1.01", Profile: "Général"})
				_, app := got.concerned(Requirement{ID: "MSS/CONF.12", Profile: "BAL APP"})
				if got.Gateway.MLLP != "127.0.0.1:2" || yes || reason != "porté par le DPI" || app {
					t.Errorf("%+v", got.Product)
				}
			}
		})
	}
}
