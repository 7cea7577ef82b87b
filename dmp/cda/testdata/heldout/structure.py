"""Structuration minimale, restated from the ART-DECOR schematron of ANS
(TestContenuCDA-3-0, 1.2.250.1.213.1.1.1.1-2017-12-13T103531, data types DTr1):
every rule of role error that it holds on the header, but those on the sdtc
extensions of the patient. Its "closed" half only warns.

Not written from, or compared with, the Go code. A rule applies where its
context matches: a participation that does not match one (an authenticator whose
signature is not S, a relatedDocument that is not RPLC, a performer that is not
PRF) is judged by no rule, as there.
"""
import datetime, glob, os, re
from lxml import etree

V3, XSI = "urn:hl7-org:v3", "http://www.w3.org/2001/XMLSchema-instance"
NS = {"h": V3}
LAB = "{urn:oid:1.3.6.1.4.1.19376.1.3.2}"
OID = re.compile(r"^[0-2](\.(0|[1-9]\d*))*$")
UUID = re.compile(r"^[A-Fa-f\d]{8}-[A-Fa-f\d]{4}-[A-Fa-f\d]{4}-[A-Fa-f\d]{4}-[A-Fa-f\d]{12}$")
PS, STRUCT, PATIENTS = "1.2.250.1.71.4.2.1", "1.2.250.1.71.4.2.2", "1.2.250.1.213.4.1"

class Broken(Exception): pass
def need(ok, why=""):
    if not ok: raise Broken(why)

def tag(e): return etree.QName(e).localname
def kids(e, n): return e.findall(f"{{{V3}}}{n}")
def null(e): return e.get("nullFlavor") is not None
def valued(e, n): return [k for k in kids(e, n) if not null(k)]
def others(e): return [s for s in e.getparent() if isinstance(s.tag, str) and s is not e and tag(s) == tag(e)]
def said(e): return "".join(t for t in e.xpath("text()")).strip() != ""
def children(e): return [k for k in e if isinstance(k.tag, str)]

# --- value sets -----------------------------------------------------------------

class Sets:
    def __init__(self, data):
        self.pairs = {}
        for f in glob.glob(os.path.join(data, "jdv", "*")):
            n = re.search(r"J(\d+)", os.path.basename(f)).group(1).zfill(2)
            concepts = re.findall(r"<[Cc]oncept\b[^>]*>", open(f, encoding="utf-8").read())
            self.pairs[n] = {(re.search(r'\bcode="([^"]*)"', c).group(1), re.search(r'codeSystem="([^"]*)"', c).group(1)) for c in concepts}
        # not in the data folder: what the documents use, and the closed list of the schema
        self.pairs["140"] = {(c, "") for c in "ADM ATND CON DIS REF".split()}
        self.pairs["11"] = {(c, "") for f in glob.glob(os.path.join(data, "cda", "*.xml")) for c in
                            re.findall(r'<relatedEntity[^>]*>\s*(?:<!--.*?-->\s*)*<code[^>]*\bcode="([^"]*)"', open(f, encoding="utf-8").read(), re.S)}
    def codes(self, n): return {c for c, _ in self.pairs[n]}

def among(value, codes): return all(t in codes for t in (value or "").split())

# --- data types -----------------------------------------------------------------

def ANY(e):
    for x in e.iter(etree.Element):
        if not null(x): continue
        spare = {f"{{{XSI}}}type", f"{{{XSI}}}nil", "classCode", "typeCode", "determinerCode", "moodCode", "nullFlavor", "partType"}
        defaults = {("mediaType", "text/plain"), ("representation", "TXT"), ("inclusive", "true"), ("unit", "1"), ("operator", "I"), ("inverted", "false")}
        rest = [a for a, v in x.attrib.items() if a not in spare and (a, v) not in defaults]
        if not rest and not children(x) and not said(x): continue
        if x.get("nullFlavor") in ("OTH", "NA", "UNC"):
            spare = {f"{{{XSI}}}type", f"{{{XSI}}}nil", "codeSystem", "codeSystemName", "codeSystemVersion", "extension", "nullFlavor", "partType"}
            if all(a in spare or (a, v) in defaults for a, v in x.attrib.items()) and (x.get("extension") is not None or x.get("codeSystem") is not None or kids(x, "originalText") or kids(x, "translation")): continue
        need(False, "null and content")

