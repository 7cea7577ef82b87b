//go:build !nosandbox

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle-sante/passerelle/testdata"
)

// Found by a newcomer who followed the README: what goes wrong on the command line
// was told in English.
func TestFrenchCommandLine(t *testing.T) {
	dir := t.TempDir()
	absent, present := filepath.Join(dir, "absent.xml"), filepath.Join(dir, "present.hl7")
	if err := os.WriteFile(present, testdata.ORU(testdata.MessageOptions{}), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := nowhere(t)
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
		{"fail/nobody listens", "hl7 send --to " + refused + " " + present, 3, present + " : aucun acquittement de " + refused + " : "},
		{"fail/nobody listens, why", "hl7 send --to " + refused + " " + present, 3, "rien n'écoute à l'adresse " + refused},
		{"ok/help", "ins batch --help", 0, "Usage : passerelle ins batch --out=STRING <fichier> [options]"},
		{"ok/sections", "ins batch --help", 0, "\nOptions :\n  -h, --help "},
		{"ok/the help of help", "ins batch --help", 0, " Montre cette aide.\n"},
		{"ok/commands", "--help", 0, "L'aide d'une commande : passerelle <commande> --help"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(t.Context(), strings.Fields(tt.args), &out, &out); code != tt.code || !strings.Contains(out.String(), tt.want) {
				t.Errorf("exit %d, want %d and %q:\n%s", code, tt.code, tt.want, &out)
			}
			for _, word := range []string{"no such file", "expected", "Flags:", "Usage:", "context-sensitive", "refused", "in use", "ZAM"} {
				if strings.Contains(out.String(), word) {
					t.Errorf("%q in\n%s", word, &out)
				}
			}
		})
	}
}

func TestSaid(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, taken := net.Listen("tcp4", l.Addr().String())
	if taken == nil {
		t.Fatal("the address was free")
	}
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"ok/an address taken", fmt.Errorf("sim: %w", taken), "sim: l'adresse " + l.Addr().String() + " est déjà prise par un autre programme"},
		{"ok/a folder in the way", fmt.Errorf("bac : %w", &fs.PathError{Op: "mkdir", Path: "bac", Err: fs.ErrExist}), "bac : bac : existe déjà"},
		{"ok/a file kept from us", &fs.PathError{Op: "open", Path: "cle", Err: fs.ErrPermission}, "cle : accès refusé"},
		{"ok/another cause stays", errors.New("autre chose"), "autre chose"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := said(tt.err); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// nowhere is an address where nobody listens any more.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}
