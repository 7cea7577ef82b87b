package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Regression: a misspelt setting stopped check at an English line and hid every
// other problem (found by the audit of issue 2, 2026-11-22).
func TestMisreadConfiguration(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		want       []string
		never      string
	}{
		{"fail/misspelt setting", "environment: test\ndataa: x\n", []string{"ligne 2 : le réglage « dataa » n'existe pas", "data : valeur obligatoire", "hl7 : "}, "field"},
		{"fail/wrong types", "environment: test\ndelivery:\n  workers: dix\n  first: bientot\ngateway:\n  http: [1]\n",
			[]string{"ligne 3 : un nombre entier", "ligne 4 : une durée", "ligne 6 : un texte", "establishments : "}, "bientot"},
		{"fail/given twice", "environment: test\nenvironment: test\n", []string{"ligne 2 : le réglage « environment » est déjà donné à la ligne 1"}, "mapping"},
		{"fail/no YAML", "environment: [test\n", []string{"1 point(s)", "YAML lisible"}, "yaml:"},
		{"fail/data under a file", "environment: test\ndata: gateway.yaml/data\n", []string{"data : ", "gateway.yaml est un fichier"}, "not a directory"},
		{"fail/folder as authority", "environment: test\ndmp:\n  ca: .\n", []string{"dmp.ca : ", "c'est un dossier"}, "is a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "gateway.yaml")
			if err := os.WriteFile(file, []byte(c.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if code := run(t.Context(), []string{"check", "--config", file}, &out, &out); code != exitWrong {
				t.Errorf("exit %d", code)
			}
			for _, w := range c.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("%q is not in\n%s", w, &out)
				}
			}
			if strings.Contains(out.String(), c.never) {
				t.Errorf("%q is in\n%s", c.never, &out)
			}
			for _, line := range strings.Split(out.String(), "\n") {
				if line != "" && strings.Count(out.String(), line+"\n") > 1 {
					t.Errorf("told twice: %s", line)
				}
			}
		})
	}
}
