package ins_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/ins"
)

func TestBatch(t *testing.T) {
	full := ins.Batch{OID: ins.OIDNIR, Environment: ins.Production, Today: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Places: embedded(t)}
	for _, c := range []struct {
		name  string
		batch ins.Batch
		in    string
		want  [][]string
		sum   ins.Summary
	}{
		{"ok/matricule-alone", full, "matricule\n180032B02040123\n1 80 03 2b 020 401 23\n180032B02040124\n\n",
			[][]string{{"2", "ok", ""}, {"3", "ok", ""}, {"4", "error", "INS-KEY@matricule"}}, ins.Summary{Lines: 3, OK: 2, Errors: 1}},
		{"ok/semicolons-any-order-and-a-mark", ins.Batch{}, "\ufeffOID;x;Matricule;birth_date;sex;birth_place\r\n1.2.250.1.213.1.4.10;?;279035121518989;1979-03-28;F;51215\r\n",
			[][]string{{"2", "ok", ""}}, ins.Summary{Lines: 1, OK: 1}},
		{"ok/warnings", full, "matricule,birth_name,first_given,given_names,birth_date,sex,birth_place\n" +
			"180032B02040123,CORSE,ANTHONY,ANTHONY PAUL,1980-03-02,F,2B020\n,SAINT,PAUL,PAUL,1990-07-01,M,97801\n,ZÉRO 7,PAUL,PAUL,1850-07-01,M,\n",
			[][]string{{"2", "warning", "INS-DIGITS@sex"}, {"3", "warning", "INS-PLACE-DATE@birth_place"}, {"4", "warning", "INS-NAME@birth_name INS-BIRTH-DATE@birth_date"}},
			ins.Summary{Lines: 3, Warnings: 3}},
		{"ok/test-oid-in-production", full, "matricule,oid\n279035121518989,1.2.250.1.213.1.4.10\n",
			[][]string{{"2", "error", "INS-TEST-OID@oid"}}, ins.Summary{Lines: 1, Errors: 1}},
		{"ok/a-bad-line-does-not-end-the-run", ins.Batch{OID: ins.OIDNIR}, "matricule,oid\n180032B02040123\n180032B02040123,\nabc,\n",
			[][]string{{"2", "error", "INS-LINE@line"}, {"3", "ok", ""}, {"4", "error", "INS-FORM@matricule"}}, ins.Summary{Lines: 3, OK: 1, Errors: 2}},
		{"ok/lines-as-an-editor-counts-them", ins.Batch{OID: ins.OIDNIR}, "matricule,oid\n\n180032B02040123,\n\nx\n\"abc\n\",\n180032B02040123,\n",
			[][]string{{"3", "ok", ""}, {"5", "error", "INS-LINE@line"}, {"6", "error", "INS-FORM@matricule"}, {"8", "ok", ""}}, ins.Summary{Lines: 4, OK: 2, Errors: 2}},
		{"ok/future", full, "birth_date\n2026-01-06\n2026-01-05\n", [][]string{{"2", "error", "INS-BIRTH-DATE@birth_date"}, {"3", "ok", ""}}, ins.Summary{Lines: 2, OK: 1, Errors: 1}},
		// Found by the audit of issue 6, 2026-11-22.
		{"ok/empty-lines-of-a-spreadsheet", ins.Batch{OID: ins.OIDNIR}, "matricule;sex\n;\n180032B02040123;M\n ; \n", [][]string{{"3", "ok", ""}}, ins.Summary{Lines: 1, OK: 1}},
		{"ok/nothing-of-the-identity", ins.Batch{OID: ins.OIDNIR}, "ipp;matricule\n12;\n", [][]string{{"2", "error", "INS-INCOMPLETE@birth_name"}}, ins.Summary{Lines: 1, Errors: 1}},
		{"ok/a-quote-that-nobody-closed", ins.Batch{}, "birth_name\n\"MARTIN\nDURAND\nPETIT\n", [][]string{{"2", "error", "INS-LINE@birth_name"}}, ins.Summary{Lines: 1, Errors: 1}},
		{"ok/latin-1", ins.Batch{}, "birth_name\nL\xc9A\nL\u00c9A\n", [][]string{{"2", "error", "INS-LINE@birth_name"}, {"3", "ok", ""}}, ins.Summary{Lines: 2, OK: 1, Errors: 1}},
		{"ok/no-line", full, "matricule", [][]string{}, ins.Summary{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			var told ins.Summary
			c.batch.Progress = func(s ins.Summary) { told = s }
			sum, err := c.batch.Run(context.Background(), &out, strings.NewReader(c.in))
			if err != nil || sum != c.sum || told != sum {
				t.Fatalf("%+v, told %+v, %v", sum, told, err)
			}
			lines := csv.NewReader(&out)
			if first, _, _ := strings.Cut(c.in, "\n"); strings.Contains(first, ";") {
				lines.Comma = ';'
			}
			rows, err := lines.ReadAll()
			if err != nil || !reflect.DeepEqual(rows[0], []string{"line", "verdict", "findings"}) || !reflect.DeepEqual(rows[1:], c.want) {
				t.Fatalf("%v %q", err, rows)
			}
		})
	}
	for name, c := range map[string]struct{ in, where string }{
		"fail/no-known-column": {"nom;prenom\nA;B\n", "line 1"},
		"fail/column-twice":    {"oid,oid\n", "line 1"},
		"fail/empty":           {"", "line 1"},
		"fail/header-too-long": {strings.Repeat("x", 20<<10), "line 1"},
		"fail/line-too-long":   {"matricule\n\"" + strings.Repeat("x\n", 20<<10), "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := full.Run(context.Background(), io.Discard, strings.NewReader(c.in))
			var r *ins.Refusal
			if !errors.As(err, &r) || r.Code != ins.FaultLine || r.Where != c.where {
				t.Fatal(err)
			}
		})
	}
	t.Run("fail/writer", func(t *testing.T) {
		r, w := io.Pipe()
		r.Close()
		if _, err := full.Run(context.Background(), w, &lines{n: 100_000}); !errors.Is(err, io.ErrClosedPipe) {
			t.Fatal(err)
		}
	})
	t.Run("fail/reader", func(t *testing.T) {
		if _, err := full.Run(context.Background(), io.Discard, io.MultiReader(strings.NewReader("matricule\n1"), failing{})); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	})
	t.Run("fail/interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		b := ins.Batch{Progress: func(ins.Summary) { cancel() }}
		sum, err := b.Run(ctx, io.Discard, &lines{n: 1_000_000})
		if !errors.Is(err, context.Canceled) || sum.Lines != 10_000 {
			t.Fatalf("%+v %v", sum, err)
		}
	})
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// lines is a file of n identities that stands in no memory.
type lines struct {
	n    int
	rest string
	told bool
}