def typed(e, *names):
    t = e.get(f"{{{XSI}}}type")
    need(t is None or t.split(":")[-1] in names, "xsi:type")

def II(e, extension=False):
    root, ext = e.get("root"), e.get("extension")
    ANY(e); typed(e, "II")
    if null(e): need(root is None and e.get("displayable") is None and e.get("assigningAuthorityName") is None)
    else: need(root is not None)
    need(root is None or OID.match(root) or UUID.match(root))
    if root is not None: need(not any(s.get("root") == root and (ext is None or s.get("extension") == ext) for s in others(e)), "id twice")
    need(ext != "")
    if extension: need(root is not None and ext is not None)

def CD(e, type="CD"):
    g = e.get
    ANY(e); typed(e, type)
    need(null(e) or g("code") is not None or kids(e, "originalText") and not any(map(null, kids(e, "originalText"))))
    need(g("codeSystem") is not None or g("code") is None and g("codeSystemName") is None and g("codeSystemVersion") is None)
    need(g("code") is not None or g("displayName") is None)
    need(not (null(e) and (g("code") is not None or g("displayName") is not None)))
    ts = [t for t in e.iter(f"{{{V3}}}translation") if t is not e]
    for t in ts:
        need(not null(t) and (t.get("codeSystem") is None or t.get("code") is not None))
        need(t.get("codeSystem") is not None or t.get("codeSystemName") is None and t.get("codeSystemVersion") is None)
        need(t.get("code") is not None or t.get("displayName") is None)
    need(len(ts) == len({(t.get("code") or "") + (t.get("codeSystem") or "") for t in ts}))
    if g("code") is not None and g("codeSystem") is not None:
        need(not any(s.get("code") == g("code") and s.get("codeSystem") == g("codeSystem") for s in others(e)))

def CE(e, codes=None, required=False, oid=False, text=False):
    CD(e, "CE")
    if text:
        for t in kids(e, "originalText"): ED(t)
    if oid or required: need(e.get("codeSystem") is None or OID.match(e.get("codeSystem")))
    if required: need(all(e.get(a) for a in ("displayName", "codeSystem", "code")))
    if codes is not None: need(among(e.get("code"), codes), "value set")

def CS(e):
    ANY(e); typed(e, "CS")
    need(null(e) != (e.get("code") is not None) and not children(e))
    need(all(e.get(a) is None for a in ("codeSystem", "codeSystemName", "codeSystemVersion", "displayName")))

def instant(v, padded):
    """A time, or None: to the year, month, day, hour, minute or second, fractions, zone."""
    m = re.match(r"^(\d{2}|\d{4}|\d{6}|\d{8}|\d{10}|\d{12}|\d{14}(?:\.\d+)?)([+-]\d{1,4})?$", v)
    if not m: return None
    base, _, fraction = m[1].partition(".")
    try: t = datetime.datetime.strptime(base + "20000101000000"[len(base):] if len(base) > 2 else base + "000101000000", "%Y%m%d%H%M%S")
    except ValueError: return None
    if m[2]:
        z = m[2] + "0000"[:5 - len(m[2])] if padded else m[2]
        if len(z) != 5 or int(z[3:]) > 59 or int(z[1:3]) * 60 + int(z[3:]) > 14 * 60: return None
        t -= datetime.timedelta(minutes=(1 if z[0] == "+" else -1) * (int(z[1:3]) * 60 + int(z[3:])))
    return t

def alone(e): need(not (null(e) and any(not null(s) for s in others(e))), "null beside valued")

