package cda

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// BenchmarkCheck is a full check: read, judge, derive. Beside the time it
// reports two measures of memory, in bytes for each byte of the document:
// allocated/byte is all that one check allocates from its beginning to its end,
// which bounds what it may hold at any moment; kept/byte is what the document
// that was read holds on to, beyond its own bytes. The machine is seldom quiet:
// run it with -count 5 and take the smallest time.
func BenchmarkCheck(b *testing.B) {
	b.Run("level3-ours-20KB", func(b *testing.B) { benchmarkCheck(b, load(b, "level3.xml")) })
	b.Run("level3-300KB", func(b *testing.B) { benchmarkCheck(b, grown(b, 300<<10)) })
	b.Run("level1-300KB", func(b *testing.B) { benchmarkCheck(b, scanned(b, 300<<10)) })
}

// BenchmarkCheckReference is a full check of each published document.
func BenchmarkCheckReference(b *testing.B) {
	files, err := filepath.Glob(filepath.Join(reference(b), "cda", "*.xml"))
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range files {
		b.Run(filepath.Base(f), func(b *testing.B) {
			doc, err := os.ReadFile(f)
			if err != nil {
				b.Fatal(err)
			}
			benchmarkCheck(b, doc)
		})
	}
}

// BenchmarkThousand checks 1,000 documents of 300 KB, half of each level, on as
// many goroutines as there are processors, and reports documents a second.
func BenchmarkThousand(b *testing.B) {
	docs := [][]byte{grown(b, 300<<10), scanned(b, 300<<10)}
	for b.Loop() {
		var wg sync.WaitGroup
		next := make(chan []byte)
		for range runtime.GOMAXPROCS(0) {
			wg.Go(func() {
				for doc := range next {
					check(b, doc)
				}
			})
		}
		for i := range 1000 {
			next <- docs[i%2]
		}
		close(next)
		wg.Wait()
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "documents/s")
}

// grown makes a level 3 document of a size, of many sections with entries: more
// tags for its size than any published one.
func grown(t testing.TB, size int) []byte {
	section := `<component><section><title>Section</title><text><table><tbody><tr><td>Analyse</td><td>12</td></tr></tbody></table></text>` +
		strings.Repeat(`<entry><observation classCode="OBS" moodCode="EVN"><templateId root="1.3.6.1.4.1.19376.1.3.1.6"/><code code="718-7" codeSystem="2.16.840.1.113883.6.1"/>`+
			`<statusCode code="completed"/><value value="12"/></observation></entry>`, 10) + `</section></component>`
	doc := load(t, "level3.xml")
	n := max(1, (size-len(doc))/len(section))
	doc, err := mutate(doc, "into component/structuredBody "+strings.Repeat(section, n))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// scanned makes a level 1 document of a size.
func scanned(t testing.TB, size int) []byte {
	doc, err := mutate(load(t, "level1.xml"), "text component/nonXMLBody/text "+strings.Repeat("JVBERi0x", (size-20<<10)/8))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func check(t testing.TB, doc []byte) {
	d, err := Read(doc)
	if err != nil {
		t.Error(err)
		return
	}
	if v := d.Verdict(); v.Worst() == Blocking {
		t.Error(v.Findings)
	}
	d.Metadata(doc)
}

func benchmarkCheck(b *testing.B, doc []byte) {
	var before, after runtime.MemStats
	check(b, doc) // what is made once, on the first call, is not of one check
	runtime.GC()
	runtime.ReadMemStats(&before)
	check(b, doc)
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept, err := Read(doc)
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		check(b, doc)
	}
	b.ReportMetric(float64(allocated)/float64(len(doc)), "allocated/byte")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(doc)), "kept/byte")
	runtime.KeepAlive(kept)
}
