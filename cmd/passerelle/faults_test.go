package main_test

// Every refusal that a room declares has its row in the error table, every row
// belongs to a refusal, and every row has all its faces.

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// exceptions are the codes that a rule does not bind, each with its reason.
type exceptions struct {
	// oursToMend: permanent for our queues, because waiting cannot help; temporary
	// outside (AR, SMTP 4xx), because the sender has nothing to correct and the
	// same message passes once a person has mended the gateway.
	oursToMend map[string]string
	// shared: declared by several rooms, because none of them may import another.
	shared map[string]string
	// spelt: not written PREFIX-SOMETHING, because a specification spells them.
	spelt map[string]string
}

var excepted = exceptions{
	oursToMend: map[string]string{
		"GW-DATABASE-DAMAGED": "the database file must be restored",
		"GW-DATABASE-SCHEMA":  "another version of the program must be started",
		"GW-BLOB-MISSING":     "the folder of bytes must be restored",
		"GW-BLOB-DAMAGED":     "the folder of bytes must be restored",
		"GW-JOURNAL-LOCKED":   "the other gateway must be stopped",
		"STORE-LOCKED":        "the other store must be stopped",
		"GW-JOURNAL-ENTRY":    "a defect of the program",
		"GW-KEY-FILE":         "the key file must be mended",
		"GW-KEY-WRONG":        "the right key file must be put back",
		"GW-SEALED-DAMAGED":   "the database file must be restored",
	},
	shared: map[string]string{
		"GW-DISK-FULL":   "dmp/blob and dmp/sqldb both write, and import nothing of ours",
		"GW-STORAGE":     "dmp/blob and dmp/sqldb both write, and import nothing of ours",
		"GW-INTERRUPTED": "dmp/blob and dmp/sqldb both can be interrupted, and import nothing of ours",
	},
	spelt: map[string]string{
		"DMPClosed": "the ZAM volet's own ERR-5 code, read as it is by hospital software",
	},
}

// errorCodes0357 are the values of ERR-3 that the volet lists (0 is success and
// refuses nothing); errorCodes900 are those of ERR-5.
var (
	errorCodes0357 = []string{"100", "101", "102", "103", "198", "199", "200", "201", "202", "203", "207"}
	errorCodes900  = []string{"900", "901", "902", "903", "904", "905", "906"}
)

// issueTypes are the codes of the R4 value set issue-type.
var issueTypes = strings.Fields(`invalid structure required value invariant
	security login unknown expired forbidden suppressed
	processing not-supported duplicate multiple-matches not-found deleted too-long code-invalid
	extension too-costly business-rule conflict
	transient lock-error no-store exception timeout incomplete throttled
	informational`)

var (
	codeShape     = regexp.MustCompile(`^[A-Z][A-Z0-9]*(-[A-Z0-9]+)+$`)
	enhancedShape = regexp.MustCompile(`^[45]\.\d{1,3}\.\d{1,3}$`)
)

// declaredFault is one constant of a faults.go.
type declaredFault struct{ name, code, at string }

func TestFaults(t *testing.T) {
	m, findings := load(moduleRoot(t))
	declared, more := m.faults()
	findings = append(findings, more...)
	findings = append(findings, judgeTable(declared, fault.Table, excepted)...)
	for _, finding := range findings {
		t.Error(finding)
	}
}

// faults reads the codes that the rooms declare.
func (m module) faults() (declared []declaredFault, findings []string) {
	for _, s := range m.sources {
		if s.test {
			continue
		}
		home := path.Base(s.path) == "faults.go"
		for _, decl := range s.file.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok || d.Tok != token.CONST {
				continue
			}
			for _, spec := range d.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for i, name := range v.Names {
					if !strings.HasPrefix(name.Name, "Fault") {
						continue
					}
					code, isText, isLiteral := literal(v, i)
					switch {
					case isText && home:
						declared = append(declared, declaredFault{name.Name, code, s.at(name)})
					case isText:
						findings = append(findings, fmt.Sprintf("%s: %s is declared outside faults.go: a room keeps its refusals in that one file", s.at(name), name.Name))
					case !isLiteral && home:
						findings = append(findings, fmt.Sprintf("%s: %s is not a text: write its code out, so that a search for the code finds it", s.at(name), name.Name))
					}
				}
			}
		}
	}
	return declared, findings
}

