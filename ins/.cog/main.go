// Command cog writes the table of places that package ins embeds. Its inputs
// are files, so that it works without a network:
//
//	npm pack @etalab/decoupage-administratif
//	cd ins && go run ./.cog -communes etalab-decoupage-administratif-6.0.0.tgz -countries TRE_R20-Pays.tsv -out cog.tsv.gz
package main

import (
	"bytes"
	"flag"
	"log"
	"os"

	"github.com/passerelle-sante/passerelle/ins"
)

func main() {
	log.SetFlags(0)
	communes := flag.String("communes", "", "npm package @etalab/decoupage-administratif, as npm pack gives it")
	countries := flag.String("countries", "", "TRE_R20-Pays, tab-separated")
	out := flag.String("out", "", "file to write")
	flag.Parse()
	npm, err := os.Open(*communes)
	if err != nil {
		log.Fatal(err)
	}
	defer npm.Close()
	tsv, err := os.Open(*countries)
	if err != nil {
		log.Fatal(err)
	}
	defer tsv.Close()
	var table bytes.Buffer
	if err := ins.BuildCOG(&table, npm, tsv); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*out, table.Bytes(), 0o644); err != nil {
		log.Fatal(err)
	}
}
