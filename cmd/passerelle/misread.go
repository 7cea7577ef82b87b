package main

import (
	"errors"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// misreadError is a configuration of which some lines, or all, cannot be used.
// loadConfig gives what it read beside it, so that check can go on.
type misreadError struct {
	path  string
	lines []string
}

func (m *misreadError) Error() string { return m.path + " : " + strings.Join(m.lines, " ; ") }

// The sentences of the YAML library that a person meets.
var (
	yamlUnknown = regexp.MustCompile(`^line (\d+): field (.+) not found in type .*$`)
	yamlTwice   = regexp.MustCompile(`^line (\d+): mapping key "(.+)" already defined at line (\d+)$`)
	yamlType    = regexp.MustCompile(`(?s)^line (\d+): cannot unmarshal .* into (.+)$`)
	yamlSyntax  = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	yamlKinds   = []struct{ of, say string }{
		{"time.Duration", "une durée (30s, 10m, 168h)"}, {"bool", "true ou false"}, {"int", "un nombre entier"},
		{"string", "un texte"}, {"[]", "une liste"},
	}
)

// yamlProblems says in French what the YAML library refused. read is false when
// nothing could be read at all.
func yamlProblems(err error) (lines []string, read bool) {
	var types *yaml.TypeError
	if !errors.As(err, &types) {
		m := yamlSyntax.FindStringSubmatch(err.Error())
		if m == nil || m[1] == "" {
			return []string{"ce fichier n'est pas du YAML lisible"}, false
		}
		return []string{"ligne " + m[1] + " : ce n'est pas du YAML lisible ; vérifiez l'alignement et les deux-points autour de cette ligne"}, false
	}
	for _, text := range types.Errors {
		switch {
		case yamlUnknown.MatchString(text):
			text = yamlUnknown.ReplaceAllString(text, "ligne $1 : le réglage « $2 » n'existe pas à cet endroit ; « passerelle init » les montre tous")
		case yamlTwice.MatchString(text):
			text = yamlTwice.ReplaceAllString(text, "ligne $1 : le réglage « $2 » est déjà donné à la ligne $3")
		default:
			if m := yamlType.FindStringSubmatch(text); m != nil {
				want := "des réglages, un par ligne"
				for _, k := range yamlKinds {
					if strings.HasPrefix(m[2], k.of) {
						want = k.say
						break
					}
				}
				text = "ligne " + m[1] + " : " + want + " est attendu ici" // never the value: it may be a secret put in the wrong place
			}
		}
		lines = append(lines, text)
	}
	return lines, true
}
