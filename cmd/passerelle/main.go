// Command passerelle is the gateway, its rehearsal room and its judge in one
// binary.
//
// Exit codes: 0 success, 1 the thing judged is wrong, 2 usage, 3 our own
// failure, 4 only "non testé". User-facing text is in French.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // a bare machine may have no zone files

	"github.com/alecthomas/kong"

	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// Exit codes.
const (
	exitWrong   = 1
	exitUsage   = 2
	exitFailure = 3
)

// errWrong says that what was judged is wrong; it was already told.
var errWrong = errors.New("non conforme")

// usageError is a mistake in how the command was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// env is what every command is given, so that none reads a global.
type env struct {
	ctx    context.Context
	out    io.Writer
	err    io.Writer
	clock  func() time.Time
	random io.Reader
	log    *slog.Logger

	verbose bool
}

type cli struct {
	Verbose bool `help:"Journal technique détaillé sur la sortie d'erreur." short:"v"`

	sandboxCommands
	Init   initCmd   `cmd:"" help:"Écrit une configuration commentée."`
	Check  checkCmd  `cmd:"" help:"Dit tout ce qui manque dans une configuration, sans rien démarrer."`
	Keys   keysCmd   `cmd:"" help:"Clés des jetons de la passerelle : les montrer, en changer."`
	Cert   certCmd   `cmd:"" help:"Outils certificats : rôle, dates, clé, chaîne, révocation."`
	Serve  serveCmd  `cmd:"" help:"Démarre la passerelle."`
	Store  storeCmds `cmd:"" help:"Le dépôt FHIR de type DMP, seul : le démarrer, vérifier son journal d'audit."`
	Submit submitCmd `cmd:"" help:"Dépose des CDA ou des PDF par REST, et suit ce qu'ils deviennent."`
	HL7    hl7Cmd    `cmd:"" name:"hl7" help:"Outils HL7 v2."`
	XDM    xdmCmd    `cmd:"" name:"xdm" help:"Outils IHE_XDM : juger une archive ou le courriel qui la porte, en lire les documents."`
	CDA    cdaCmd    `cmd:"" name:"cda" help:"Outils CDA : juger, lire, fabriquer, montrer."`
	INS    insCmd    `cmd:"" name:"ins" help:"Outils INS : juger un matricule."`

	Conformance conformanceCmd `cmd:"" help:"Juge un système selon les exigences du Ségur, par le réseau seulement."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process, for tests.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	var c cli
	exited := false
	parser, err := kong.New(&c,
		kong.Name("passerelle"),
		kong.Description("Passerelle d'échange de données de santé : passerelle, bac à sable et juge, en un seul programme."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(n int) { exited = true; code = n }),
		kong.UsageOnError(),
		kong.Help(frenchHelp),
		kong.PostBuild(french),
	)
	if err != nil {
		fmt.Fprintln(stderr, "passerelle :", err)
		return exitFailure
	}
	kctx, err := parser.Parse(args)
	if exited {
		return code
	}
	if err != nil {
		fmt.Fprintln(stderr, "passerelle :", usageWords.Replace(err.Error()))
		fmt.Fprintln(stderr, "Aide : passerelle --help")
		return exitUsage
	}
	level := slog.LevelInfo
	if c.Verbose {
		level = slog.LevelDebug
	}
	e := &env{
		verbose: c.Verbose, ctx: ctx, out: stdout, err: stderr, clock: time.Now, random: rand.Reader,
		log: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})),
	}
	err = kctx.Run(e)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errWrong):
		return exitWrong
	case errors.Is(err, errUntested):
		return exitUntested
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, "passerelle :", said(err))
		return exitUsage
	default:
		fmt.Fprintln(stderr, "passerelle :", explain(err))
		return exitFailure
	}
}

// explain is an error as a person reads it: the sentence and the remedy of the
// table when it has a row, and its cause for who needs it.
func explain(err error) string {
	f := fault.From(err)
	if f.Code == fault.Internal {
		return said(err)
	}
	if err.Error() == f.Code {
		return fmt.Sprintf("%s %s [%s]", f.FR, f.FixFR, f.Code)
	}
	return fmt.Sprintf("%s %s [%s : %v]", f.FR, f.FixFR, f.Code, err)
}
