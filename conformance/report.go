package conformance

import (
	"bytes"
	"embed"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The files of a run.
const (
	runFile    = "run.json"
	htmlFile   = "rapport.html"
	junitFile  = "junit.xml"
	maxRunFile = 256 << 20
)

//go:embed report.html
var reportFiles embed.FS

// Write writes run.json, rapport.html and junit.xml. The run comes last: a folder
// that has one is whole.
func (r *Result) Write(dir string) error {
	if err := r.Render(dir); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, runFile), append(data, '\n'), 0o600)
	}
	if err != nil {
		return &Fault{FaultRun, dir, err}
	}
	return nil
}

// Read reads the run of a folder, or of the run.json that is named.
func Read(path string) (*Result, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, runFile)
	}
	st, err := os.Stat(path)
	if err == nil && st.Size() > maxRunFile {
		err = errors.New("file too large")
	}
	if err != nil {
		return nil, &Fault{FaultRun, path, err}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &Fault{FaultRun, path, err}
	}
	r := &Result{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, &Fault{FaultRun, path, err}
	}
	if r.Format != 1 {
		return nil, &Fault{FaultRun, path, fmt.Errorf("format %d, this program reads 1", r.Format)}
	}
	for _, one := range r.Requirements {
		for _, s := range one.Scenarios {
			if _, ok := severity[s.Verdict]; !ok {
				return nil, &Fault{FaultRun, path, fmt.Errorf("scenario %s: verdict %q", s.ID, s.Verdict)}
			}
		}
	}
	return r, nil
}

// Render writes the readable reports of a run, again if they are there.
func (r *Result) Render(dir string) error {
	page, err := r.HTML(dir)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, htmlFile), page, 0o600)
	}
	if err == nil {
		var x []byte
		if x, err = r.JUnit(); err == nil {
			err = os.WriteFile(filepath.Join(dir, junitFile), x, 0o600)
		}
	}
	if err != nil {
		return &Fault{FaultRun, dir, err}
	}
	return nil
}

var matricule = regexp.MustCompile(`\b[1-478]\d{4}(?:\d\d|2[AB])\d{6}(?:\d\d)?\b`)

// Mask hides the matricules of the people of the run, and whatever looks like
// one.
func (r *Result) Mask(text string) string {
	for _, s := range r.Secrets {
		if len(s) >= 13 {
			text = strings.ReplaceAll(text, s, "•••(matricule)•••")
		}
	}
	return matricule.ReplaceAllString(text, "•••(matricule)•••")
}

const maxExcerpt = 4000

// excerpt is what a report shows of bytes: the beginning, readable, without
// matricule and without the base64 that could hold one.
func (r *Result) excerpt(dir string, b Bytes) string {
	if b.File == "" {
		return ""
	}
	if !filepath.IsLocal(b.File) {
		return "(fichier hors du dossier)"
	}
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(b.File)))
	if err != nil {
		return "(preuve absente du dossier)"
	}
	text := r.Mask(elide(data, 2*maxExcerpt))
	if cut := maxExcerpt; len(text) > cut {
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "\n…(suite dans le fichier)"
	}
	return text
}

// elide is the beginning of bytes as text, line ends made plain, with a count in
// place of each long run of base64, whole or cut into lines.
func elide(data []byte, limit int) string {
	var out strings.Builder
	for i := 0; i < len(data) && out.Len() < limit; {
		if n, chars := base64Run(data[i:]); chars >= 120 {
			fmt.Fprintf(&out, "…(%d caractères)…", chars)
			i += n
			continue
		}
		// To the end of the word: it is no long run.
		end := i + 1
		for end < len(data) && end-i < 120 && isBase64(data[i]) && isBase64(data[end]) {
			end++
		}
		out.Write(data[i:end])
		i = end
	}
	text := strings.ReplaceAll(strings.ToValidUTF8(out.String(), "·"), "\r\n", "\n")
	return strings.NewReplacer("\r", "\n", "\x0b", "", "\x1c", "").Replace(text)
}

// base64Run is how many bytes a run of base64 takes, and how many of them are
// not line ends. A line is continued by another when it has 60 characters.
func base64Run(data []byte) (n, chars int) {
	line := 0
	for n < len(data) {
		switch {
		case isBase64(data[n]):
			line++
			chars++
		case (data[n] == '\n' || data[n] == '\r' && n+1 < len(data) && data[n+1] == '\n') && line >= 60:
			if data[n] == '\n' {
				line = 0
			}
		default:
			return n, chars
		}
		n++
	}
	return n, chars
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '='
}

var verdictClass = map[Verdict]string{Conform: "ok", NotConform: "ko", NotTested: "nt", NotConcern: "so"}

func (r *Result) those(wanted func(Judged) bool) (list []Judged) {
	for _, one := range r.Requirements {
		for _, s := range one.Scenarios {
			if wanted(s) {
				list = append(list, s)
			}
		}
	}
	return list
}

