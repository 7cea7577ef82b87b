#!/usr/bin/env python3
"""Writes a draw: one-fault edits of the published documents, each with the
verdict of the national checker as two independent programs give it.

Not part of the build; needs lxml. Run it by hand with the data folder and a seed
(draw-1.tsv is of seed 20261122, draw-2.tsv of seed 7), then play the draw:

    python3 oracle.py ../../../../../shared/data 7 > draw-2.tsv
    go test -run HeldOut -v ./dmp/cda

The schema is restated below from the national POCD_MT000040 (extended) as a
table of elements, cardinalities and attributes, and executed by libxml2. The
structuration minimale is restated from the ART-DECOR schematron of ANS
(TestContenuCDA-3-0, 1.2.250.1.213.1.1.1.1-2017-12-13T103531, data types DTr1):
the document, recordTarget, and the data types used there. Its rules on the other
participants (1 MB) are not restated: outside that region an edit is kept only
when the schema refuses it, which no schematron can undo, or when the rules on
the document let it pass by their own words (a participation that may be absent,
or repeated). Neither part was written from, or compared with, the Go code.
"""
import copy, glob, io, os, random, re, sys
from lxml import etree

V3, XSI = "urn:hl7-org:v3", "http://www.w3.org/2001/XMLSchema-instance"
NS = {"h": V3}
SEED, PER_DOC = int(sys.argv[2]) if len(sys.argv) > 2 else 20261122, 90

