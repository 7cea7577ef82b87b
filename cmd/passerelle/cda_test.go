package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/testdata"
)

// cdaTestdata is where the room dmp/cda keeps its documents.
var cdaTestdata = filepath.Join("..", "..", "dmp", "cda", "testdata")

// cdaRun runs one cda command and gives its exit code and outputs.
func cdaRun(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(context.Background(), append([]string{"cda"}, args...), &o, &e)
	return code, o.String(), e.String()
}

// cdaFiles writes the documents that the tests judge, and gives their folder.
func cdaFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	good := string(testdata.CDA(testdata.CDAOptions{Level: 3, NoPDFCopy: true}))
	for name, content := range map[string]string{
		"niveau1.xml":   string(testdata.CDA(testdata.CDAOptions{})),
		"niveau3.xml":   good,
		"sanstitre.xml": strings.Replace(good, "<title>Compte rendu d&#39;examens biologiques</title>", "", 1),
		"autre.xml":     "<a/>",
		"coupe.xml":     good[:len(good)/2],
		"page.pdf":      "<html><body>erreur 500</body></html>",
		"vrai.pdf":      string(testdata.PDF("Essai", []string{"Bonjour"})),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCDACheck(t *testing.T) {
	dir, empty := cdaFiles(t), t.TempDir()
	at := func(names ...string) []string {
		var out []string
		for _, n := range names {
			out = append(out, filepath.Join(dir, n))
		}
		return out
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string // in either output
	}{
		{"ok/level 1 and 3", at("niveau1.xml", "niveau3.xml"), 0, []string{"niveau1.xml : conforme", "niveau3.xml : conforme", "2 documents, 0 en erreur", cda.RuleSet}},
		{"fail/one of three", at("niveau1.xml", "sanstitre.xml", "niveau3.xml"), exitWrong, []string{"3 documents, 1 en erreur", "CDA-STRUCTURE T10", "Le titre manque.", "→ Renseignez title.", "ligne "}},
		{"fail/no CDA", at("autre.xml"), exitWrong, []string{"CDA-NOT-CDA", "bloquant", "1 document, 1 en erreur"}},
		{"fail/cut", at("coupe.xml"), exitWrong, []string{"CDA-XML"}},
		{"fail/PDF that is no PDF/A", append(at("niveau1.xml"), "--pdfa"), exitWrong, []string{"PDFA-"}},
		{"fail/absent file", at("absent.xml"), exitUsage, []string{"absent.xml : fichier introuvable"}},
		// A user's batch: one file that was gone hid the verdicts of the others.
		{"fail/absent files among others", at("disparu.xml", "niveau1.xml", "absent.xml"), exitUsage,
			[]string{"niveau1.xml : conforme", "1 document, 0 en erreur", "absent.xml : fichier introuvable", "disparu.xml : fichier introuvable"}},
		{"fail/folder", []string{dir}, exitWrong, []string{"niveau1.xml : conforme", "niveau3.xml : conforme", "CDA-NOT-CDA"}},
		{"fail/folder without a document", []string{empty}, exitUsage, []string{"ce dossier ne contient aucun fichier .xml"}},
		{"fail/no file", nil, exitUsage, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errOut := cdaRun(t, append([]string{"check"}, c.args...)...)
			if code != c.code {
				t.Errorf("exit %d, want %d\n%s%s", code, c.code, out, errOut)
			}
			for _, w := range c.want {
				if !strings.Contains(out+errOut, w) {
					t.Errorf("%q is not in\n%s%s", w, out, errOut)
				}
			}
		})
	}
}

func TestCDACheckReports(t *testing.T) {
	dir := cdaFiles(t)
	report := filepath.Join(dir, "rapport.html")
	var files []string
	for range 30 {
		files = append(files, filepath.Join(dir, "niveau3.xml"), filepath.Join(dir, "autre.xml"))
	}
	code, out, _ := cdaRun(t, append([]string{"check", "--json", "--html", report}, files...)...)
	if code != exitWrong {
		t.Errorf("exit %d", code)
	}
	var r struct {
		RuleSet string `json:"rule_set"`
		Wrong   int
		Files   []struct {
			File     string
			OK       bool
			Findings []struct{ Code, Level, Text, Fix string }
		}
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.RuleSet != cda.RuleSet || r.Wrong != 30 || len(r.Files) != 60 {
		t.Errorf("%q, %d wrong of %d", r.RuleSet, r.Wrong, len(r.Files))
	}
	for i, f := range r.Files {
		if f.File != files[i] || f.OK != (i%2 == 0) {
			t.Errorf("place %d holds %s, ok %v", i, f.File, f.OK)
		}
		for _, x := range f.Findings {
			if x.Code == "" || x.Level == "" || x.Text == "" || x.Fix == "" {
				t.Errorf("finding without text: %+v", x)
			}
		}
	}
	page, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"30 en erreur", cda.RuleSet, "CDA-NOT-CDA", "autre.xml"} {
		if !strings.Contains(string(page), w) {
			t.Errorf("%q is not in the HTML report", w)
		}
	}
	if m := testdata.Patients()[0].Matricule; strings.Contains(out, m) || strings.Contains(string(page), m) {
		t.Error("a report tells the matricule")
	}
}