func (l *lines) Read(p []byte) (int, error) {
	if l.rest == "" {
		switch {
		case !l.told:
			l.rest, l.told = "matricule;oid;birth_name;first_given;given_names;birth_date;sex;birth_place\n", true
		case l.n == 0:
			return 0, io.EOF
		default:
			l.rest = "279035121518989;1.2.250.1.213.1.4.10;PAT-TROIS;DOMINIQUE;DOMINIQUE MARIE-LOUISE;1979-03-28;F;51215\n"
			l.n--
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// A million lines take no more memory than a few.
func TestBatchIsBounded(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	b := ins.Batch{Places: embedded(t)}
	var least, most uint64
	b.Progress = func(s ins.Summary) {
		if s.Lines%(n/5) != 0 {
			return
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		if least == 0 {
			least = m.HeapAlloc
		}
		most = max(most, m.HeapAlloc)
	}
	sum, err := b.Run(context.Background(), io.Discard, &lines{n: n})
	if err != nil || sum != (ins.Summary{Lines: n, OK: n}) {
		t.Fatalf("%+v %v", sum, err)
	}
	if most > least+4<<20 {
		t.Errorf("memory grew from %d to %d bytes", least, most)
	}
}

func BenchmarkBatch(b *testing.B) {
	batch := ins.Batch{Places: embedded(b)}
	b.ReportAllocs()
	if _, err := batch.Run(context.Background(), io.Discard, &lines{n: b.N}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

func FuzzBatch(f *testing.F) {
	f.Add("matricule;oid\n279035121518989;1.2.250.1.213.1.4.10\n")
	f.Add("matricule,birth_name\n\"a\nb\",'\n\n")
	f.Fuzz(func(t *testing.T, in string) {
		var out bytes.Buffer
		sum, err := (ins.Batch{}).Run(context.Background(), &out, strings.NewReader(in))
		if err != nil {
			return
		}
		rows, err := csv.NewReader(&out).ReadAll()
		if err != nil || len(rows) != sum.Lines+1 || sum.OK+sum.Warnings+sum.Errors != sum.Lines {
			t.Fatalf("%+v, %d rows, %v", sum, len(rows), err)
		}
	})
}
