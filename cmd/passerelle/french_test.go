//go:build !nosandbox

package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// Found by a newcomer who followed the README: what goes wrong on the command line
// was told in English.
func TestFrenchCommandLine(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent.xml")
	for _, tt := range []struct {
		name string
		args string
		code int
		want string
	}{
		{"fail/no command", "", 2, "il manque l'un de : \"sandbox\""},
		{"fail/unknown command", "hl8", 2, "argument inattendu : hl8 ; vouliez-vous \"hl7\""},
		{"fail/unknown flag", "check --confg x", 2, "option inconnue : --confg ; vouliez-vous"},
		{"fail/flag missing", "ins batch " + absent, 2, "il manque l'option --out"},
		{"fail/argument missing", "ins batch --out x", 2, "il manque \"<file>\""},
		{"fail/no such file", "hl7 send --to 127.0.0.1:1 " + absent, 2, absent + " : fichier ou dossier introuvable"},
		{"fail/no such configuration", "serve --config " + absent, 2, absent + " : fichier ou dossier introuvable"},
		{"ok/help", "ins batch --help", 0, "Usage : passerelle ins batch --out=STRING <file> [options]"},
		{"ok/sections", "ins batch --help", 0, "\nOptions :\n  -h, --help "},
		{"ok/the help of help", "ins batch --help", 0, " Montre cette aide.\n"},
		{"ok/commands", "--help", 0, "L'aide d'une commande : passerelle <commande> --help"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(t.Context(), strings.Fields(tt.args), &out, &out); code != tt.code || !strings.Contains(out.String(), tt.want) {
				t.Errorf("exit %d, want %d and %q:\n%s", code, tt.code, tt.want, &out)
			}
			for _, word := range []string{"no such file", "expected", "Flags:", "Usage:", "context-sensitive"} {
				if strings.Contains(out.String(), word) {
					t.Errorf("%q in\n%s", word, &out)
				}
			}
		})
	}
}