# type: elements in order (? + * as usual, a|b a choice, an extension), attributes (=fixed, ! required)
TYPES = {
"ClinicalDocument": ("id:II code:CE title:ST? effectiveTime:TS confidentialityCode:CE languageCode:CS? setId:II? versionNumber:INT? copyTime:TS? recordTarget:RecordTarget+ author:Author+ dataEnterer:DataEnterer? informant:Informant12* custodian:Custodian informationRecipient:InformationRecipient* legalAuthenticator:LegalAuthenticator? authenticator:Authenticator* participant:Participant1* inFulfillmentOf:InFulfillmentOf* documentationOf:DocumentationOf* relatedDocument:RelatedDocument* authorization:Authorization* componentOf:Component1? component:any", "classCode=DOCCLIN moodCode=EVN"),
"RecordTarget": ("patientRole:PatientRole", "typeCode=RCT contextControlCode=OP"),
"PatientRole": ("id:II+ addr:AD* telecom:TEL* patient:Patient? providerOrganization:Organization?", "classCode=PAT"),
"Patient": ("id:II? name:PN* administrativeGenderCode:CE? birthTime:TS? maritalStatusCode:CE? religiousAffiliationCode:CE? raceCode:CE? ethnicGroupCode:CE? guardian:Guardian* birthplace:Birthplace? languageCommunication:LanguageCommunication*", "classCode=PSN determinerCode=INSTANCE"),
"Guardian": ("id:II* code:CE? addr:AD* telecom:TEL* guardianPerson:Person|guardianOrganization:Organization", "classCode=GUARD"),
"Birthplace": ("place:Place", "classCode=BIRTHPL"),
"Place": ("name:EN? addr:AD?", "classCode=PLC determinerCode=INSTANCE"),
"LanguageCommunication": ("languageCode:CS? modeCode:CE? proficiencyLevelCode:CE? preferenceInd:any?", ""),
"Author": ("functionCode:CE? time:TS assignedAuthor:AssignedAuthor", "typeCode=AUT contextControlCode=OP"),
"AssignedAuthor": ("id:II+ code:CE? addr:AD* telecom:TEL* assignedPerson:Person|assignedAuthoringDevice:AuthoringDevice? representedOrganization:Organization?", "classCode=ASSIGNED"),
"AuthoringDevice": ("code:CE? manufacturerModelName:SC? softwareName:SC? asMaintainedEntity:any*", "classCode=DEV determinerCode=INSTANCE"),
"Person": ("name:PN*", "classCode=PSN determinerCode=INSTANCE"),
"Organization": ("id:II* name:ON* telecom:TEL* addr:AD* standardIndustryClassCode:CE? asOrganizationPartOf:OrganizationPartOf?", "classCode=ORG determinerCode=INSTANCE"),
"OrganizationPartOf": ("id:II* code:CE? statusCode:CS? effectiveTime:IVL_TS? wholeOrganization:Organization?", "classCode=PART"),
"DataEnterer": ("time:TS? assignedEntity:AssignedEntity", "typeCode=ENT contextControlCode=OP"),
"AssignedEntity": ("id:II+ code:CE? addr:AD* telecom:TEL* assignedPerson:Person? representedOrganization:Organization?", "classCode=ASSIGNED"),
"Informant12": ("assignedEntity:AssignedEntity|relatedEntity:RelatedEntity", "typeCode=INF contextControlCode=OP"),
"RelatedEntity": ("code:CE? addr:AD* telecom:TEL* effectiveTime:IVL_TS? relatedPerson:Person?", "classCode!"),
"Custodian": ("assignedCustodian:AssignedCustodian", "typeCode=CST"),
"AssignedCustodian": ("representedCustodianOrganization:CustodianOrganization", "classCode=ASSIGNED"),
"CustodianOrganization": ("id:II+ name:ON? telecom:TEL? addr:AD?", "classCode=ORG determinerCode=INSTANCE"),
"InformationRecipient": ("intendedRecipient:IntendedRecipient", "typeCode"),
"IntendedRecipient": ("id:II* addr:AD* telecom:TEL* informationRecipient:Person? receivedOrganization:Organization?", "classCode"),
"LegalAuthenticator": ("time:TS signatureCode:CS assignedEntity:AssignedEntity", "typeCode=LA contextControlCode=OP"),
"Authenticator": ("time:TS signatureCode:CS assignedEntity:AssignedEntity", "typeCode=AUTHEN"),
"Participant1": ("functionCode:CE? time:IVL_TS? associatedEntity:AssociatedEntity", "typeCode! contextControlCode=OP"),
"AssociatedEntity": ("id:II* code:CE? addr:AD* telecom:TEL* associatedPerson:Person? scopingOrganization:Organization?", "classCode!"),
"InFulfillmentOf": ("order:Order", "typeCode=FLFS"),
"Order": ("id:II+ code:CE? priorityCode:CE?", "classCode moodCode=RQO"),
"DocumentationOf": ("serviceEvent:ServiceEvent", "typeCode=DOC"),
"ServiceEvent": ("id:II* code:CE? effectiveTime:IVL_TS? performer:Performer1*", "classCode moodCode=EVN"),
"Performer1": ("functionCode:CE? time:IVL_TS? assignedEntity:AssignedEntity", "typeCode!"),
"RelatedDocument": ("parentDocument:ParentDocument", "typeCode!"),
"ParentDocument": ("id:II+ code:CD? text:ED? setId:II? versionNumber:INT?", "classCode=DOCCLIN moodCode=EVN"),
"Authorization": ("consent:Consent", "typeCode=AUTH"),
"Consent": ("id:II* code:CE? statusCode:CS", "classCode=CONS moodCode=EVN"),
"Component1": ("encompassingEncounter:EncompassingEncounter", "typeCode=COMP"),
"EncompassingEncounter": ("id:II* code:CE? effectiveTime:IVL_TS dischargeDispositionCode:CE? responsibleParty:ResponsibleParty? encounterParticipant:EncounterParticipant* location:Location?", "classCode=ENC moodCode=EVN"),
"ResponsibleParty": ("assignedEntity:AssignedEntity", "typeCode=RESP"),
"EncounterParticipant": ("time:IVL_TS? assignedEntity:AssignedEntity", "typeCode!"),
"Location": ("healthCareFacility:HealthCareFacility", "typeCode=LOC"),
"HealthCareFacility": ("id:II* code:CE? location:Place? serviceProviderOrganization:Organization?", "classCode"),
}
ADXP = "delimiter country state county city postalCode streetAddressLine houseNumber houseNumberNumeric direction streetName streetNameBase streetNameType additionalLocator unitID unitType careOf censusTract deliveryAddressLine deliveryInstallationType deliveryInstallationArea deliveryInstallationQualifier deliveryMode deliveryModeIdentifier buildingNumberSuffix postBox precinct".split()

def attr(name, typ, use=""):
    return f'<xs:attribute name="{name}" type="{typ}"{use}/>'