// literal gives the text of the i-th value of a constant declaration.
func literal(v *ast.ValueSpec, i int) (text string, isText, isLiteral bool) {
	if i >= len(v.Values) {
		return "", false, false
	}
	lit, ok := v.Values[i].(*ast.BasicLit)
	if !ok {
		return "", false, false
	}
	if lit.Kind != token.STRING {
		return "", false, true
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil, true
}

// judgeTable holds the declared codes against the table.
func judgeTable(declared []declaredFault, table []fault.Row, except exceptions) []string {
	var out []string
	rows := map[string]int{}
	for _, r := range table {
		rows[r.Code]++
		if rows[r.Code] == 2 {
			out = append(out, fmt.Sprintf("%s: several rows in gateway/fault: keep one", r.Code))
		}
		if !codeShape.MatchString(r.Code) && r.Code != fault.Internal && except.spelt[r.Code] == "" {
			out = append(out, fmt.Sprintf("row %s: write its code PREFIX-SOMETHING in capitals", r.Code))
		}
		for _, finding := range judgeRow(r, except.oursToMend[r.Code] != "") {
			out = append(out, fmt.Sprintf("row %s: %s", r.Code, finding))
		}
	}
	owner := map[string]declaredFault{}
	shared := map[string]bool{}
	for _, d := range declared {
		first, taken := owner[d.code]
		switch {
		case taken && except.shared[d.code] == "":
			out = append(out, fmt.Sprintf("%s: %s is %s, which %s (%s) is already: one meaning, one code, one room", d.at, d.name, d.code, first.name, first.at))
		case taken:
			shared[d.code] = true
		default:
			owner[d.code] = d
		}
		if rows[d.code] == 0 {
			out = append(out, fmt.Sprintf("%s: %s (%s) has no row: add one in gateway/fault/rows_<room>.go", d.at, d.name, d.code))
		}
	}
	for _, code := range slices.Sorted(maps.Keys(rows)) {
		if _, ok := owner[code]; !ok && code != fault.Internal {
			out = append(out, fmt.Sprintf("row %s: no faults.go declares this code: declare it in its room, or remove the row", code))
		}
	}
	for _, code := range slices.Sorted(maps.Keys(except.oursToMend)) {
		if rows[code] == 0 {
			out = append(out, fmt.Sprintf("exceptions.oursToMend names %s, which has no row: remove it there", code))
		}
	}
	for _, code := range slices.Sorted(maps.Keys(except.spelt)) {
		if rows[code] == 0 || codeShape.MatchString(code) {
			out = append(out, fmt.Sprintf("exceptions.spelt names %s without need: remove it there", code))
		}
	}
	for _, code := range slices.Sorted(maps.Keys(except.shared)) {
		if !shared[code] {
			out = append(out, fmt.Sprintf("exceptions.shared names %s, which no two rooms declare: remove it there", code))
		}
	}
	return out
}

// judgeRow lists what is wrong or missing in one row. A row that is ours to mend
// is permanent within and temporary outside.
func judgeRow(r fault.Row, oursToMend bool) []string {
	var out []string
	wrong := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }

	if r.Kind != fault.Permanent && r.Kind != fault.Temporary {
		wrong("kind %d: Permanent or Temporary", r.Kind)
	}
	if oursToMend && (r.Kind != fault.Permanent || r.HTTP < 500) {
		wrong("is in exceptions.oursToMend, which is for permanent rows with an HTTP 5xx: remove it there")
	}
	outside := r.Kind == fault.Temporary || oursToMend // whether the sender may try again unchanged

	if r.HTTP < 400 || r.HTTP > 599 || http.StatusText(r.HTTP) == "" {
		wrong("HTTP %d: want a registered status from 400 to 599", r.HTTP)
	}
	if !outside && (r.HTTP == http.StatusServiceUnavailable || r.HTTP == http.StatusTooManyRequests) {
		wrong("HTTP %d invites the sender to try again, but the row is permanent", r.HTTP)
	}
	if !slices.Contains(issueTypes, r.FHIR) {
		wrong("FHIR %q: not in the R4 value set issue-type", r.FHIR)
	}

	ack, class := "AE", 5
	if outside {
		ack, class = "AR", 4
	}
	if r.HL7.Ack != ack {
		wrong("HL7 acknowledgement %q: this kind is answered %s, or name the code in exceptions.oursToMend with the reason", r.HL7.Ack, ack)
	}
	if !slices.Contains(errorCodes0357, r.HL7.Code) {
		wrong("ERR-3 %q: not in table 0357 as the volet lists it", r.HL7.Code)
	}
	switch {
	case r.HL7.Code == "207" && !slices.Contains(errorCodes900, r.HL7.App):
		wrong("ERR-5 %q: ERR-3 207 wants one of 900 to 906 beside it", r.HL7.App)
	case r.HL7.Code != "207" && r.HL7.App != "":
		wrong("ERR-5 %q beside ERR-3 %s: only 207 has one", r.HL7.App, r.HL7.Code)
	}

	if r.SMTP.Code/100 != class {
		wrong("SMTP %d: this kind is answered %dxx", r.SMTP.Code, class)
	}
	if !enhancedShape.MatchString(r.SMTP.Enhanced) || !strings.HasPrefix(r.SMTP.Enhanced, strconv.Itoa(class)+".") {
		wrong("SMTP enhanced code %q: want %d.x.y (RFC 3463)", r.SMTP.Enhanced, class)
	}

	for _, text := range []struct{ name, value string }{{"FR", r.FR}, {"EN", r.EN}, {"FixFR", r.FixFR}, {"FixEN", r.FixEN}} {
		switch {
		case strings.TrimSpace(text.value) == "":
			wrong("%s is empty", text.name)
		case !strings.HasSuffix(text.value, "."):
			wrong("%s does not end with a period", text.name)
		case strings.Contains(text.value, "%"):
			wrong("%s holds a %%: the texts are constants, no value may reach them", text.name)
		}
	}
	return out
}