func TestCDABuild(t *testing.T) {
	dir := cdaFiles(t)
	envelope := filepath.Join(cdaTestdata, "envelope.json")
	text, err := os.ReadFile(envelope)
	if err != nil {
		t.Fatal(err)
	}
	edited := func(name, old, with string) string {
		if !strings.Contains(string(text), old) {
			t.Fatalf("%q does not occur", old)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), old, with)), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	first, pdf := filepath.Join(dir, "un.xml"), filepath.Join(dir, "vrai.pdf")
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"ok/first", []string{"--envelope", envelope, "--pdf", pdf, "--out", first}, 0, cda.RuleSet},
		{"ok/next version", []string{"--envelope", edited("e2.json", `"1.2.250.1.999.1.1.400"`, `"1.2.250.1.999.1.1.401"`), "--pdf", pdf, "--replaces", first, "--out", filepath.Join(dir, "deux.xml")}, 0, cda.RuleSet},
		{"fail/replaces itself", []string{"--envelope", envelope, "--pdf", pdf, "--replaces", first, "--out", filepath.Join(dir, "non.xml")}, exitWrong, "E22"},
		{"fail/HTML", []string{"--envelope", envelope, "--pdf", filepath.Join(dir, "page.pdf"), "--out", filepath.Join(dir, "non.xml")}, exitWrong, "CDA-NOT-PDF"},
		{"fail/not qualified", []string{"--envelope", edited("e3.json", "QUAL", "VALI"), "--pdf", pdf, "--out", filepath.Join(dir, "non.xml")}, exitWrong, "INS-NOT-QUALIFIED"},
		{"fail/birth date", []string{"--envelope", edited("e6.json", "1984-05-12", "12/05/1984"), "--pdf", pdf, "--out", filepath.Join(dir, "non.xml")}, exitWrong, "champ : birth_date"},
		{"fail/civility", []string{"--envelope", edited("e4.json", `"MME", "given": "Camille"`, `"DR", "given": "Camille"`), "--pdf", pdf, "--out", filepath.Join(dir, "non.xml")}, exitWrong, "3 erreurs"},
		{"fail/unknown field", []string{"--envelope", edited("e5.json", `"title"`, `"titre"`), "--pdf", pdf, "--out", filepath.Join(dir, "non.xml")}, exitUsage, "titre"},
		{"fail/no envelope", []string{"--envelope", filepath.Join(dir, "absent.json"), "--pdf", pdf, "--out", filepath.Join(dir, "non.xml")}, exitUsage, "absent.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errOut := cdaRun(t, append([]string{"build"}, c.args...)...)
			if code != c.code || !strings.Contains(out+errOut, c.want) {
				t.Errorf("exit %d, want %d with %q\n%s%s", code, c.code, c.want, out, errOut)
			}
			if _, err := os.Stat(filepath.Join(dir, "non.xml")); err == nil {
				t.Error("a refused document was written")
			}
		})
	}
	code, out, errOut := cdaRun(t, "check", first, filepath.Join(dir, "deux.xml"))
	if code != 0 {
		t.Errorf("what build writes, check refuses:\n%s%s", out, errOut)
	}
	_, out, _ = cdaRun(t, "meta", filepath.Join(dir, "deux.xml"))
	var meta struct {
		Metadata struct {
			Version  int
			Replaces struct{ Root string }
		}
		PDFName string `json:"pdf_name"`
	}
	if err := json.Unmarshal([]byte(out), &meta); err != nil {
		t.Fatal(err)
	}
	if meta.Metadata.Version != 2 || meta.Metadata.Replaces.Root != "1.2.250.1.999.1.1.400" || !strings.HasPrefix(meta.PDFName, "20260105_CR") {
		t.Errorf("metadata of the next version: %+v", meta)
	}
}

func TestCDAShow(t *testing.T) {
	dir := cdaFiles(t)
	l1, l3 := filepath.Join(dir, "niveau1.xml"), filepath.Join(dir, "niveau3.xml")
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if code, out, _ := cdaRun(t, "show", l3); code != 0 || !strings.Contains(out, "BIOCHIMIE") || !strings.Contains(out, "5,1 mmol/L") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, out, _ := cdaRun(t, "show", "--html", l3); code != 0 || !strings.Contains(out, "5,1 mmol/L") || strings.Contains(out, "<script") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, _, _ := cdaRun(t, "show", "--html", "--out", filepath.Join(dir, "page.html"), l1); code != 0 ||
		!strings.Contains(read("page.html"), `data="./page.pdf"`) || !strings.HasPrefix(read("page.pdf"), "%PDF-") {
		t.Errorf("exit %d: the page does not show the PDF beside it", code)
	}
	if code, out, _ := cdaRun(t, "pdf", "--out", filepath.Join(dir, "l3.pdf"), l3); code != 0 || !strings.Contains(out, "fabriquée") || strings.Contains(out, "PDFA-") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, out, _ := cdaRun(t, "pdf", "--out", dir, "--number", "42", l1); code != 0 || !strings.Contains(out, "20260105_CR d'examens biologiques_") || !strings.Contains(out, "_42.pdf") {
		t.Errorf("exit %d\n%s", code, out)
	}
	// Three published documents of one day and one patient bear one name: the
	// second copy wrote over the first.
	if code, _, errOut := cdaRun(t, "pdf", "--out", dir, "--number", "42", l3); code != exitUsage || !strings.Contains(errOut, "existe déjà") {
		t.Errorf("exit %d: a copy wrote over another\n%s", code, errOut)
	}
	for _, command := range []string{"show", "meta"} {
		if code, _, errOut := cdaRun(t, command, filepath.Join(dir, "autre.xml")); code != exitWrong || !strings.Contains(errOut, "CDA-NOT-CDA") {
			t.Errorf("%s: exit %d\n%s", command, code, errOut)
		}
	}
}