NULL = attr("nullFlavor", "NullFlavor")
CDATTRS = attr("code", "cs") + attr("codeSystem", "uid") + "".join(attr(a, "st") for a in ("codeSystemName", "codeSystemVersion", "displayName"))
DATATYPES = f"""
<xs:simpleType name="NullFlavor"><xs:restriction base="xs:token">{"".join(f'<xs:enumeration value="{v}"/>' for v in "NI OTH NINF PINF UNK ASKU NAV NASK TRC MSK NA INV DER QS UNC NP".split())}</xs:restriction></xs:simpleType>
<xs:simpleType name="uid"><xs:restriction base="xs:string"><xs:pattern value="[0-2](\\.(0|[1-9][0-9]*))*"/><xs:pattern value="[0-9a-zA-Z]{{8}}-[0-9a-zA-Z]{{4}}-[0-9a-zA-Z]{{4}}-[0-9a-zA-Z]{{4}}-[0-9a-zA-Z]{{12}}"/><xs:pattern value="[A-Za-z][A-Za-z0-9\\-]*"/></xs:restriction></xs:simpleType>
<xs:simpleType name="ts"><xs:restriction base="xs:string"><xs:pattern value="[0-9]{{1,8}}|([0-9]{{9,14}}|[0-9]{{14}}\\.[0-9]+)([+\\-][0-9]{{1,4}})?"/></xs:restriction></xs:simpleType>
<xs:simpleType name="cs"><xs:restriction base="xs:token"><xs:pattern value="[^\\s]+"/></xs:restriction></xs:simpleType>
<xs:simpleType name="st"><xs:restriction base="xs:string"><xs:minLength value="1"/></xs:restriction></xs:simpleType>
<xs:complexType name="II">{attr("root","uid")+attr("extension","st")+attr("assigningAuthorityName","st")+attr("displayable","xs:boolean")+NULL}</xs:complexType>
<xs:complexType name="CD"><xs:sequence><xs:element name="originalText" type="xs:anyType" minOccurs="0"/><xs:element name="qualifier" type="xs:anyType" minOccurs="0" maxOccurs="unbounded"/><xs:element name="translation" type="CD" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>{CDATTRS+NULL}</xs:complexType>
<xs:complexType name="CE"><xs:sequence><xs:element name="originalText" type="xs:anyType" minOccurs="0"/><xs:element name="translation" type="CD" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>{CDATTRS+NULL}</xs:complexType>
<xs:complexType name="CS">{attr("code","cs")+NULL}</xs:complexType>
<xs:complexType name="TS">{attr("value","ts")+NULL}</xs:complexType>
<xs:complexType name="INT">{attr("value","xs:integer")+NULL}</xs:complexType>
<xs:complexType name="PQ">{attr("value","xs:decimal")+attr("unit","cs")+NULL}</xs:complexType>
<xs:complexType name="IVXB">{attr("value","ts")+attr("inclusive","xs:boolean")+NULL}</xs:complexType>
<xs:complexType name="IVL_TS"><xs:choice minOccurs="0"><xs:sequence><xs:element name="low" type="IVXB"/><xs:choice minOccurs="0"><xs:element name="width" type="PQ"/><xs:element name="high" type="IVXB"/></xs:choice></xs:sequence><xs:element name="high" type="IVXB"/><xs:sequence><xs:element name="width" type="PQ"/><xs:element name="high" type="IVXB" minOccurs="0"/></xs:sequence><xs:sequence><xs:element name="center" type="TS"/><xs:element name="width" type="PQ" minOccurs="0"/></xs:sequence></xs:choice>{attr("value","ts")+attr("operator","cs")+NULL}</xs:complexType>
<xs:complexType name="TEL"><xs:sequence><xs:element name="useablePeriod" type="xs:anyType" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>{attr("value","xs:anyURI")+attr("use","xs:NMTOKENS")+NULL}</xs:complexType>
<xs:complexType name="part" mixed="true"><xs:attribute name="partType" type="cs"/><xs:attribute name="qualifier" type="xs:NMTOKENS"/>{NULL}<xs:attribute name="language" type="cs"/></xs:complexType>
<xs:complexType name="AD" mixed="true"><xs:choice minOccurs="0" maxOccurs="unbounded">{"".join(f'<xs:element name="{n}" type="part"/>' for n in ADXP)}<xs:element name="useablePeriod" type="xs:anyType"/></xs:choice>{attr("use","xs:NMTOKENS")+attr("isNotOrdered","xs:boolean")+NULL}</xs:complexType>
<xs:complexType name="PN" mixed="true"><xs:sequence><xs:choice minOccurs="0" maxOccurs="unbounded">{"".join(f'<xs:element name="{n}" type="part"/>' for n in ("delimiter","family","given","prefix","suffix"))}</xs:choice><xs:element name="validTime" type="IVL_TS" minOccurs="0"/></xs:sequence>{attr("use","xs:NMTOKENS")+NULL}</xs:complexType>
<xs:complexType name="EN"><xs:complexContent mixed="true"><xs:extension base="PN"/></xs:complexContent></xs:complexType>
<xs:complexType name="ON" mixed="true"><xs:sequence><xs:choice minOccurs="0" maxOccurs="unbounded">{"".join(f'<xs:element name="{n}" type="part"/>' for n in ("delimiter","prefix","suffix"))}</xs:choice><xs:element name="validTime" type="IVL_TS" minOccurs="0"/></xs:sequence>{attr("use","xs:NMTOKENS")+NULL}</xs:complexType>
<xs:complexType name="ED" mixed="true"><xs:sequence><xs:any minOccurs="0" maxOccurs="unbounded" processContents="skip"/></xs:sequence><xs:anyAttribute processContents="skip"/></xs:complexType>
<xs:complexType name="ST" mixed="true"><xs:attribute name="representation" type="xs:string" fixed="TXT"/><xs:attribute name="mediaType" type="xs:string" fixed="text/plain"/><xs:attribute name="language" type="cs"/>{NULL}</xs:complexType>
<xs:complexType name="SC" mixed="true"><xs:attribute name="representation" type="xs:string" fixed="TXT"/><xs:attribute name="mediaType" type="xs:string" fixed="text/plain"/><xs:attribute name="language" type="cs"/>{CDATTRS+NULL}</xs:complexType>
<xs:complexType name="typeId"><xs:attribute name="root" type="uid" use="required" fixed="2.16.840.1.113883.1.3"/><xs:attribute name="extension" type="st" use="required"/>{attr("assigningAuthorityName","st")+attr("displayable","xs:boolean")+NULL}</xs:complexType>
"""

