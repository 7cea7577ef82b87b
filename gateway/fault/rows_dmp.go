package fault

// dmpRows: prefix DMP.
var dmpRows = []Row{}
