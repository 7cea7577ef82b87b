// Package datamatrix reads and writes the INS datamatrix, the symbol that
// stands on a wristband or on the first page of a document (ANS, format
// datamatrix INS 2.2): matricule, OID and traits as fields S1 to S7 behind a
// header that borrows the shape of a 2D-Doc.
//
// # What is promised
//
// The header has no signature: whoever can print can make one. A [Scan] is
// therefore an import of traits and nothing more: [Scan.Identity] is PROV and
// has no matricule; the pair in [Scan.INS] is for searching and for asking
// INSi. [ins.Rules] takes no scan for a trace or a proof.
//
// Writing goes through [ins.Gate]: a symbol is only made of a qualified
// identity (EXI ID 29, EXI DIF 02). There is no other way to make one here.
//
// Reading is bounded: a text has at most 400 bytes, an image at most 16 MB and
// 12 million points, whatever its header says. Foreign bytes give a Scan or one
// typed refusal, never a panic; nothing of the bytes goes into an error.
//
// The package keeps nothing, so crash, order and duplicates do not concern it.
//
// # Where we differ or had to choose
//
//   - The symbol is encoded in ASCII where the format names C40 for the header:
//     readers give the same text, and pairs of digits take less room.
//   - Fields may come in any order, as samples of others do.
//   - A separator that the scanner dropped, or typed as the four characters
//     <GS>, is put back: no value can hold an S followed by a digit. One that
//     stands where none is needed is skipped. We write them as the format asks.
//   - A wrong key refuses on production OIDs only, as everywhere in ins.
//   - Names must be of the alphabet of INSi; what INSi would not accept as a
//     sequence (a blank beside an apostrophe) is left to whoever calls INSi.
//   - A birth date must have the form of a date; a lunar one passes here, and
//     [ins.Rules] deals with it.
package datamatrix
