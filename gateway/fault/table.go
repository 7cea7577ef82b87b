package fault

import "slices"

// Table is the error table. One slice a room, in rows_<room>.go; a code is
// stable for ever and begins with its room's prefix.
var Table = slices.Concat(insRows, mssRows, trustRows, cdaRows, hl7Rows, dmpRows, storeRows, gatewayRows, journalRows, pscRows, insiRows, scanRows, directoryRows, httpRows, consoleRows, conformanceRows)
