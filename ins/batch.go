package ins

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Batch judges many identities, one a line. The zero value asks the least:
// [Judge] alone.
type Batch struct {
	OID         OID         // of lines that give none
	Environment Environment // judged when it is not empty
	Today       time.Time   // birth dates are judged against it when it is not zero
	Places      *COG        // birth places are looked up when it is not nil
	Progress    func(Summary)
	Found       func(Finding) // called with each finding, in the order of the output
}

// Summary counts the lines judged, the header left out.
type Summary struct {
	Lines    int `json:"lines"`
	OK       int `json:"ok"`
	Warnings int `json:"warnings"` // lines whose worst finding is a warning
	Errors   int `json:"errors"`
}

// Bounds of a batch.
const (
	maxBatchRecord = 16 << 10 // bytes of one line
	progressEvery  = 10_000   // lines
)

// Run reads identities as CSV and writes the verdict of each as CSV, in the
// order of the input: line, verdict (ok, warning, error), findings as
// code@field, with the separator of the input. No matricule or trait is written. The first line names the
// columns, in any order: matricule, oid, status, birth_name, first_given,
// given_names, birth_date, sex, birth_place; others are ignored. The separator
// is a semicolon if the first line holds one, else a comma. A matricule may be
// grouped as people write it. A line that is empty, separators or not, is no
// identity; one that fills other columns only is an error.
//
// Memory does not grow with the number of lines. A line that is no record is an
// error ([FaultLine]) and the next one is read; a line above 16 kB ends the run
// with that error, because what follows cannot be told apart. Progress is called
// every 10,000 lines and at the end.
func (b Batch) Run(ctx context.Context, w io.Writer, r io.Reader) (Summary, error) {
	var sum Summary
	in := &bounded{r: r}
	head, lines, err := b.header(in)
	if err != nil {
		return sum, err
	}
	out := csv.NewWriter(w)
	out.Comma = lines.Comma                                // what opened the one opens the other
	_ = out.Write([]string{"line", "verdict", "findings"}) // Flush and Error tell
	line := 1
	for {
		if sum.Lines%progressEvery == 0 && sum.Lines > 0 {
			b.progress(sum)
			if err := ctx.Err(); err != nil {
				out.Flush()
				return sum, err
			}
		}
		in.left = maxBatchRecord
		record, err := lines.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		line++
		var malformed *csv.ParseError
		var findings []Finding
		switch {
		case err == nil:
			line, _ = lines.FieldPos(0)
			line++ // the header was read apart
			if !slices.ContainsFunc(record, func(f string) bool { return !blank(f) }) {
				continue // an empty line, as a spreadsheet writes it
			}
			findings = b.judge(head, record)
		case errors.Is(err, errLongRecord):
			out.Flush()
			return sum, &Refusal{Code: FaultLine, Where: "line " + strconv.Itoa(line)}
		case errors.As(err, &malformed):
			line = malformed.StartLine + 1
			findings = []Finding{{FaultLine, "line", Error}}
		default:
			out.Flush()
			return sum, fmt.Errorf("ins: batch: %w", err)
		}
		if b.Found != nil {
			for _, f := range findings {
				b.Found(f)
			}
		}
		_ = out.Write([]string{strconv.Itoa(line), sum.add(findings), writeFindings(findings)})
		if out.Error() != nil {
			break
		}
	}
	out.Flush()
	b.progress(sum)
	if err := out.Error(); err != nil {
		return sum, fmt.Errorf("ins: batch: %w", err)
	}
	return sum, nil
}

func (b Batch) progress(s Summary) {
	if b.Progress != nil {
		b.Progress(s)
	}
}

var batchColumns = []string{TraitMatricule, TraitOID, TraitStatus, TraitBirthName, TraitFirstGiven, TraitGivenNames, TraitBirthDate, TraitSex, TraitBirthPlace}

