package insi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/ins/insi"
)

// scripted answers from memory, one code after the other.
type scripted struct {
	codes []string
	asked []string
	raw   []byte // answered instead, when not nil
	code  int
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	res := &http.Response{StatusCode: 200, Header: http.Header{}, Request: r, ProtoMajor: 1, ProtoMinor: 1}
	if s.raw != nil {
		res.StatusCode, res.Body = s.code, io.NopCloser(bytes.NewReader(s.raw))
		return res, nil
	}
	m := sent.FindStringSubmatch(strings.ReplaceAll(string(body), "&#39;", "'"))
	code := s.codes[len(s.asked)]
	s.asked = append(s.asked, m[1]+"/"+m[2]+"/"+m[5])
	text := result(code, "")
	if code == "00" {
		text = result(code, person)
	}
	res.Body = io.NopCloser(strings.NewReader(text))
	return res, nil
}

// bare is a testing.TB for worlds without a server.
type bare struct{ testing.TB }

func (bare) Helper()           {}
func (bare) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func one(t *testing.T, status int, body string) (insi.Outcome, *world, error) {
	t.Helper()
	s := serve(t, always(status, body))
	w := newWorld(t, s)
	w.config.Attempts = 1
	out, err := w.client(t).Search(context.Background(), who(), query())
	return out, w, err
}