def TS(e, required=False, types=("TS",)):
    v = e.get("value")
    ANY(e); alone(e); typed(e, *types)
    need((null(e) or v is not None or children(e)) and not (null(e) and v is not None))
    need(v is None or instant(v, True) is not None, "time")
    if required: need(v is not None and re.match(r"^[0-9]{4}", v))

def bound(e, required=False):
    TS(e, required, ("IVXB_TS",))
    need(e.get("value") is None or re.match(r"^[0-9]{4}", e.get("value")))
    need(not (null(e) and e.get("inclusive") not in (None, "true")))

def IVL(e):
    TS(e, types=("IVL_TS",))
    for x in e.iter(etree.Element):
        need(not (null(x) and (x.get("value") is not None or x.get("unit") is not None or children(x))))
    need(not (e.get("value") is not None and children(e)))
    low, high, width, center = (kids(e, n) for n in ("low", "high", "width", "center"))
    need(not (center and (low or high or width)) and not (width and low and high))
    need(all(x.get("nullFlavor") != "PINF" for x in low) and all(x.get("nullFlavor") != "NINF" for x in high))
    for w in width: need((w.get("unit") or "") in ("", "us", "ms", "s", "min", "h", "d", "wk", "mo", "a") and not (w.get("unit") and w.get("value") is None))
    ts = {n: instant(x.get("value"), False) for n, xs in (("low", low), ("high", high), ("center", center)) for x in xs if x.get("value") is not None}
    need(all(t is not None for t in ts.values()), "bound")
    if "low" in ts and "high" in ts: need(low[0].get("value") != high[0].get("value") and ts["low"] <= ts["high"], "low after high")

def INT(e):
    v = e.get("value")
    ANY(e); alone(e); typed(e, "INT")
    need(null(e) != (v is not None) and (v is None or re.match(r"^(-?[1-9]\d*|\+?\d*)$", v)))

def ED(e): ANY(e); need(null(e) or children(e) or said(e), "empty")
def ST(e): ED(e); typed(e, "ST")

def words(e):
    """what two names or addresses are compared by: every use and every text, in order"""
    own = (e.get("use") or "") + (e.text or "") if isinstance(e.tag, str) else ""
    return own + "".join(words(c) + (c.tail or "") for c in e)

def EN(e, type="EN"):
    ANY(e); typed(e, type); alone(e)
    need(not (null(e) and (children(e) or said(e))) and not (children(e) and said(e)) and (null(e) or children(e) or said(e)), "name")
    need(words(e) not in [words(s) for s in others(e)], "name twice")
    parts = [k.get("qualifier", "").split() for k in children(e)]
    need(not parts or any(len(p) == len(set(p)) for p in parts))

def PN(e, most=("given", "prefix", "suffix"), family=True):
    EN(e, "PN")
    need(not any("LS" in k.get("qualifier", "").split() for k in children(e)))
    count(e, most)
    if family: need(len(kids(e, "family")) == 1)

def count(e, names): need(all(len(kids(e, n)) <= 1 for n in names))

def ON(e): EN(e, "ON"); need(not children(e))

def contact(e):
    for a in kids(e, "addr"): AD(a)
    for t in kids(e, "telecom"): TEL(t)

PARTS = "country state city postalCode county houseNumber houseNumberNumeric streetName streetNameType additionalLocator unitID postBox precinct".split()

def AD(e):
    ANY(e); typed(e, "AD"); alone(e)
    need(null(e) or bool(children(e)) != said(e), "address")
    need(words(e) not in [words(s) for s in others(e)], "address twice")
    need(e.get("use") in (None, "H", "HP", "HV", "WP", "TMP"))
    lines = kids(e, "streetAddressLine")
    need(len(lines) <= 7)
    for l in lines: ST(l)
    if not lines:
        count(e, PARTS)
        for n in PARTS:
            for k in kids(e, n): ST(k)