// goodRow has all its faces; the cases below change one.
var goodRow = fault.Row{
	Code: "INS-KEY", Kind: fault.Permanent, HTTP: 422, FHIR: "value",
	HL7: fault.HL7{Ack: "AE", Code: "207", App: "905"}, SMTP: fault.SMTP{Code: 554, Enhanced: "5.6.0"},
	FR: "La clé est fausse.", EN: "The key is wrong.", FixFR: "Corrigez la clé.", FixEN: "Correct the key.",
}

func TestFaultRows(t *testing.T) {
	cases := []struct {
		name   string
		change func(*fault.Row)
		want   string
	}{
		{"ok/permanent", func(*fault.Row) {}, ""},
		{"ok/temporary", func(r *fault.Row) {
			r.Kind, r.HTTP, r.HL7.Ack, r.SMTP = fault.Temporary, 503, "AR", fault.SMTP{Code: 451, Enhanced: "4.3.0"}
		}, ""},
		{"ok/no ERR-5", func(r *fault.Row) { r.HL7.Code, r.HL7.App = "101", "" }, ""},
		{"fail/kind", func(r *fault.Row) { r.Kind = 7 }, "kind 7"},
		{"fail/HTTP of a success", func(r *fault.Row) { r.HTTP = 200 }, "HTTP 200"},
		{"fail/HTTP that does not exist", func(r *fault.Row) { r.HTTP = 499 }, "HTTP 499"},
		{"fail/HTTP that invites to retry", func(r *fault.Row) { r.HTTP = 503 }, "invites"},
		{"fail/issue type", func(r *fault.Row) { r.FHIR = "error" }, "issue-type"},
		{"fail/AR of a permanent", func(r *fault.Row) { r.HL7.Ack = "AR" }, "answered AE"},
		{"fail/acknowledgement AA", func(r *fault.Row) { r.HL7.Ack = "AA" }, "answered AE"},
		{"fail/AE of a temporary", func(r *fault.Row) {
			r.Kind, r.SMTP = fault.Temporary, fault.SMTP{Code: 451, Enhanced: "4.3.0"}
		}, "answered AR"},
		{"fail/ERR-3", func(r *fault.Row) { r.HL7.Code, r.HL7.App = "204", "" }, "table 0357"},
		{"fail/ERR-3 of a success", func(r *fault.Row) { r.HL7.Code, r.HL7.App = "0", "" }, "table 0357"},
		{"fail/207 alone", func(r *fault.Row) { r.HL7.App = "" }, "900 to 906"},
		{"fail/ERR-5 907", func(r *fault.Row) { r.HL7.App = "907" }, "900 to 906"},
		{"fail/ERR-5 without 207", func(r *fault.Row) { r.HL7.Code = "101" }, "only 207"},
		{"fail/SMTP of a temporary", func(r *fault.Row) { r.SMTP.Code = 451 }, "answered 5xx"},
		{"fail/no SMTP", func(r *fault.Row) { r.SMTP.Code = 0 }, "answered 5xx"},
		{"fail/enhanced code of the other class", func(r *fault.Row) { r.SMTP.Enhanced = "4.6.0" }, "RFC 3463"},
		{"fail/enhanced code without detail", func(r *fault.Row) { r.SMTP.Enhanced = "5.6" }, "RFC 3463"},
		{"fail/no French", func(r *fault.Row) { r.FR = " " }, "FR is empty"},
		{"fail/no English", func(r *fault.Row) { r.EN = "" }, "EN is empty"},
		{"fail/no remedy in French", func(r *fault.Row) { r.FixFR = "" }, "FixFR is empty"},
		{"fail/no remedy in English", func(r *fault.Row) { r.FixEN = "" }, "FixEN is empty"},
		{"fail/no period", func(r *fault.Row) { r.FR = "La clé est fausse" }, "period"},
		{"fail/place for a value", func(r *fault.Row) { r.FixFR = "Corrigez %s." }, "constants"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			row := goodRow
			c.change(&row)
			wantFinding(t, judgeRow(row, false), c.want)
		})
	}
}