func TestAnswers(t *testing.T) {
	const histo = `<INSHISTO><OID>1.2.250.1.213.1.4.8</OID><DateFin>2019-02-28</DateFin><IdIndividu><Cle>39</Cle><NumIdentifiant>2090763220834</NumIdentifiant></IdIndividu><DateDeb>2019-03-01</DateDeb></INSHISTO>`
	repeated := strings.ReplaceAll(active, "INSACTIF", "INSHISTO")
	pair := ins.Pair{Matricule: "279035121518989", OID: ins.OIDTest}
	prefixed := strings.NewReplacer(`<RESULTAT xmlns=`, `<ns2:RESULTAT xmlns:ns2=`, "</", "</ns2:", "<CR>", "<ns2:CR>").Replace(
		`<RESULTAT xmlns="http://www.cnamts.fr/INSiResultat"><CR>` + `</CR></RESULTAT>`)
	prefixed = strings.Replace(prefixed, "<ns2:CR>", "<ns2:CR><ns2:CodeCR>01</ns2:CodeCR><ns2:LibelleCR>x</ns2:LibelleCR>", 1)
	for _, c := range []struct {
		name, body string
		result     insi.Result
		pair       ins.Pair
		former     []insi.Former
		added      bool
	}{
		{"ok/found", result("00", person), insi.Found, pair, nil, false},
		{"ok/none", result("01", ""), insi.None, ins.Pair{}, nil, false},
		{"ok/several", result("02", ""), insi.Several, ins.Pair{}, nil, false},
		{"ok/prefix", soap(prefixed), insi.None, ins.Pair{}, nil, false},
		{"ok/byte-order-mark", "\ufeff" + result("01", ""), insi.None, ins.Pair{}, nil, false},
		{"ok/no-key", result("00", strings.Replace(person, "<Cle>89</Cle>", "", 1)), insi.Found, pair, nil, true},
		{"ok/wrong-key-verbatim", result("00", strings.Replace(person, "<Cle>89</Cle>", "<Cle>88</Cle>", 1)), insi.Found, ins.Pair{Matricule: "279035121518988", OID: ins.OIDTest}, nil, false},
		{"ok/nia", result("00", strings.Replace(person, "4.10<", "4.9<", 1)), insi.Found, ins.Pair{Matricule: "279035121518989", OID: ins.OIDNIA}, nil, false},
		{"ok/history-in-another-order-with-inverted-dates", result("00", `<INDIVIDU>`+active+histo+tiq+`</INDIVIDU>`), insi.Found, pair,
			[]insi.Former{{Pair: ins.Pair{Matricule: "209076322083439", OID: ins.OIDNIR}, From: "2019-03-01", To: "2019-02-28"}}, false},
		{"ok/history-repeats-the-active-one", result("00", `<INDIVIDU>`+active+repeated+histo+histo+tiq+`</INDIVIDU>`), insi.Found, pair,
			[]insi.Former{{Pair: ins.Pair{Matricule: "209076322083439", OID: ins.OIDNIR}, From: "2019-03-01", To: "2019-02-28"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, w, err := one(t, 200, c.body)
			if err != nil {
				t.Fatal(err)
			}
			if out.Result != c.result || out.INS != c.pair || !reflect.DeepEqual(out.Former, c.former) || out.KeyAdded != c.added {
				t.Errorf("got %+v", out.Answer)
			}
			trace, ok := out.Trace()
			if ok != (c.result == insi.Found) || (out.Err() == nil) != ok {
				t.Errorf("trace %v, %v", ok, out.Err())
			}
			if ok {
				want := ins.Traits{BirthName: "PAT-TROIS", GivenNames: "DOMINIQUE MARIE-LOUISE", Sex: "F", BirthDate: "1979-03-28", BirthPlace: "51215"}
				if trace.Traits != want || trace.MessageID != w.traces.list[0].MessageID || trace.Channel != ins.ChannelINSi || !trace.At.Equal(w.traces.list[0].At) {
					t.Errorf("trace %+v", trace)
				}
			}
			kept := w.traces.list[0]
			if kept.Result != string(c.result) || kept.Fault != "" || string(kept.Response) != c.body || !bytes.Contains(kept.Request, []byte(kept.MessageID)) || kept.Subject != "ipp-900003" {
				t.Errorf("kept %+v", kept)
			}
			quiet(t, w.log.String())
		})
	}
}

// The register takes the trace of an answer, and only that.
func TestAnswerQualifies(t *testing.T) {
	out, _, err := one(t, 200, result("00", person))
	if err != nil {
		t.Fatal(err)
	}
	trace, _ := out.Trace()
	var rules ins.Rules
	actor := ins.Actor{ID: "1", Human: true, Entitled: true}
	record, _, err := rules.Create(query().Identity.Traits, false, actor, noon)
	if err != nil {
		t.Fatal(err)
	}
	record, _, err = rules.Apply(record, ins.Event{Kind: ins.Retrieve, At: noon, Actor: actor, Trace: &trace, Proof: &ins.Proof{Device: "CN"}})
	if err != nil || !record.Identity.Qualified() || record.Identity.Traits.FirstGiven != "Dominique" {
		t.Fatalf("%+v %v", record.Identity, err)
	}
}

func TestBadAnswers(t *testing.T) {
	deep := strings.Repeat("<a>", 40) + strings.Repeat("</a>", 40)
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"fail/empty", 200, "", insi.FaultAnswer},
		{"fail/html", 200, "<!doctype html><title>Proxy</title>", insi.FaultAnswer},
		{"fail/not-soap", 200, "<RESULTAT/>", insi.FaultAnswer},
		{"fail/soap-1.1", 200, strings.ReplaceAll(result("01", ""), "http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/"), insi.FaultAnswer},
		{"fail/empty-body", 200, soap(""), insi.FaultAnswer},
		{"fail/two-bodies", 200, soap("<a/><b/>"), insi.FaultAnswer},
		{"fail/another-result", 200, soap(`<RESULTAT xmlns="urn:autre"><CR><CodeCR>01</CodeCR></CR></RESULTAT>`), insi.FaultAnswer},
		{"fail/unknown-code", 200, result("03", ""), insi.FaultAnswer},
		{"fail/no-code", 200, result("", ""), insi.FaultAnswer},
		{"fail/found-nobody", 200, result("00", ""), insi.FaultAnswer},
		{"fail/none-and-somebody", 200, result("01", person), insi.FaultAnswer},
		{"fail/several-and-somebody", 200, result("02", person), insi.FaultAnswer},
		{"fail/no-active", 200, result("00", "<INDIVIDU>"+tiq+"</INDIVIDU>"), insi.FaultAnswer},
		{"fail/no-traits", 200, result("00", "<INDIVIDU>"+active+"</INDIVIDU>"), insi.FaultAnswer},
		{"fail/form", 200, result("00", strings.Replace(person, "2790351215189", "279035121518", 1)), insi.FaultAnswer},
		{"fail/key-form", 200, result("00", strings.Replace(person, "<Cle>89<", "<Cle>8X<", 1)), insi.FaultAnswer},
		{"fail/authority", 200, result("00", strings.Replace(person, "4.10<", "4.2<", 1)), insi.FaultAnswer},
		{"fail/history-form", 200, result("00", "<INDIVIDU>"+active+"<INSHISTO/>"+tiq+"</INDIVIDU>"), insi.FaultAnswer},
		{"fail/doctype", 200, strings.Replace(result("01", ""), "<soap:Envelope", "<!DOCTYPE a><soap:Envelope", 1), insi.FaultAnswer},
		{"fail/entity", 200, strings.Replace(result("01", ""), ">x<", ">&x;<", 1), insi.FaultAnswer},
		{"fail/instruction", 200, strings.Replace(result("01", ""), "<CR>", "<?php x?><CR>", 1), insi.FaultAnswer},
		{"fail/charset", 200, strings.Replace(result("01", ""), "UTF-8", "ISO-8859-1", 1), insi.FaultAnswer},
		{"fail/not-utf-8", 200, strings.Replace(result("01", ""), ">x<", ">\xe9<", 1), insi.FaultAnswer},
		{"fail/cut", 200, result("01", "")[:200], insi.FaultAnswer},
		{"fail/two-roots", 200, result("01", "") + "<a/>", insi.FaultAnswer},
		{"fail/text-after", 200, result("01", "") + "a", insi.FaultAnswer},
		{"fail/deep", 200, soap(deep), insi.FaultAnswer},
		{"fail/many", 200, soap("<a>" + strings.Repeat("<b/>", 2100) + "</a>"), insi.FaultAnswer},
		{"fail/large", 200, soap("<a>" + strings.Repeat("x", 300<<10) + "</a>"), insi.FaultAnswer},
		{"fail/redirected", 302, "", insi.FaultAnswer},
		{"fail/not-found", 404, "", insi.FaultAnswer},
		{"fail/forbidden", 403, "", insi.FaultRights},
		{"fail/unauthorised", 401, "", insi.FaultRights},
		{"fail/busy", 429, "", insi.FaultUnavailable},
		{"fail/gateway", 502, "<html/>", insi.FaultUnavailable},
		{"fail/500-without-a-fault", 500, "oops", insi.FaultUnavailable},
		{"fail/insi_102", 500, fault("S:Receiver", "S:siram_40", "insi_102"), insi.FaultUnavailable},
		{"fail/desir_1020-as-Sender", 500, fault("soap:Sender", "soap:siram_40", "desir_1020"), insi.FaultUnavailable},
		{"fail/desir_1020-alone", 500, fault("soap:Sender", "", "desir_1020"), insi.FaultUnavailable},
		{"fail/desir_550", 500, fault("S:Sender", "siram_100", "desir_550"), insi.FaultSoftware},
		{"fail/DESIR_560", 500, fault("S:Sender", "", "DESIR_560"), insi.FaultRights},
		{"fail/DESIR_560-of-siram_40", 500, fault("S:Sender", "siram_40", "DESIR_560"), insi.FaultRights},
		{"fail/siram_40-of-an-unknown-detail", 500, fault("S:Sender", "siram_40", "insi_199"), insi.FaultUnavailable},
		{"fail/unknown-fault", 500, fault("S:Receiver", "siram_999", "insi_999"), insi.FaultRejected},
		{"fail/fault-in-200", 200, fault("S:Receiver", "siram_40", "insi_102"), insi.FaultUnavailable},
		{"fail/fault-in-400", 400, fault("S:Sender", "siram_100", "desir_550"), insi.FaultSoftware},
		{"fail/hung-up", 0, "", insi.FaultUnreachable},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, w, err := one(t, c.status, c.body)
			if code(err) != c.want || out.INS != (ins.Pair{}) {
				t.Fatalf("got %v", err)
			}
			quiet(t, err.Error()+w.log.String())
			if l := w.traces.list; len(l) != 1 || l[0].Fault != c.want || l[0].Result != "" {
				t.Errorf("traces %+v", l)
			}
		})
	}
	t.Run("fail/test-person-in-production", func(t *testing.T) {
		s := serve(t, always(200, result("00", person)))
		w := newWorld(t, s)
		w.config.Environment = ins.Production
		if _, err := w.client(t).Search(context.Background(), who(), query()); code(err) != insi.FaultEnvironment {
			t.Fatal(err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(result("00", person)))
	f.Add(200, []byte(result("02", "")))
	f.Add(500, []byte(fault("S:Receiver", "S:siram_40", "insi_102")))
	f.Add(200, []byte("<a"))
	f.Add(200, []byte(soap("<!-- x --><a xmlns:b='c' b:d='e'/>")))
	// Found by fuzzing in CI: text on both sides of nested elements.
	f.Add(200, []byte("<a>1<b>2<c>3<d>4</d>5</c>6</b>7</a>"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 100 || status > 599 {
			return
		}
		w := newWorld(bare{}, nil)
		w.config.HTTP = &http.Client{Transport: &scripted{raw: body, code: status}}
		w.config.Attempts = 1
		c, err := insi.New(w.config)
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.Search(context.Background(), who(), query())
		if err != nil {
			if strings.HasPrefix(code(err), "untyped") {
				t.Fatal(err)
			}
			return
		}
		if trace, ok := out.Trace(); ok && (!trace.INS.OID.Known() || len(trace.INS.Matricule) != 15) {
			t.Fatalf("an INS that cannot be one: %+v", trace.INS)
		}
	})
}