def TEL(e):
    v, use = e.get("value"), e.get("use")
    ANY(e); typed(e, "TEL"); alone(e)
    need(null(e) or v is not None)
    need(null(e) or re.match(r"^[!-~]*$", v) and not re.search(r'[<>"{}|\\^`]', v))
    need(not (use is not None and v is not None and any(s.get("use") == use and s.get("value") == v for s in others(e))), "telecom twice")
    pre, _, suf = (v or "").partition(":")
    need(len(e.attrib) == 1 and e.get("nullFlavor") in ("UNK", "NASK", "ASKU", "NAV", "MSK") or suf and pre in ("tel", "fax", "mailto", "http", "ftp", "mllp"))
    need(use in (None, "H", "HP", "HV", "WP", "DIR", "PUB", "EC", "MC", "PG") and null(e) == (v is None))

def SC(e):
    g = e.get
    ED(e); typed(e, "SC")
    need(g("codeSystem") is not None or g("code") is None and g("codeSystemName") is None and g("codeSystemVersion") is None)
    need((g("code") is not None or g("displayName") is None) and not (null(e) and (g("code") is not None or g("displayName") is not None)))

# --- the document ---------------------------------------------------------------

def document(d, S):
    one = lambda n: need(len(valued(d, n)) == 1, n)
    t = [x.get("root") for x in kids(d, "templateId")]
    need(sum(x.get("code") == "FR" for x in kids(d, "realmCode")) == 1)
    for x in kids(d, "realmCode"):
        if x.get("code") == "FR": CS(x)
    need(t.count("2.16.840.1.113883.2.8.2.1") == 1 and t.count("1.2.250.1.213.1.1.1.1") == 1 and len(t) >= 3)
    for x in kids(d, "templateId"): II(x); need(x.get("root"))
    need(len(kids(d, "component")) == 1)
    body = d.find(f"{{{V3}}}component")
    if kids(body, "nonXMLBody"): need(len(t) == 3 and "1.3.6.1.4.1.19376.1.2.20" in t)
    else: need(kids(body, "structuredBody"))
    for n in ("id", "code", "title", "effectiveTime", "confidentialityCode", "languageCode", "setId", "versionNumber", "recordTarget"): one(n)
    for x in valued(d, "id") + valued(d, "setId"): II(x)
    for x in valued(d, "code"): CE(x, S.codes("07"), True)
    for x in valued(d, "effectiveTime"): TS(x, True)
    for x in valued(d, "confidentialityCode"): CE(x, ("N", "R", "V"), True)
    for x in valued(d, "languageCode"): CS(x); need(re.search(r"[a-z]{2}-[A-Z]{2}", x.get("code")))
    for x in valued(d, "versionNumber"): INT(x)
    for x in valued(d, "title"): ST(x)
    need(any(kids(a, "assignedAuthor") for a in valued(d, "author")) and len(kids(d, "dataEnterer")) <= 1)
    need(len(valued(d, "custodian")) == 1 and len(valued(d, "componentOf")) == 1 and valued(d, "documentationOf"))
    need(sum(any(s.get("code") == "S" for s in kids(l, "signatureCode")) for l in kids(d, "legalAuthenticator")) == 1)
    need(sum(x.get("typeCode") == "RPLC" for x in kids(d, "relatedDocument")) <= 1)
    first = kids(d, "documentationOf")[0]
    need(len(first.findall("h:serviceEvent/h:performer", NS)) == 1 and len(first.findall("h:serviceEvent/h:effectiveTime", NS)) == 1)
    roots = d.xpath("h:recordTarget/h:patientRole/h:id/@root", namespaces=NS)
    has = lambda x: need(d.xpath("h:recordTarget/h:patientRole/h:patient/" + x, namespaces=NS), x)
    if any(r in roots for r in ("1.2.250.1.213.1.4.8", "1.2.250.1.213.1.4.9", "1.2.250.1.213.1.4.10", "1.2.250.1.213.1.4.11")):
        for x in ("h:name/h:family[@qualifier='BR']", "h:name/h:given[@qualifier='BR']", "h:name/h:given[not(@qualifier)]", "h:birthTime", "h:birthplace/h:place/h:addr/h:county", "h:administrativeGenderCode[@code]"): has(x)

