package sim

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/testdata"
)

func TestStartRefuses(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for name, cfg := range map[string]Config{
		"fail/no folder":     {Clock: clock, Rand: rand.Reader, Logger: log},
		"fail/no clock":      {Dir: t.TempDir(), Rand: rand.Reader, Logger: log},
		"fail/no chance":     {Dir: t.TempDir(), Clock: clock, Logger: log},
		"fail/no log":        {Dir: t.TempDir(), Clock: clock, Rand: rand.Reader},
		"fail/port too high": {Dir: t.TempDir(), Clock: clock, Rand: rand.Reader, Logger: log, BasePort: 65530},
		"fail/folder a file": {Dir: "sim.go", Clock: clock, Rand: rand.Reader, Logger: log},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := Start(context.Background(), cfg); err == nil {
				s.Close()
				t.Error("starts")
			}
		})
	}
}

// leaves lists the paths of every leaf of a JSON object.
func leaves(prefix string, v any, out *[]string) {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			leaves(prefix+"."+k, e, out)
		}
	case []any:
		if len(x) > 0 {
			leaves(prefix+"[]", x[0], out)
		}
	default:
		*out = append(*out, strings.TrimPrefix(prefix, "."))
	}
}

func TestInfoFile(t *testing.T) {
	s := start(t)
	path := filepath.Join(t.TempDir(), "info.json")
	info := s.Info()
	info.Gateway.MLLP = "127.0.0.1:1"
	if err := WriteInfo(path, info); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	decodeInto(t, data, &v)
	var got []string
	leaves("", v, &got)
	sort.Strings(got)
	want := strings.Fields(`version
		gateway.http gateway.https gateway.fhir gateway.token gateway.mllp hospital.mllp hospital.messages dmp.fhir dmp.token
		psc.issuer psc.discovery psc.authorization psc.token psc.client_id psc.client_secret psc.redirect_uri insi.url
		operator.smtp operator.imap operator.domain operator.gateway_mailbox operator.mailboxes operator.whitelist operator.crl
		directory.fhir directory.api_key control
		tls.ca tls.client_cert tls.client_key tls.machine_cert tls.machine_key tls.insi_cert tls.insi_key tls.bal_app_cert tls.bal_app_key
		personas[].id personas[].national_id personas[].profession personas[].name personas[].mailbox
		patients[].id patients[].matricule patients[].oid patients[].status patients[].dmp patients[].birth_name patients[].first_given
		patients[].given_names patients[].sex patients[].birth_date patients[].birth_place`)
	sort.Strings(want)
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("keys are\n%v\nwant\n%v", got, want)
	}
	back, err := ReadInfo(data)
	if err != nil || back.Gateway.MLLP != "127.0.0.1:1" || len(back.Patients) != len(testdata.Patients()) || back.Personas[0].NationalID != "819990000010" {
		t.Errorf("read back: %v %+v", err, back)
	}
	for _, address := range []string{info.Hospital.MLLP, strings.TrimPrefix(info.Hospital.Messages, "http://"), strings.TrimPrefix(info.DMP.FHIR, "https://"),
		strings.TrimPrefix(info.DMP.Token, "https://"), strings.TrimPrefix(info.Control, "http://")} {
		if !strings.HasPrefix(address, "127.0.0.1:") {
			t.Errorf("%s is not on the loopback", address)
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	for name, bad := range map[string]string{"fail/other version": `{"version": 2}`, "fail/not JSON": `{`} {
		if _, err := ReadInfo([]byte(bad)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

func TestDMPAnswersOverMutualTLS(t *testing.T) {
	s := start(t)
	a := do(t, gatewayClient(t, s), "GET", s.Info().DMP.FHIR+"/metadata", "", "")
	if a.status != http.StatusOK || a.json(t)["resourceType"] != "CapabilityStatement" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := do(t, gatewayClient(t, s), "GET", s.Files().DMPIssuer+"/elsewhere", "", ""); a.status != http.StatusNotFound || !strings.Contains(string(a.body), "Bac à sable") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestDMPTroublesByControlPort(t *testing.T) {
	s := start(t)
	c := gatewayClient(t, s)
	url := s.Info().DMP.FHIR + "/metadata"
	control(t, s, "PUT", "/dmp/faults", `{"mode": "refuse", "status": 503, "path": "/fhir"}`, 200)
	if a := do(t, c, "GET", url, "", ""); a.status != 503 || a.json(t)["resourceType"] != "OperationOutcome" {
		t.Errorf("refuse: %d %s", a.status, a.body)
	}
	if a := token(t, s, c, indirectForm(s)); a.status != 200 {
		t.Errorf("a filter on /fhir strikes /token: %d", a.status)
	}
	control(t, s, "PUT", "/dmp/faults", `[{"mode": "down"}]`, 200)
	if res, err := c.Get(url); err == nil {
		res.Body.Close()
		t.Error("down: answers")
	}
	control(t, s, "DELETE", "/dmp/faults", "", 200)
	if a := do(t, c, "GET", url, "", ""); a.status != 200 {
		t.Errorf("repaired: %d", a.status)
	}
	control(t, s, "PUT", "/dmp/faults", `{"mode": "refuse", "status": 500, "count": 1}`, 200)
	control(t, s, "POST", "/dmp/faults", `{"mode": "refuse", "status": 502, "count": 1}`, 200)
	for _, want := range []int{500, 502, 200} {
		if a := do(t, c, "GET", url, "", ""); a.status != want {
			t.Errorf("one after the other: %d, want %d", a.status, want)
		}
	}
	counters := control(t, s, "GET", "/dmp/counters", "", 200).json(t)["state"].(map[string]any)
	if counters["received"] != 6.0 || counters["processed"] != 3.0 || counters["by"].(map[string]any)["GET /fhir/metadata"] != 5.0 {
		t.Errorf("counters are %v", counters)
	}
	control(t, s, "DELETE", "/dmp/counters", "", 200)
	if s.DMPCounters().Received != 0 {
		t.Error("counters are not reset")
	}
}

func TestDMPHeldByControlPort(t *testing.T) {
	s := start(t)
	control(t, s, "PUT", "/dmp/faults", `{"mode": "hold", "when": "after"}`, 200)
	done := make(chan int, 1)
	c := gatewayClient(t, s)
	go func() {
		res, err := c.Get(s.Info().DMP.FHIR + "/metadata")
		if err != nil {
			done <- 0
			return
		}
		res.Body.Close()
		done <- res.StatusCode
	}()
	eventually(t, "held", func() bool { return s.DMPCounters().Held == 1 })
	control(t, s, "POST", "/dmp/release", "", 200)
	if got := <-done; got != 200 {
		t.Errorf("released: %d", got)
	}
}

func TestCloseLetsGoWhatIsHeld(t *testing.T) {
	s := start(t)
	s.SetDMPTroubles(Trouble{Mode: Hold})
	s.SetHospitalTroubles(Trouble{Mode: Hold})
	c := gatewayClient(t, s)
	done := make(chan error, 2)
	go func() {
		res, err := c.Get(s.Info().DMP.FHIR + "/metadata")
		if err == nil {
			res.Body.Close()
		}
		done <- err
	}()
	go func() {
		_, err := SendMLLP(context.Background(), s.Info().Hospital.MLLP, []byte(zam))
		done <- err
	}()
	eventually(t, "held", func() bool { return s.DMPCounters().Held == 1 && s.HospitalCounters().Held == 1 })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-done
	<-done
}

func TestControlLists(t *testing.T) {
	s := start(t)
	a := control(t, s, "GET", "/", "", 200).json(t)
	list := a["knobs"].([]any)
	if len(list) < 9 {
		t.Errorf("%d knobs", len(list))
	}
	for _, one := range list {
		k := one.(map[string]any)
		if k["path"] == "" || k["description"] == "" || len(k["methods"].([]any)) == 0 {
			t.Errorf("%v", k)
		}
		if _, ok := k["state"]; !ok {
			t.Errorf("%v has no state", k["path"])
		}
	}
}

func TestControlRefuses(t *testing.T) {
	s := start(t)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"fail/unknown mode", "PUT", "/dmp/faults", `{"mode": "explode"}`, 400},
		{"fail/misspelt", "PUT", "/dmp/faults", `{"mode": "slow", "milliseconds": 3}`, 400},
		{"fail/not JSON", "PUT", "/dmp/faults", `down`, 400},
		{"fail/two values", "PUT", "/dmp/faults", `{"mode":"down"} {"mode":"down"}`, 400},
		{"fail/hospital AE or AR", "PUT", "/hospital/faults", `{"mode": "refuse", "code": "AA"}`, 400},
		{"fail/clock", "PUT", "/clock", `{"offset": "tomorrow"}`, 400},
		{"fail/lifetime", "PUT", "/dmp/token", `{"lifetime_seconds": 0}`, 400},
		{"fail/redirect", "PUT", "/psc/client", `{"client_id": "x", "redirect_uri": "/back"}`, 400},
		{"fail/client_id", "PUT", "/psc/client", `{"redirect_uri": "https://a.example/back"}`, 400},
		{"fail/method", "PATCH", "/clock", ``, 405},
	} {
		t.Run(c.name, func(t *testing.T) { control(t, s, c.method, c.path, c.body, c.status) })
	}
	if len(s.dmp.troubles.get())+len(s.hospital.troubles.get()) != 0 {
		t.Error("a refused setting is set")
	}
}

func TestControlIsForThisMachine(t *testing.T) {
	s := start(t)
	for name, change := range map[string]func(*http.Request){
		"fail/foreign host":   func(r *http.Request) { r.Host = "rebound.example" },
		"fail/foreign origin": func(r *http.Request) { r.Header.Set("Origin", "https://rebound.example") },
	} {
		t.Run(name, func(t *testing.T) {
			for _, target := range []string{s.Info().Control + "/", s.Info().Hospital.Messages} {
				req, err := http.NewRequest("GET", target, nil)
				if err != nil {
					t.Fatal(err)
				}
				change(req)
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if res.StatusCode != http.StatusForbidden {
					t.Errorf("%s answers %d", target, res.StatusCode)
				}
			}
		})
	}
}

func TestHospitalByControlPort(t *testing.T) {
	s := start(t)
	control(t, s, "PUT", "/hospital/faults", `{"mode": "refuse", "code": "AE", "count": 1}`, 200)
	control(t, s, "POST", "/hospital/faults", `{"mode": "lie", "count": 1}`, 200)
	for _, want := range []string{"MSA|AE|G0007", "MSA|AA|MENSONGE-G0007", "MSA|AA|G0007"} {
		if ack, err := send(t, s, zam); err != nil || !strings.Contains(ack, want) {
			t.Errorf("%v %q, want %s", err, ack, want)
		}
	}
	a := do(t, http.DefaultClient, "GET", s.Info().Hospital.Messages, "", "")
	var got struct {
		Notice   string `json:"bac_a_sable"`
		Messages []struct{ Received, Raw, Ack string }
	}
	decodeInto(t, a.body, &got)
	if len(got.Messages) != 3 || got.Messages[2].Raw != zam || !strings.Contains(got.Messages[2].Ack, "MSA|AE|") || got.Messages[0].Received == "" || got.Notice == "" {
		t.Errorf("%s", a.body)
	}
	a = do(t, http.DefaultClient, "GET", s.Info().Hospital.Messages+"?type=ZAM%5EZ02", "", "")
	decodeInto(t, a.body, &got)
	if len(got.Messages) != 0 {
		t.Errorf("filter by type: %s", a.body)
	}
	control(t, s, "DELETE", "/hospital/counters", "", 200)
	control(t, s, "POST", "/hospital/release", "", 200)
	control(t, s, "DELETE", "/hospital/faults", "", 200)
}

func TestVendorClientIsKept(t *testing.T) {
	dir := t.TempDir()
	s := startIn(t, dir)
	control(t, s, "PUT", "/psc/client", `{"client_id": "mon-logiciel", "redirect_uri": "https://127.0.0.1:9/retour"}`, 200)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = startIn(t, dir)
	if p := s.Info().PSC; p.ClientID != "mon-logiciel" || p.RedirectURI != "https://127.0.0.1:9/retour" || p.Issuer == "" {
		t.Errorf("%+v", p)
	}
	control(t, s, "DELETE", "/psc/client", "", 200)
	if s.Info().PSC.ClientID != s.Files().ClientCN {
		t.Error("not forgotten")
	}
}

func TestRestartKeepsKeys(t *testing.T) {
	dir := t.TempDir()
	s := startIn(t, dir)
	raw := token(t, s, gatewayClient(t, s), indirectForm(s)).json(t)["access_token"].(string)
	before := readCert(t, s.Info().TLS.ClientCert)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = startIn(t, dir)
	if !readCert(t, s.Info().TLS.ClientCert).Equal(before) {
		t.Error("another certificate")
	}
	if claimsOf(t, s, raw)["mode"] != "indirecte" { // checked by the keys published now
		t.Error("another key")
	}
}

func TestBasePort(t *testing.T) {
	at := func(base int) (*Sandbox, error) {
		return Start(t.Context(), Config{Dir: t.TempDir(), BasePort: base, Clock: clock, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler)})
	}
	// A port that was free a moment ago, found by a first sandbox. Tests of other
	// packages take ports at the same time: of many ranges one is free.
	var first, s *Sandbox
	var base int
	var err error
	for range 20 {
		first = start(t)
		_, port, _ := strings.Cut(strings.TrimPrefix(first.Info().Control, "http://"), ":")
		if err := json.Unmarshal([]byte(port), &base); err != nil {
			t.Fatal(err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = at(base); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Info().Control != first.Info().Control || s.Info().Hospital.MLLP == first.Info().Hospital.MLLP {
		t.Errorf("control at %s, want %s", s.Info().Control, first.Info().Control)
	}
	if taken, err := at(base); err == nil {
		taken.Close()
		t.Error("two sandboxes on the same ports")
	}
}
