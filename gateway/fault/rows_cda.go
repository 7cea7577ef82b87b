package fault

// cdaRows: prefix CDA.
var cdaRows = []Row{}