def guardian(g):
    ANY(g); contact(g)
    for x in kids(g, "id"): II(x)
    for p in kids(g, "guardianPerson"):
        named = [n for n in kids(p, "name") if kids(n, "family")]
        need(len(named) == 1, "one name with a family")
        for n in named: PN(n, ("prefix",), False); need(len(kids(n, "family")) <= 3)
    for o in kids(g, "guardianOrganization"):
        count(o, ("name",)); ids(o, STRUCT); need(sum(i.get("root") == STRUCT for i in kids(o, "id")) <= 1)
        for n in kids(o, "name"): ON(n)

def record_target(d, S):
    for rt in valued(d, "recordTarget"):
        roles = [r for r in kids(rt, "patientRole") if kids(r, "patient")]
        need(len(roles) == 1)
        for r in roles:
            ANY(r); need(valued(r, "id") and len(valued(r, "patient")) == 1)
            for x in valued(r, "id"): II(x, True)
            contact(r)
            for pt in valued(r, "patient"):
                need(len(valued(pt, "name")) == 1 and len(kids(pt, "administrativeGenderCode")) == 1 and len(kids(pt, "birthTime")) == 1)
                for x in kids(pt, "administrativeGenderCode"): CE(x, S.codes("143")); need(x.get("code") is not None)
                for x in kids(pt, "birthTime"): TS(x, True)
                for n in valued(pt, "name"):
                    PN(n, ("prefix", "suffix"), False)
                    need(valued(n, "given") and valued(n, "family"))
                    for g in kids(n, "given"): need(g.get("qualifier") in (None, "BR", "CL"))
                    for f in kids(n, "family"): need(f.get("qualifier") in ("BR", "CL") or null(f) and f.get("qualifier") is None)
                for g in kids(pt, "guardian"): guardian(g)
                for p in pt.findall("h:birthplace/h:place", NS):
                    need(len(kids(p, "addr")) <= 1); contact(p)
                    for n in kids(p, "name"): EN(n)

# --- the participants -----------------------------------------------------------

def civil(S, e, *paths):
    """prefix and suffix are codes of their value sets, as they stand, in every name"""
    for p in paths:
        for n, s in (("prefix", "245"), ("suffix", "246")):
            for x in e.findall("/".join("h:" + q for q in p.split("/")) + "/h:name/h:" + n, NS):
                need("".join(x.itertext()) in S.codes(s), n)

def person(e, most=("given", "prefix", "suffix"), mandatory=True, valued_only=False, names=PN):
    """the names that carry a family: one, and its parts"""
    ns = [n for n in kids(e, "name") if kids(n, "family") and not (valued_only and null(n))]
    if mandatory: need(len(ns) == 1, "one name with a family")
    for n in ns: names(n, most)

def bare_name(n, most): count(n, most); need(len(kids(n, "family")) == 1)

def ids(e, root, extension=True):
    for x in kids(e, "id"):
        if x.get("root") == root: II(x, extension)

def organization(S, e, name=ON, industry="any"):
    count(e, ("name",)); contact(e); ids(e, STRUCT)
    if name:
        for n in kids(e, "name"): name(n)
    for c in kids(e, "standardIndustryClassCode"):
        if industry == "any": CE(c, S.codes("04"), True)                     # required to be of J04
        elif industry == "known" and (c.get("code"), c.get("codeSystem")) in S.pairs["04"]: CE(c, None, True)

def part_of(e):
    for a in kids(e, "asOrganizationPartOf"):
        ANY(a)
        for x in kids(a, "templateId") + kids(a, "id"): II(x)
        for x in kids(a, "code"): CD(x)
        for x in kids(a, "statusCode"): CS(x)