// header reads the names of the columns: the index of each in a record.
func (b Batch) header(in *bounded) (map[string]int, *csv.Reader, error) {
	in.left = maxBatchRecord
	bad := &Refusal{Code: FaultLine, Where: "line 1"}
	first := make([]byte, 0, 256)
	for {
		var one [1]byte
		n, err := in.Read(one[:])
		if n == 1 && one[0] == '\n' || errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, errLongRecord) {
			return nil, nil, bad
		}
		if err != nil {
			return nil, nil, fmt.Errorf("ins: batch: %w", err)
		}
		first = append(first, one[:n]...)
	}
	text := strings.TrimPrefix(strings.TrimRight(string(first), "\r"), "\ufeff")
	lines := csv.NewReader(in)
	lines.ReuseRecord, lines.LazyQuotes = true, true
	if strings.Contains(text, ";") {
		lines.Comma = ';'
	}
	names := strings.Split(text, string(lines.Comma))
	lines.FieldsPerRecord = len(names)
	head := map[string]int{}
	known := false
	for i, name := range names {
		name = strings.ToLower(strings.Trim(strings.TrimSpace(name), `"`))
		if _, twice := head[name]; twice {
			return nil, nil, bad
		}
		head[name] = i
		for _, c := range batchColumns {
			known = known || c == name
		}
	}
	if !known {
		return nil, nil, bad
	}
	return head, lines, nil
}

// judge says everything about one line.
func (b Batch) judge(head map[string]int, record []string) []Finding {
	get := func(name string) string {
		if i, ok := head[name]; ok {
			return strings.TrimSpace(record[i])
		}
		return ""
	}
	empty := true
	for _, name := range batchColumns {
		v := get(name)
		// A quote that nobody closed swallows the lines that follow; other than
		// UTF-8, every accent would pass for a name that INSi refuses.
		if strings.ContainsAny(v, "\r\n") || !utf8.ValidString(v) {
			return []Finding{{FaultLine, name, Error}}
		}
		empty = empty && v == ""
	}
	if empty {
		return []Finding{{FaultIncomplete, TraitBirthName, Error}}
	}
	id := Identity{OID: OID(get(TraitOID)), Status: Status(get(TraitStatus)), Traits: Traits{
		BirthName: get(TraitBirthName), FirstGiven: get(TraitFirstGiven), GivenNames: get(TraitGivenNames),
		BirthDate: get(TraitBirthDate), Sex: get(TraitSex), BirthPlace: get(TraitBirthPlace)}}
	var found []Finding
	if m := get(TraitMatricule); m != "" {
		id.Matricule = m
		if wire, err := ParseMatricule(m); err == nil {
			id.Matricule = wire
		}
		if id.OID == "" {
			id.OID = b.OID
		}
	}
	if b.Environment != "" && b.Environment.Check(id.OID) != nil {
		found = append(found, Finding{FaultTestOID, TraitOID, Error})
	}
	found = append(found, Judge(id)...)
	for _, name := range [...]struct {
		text, where string
		check       func(string) (string, error)
	}{{id.Traits.BirthName, TraitBirthName, FamilyNameForINSi}, {id.Traits.FirstGiven, TraitFirstGiven, GivenNameForINSi}, {id.Traits.GivenNames, TraitGivenNames, GivenNameForINSi}} {
		if name.text == "" {
			continue
		}
		if _, err := name.check(name.text); err != nil {
			found = append(found, Finding{FaultName, name.where, Warning})
		}
	}
	born, err := ParseBirthDate(id.Traits.BirthDate)
	if err == nil && born.Real() && !b.Today.IsZero() {
		found = append(found, born.Check(b.Today)...)
	}
	if b.Places != nil {
		found = append(found, b.Places.Judge(id.Traits.BirthPlace, born)...)
	}
	return found
}

// add counts a line and names its verdict.
func (s *Summary) add(findings []Finding) string {
	s.Lines++
	var worst Severity
	for _, f := range findings {
		worst = max(worst, f.Severity)
	}
	switch worst {
	case Error:
		s.Errors++
	case Warning:
		s.Warnings++
	default:
		s.OK++
		return "ok"
	}
	return worst.String()
}

func writeFindings(findings []Finding) string {
	var b strings.Builder
	for i, f := range findings {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(f.Code)
		if f.Where != "" {
			b.WriteString("@" + f.Where)
		}
	}
	return b.String()
}

var errLongRecord = errors.New("record too long")

// bounded is a reader that fails when more than left bytes are read without
// left being given again: encoding/csv has no limit of its own.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLongRecord
	}
	n, err := b.r.Read(p)
	b.left -= n
	return n, err
}
