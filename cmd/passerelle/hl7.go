package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
)

type hl7Cmd struct {
	Send   hl7SendCmd   `cmd:"" help:"Envoie des messages par MLLP et montre les acquittements."`
	Check  hl7CheckCmd  `cmd:"" help:"Juge des messages comme la porte HL7, sans rien envoyer, et montre l'acquittement qu'elle rendrait."`
	Listen hl7ListenCmd `cmd:"" help:"Tient lieu de logiciel du site : montre les messages que la passerelle lui envoie, et les acquitte."`
}

type hl7SendCmd struct {
	To      string        `required:"" help:"Adresse MLLP." placeholder:"HÔTE:PORT"`
	Timeout time.Duration `default:"30s" help:"Attente de chaque acquittement."`
	Files   []string      `arg:"" name:"fichier" help:"Messages ER7, un par fichier."`
}

// Run sends each file as one message. Exit 1 when one was not acknowledged AA.
func (c *hl7SendCmd) Run(e *env) error {
	refused := false
	for _, name := range c.Files {
		message, err := os.ReadFile(name)
		if err != nil {
			return usageError{err}
		}
		ctx, cancel := context.WithTimeout(e.ctx, c.Timeout)
		ack, err := hl7v2.Exchange(ctx, hl7v2.Target{Address: c.To}, message, nil)
		cancel()
		if err != nil {
			// Neither its code nor its row of the table: they speak to a gateway that sends a ZAM.
			if cause := errors.Unwrap(err); cause != nil {
				err = cause
			}
			return fmt.Errorf("%s : aucun acquittement de %s : %s", name, c.To, said(err))
		}
		fmt.Fprintf(e.out, "%s\n", name)
		for _, line := range strings.FieldsFunc(string(ack), func(r rune) bool { return r == '\r' || r == '\n' }) {
			fmt.Fprintln(e.out, "  ", line)
		}
		refused = refused || field(ack, "MSA", 1) != "AA"
	}
	if refused {
		return errWrong
	}
	return nil
}

// field reads one field of the first such segment of an ER7 message.
func field(message []byte, segment string, n int) string {
	for _, line := range strings.FieldsFunc(string(message), func(r rune) bool { return r == '\r' || r == '\n' }) {
		f := strings.Split(line, "|")
		if f[0] != segment {
			continue
		}
		if segment == "MSH" {
			n--
		}
		if n < len(f) {
			return f[n]
		}
		return ""
	}
	return ""
}