def entity(S, e):
    """assignedEntity as the informant has it"""
    ANY(e); civil(S, e, "assignedPerson"); contact(e)
    need(len(kids(e, "id")) == 1)
    for x in kids(e, "id"): II(x, not null(x))
    for x in kids(e, "code"): CD(x); need(x.get("codeSystem") is None or OID.match(x.get("codeSystem")))
    for p in kids(e, "assignedPerson"): person(p)
    for o in kids(e, "representedOrganization"): organization(S, o)

def professional(S, e):
    """assignedEntity of an authenticator or of the encounter, found by its id"""
    found = [a for a in kids(e, "assignedEntity") if any(i.get("root") == PS for i in kids(a, "id"))]
    need(len(found) == 1, "professional")
    a = found[0]
    need(sum(i.get("root") == PS for i in kids(a, "id")) == 1)
    ids(a, PS); contact(a)
    for x in kids(a, "code"): CD(x)
    for p in kids(a, "assignedPerson"): person(p)
    for o in kids(a, "representedOrganization"): organization(S, o, industry="known")
    return a

def participants(d, S):
    for e in kids(d, "author"):
        civil(S, e, "assignedAuthor/assignedPerson")
        for x in kids(e, "functionCode"): CE(x, S.codes("47"), oid=True, text=True); need(x.get("codeSystem") is not None and x.get("code") is not None)
        for x in kids(e, "time"): TS(x, True)
        need(len(valued(e, "assignedAuthor")) == 1)
        for a in valued(e, "assignedAuthor"):
            contact(a)
            for x in kids(a, "id"): II(x, True)
            for x in kids(a, "code"): CE(x, S.codes("01"), True)
            for p in kids(a, "assignedPerson"): person(p)
            for v in kids(a, "assignedAuthoringDevice"):
                for n in ("manufacturerModelName", "softwareName"):
                    need(len(kids(v, n)) == 1)
                    for x in kids(v, n): SC(x)
            for o in kids(a, "representedOrganization"):
                need(sum(i.get("root") == STRUCT for i in kids(o, "id")) <= 1)
                organization(S, o, None, "known")
    for e in kids(d, "dataEnterer"):
        ANY(e)
        for x in kids(e, "time"): TS(x)
    for e in kids(d, "informant"):
        related = [r for r in kids(e, "relatedEntity") if kids(r, "relatedPerson")]
        need(len(kids(e, "assignedEntity") + related) == 1)
        for a in kids(e, "assignedEntity"): entity(S, a)
        for r in related:
            ANY(r); contact(r); civil(S, r, "relatedPerson")
            need(r.get("classCode") in ("ECON", "NOK", "CON", "CAREGIVER", "PAT"))
            for x in kids(r, "code"): CE(x, S.codes("11"), True, text=True)
            for p in kids(r, "relatedPerson"): person(p, ("given", "prefix"))
    for e in valued(d, "custodian"):
        for o in e.findall("h:assignedCustodian/h:representedCustodianOrganization", NS):
            need(len(valued(o, "id")) == 1); count(o, ("name", "telecom", "addr")); contact(o)
            for x in valued(o, "id"): II(x); need(x.get("root") in (STRUCT, PATIENTS))
    for e in kids(d, "informationRecipient"):
        civil(S, e, "intendedRecipient/informationRecipient")
        for r in kids(e, "intendedRecipient"):
            contact(r); ids(r, PS)
            for x in kids(r, "templateId"): II(x); need(x.get("root"))
            for p in kids(r, "informationRecipient"): person(p, mandatory=False)
            for o in kids(r, "receivedOrganization"):
                ids(o, STRUCT); contact(o)
                for n in kids(o, "name"): ON(n)
    for e in kids(d, "legalAuthenticator"):
        if not any(s.get("code") == "S" for s in kids(e, "signatureCode")): continue
        civil(S, e, "assignedEntity/assignedPerson")
        for x in kids(e, "time"): TS(x, True)
        for x in kids(e, "signatureCode"): CS(x)
        for a in kids(e, "assignedEntity"):
            contact(a); need(len(valued(a, "id")) == 1)
            for x in valued(a, "id"): II(x, True)
            for x in kids(a, "code"): CD(x); need(among(x.get("code"), S.codes("01")))
            for p in kids(a, "assignedPerson"): person(p, valued_only=True)
            for o in kids(a, "representedOrganization"):
                organization(S, o, None, "none")
                for x in kids(o, "standardIndustryClassCode"): CE(x, S.codes("04"))
    for e in kids(d, "authenticator"):
        if not any(s.get("code") == "S" for s in kids(e, "signatureCode")): continue
        civil(S, e, "assignedEntity/assignedPerson")
        for x in kids(e, "templateId"): II(x)
        for x in kids(e, "time"): TS(x, True)
        for x in kids(e, "signatureCode"): CS(x)
        a = professional(S, e)
        for x in kids(a, "code"): need(x.get("codeSystem") is None or OID.match(x.get("codeSystem")))
    for e in kids(d, "participant"):
        need(among(e.get("typeCode"), S.codes("144"))); civil(S, e, "associatedEntity/associatedPerson")
        count(e, ("templateId", "functionCode")); need(len(kids(e, "time")) == 1, "time of a participant")
        for x in kids(e, "templateId"): II(x)
        for x in kids(e, "functionCode"):
            CE(x, S.codes("47"), oid=True, text=True)
            for t in kids(x, "translation"): CD(t)
        for x in kids(e, "time"):
            IVL(x)
            for b in kids(x, "low") + kids(x, "high"): bound(b, True)
        for a in kids(e, "associatedEntity"):
            need(a.get("classCode") in ("PROV", "AGNT")); contact(a); count(a, ("id", "code"))
            for x in kids(a, "id"): II(x, True)
            for x in kids(a, "code"): CE(x, S.codes("01"), True)
            for p in kids(a, "associatedPerson"):
                if kids(p, "name"): person(p, names=bare_name)
            for o in kids(a, "scopingOrganization"):
                ANY(o); contact(o); count(o, ("id", "name"))
                for x in kids(o, "id"): II(x)
                for x in kids(o, "standardIndustryClassCode"): CD(x)

