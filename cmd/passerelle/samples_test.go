//go:build !nosandbox

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/conformance/sim"
	"github.com/passerelle-sante/passerelle/dmp/fhir"
	"github.com/passerelle-sante/passerelle/gateway"
)

// The files that the README sends by other doors than HL7 (the demonstration plays
// the messages) do what it says of them.
func TestSamples(t *testing.T) {
	r := newRoute(t, nil)
	dir := t.TempDir()
	if err := writeSamples(dir, r.w.info.Operator.GatewayMailbox); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	info := filepath.Join(dir, "info.json")
	i := *r.w.info
	i.Gateway.HTTPS = "https://" + r.m.HTTPS
	if err := sim.WriteInfo(info, i); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"submit", "--info", info, "--follow", filepath.Join(dir, documentSample)}, &out, &out); code != 0 || !strings.Contains(out.String(), "→ remis") {
		t.Errorf("exit %d\n%s", code, &out)
	}
	status, body := r.post("/fhir", fhir.MediaType, "", read(lotSample))
	var answer fhir.Bundle
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK || len(answer.Entry) != 3 {
		t.Errorf("%d %v %s", status, err, body)
	}
	r.drop(read(quarantineSample))
	r.drop(read(receivedSample))
	got := map[string]string{}
	waitFor(t, func() bool {
		for _, s := range r.submissions() {
			if s.Door == "mail" {
				got[s.Message.ControlID] = s.State + " " + s.Code
			}
		}
		return strings.HasPrefix(got["courrier-2@test-ci-sis.mssante.fr"], "quarantined") && strings.HasPrefix(got["courrier-1@test-ci-sis.mssante.fr"], "done")
	})
	if why := got["courrier-2@test-ci-sis.mssante.fr"]; !strings.HasSuffix(why, gateway.FaultNoArchive) {
		t.Errorf("in quarantine for %q", why)
	}
}
