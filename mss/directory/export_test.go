package directory

import "github.com/passerelle-sante/passerelle/mss"

// Read gives the addresses and the ids of an answer.
func Read(data []byte) (all []mss.Address, ids []string, err error) {
	found, ids, err := read(data)
	for _, m := range found {
		all = append(all, m.Address)
	}
	return all, ids, err
}