def acts(d, S):
    for e in kids(d, "inFulfillmentOf"):
        for o in kids(e, "order"):
            need(len(kids(o, "id")) == 1)
            for x in kids(o, "id"): II(x)
            for x in kids(o, "code"): CE(x, text=True)
            for x in o.findall("{urn:dicom-org:ps3-20}accessionNumber"): II(x)
    for e in valued(d, "documentationOf"):
        civil(S, e, "serviceEvent/performer/assignedEntity/assignedPerson")
        need(len(valued(e, "serviceEvent")) == 1)
        need(d.findall("h:documentationOf/h:serviceEvent/h:performer", NS) and d.findall("h:documentationOf/h:serviceEvent[h:performer]/h:effectiveTime", NS))
        for s in valued(e, "serviceEvent"):
            for x in kids(s, "id"): II(x)
            for x in kids(s, "code"):
                CE(x, oid=True, text=True); need((x.get("code") is not None) == (x.get("codeSystem") is not None) != null(x))
                for t in kids(x, "translation"): CD(t)
            for x in s.findall(LAB + "statusCode"): CS(x)
            for x in kids(s, "effectiveTime"):
                need(len(kids(x, "low")) == 1)
                for b in kids(x, "low"): bound(b, True)
                for b in kids(x, "high"): bound(b)
            performers = [p for p in kids(s, "performer") if p.get("typeCode") == "PRF"]
            need(len(performers) <= 1)
            for p in performers:
                for x in kids(p, "templateId"): II(x)
                for x in kids(p, "functionCode"): CE(x)
                for x in kids(p, "time"): IVL(x)
                found = [a for a in kids(p, "assignedEntity") if kids(a, "representedOrganization")]
                need(len(found) == 1)
                for a in found:
                    contact(a); need(len(kids(a, "id")) == 1)
                    for x in kids(a, "id"): II(x)
                    for x in kids(a, "code"): CD(x); need(among(x.get("code"), S.codes("01")))
                    for q in kids(a, "assignedPerson"): person(q, mandatory=False)
                    for o in kids(a, "representedOrganization"):
                        organization(S, o, industry="none"); part_of(o)
                        need(len(valued(o, "standardIndustryClassCode")) == 1)
                        for x in kids(o, "id"): II(x)
                        for x in valued(o, "standardIndustryClassCode"): CE(x, S.codes("04"), True)
    for e in kids(d, "relatedDocument"):
        if e.get("typeCode") != "RPLC": continue
        need(len(valued(e, "parentDocument")) == 1)
        for p in valued(e, "parentDocument"):
            need(len(valued(p, "id")) == 1)
            for x in valued(p, "id"): II(x)
            for x in kids(p, "versionNumber"): INT(x)
    for e in kids(d, "authorization"):
        done = [c for c in kids(e, "consent") if any(s.get("code") == "completed" or null(s) for s in kids(c, "statusCode"))]
        need(len(done) == 1)
        for c in done:
            need(len(kids(c, "code")) == 1)
            for x in kids(c, "id"): II(x)
            for x in kids(c, "code"): CE(x)
            for x in kids(c, "statusCode"): CS(x)
    for e in valued(d, "componentOf"):
        civil(S, e, "encompassingEncounter/encounterParticipant/assignedEntity/assignedPerson", "encompassingEncounter/responsibleParty/assignedEntity/assignedPerson")
        found = [c for c in valued(e, "encompassingEncounter") if kids(c, "location")]
        need(len(found) == 1)
        for c in found: encounter(c, S)