// HTML is the report to read and to print: one file that fetches nothing.
func (r *Result) HTML(dir string) ([]byte, error) {
	zone, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		zone = time.UTC
	}
	cited := map[int]bool{}
	for _, one := range r.Requirements {
		for _, s := range one.Scenarios {
			for _, n := range s.Evidence {
				cited[n] = true
			}
		}
	}
	themes := []string{}
	for _, one := range r.Requirements {
		if !slices.Contains(themes, one.Theme) {
			themes = append(themes, one.Theme)
		}
	}
	t, err := template.New("report.html").Funcs(template.FuncMap{
		"class": func(v Verdict) string { return verdictClass[v] },
		"mask":  r.Mask,
		"at":    func(t time.Time) string { return t.In(zone).Format("02/01/2006 15:04:05.000") },
		"show":  func(b Bytes) string { return r.excerpt(dir, b) },
		"label": func(n int) string {
			if n < 1 || n > len(r.Exchanges) {
				return ""
			}
			return r.Mask(r.Exchanges[n-1].Label)
		},
		"blamed": func() []Judged {
			wrong := r.those(func(s Judged) bool { return s.Verdict == NotConform })
			return append(wrong, r.those(func(s Judged) bool { return s.Verdict == NotTested && s.Mode == Automated })...)
		},
		"toBring": func() []Judged {
			return r.those(func(s Judged) bool { return s.Verdict == NotTested && s.Mode != Automated })
		},
		"cited":  func(n int) bool { return cited[n] },
		"kinds":  func() []Verdict { return []Verdict{Conform, NotConform, NotTested, NotConcern} },
		"themes": func() []string { return themes },
		"count":  func(v Verdict) int { return r.Counts()[v] },
	}).ParseFS(reportFiles, "report.html")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, r); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"` // none: what was not judged is a skip
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"` // of the whole run: scenes are shared, a scenario has no time of its own
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"timestamp,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name       string          `xml:"name,attr"`
	Class      string          `xml:"classname,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Failure    *junitText      `xml:"failure,omitempty"`
	Skipped    *junitText      `xml:"skipped,omitempty"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitText struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// JUnit is the report for the continuous integration of a vendor: one case a
// scenario. The failure of a PEUT is a skip.
func (r *Result) JUnit() ([]byte, error) {
	all := junitSuites{Name: r.DSR, Time: fmt.Sprintf("%.3f", r.Ended.Sub(r.Began).Seconds())}
	suites := map[string]*junitSuite{}
	order := []string{}
	for _, one := range r.Requirements {
		if suites[one.Theme] == nil {
			suites[one.Theme] = &junitSuite{Name: one.Theme, Time: r.Began.UTC().Format("2006-01-02T15:04:05")}
			order = append(order, one.Theme)
		}
		suite := suites[one.Theme]
		for _, s := range one.Scenarios {
			c := junitCase{Name: s.ID + " " + s.Title, Class: one.ID, Properties: []junitProperty{
				{"requirement", one.ID}, {"dsr", one.DSR}, {"rem", one.REM}, {"nature", one.Nature}, {"mode", s.Mode}, {"verdict", string(s.Verdict)}}}
			reason := r.Mask(s.Reason)
			switch {
			case s.Verdict == NotConform && one.Nature == "DOIT":
				var failed []string
				for _, a := range s.Assertions {
					if !a.OK {
						failed = append(failed, r.Mask(a.Text))
					}
				}
				c.Failure = &junitText{reason, string(s.Verdict), strings.Join(failed, "\n")}
				suite.Failures++
			case s.Verdict != Conform:
				c.Skipped = &junitText{Message: string(s.Verdict) + " : " + reason}
				suite.Skipped++
			}
			suite.Tests++
			suite.Cases = append(suite.Cases, c)
		}
	}
	for _, name := range order {
		s := suites[name]
		all.Tests, all.Failures, all.Skipped = all.Tests+s.Tests, all.Failures+s.Failures, all.Skipped+s.Skipped
		all.Suites = append(all.Suites, *s)
	}
	data, err := xml.MarshalIndent(all, "", " ")
	return append([]byte(xml.Header), append(data, '\n')...), err
}

// Change is a scenario whose verdict is not the same in two runs.
type Change struct {
	ID     string  `json:"id"`
	Before Verdict `json:"before,omitempty"` // empty: not in that run
	After  Verdict `json:"after,omitempty"`
	Worse  bool    `json:"worse"`
}

// Diff lists what changed from one run to another, by scenario id. What was
// conforme and is anything else but sans objet is worse, and so is what became
// non conforme.
func Diff(before, after *Result) (list []Change) {
	a, b := before.Verdicts(), after.Verdicts()
	ids := map[string]bool{}
	for id := range a {
		ids[id] = true
	}
	for id := range b {
		ids[id] = true
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if a[id] != b[id] {
			worse := b[id] == NotConform || a[id] == Conform && b[id] != NotConcern
			list = append(list, Change{id, a[id], b[id], worse})
		}
	}
	return list
}
