package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// kong writes its own words in English. These are the ones that a person meets;
// a sentence of its that is not here stays as it is.
var (
	usageWords = strings.NewReplacer(
		"unexpected argument ", "argument inattendu : ", "unknown flag ", "option inconnue : ",
		"missing flags: ", "il manque l'option ", "missing positional arguments ", "il manque ",
		"expected one of ", "il manque l'un de : ", "expected ", "il manque ",
		" but got ", ", reçu ", ", did you mean one of ", " ; vouliez-vous l'un de ", ", did you mean ", " ; vouliez-vous ",
		" can't be used together", " ne vont pas ensemble", " must be one of ", " doit être l'un de ",
		" or ", " ou ", " and ", " et ")
	helpWords = strings.NewReplacer(
		"Usage: ", "Usage : ", "\nArguments:\n", "\nArguments :\n", "\nFlags:\n", "\nOptions :\n", "\nCommands:\n", "\nCommandes :\n",
		"[<file>]", "[<fichier>]", "<file>", "<fichier>", "[flags]", "[options]", "<command>", "<commande>",
		`Run "passerelle <command> --help" for more information on a command.`, "L'aide d'une commande : passerelle <commande> --help")
)

// french makes kong speak French where it can.
func french(k *kong.Kong) error {
	k.Model.HelpFlag.Help = "Montre cette aide."
	return nil
}

func frenchHelp(options kong.HelpOptions, ctx *kong.Context) error {
	out := ctx.Stdout
	defer func() { ctx.Stdout = out }()
	var page bytes.Buffer
	ctx.Stdout = &page
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return err
	}
	_, err := out.Write([]byte(helpWords.Replace(page.String())))
	return err
}

// pairWords are those of crypto/tls about a certificate and its key.
var pairWords = strings.NewReplacer(
	"tls: private key does not match public key", "la clé n'est pas celle du certificat",
	"tls: private key type does not match public key type", "la clé n'est pas celle du certificat",
	"tls: failed to find any PEM data in certificate input", "aucun certificat PEM dans ce fichier",
	"tls: failed to find any PEM data in key input", "aucune clé PEM dans le fichier de la clé",
	"tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched",
	"ce fichier est une clé : certificat et clé sont sans doute inversés",
	"tls: found a certificate rather than a key in the PEM for the private key",
	"le fichier de la clé est un certificat : certificat et clé sont sans doute inversés",
	"tls: failed to parse private key", "clé illisible : chiffrée, ou d'un type inconnu")

// said is the text of an error, without the English of the system about a file or
// an address.
func said(err error) string {
	text := pairWords.Replace(err.Error())
	var p *fs.PathError
	if errors.As(err, &p) {
		cause := p.Err.Error()
		switch {
		case errors.Is(p.Err, fs.ErrNotExist):
			cause = "fichier ou dossier introuvable"
		case errors.Is(p.Err, fs.ErrPermission):
			cause = "accès refusé"
		case errors.Is(p.Err, fs.ErrExist):
			cause = "existe déjà"
		case errors.Is(p.Err, syscall.EISDIR):
			cause = "c'est un dossier ; un fichier est attendu"
		}
		text = strings.ReplaceAll(text, p.Error(), p.Path+" : "+cause)
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		switch {
		case errors.Is(op.Err, syscall.EADDRINUSE):
			text = strings.ReplaceAll(text, op.Error(), fmt.Sprintf("l'adresse %s est déjà prise par un autre programme", op.Addr))
		case errors.Is(op.Err, syscall.ECONNREFUSED):
			text = strings.ReplaceAll(text, op.Error(), fmt.Sprintf("rien n'écoute à l'adresse %s", op.Addr))
		}
	}
	return text
}