def encounter(c, S):
    for x in kids(c, "id"): II(x); need(x.get("root") is not None)
    for x in kids(c, "code"): CE(x, S.codes("142"), True)
    for x in kids(c, "effectiveTime"):
        IVL(x)
        for b in kids(x, "low") + kids(x, "high"): bound(b)
    for x in kids(c, "dischargeDispositionCode"):
        CE(x); need(x.get("displayName") and x.get("code") and x.get("codeSystem") in (None, "1.2.250.1.213.2.14"))
    for r in kids(c, "responsibleParty"):
        a = professional(S, r)
        for o in kids(a, "representedOrganization"):
            part_of(o)
            for x in kids(o, "id"): II(x, True)
    for p in kids(c, "encounterParticipant"):
        need(among(p.get("typeCode"), S.codes("140")))
        for x in kids(p, "time"):
            IVL(x)
            for b in kids(x, "low") + kids(x, "high"): bound(b, True)
        professional(S, p)
    for l in kids(c, "location"):
        need(len(valued(l, "healthCareFacility")) == 1)
        for f in valued(l, "healthCareFacility"):
            need(len(valued(f, "code")) == 1)
            for x in kids(f, "id"): II(x)
            for x in valued(f, "code"):
                CE(x, S.codes("02"), True)
                for t in kids(x, "translation"): CD(t); need(t.get("displayName") and t.get("code") and t.get("codeSystem") and OID.match(t.get("codeSystem")))
            for p in kids(f, "location"):
                contact(p); need(len(kids(p, "addr")) <= 1)
                for n in kids(p, "name"): EN(n)

def by_structure(d, S):
    """None, or the name of what broke a rule."""
    typeid = [x for x in kids(d, "typeId") if x.get("root") == "2.16.840.1.113883.1.3" and x.get("extension") == "POCD_HD000040"]
    if not typeid: return None # the context of every rule: nothing is judged
    try:
        need(len(typeid) == 1)
        document(d, S); record_target(d, S); participants(d, S); acts(d, S)
    except Broken as b:
        return str(b) or "rule"
    return None