func TestFaultCodes(t *testing.T) {
	const key = "\tFaultKey = \"INS-KEY\"\n"
	internal := goodRow
	internal.Code = fault.Internal
	table := []fault.Row{goodRow, internal}
	var none exceptions
	mend := exceptions{oursToMend: map[string]string{"INS-KEY": "a reason"}}
	share := exceptions{shared: map[string]string{"INS-KEY": "a reason"}}
	spell := exceptions{spelt: map[string]string{"insKey": "a reason"}}
	mended := goodRow
	mended.HTTP, mended.HL7.Ack, mended.SMTP = 500, "AR", fault.SMTP{Code: 451, Enhanced: "4.3.0"}
	cases := []struct {
		name   string
		file   string
		consts string
		table  []fault.Row
		except exceptions
		want   string
	}{
		{"ok/each has its row", "ins/faults.go", key, table, none, ""},
		{"ok/number", "ins/faults.go", key + "\tFaultLimit = 3\n", table, none, ""},
		{"ok/other name", "ins/faults.go", key + "\tOther = \"INS-OTHER\"\n", table, none, ""},
		{"fail/no row", "ins/faults.go", key + "\tFaultOID = \"INS-OID\"\n", table, none, "FaultOID (INS-OID) has no row"},
		{"fail/orphan row", "ins/faults.go", "\tOther = 1\n", table, none, "no faults.go declares"},
		{"fail/same code twice", "ins/faults.go", key + "\tFaultAgain = \"INS-KEY\"\n", table, none, "already"},
		{"fail/row twice", "ins/faults.go", key, append(table, goodRow), none, "several rows"},
		{"fail/not written out", "ins/faults.go", key + "\tFaultSum = \"INS-\" + \"SUM\"\n", table, none, "write its code out"},
		{"fail/repeated by omission", "ins/faults.go", key + "\tFaultNext\n", table, none, "write its code out"},
		{"fail/outside faults.go", "ins/other.go", "\tFaultOID = \"INS-OID\"\n", []fault.Row{internal}, none, "outside faults.go"},
		{"ok/ours to mend", "ins/faults.go", key, []fault.Row{mended, internal}, mend, ""},
		{"fail/ours to mend that the sender must correct", "ins/faults.go", key, []fault.Row{withHTTP(mended, 422), internal}, mend, "HTTP 5xx"},
		{"fail/ours to mend without a row", "ins/faults.go", "\tOther = 1\n", []fault.Row{internal}, mend, "oursToMend names INS-KEY"},
		{"fail/spelling", "ins/faults.go", "\tFaultKey = \"insKey\"\n", []fault.Row{withCode(goodRow, "insKey"), internal}, none, "PREFIX-SOMETHING"},
		{"ok/spelling of a specification", "ins/faults.go", "\tFaultKey = \"insKey\"\n", []fault.Row{withCode(goodRow, "insKey"), internal}, spell, ""},
		{"fail/spelling of nobody", "ins/faults.go", key, table, spell, "spelt names insKey"},
		{"ok/shared", "ins/faults.go", key + "\tFaultAgain = \"INS-KEY\"\n", table, share, ""},
		{"fail/shared by nobody", "ins/faults.go", key, table, share, "shared names INS-KEY"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, findings := load(plant(t, goodModule, c.file, "package ins\n\nconst (\n"+c.consts+")\n"))
			declared, more := m.faults()
			findings = append(findings, more...)
			wantFinding(t, append(findings, judgeTable(declared, c.table, c.except)...), c.want)
		})
	}
}

func withCode(r fault.Row, code string) fault.Row { r.Code = code; return r }

func withHTTP(r fault.Row, status int) fault.Row { r.HTTP = status; return r }

// wantFinding asks for one finding that holds want, or for none.
func wantFinding(t *testing.T, findings []string, want string) {
	t.Helper()
	if want == "" {
		if len(findings) > 0 {
			t.Fatalf("found wrong without reason:\n%s", strings.Join(findings, "\n"))
		}
		return
	}
	if len(findings) != 1 || !strings.Contains(findings[0], want) {
		t.Fatalf("want one finding with %q, got %d:\n%s", want, len(findings), strings.Join(findings, "\n"))
	}
}