def element(spec):
    n, t = spec.split(":")
    low, high = "", ""
    if t[-1] in "?*+":
        low = ' minOccurs="0"' if t[-1] in "?*" else ""
        high = ' maxOccurs="unbounded"' if t[-1] in "*+" else ""
        t = t[:-1]
    return f'<xs:element name="{n}" type="{"xs:anyType" if t == "any" else t}"{low}{high}/>'

def schema():
    out = [f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns="{V3}" targetNamespace="{V3}" elementFormDefault="qualified">', DATATYPES]
    for name, (content, attrs) in TYPES.items():
        typeid = 'type="typeId"' + ("" if name == "ClinicalDocument" else ' minOccurs="0"')
        out.append(f'<xs:complexType name="{name}"><xs:sequence><xs:element name="realmCode" type="CS" minOccurs="0" maxOccurs="unbounded"/><xs:element name="typeId" {typeid}/><xs:element name="templateId" type="II" minOccurs="0" maxOccurs="unbounded"/>')
        for s in content.split():
            if "|" in s:
                optional = s[-1] == "?"
                out.append("<xs:choice" + (' minOccurs="0"' if optional else "") + ">" + "".join(element(a.rstrip("?")) for a in s.split("|")) + "</xs:choice>")
            else:
                out.append(element(s))
        out.append("</xs:sequence>")
        for a in attrs.split():
            n, _, fixed = a.partition("=")
            out.append(attr(n.rstrip("!"), "cs", (' use="required"' if n.endswith("!") else "") + (f' fixed="{fixed}"' if fixed else "")))
        out.append(NULL + "</xs:complexType>")
    out.append('<xs:element name="ClinicalDocument" type="ClinicalDocument"/></xs:schema>')
    return etree.XMLSchema(etree.fromstring("".join(out)))

XSD = schema()

# Closed lists of the schema (voc.xsd) that stand in the header.
LISTS = {
    "relatedDocument/@typeCode": "RPLC APND XFRM", "informationRecipient/@typeCode": "PRCP TRC",
    "serviceEvent/performer/@typeCode": "PRF SPRF PPRF", "encounterParticipant/@typeCode": "ADM ATND CON DIS REF",
    "intendedRecipient/@classCode": "ASSIGNED HLTHCHRT",
}

def by_schema(cd):
    doc = etree.fromstring(etree.tostring(cd))
    for e in list(doc.iter(etree.Element)):
        if etree.QName(e).namespace != V3:
            e.getparent().remove(e) # an extension: no edit touches it
            continue
        for a in list(e.attrib):
            if a.startswith("{"):
                del e.attrib[a] # xsi:type names the declared type in all these documents
    if not XSD.validate(doc):
        return False
    for path, values in LISTS.items():
        for v in doc.xpath(".//h:" + path.replace("/", "/h:").replace("h:@", "@"), namespaces=NS):
            if v not in values.split():
                return False
    return True

# --- structuration minimale: the document, recordTarget, data types -----------

OID = re.compile(r"^[0-2](\.(0|[1-9]\d*))*$")
UUID = re.compile(r"^[A-Fa-f\d]{8}-[A-Fa-f\d]{4}-[A-Fa-f\d]{4}-[A-Fa-f\d]{4}-[A-Fa-f\d]{12}$")

def tag(e): return etree.QName(e).localname
def kids(e, n): return e.findall(f"{{{V3}}}{n}")
def null(e): return e.get("nullFlavor") is not None
def valued(e, n): return [k for k in kids(e, n) if not null(k)]

def ANY(e):
    for x in e.iter(etree.Element):
        if not null(x): continue
        spare = {f"{{{XSI}}}type", f"{{{XSI}}}nil", "classCode", "typeCode", "determinerCode", "moodCode", "nullFlavor", "partType"}
        others = [a for a in x.attrib if a not in spare]
        content = len(x) > 0 or "".join(x.itertext()).strip() != ""
        if not others and not content: continue
        if x.get("nullFlavor") in ("OTH", "NA", "UNC"):
            spare = {f"{{{XSI}}}type", f"{{{XSI}}}nil", "codeSystem", "codeSystemName", "codeSystemVersion", "extension", "nullFlavor", "partType"}
            if all(a in spare for a in x.attrib) and (x.get("extension") or x.get("codeSystem") or kids(x, "originalText") or kids(x, "translation")): continue
        return False
    return True

def others(e): return [s for s in e.getparent() if isinstance(s.tag, str) and s is not e and tag(s) == tag(e)]

def II(e):
    root, ext = e.get("root"), e.get("extension")
    if not ANY(e): return False
    if null(e): return root is None and not any(e.get(a) is not None for a in ("displayable", "assigningAuthorityName"))
    if root is None or not (OID.match(root) or UUID.match(root)): return False
    return not any(s.get("root") == root and (ext is None or s.get("extension") == ext) for s in others(e))

def CE(e):
    g = e.get
    ok = ANY(e) and (null(e) or g("code") is not None or any(not null(o) for o in kids(e, "originalText")))
    ok = ok and (g("codeSystem") is not None or (g("code") is None and g("codeSystemName") is None and g("codeSystemVersion") is None))
    ok = ok and (g("code") is not None or g("displayName") is None) and not (null(e) and (g("code") is not None or g("displayName") is not None))
    for t in e.iter(f"{{{V3}}}translation"):
        ok = ok and not null(t) and not (t.get("codeSystem") is not None and t.get("code") is None)
        ok = ok and (t.get("codeSystem") is not None or (t.get("codeSystemName") is None and t.get("codeSystemVersion") is None)) and (t.get("code") is not None or t.get("displayName") is None)
    ts = [(t.get("code"), t.get("codeSystem")) for t in e.iter(f"{{{V3}}}translation")]
    ok = ok and len(ts) == len(set(ts))
    return ok and not any(s.get("code") is not None and s.get("code") == g("code") and s.get("codeSystem") == g("codeSystem") for s in others(e))

def CS(e):
    return ANY(e) and null(e) != (e.get("code") is not None) and all(e.get(a) is None for a in ("codeSystem", "codeSystemName", "codeSystemVersion", "displayName")) and len(e) == 0

def TS(e):
    v = e.get("value")
    if not ANY(e) or null(e) and v is not None or not null(e) and v is None: return False
    if v is None: return True
    m = re.match(r"^(\d{4}|\d{6}|\d{8}|\d{10}|\d{12}|\d{14})([+-]\d{1,4})?$", v)
    if not m: return False
    d = (m[1] + "00000101000000"[len(m[1]):])
    try:
        import datetime
        datetime.datetime.strptime(d, "%Y%m%d%H%M%S")
    except ValueError: return False
    if m[2]:
        z = (m[2] + "0000")
        h, mn = int(z[1:3]), int(z[3:5])
        return h * 60 + mn <= 14 * 60 and mn < 60
    return True

def integer(e):
    v = e.get("value")
    return ANY(e) and null(e) != (v is not None) and (v is None or re.match(r"^(-?[1-9]\d*|\+?\d*)$", v) is not None)

def telecom(e):
    v = e.get("value")
    pre, _, suf = (v or "").partition(":")
    alone = len(e.attrib) == 1 and e.get("nullFlavor") in ("UNK", "NASK", "ASKU", "NAV", "MSK")
    if not ANY(e) or not (alone or suf and pre in ("tel", "fax", "mailto", "http", "ftp", "mllp")): return False
    return e.get("use") in (None, "H", "HP", "HV", "WP", "DIR", "PUB", "EC", "MC", "PG") and null(e) == (v is None)

def addr(e):
    if not ANY(e) or e.get("use") not in (None, "H", "HP", "HV", "WP", "TMP"): return False
    if kids(e, "streetAddressLine"): return len(kids(e, "streetAddressLine")) <= 7
    return all(len(kids(e, n)) <= 1 for n in "country state city postalCode county houseNumber houseNumberNumeric streetName streetNameType additionalLocator unitID postBox precinct".split())

def codes(data, number):
    f, = [p for p in glob.glob(os.path.join(data, "jdv", "*")) if re.search(rf"J{number}[^0-9]", os.path.basename(p))][:1]
    return set(re.findall(r'"code"\s*:\s*"([^"]+)"|code="([^"]+)"', open(f, encoding="utf-8").read()) and
               [a or b for a, b in re.findall(r'"code"\s*:\s*"([^"]+)"|\bcode="([^"]+)"', open(f, encoding="utf-8").read())])

def by_structure(d, J07, J143):
    """False when a rule of the restated region is broken."""
    one = lambda n: len(valued(d, n)) == 1
    t = [x.get("root") for x in kids(d, "templateId")]
    typeid = [x for x in kids(d, "typeId") if x.get("root") == "2.16.840.1.113883.1.3" and x.get("extension") == "POCD_HD000040"]
    if not typeid: return True # the context of every rule: nothing is judged
    ok = sum(x.get("code") == "FR" for x in kids(d, "realmCode")) == 1 and all(CS(x) for x in kids(d, "realmCode") if x.get("code") == "FR") and len(typeid) == 1
    ok = ok and t.count("2.16.840.1.113883.2.8.2.1") == 1 and t.count("1.2.250.1.213.1.1.1.1") == 1 and len(t) >= 3
    for x in kids(d, "templateId"): ok = ok and II(x)
    body = d.find(f"{{{V3}}}component")
    if body is not None and kids(body, "nonXMLBody"): ok = ok and len(t) == 3 and "1.3.6.1.4.1.19376.1.2.20" in t
    ok = ok and all(one(n) for n in ("id", "code", "title", "effectiveTime", "confidentialityCode", "languageCode", "setId", "versionNumber", "recordTarget"))
    for x in valued(d, "id") + valued(d, "setId"): ok = ok and II(x) and x.get("extension") != ""
    for x in valued(d, "code"): ok = ok and CE(x) and all(x.get(a) for a in ("displayName", "codeSystem", "code")) and OID.match(x.get("codeSystem")) and x.get("code") in J07 and x.get("codeSystemName") != ""
    for x in valued(d, "effectiveTime"): ok = ok and TS(x) and re.match(r"^[0-9]{4}", x.get("value"))
    for x in valued(d, "confidentialityCode"): ok = ok and CE(x) and all(x.get(a) for a in ("displayName", "codeSystem", "code")) and OID.match(x.get("codeSystem")) and x.get("code") in ("N", "R", "V")
    for x in valued(d, "languageCode"): ok = ok and CS(x) and re.search(r"[a-z]{2}-[A-Z]{2}", x.get("code"))
    for x in valued(d, "versionNumber"): ok = ok and integer(x)
    for x in valued(d, "title"): ok = ok and ANY(x)
    ok = ok and any(not null(a) and kids(a, "assignedAuthor") for a in kids(d, "author")) and len(kids(d, "dataEnterer")) <= 1
    ok = ok and sum(not null(c) for c in kids(d, "custodian")) == 1 and sum(not null(c) for c in kids(d, "componentOf")) == 1 and len(kids(d, "component")) == 1
    ok = ok and sum(any(s.get("code") == "S" for s in kids(l, "signatureCode")) for l in kids(d, "legalAuthenticator")) == 1
    ok = ok and any(not null(x) for x in kids(d, "documentationOf")) and sum(x.get("typeCode") == "RPLC" for x in kids(d, "relatedDocument")) <= 1
    first = kids(d, "documentationOf")[:1]
    ok = ok and bool(first) and len(first[0].findall("h:serviceEvent/h:performer", NS)) == 1 and len(first[0].findall("h:serviceEvent/h:effectiveTime", NS)) == 1
    roots = d.xpath("h:recordTarget/h:patientRole/h:id/@root", namespaces=NS)
    p = "h:recordTarget/h:patientRole/h:patient/"
    has = lambda x: bool(d.xpath(p + x, namespaces=NS))
    if any(r in roots for r in ("1.2.250.1.213.1.4.8", "1.2.250.1.213.1.4.9", "1.2.250.1.213.1.4.10", "1.2.250.1.213.1.4.11")):
        ok = ok and has("h:name/h:family[@qualifier='BR']") and has("h:name/h:given[@qualifier='BR']") and has("h:name/h:given[not(@qualifier)]") and has("h:birthTime") and has("h:birthplace/h:place/h:addr/h:county") and has("h:administrativeGenderCode[@code]")
    for rt in valued(d, "recordTarget"):
        roles = [r for r in kids(rt, "patientRole") if kids(r, "patient")]
        ok = ok and len(roles) == 1
        for r in roles:
            ok = ok and ANY(r) and len(valued(r, "id")) >= 1 and len(valued(r, "patient")) == 1
            for x in valued(r, "id"): ok = ok and II(x) and bool(x.get("extension"))
            for x in kids(r, "addr"): ok = ok and addr(x)
            for x in kids(r, "telecom"): ok = ok and telecom(x)
            for pt in valued(r, "patient"):
                ok = ok and len(valued(pt, "name")) == 1 and len(kids(pt, "administrativeGenderCode")) == 1 and len(kids(pt, "birthTime")) == 1
                for x in kids(pt, "administrativeGenderCode"): ok = ok and CE(x) and x.get("code") in J143
                for x in kids(pt, "birthTime"): ok = ok and TS(x) and x.get("value") is not None
                for n in valued(pt, "name"):
                    ok = ok and ANY(n) and len(valued(n, "given")) >= 1 and len(valued(n, "family")) >= 1 and len(kids(n, "prefix")) <= 1 and len(kids(n, "suffix")) <= 1
                    for g in kids(n, "given"): ok = ok and g.get("qualifier") in (None, "BR", "CL")
                    for f in kids(n, "family"): ok = ok and (f.get("qualifier") is None or f.get("qualifier") in ("BR", "CL")) and (null(f) or f.get("qualifier") is not None)
    return bool(ok)

# --- edits ----------------------------------------------------------------------

def step(e):
    same = [s for s in e.getparent() if isinstance(s.tag, str) and tag(s) == tag(e)]
    return tag(e) + (f"[{same.index(e) + 1}]" if same.index(e) else "")

def path(cd, e):
    out = []
    while e is not cd:
        out.append(step(e)); e = e.getparent()
    return "/".join(reversed(out))

def snippet(x): return etree.fromstring(f'<r xmlns="{V3}">{x}</r>')[0]

def apply(cd, edit):
    op, rest = edit.split(" ", 1)
    p, _, arg = rest.partition(" ")
    p, _, a = p.partition("@")
    e = cd
    for s in filter(None, p.rstrip("/").split("/")):
        n, _, i = s.rstrip("]").partition("[")
        e = [k for k in e if isinstance(k.tag, str) and tag(k) == n][int(i or 1) - 1]
    parent = e.getparent()
    if op == "remove": parent.remove(e)
    elif op == "twice": e.addnext(copy.deepcopy(e))
    elif op == "swap":
        n = next(k for k in e.itersiblings() if isinstance(k.tag, str)); n.addnext(e)
    elif op == "rename": e.tag = f"{{{V3}}}{arg}"
    elif op == "before": e.addprevious(snippet(arg))
    elif op == "after": e.addnext(snippet(arg))
    elif op == "into": e.append(snippet(arg))
    elif op == "text":
        for k in list(e): e.remove(k)
        e.text = arg
    elif op == "set": e.set(a, arg)
    elif op == "unset": del e.attrib[a]
    else: raise ValueError(op)

OPTIONAL = "dataEnterer informant informationRecipient authenticator participant inFulfillmentOf relatedDocument authorization".split()
REPEATED = "author informant informationRecipient participant inFulfillmentOf documentationOf".split()
VALUES = { # of an attribute, in the restated region: some good, some bad
    "root": ["1.2.250.1.213.99.1", "0.1", "1.02.3", "9.1.2", "1.2..3", "urn:oid:1.2.3", "", "A1B2C3D4-0000-1111-2222-333344445555", "abc-DEF"],
    "extension": ["X-2026/1", "", "0"], "code": ["ZZZ", "A B", ""], "codeSystem": ["1.2.3.4", "LOINC", "", "1.a"], "displayName": ["Un libellé", ""],
    "codeSystemName": ["NOM", ""], "codeSystemVersion": ["2.1"], "value": ["2026", "202611", "20261122", "20261122101500+0100", "20261322", "2026112", "20260230", "2026-11-22", "20261122101500+9900", "202611221015+1", "", "hier"],
    "use": ["HP", "WP", "ZZ", "DIR"], "qualifier": ["BR", "CL", "AC", "SP", ""], "nullFlavor": ["UNK", "NA", "ZZZ"],
    "classCode": ["ZZZ"], "typeCode": ["ZZZ"], "moodCode": ["INT"], "determinerCode": ["KIND"], "contextControlCode": ["ON"],
}
VERSION = ["2", "12", "-1", "1.5", "", "deux", "01"]
TELECOM = ["tel:+33100000000", "mailto:a@exemple.invalid", "https://exemple.invalid", "0100000000", "tel:", "fax:1", "sip:1"]

def candidates(cd):
    out = []
    header = [k for k in cd if isinstance(k.tag, str) and tag(k) != "component"]
    for top in header:
        for e in top.iter(etree.Element):
            if etree.QName(e).namespace != V3 or etree.QName(e).localname in ("county", "typeId") or any(tag(a) in ("typeId",) for a in e.iterancestors(etree.Element)): continue
            p = path(cd, e)
            out += [f"remove {p}", f"twice {p}", f"rename {p} inconnu", f"into {p} <etranger/>", f"before {p} <etranger/>", f"set {p}/@inconnu x", f"set {p}/@nullFlavor UNK", f"set {p}/@nullFlavor NA"]
            n = next((k for k in e.itersiblings() if isinstance(k.tag, str)), None)
            if n is not None and tag(n) != tag(e) and etree.QName(n).namespace == V3 and tag(n) not in ("component", "typeId"): out.append(f"swap {p}")
            for a in e.attrib:
                if a.startswith("{"): continue
                values = VALUES.get(a, [])
                if tag(e) == "versionNumber": values = VERSION
                if tag(e) == "telecom" and a == "value": values = TELECOM
                out.append(f"unset {p}/@{a}")
                out += [f"set {p}/@{a} {v}" for v in values if v != e.get(a)]
            if tag(e) == "telecom": out += [f"before {p} <telecom value=\"tel:0100000001\" use=\"WP\"/>", f"after {p} <telecom nullFlavor=\"MSK\"/>"]
            if tag(e) in ("family", "given", "prefix", "suffix", "city", "postalCode", "streetName", "title", "name") and len(e) == 0: out.append(f"text {p} Autre")
    return out

def inside(p, *where): return any(p == w or p.startswith(w + "/") or p.startswith(w + "[") for w in where)

def region(edit):
    """Whether the restated rules decide this edit when the schema lets it pass."""
    op, rest = edit.split(" ", 1)
    p = rest.split(" ")[0].partition("@")[0].rstrip("/")
    top = re.sub(r"\[\d+\]$", "", p.split("/")[0])
    if "birthplace" in p: return op == "remove" and p.endswith(("birthplace", "birthplace/place/addr"))
    if "guardian" in p or "providerOrganization" in p or "languageCommunication" in p: return False
    if inside(p, "recordTarget"): return not (p.endswith("/patient/id") or "sdtc" in p)
    if top in "realmCode templateId id code title effectiveTime confidentialityCode languageCode setId versionNumber".split(): return True
    if "/" in p: return False
    return op == "remove" or op == "twice" and top in REPEATED or op in ("set", "unset") and "nullFlavor" in rest and top in ("custodian", "componentOf") and False

def main(data):
    J07, J143 = codes(data, "07"), codes(data, "143")
    rng = random.Random(SEED)
    print("file\tedit\tverdict\tlayer")
    for f in sorted(glob.glob(os.path.join(data, "cda", "*.xml"))):
        src = open(f, "rb").read()
        whole = next(etree.fromstring(src, etree.XMLParser(huge_tree=True)).iter(f"{{{V3}}}ClinicalDocument"))
        for part in whole.findall("h:component/*/*", NS): # the body is not judged here: only that there is one
            part.getparent().remove(part)
        def document():
            return copy.deepcopy(whole)
        cd = document()
        assert by_schema(cd), f
        assert by_structure(cd, J07, J143), f
        rows = {"PASS": [], "FAIL": []}
        for edit in candidates(cd):
            d = document()
            root = d.getroottree()
            try:
                apply(d, edit)
            except (ValueError, StopIteration): continue
            if not by_schema(d): rows["FAIL"].append((edit, "schema"))
            elif not region(edit): continue
            elif not by_structure(d, J07, J143): rows["FAIL"].append((edit, "structure"))
            else: rows["PASS"].append((edit, "-"))
        picked = []
        structure = [r for r in rows["FAIL"] if r[1] == "structure"]
        plain = [r for r in rows["FAIL"] if r[1] == "schema"]
        for pool, n in ((rows["PASS"], PER_DOC // 3), (structure, PER_DOC // 3), (plain, PER_DOC // 3)):
            picked += [(e, l, "PASS" if l == "-" else "FAIL") for e, l in rng.sample(pool, min(n, len(pool)))]
        for e, l, v in picked: print(os.path.basename(f), e, v, l, sep="\t")

if __name__ == "__main__":
    main(sys.argv[1])
