"""PIDF documents as phones and servers publish them: who writes like that, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from purple_bridge.presence import AVAILABLE, OFFLINE, Presence, Show

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
"""The time at which the documents are read."""


@dataclass(frozen=True, slots=True)
class Document:
    """``phone``: the maker of the shape. ``charset``: the Content-Type parameter, None without one.

    ``priority``, ``language``: what it says beside ``presence``.
    """

    name: str
    phone: str
    body: bytes
    presence: Presence
    charset: str | None = None
    priority: int | None = None
    language: str = ""

    @property
    def meaning(self) -> Presence:
        return replace(self.presence, priority=self.priority, language=self.language)


def open_(show: Show, note: str = "", idle_since: datetime | None = None, mood: str = "") -> Presence:
    return Presence(True, show, note, idle_since, mood)


def closed(note: str = "", idle_since: datetime | None = None) -> Presence:
    return Presence(False, Show.OFFLINE, note, idle_since)


# --- Linphone: the default namespace last, a sign of its own in the status, dm and rpid only when needed --

LINPHONE = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"
 xmlns:pidfonline="http://www.linphone.org/xsds/pidfonline.xsd" entity="sip:alice@example.org"
 xmlns="urn:ietf:params:xml:ns:pidf">
 <tuple id="k3x-vw">
  <status>
   <basic>open</basic>
   <pidfonline:online/>
  </status>
  <contact priority="0.8">sip:alice@example.org</contact>
  <timestamp>2024-05-01T09:41:00Z</timestamp>
 </tuple>
</presence>
"""

LINPHONE_LUNCH = b"""<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:p1="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:pidfonline="http://www.linphone.org/xsds/pidfonline.xsd" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"
 entity="sip:alice@example.org">
 <tuple id="qmht-z"><status><basic>open</basic><pidfonline:online/></status>
  <contact priority="0.8">sip:alice@example.org</contact><timestamp>2024-05-01T09:41:00Z</timestamp></tuple>
 <p1:person id="ym3t9u"><rpid:activities><rpid:lunch/></rpid:activities><p1:note>Back at two</p1:note></p1:person>
</presence>"""

# Two activities, one with a description in words, and a note among them.
LINPHONE_ACTIVITIES = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:alice@example.org">
 <tuple id="zz8h1q"><status><basic>open</basic></status><contact priority="0.8">sip:alice@example.org</contact>
  <timestamp>2024-05-01T10:00:00Z</timestamp></tuple>
 <dm:person id="m2c1pk">
  <rpid:activities><rpid:note xml:lang="en">Quarterly figures</rpid:note>
   <rpid:working/><rpid:presentation>main hall</rpid:presentation></rpid:activities>
  <dm:timestamp>2024-05-01T10:00:00Z</dm:timestamp>
 </dm:person>
</presence>"""

LINPHONE_OFFLINE = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.org">
<tuple id="x0ka11"><status><basic>closed</basic></status><contact priority="0.8">sip:alice@example.org</contact>
<timestamp>2024-05-01T09:41:00Z</timestamp></tuple></presence>"""

# --- baresip: CRLF, the person first, activities always there and always empty ---------------------------

BARESIP = b"""<?xml version="1.0" encoding="UTF-8"?>\r
<presence xmlns="urn:ietf:params:xml:ns:pidf"\r
    xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"\r
    xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"\r
    entity="sip:alice@example.org">\r
  <dm:person id="p4159"><rpid:activities/></dm:person>\r
  <tuple id="t4109">\r
    <status>\r
      <basic>open</basic>\r
    </status>\r
    <contact>sip:alice@example.org</contact>\r
  </tuple>\r
</presence>\r
"""

BARESIP_CLOSED = BARESIP.replace(b"<basic>open<", b"<basic>closed<")

# --- Jitsi: one line, the person first, its own word for the status in the note of the tuple -------------

JITSI = b"""<?xml version="1.0" encoding="UTF-8" standalone="no"?><presence xmlns="urn:ietf:params:xml:ns:pidf" \
xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" \
entity="sip:alice@example.org"><dm:person id="p1618"><rpid:activities/></dm:person><tuple id="t0339"><status>\
<basic>open</basic></status><contact>sip:alice@example.org</contact><note>Online</note></tuple></presence>"""

JITSI_BUSY = b"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:alice@example.org">
 <dm:person id="p2718"><rpid:status-icon>http://example.org/a.png</rpid:status-icon>
 <rpid:activities><rpid:on-the-phone/></rpid:activities></dm:person>
 <tuple id="t3141"><status><basic>open</basic></status><contact>sip:alice@192.0.2.7:5060</contact>
 <note>On the phone</note></tuple></presence>"""

# --- CounterPath's X-Lite, Bria and eyeBeam: apostrophes, one line, cipid declared; idle as user-input ----

XLITE = b"""<?xml version='1.0' encoding='UTF-8'?><presence xmlns='urn:ietf:params:xml:ns:pidf'
 xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid'
 xmlns:c='urn:ietf:params:xml:ns:pidf:cipid' entity='sip:alice@example.org'><tuple id='t6a2ed46e'><status><basic>open\
</basic></status></tuple><dm:person id='p0c3b3b1e'><rpid:activities><rpid:away/></rpid:activities><dm:note>Away\
</dm:note></dm:person></presence>"""

BRIA_IDLE = b"""<?xml version='1.0' encoding='UTF-8'?><presence xmlns='urn:ietf:params:xml:ns:pidf'
 xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid'
 entity='sip:alice@example.org'><tuple id='t1'><status><basic>open</basic></status></tuple><dm:person id='p1'>
 <rpid:activities><rpid:unknown/></rpid:activities><rpid:user-input idle-threshold='600'
 last-input='2024-05-01T06:30:00.000-05:00'>idle</rpid:user-input><dm:note>Idle</dm:note></dm:person></presence>"""

BRIA_CIPID = """<?xml version='1.0' encoding='UTF-8'?><presence xmlns='urn:ietf:params:xml:ns:pidf'
 xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid'
 xmlns:c='urn:ietf:params:xml:ns:pidf:cipid' entity='sip:alice@example.org'><tuple id='t53f1'><status><basic>open
</basic></status><rpid:user-input>idle</rpid:user-input></tuple><dm:person id='p53f2'><rpid:activities><rpid:busy/>
</rpid:activities><c:display-name>Alice Müller</c:display-name><c:icon>http://example.org/alice.png</c:icon>
<dm:note>Keine Anrufe</dm:note></dm:person></presence>""".encode()

# The drafts before the data model and RPID: a person with a status of its own.
EYEBEAM_DRAFT = b"""<?xml version="1.0" encoding="ISO-8859-1"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:pp="urn:ietf:params:xml:ns:pidf:person"
 xmlns:es="urn:ietf:params:xml:ns:pidf:rpid:status:rpid-status" xmlns:ep="urn:ietf:params:xml:ns:pidf:rpid:rpid-person"
 entity="sip:alice@example.org">
<pp:person><status>
<ep:activities><ep:away/></ep:activities>
</status></pp:person>
<note>Caf\xe9</note>
<tuple id="alice">
<contact priority="1">sip:alice@example.org</contact>
<status><basic>open</basic></status>
</tuple>
</presence>
"""

EYEBEAM_STATUS = b"""<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:es="urn:ietf:params:xml:ns:pidf:status:rpid"
 entity="pres:alice@example.org"><tuple id="a"><status><basic>open</basic><es:activities>
 <es:activity>busy</es:activity></es:activities></status><note xml:lang="en">Busy</note></tuple></presence>"""

# --- Zoiper: nothing but a note in its own words ---------------------------------------------------------

ZOIPER = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf"
         entity="sip:alice@example.org;transport=TCP">
 <tuple id="alice" >
    <status><basic>open</basic></status>
    <note>On the phone</note>
 </tuple>
</presence>
"""

ZOIPER_OFFLINE = b"""<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.org">\
<tuple id="zoiper"><status><basic>closed</basic></status><note>Offline</note></tuple></presence>"""

# --- pjsip: pjsua, MicroSIP, CSipSimple and others built of it --------------------------------------------

PJSUA = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence entity="sip:alice@example.org" xmlns="urn:ietf:params:xml:ns:pidf"
 xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid">
 <tuple id="pj5a1"><status><basic>open</basic></status><contact>sip:alice@192.0.2.7;ob</contact></tuple>
 <dm:person id="pj5a2"><rpid:activities><rpid:busy /></rpid:activities><dm:note>Do not disturb</dm:note></dm:person>
</presence>"""

MICROSIP = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence entity="sip:alice@example.org" xmlns="urn:ietf:params:xml:ns:pidf"
 xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid">
 <tuple id="pj7c31"><status><basic>open</basic></status><timestamp>2024-05-01T11:59:58.120Z</timestamp></tuple>
 <dm:person id="pj7c32"><rpid:activities><rpid:unknown /></rpid:activities><dm:note>Idle</dm:note></dm:person>
</presence>
\x00"""

# --- desk phones ------------------------------------------------------------------------------------------

GRANDSTREAM = b"""<?xml version="1.0" encoding="UTF-8" ?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:ep="urn:ietf:params:xml:ns:pidf:rpid:rpid-person"
 entity="sip:alice@example.org">
<tuple id="1"><status> <basic> Open </basic> </status><contact priority="1.0">sip:alice@192.0.2.9</contact></tuple>
</presence>"""

GRANDSTREAM_DND = b"""\r\n<?xml version="1.0" encoding="UTF-8" ?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:ep="urn:ietf:params:xml:ns:pidf:rpid:rpid-person"
 entity="sip:alice@example.org"><tuple id="1"><status><basic>OPEN</basic><ep:activities><ep:busy/><ep:unknown/>
</ep:activities></status><contact priority="1.0">sip:alice@192.0.2.9</contact></tuple></presence>\r\n\x00"""

YEALINK = b"""<?xml version="1.0" encoding="utf-8"?>
<pres:presence xmlns:pres="urn:ietf:params:xml:ns:pidf" xmlns:person="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:e="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:alice@example.org">
<pres:note>DND</pres:note>
<person:person id="a"><e:activities><e:busy/></e:activities></person:person>
<pres:tuple id="b"><pres:status><pres:basic>open</pres:basic></pres:status></pres:tuple></pres:presence>"""

YEALINK_TALKING = b"""<?xml version="1.0" encoding="utf-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:rp="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:alice@example.org"><tuple id="account-1">
<status><basic>open</basic></status></tuple><tuple id="account-2"><status><basic>closed</basic></status>
<note>Line 2 is not registered</note></tuple><dm:person id="p"><rp:activities><rp:on-the-phone/></rp:activities>
</dm:person></presence>"""

POLYCOM = b"""<?xml version="1.0"?>
<presence xmlns="urn:ietf:params:xml:ns:cpim-pidf" entity="pres:alice@example.org"><tuple id="polycom">
<status><basic>open</basic></status><contact priority="0.800000">sip:alice@192.0.2.11</contact></tuple></presence>"""

# The namespaces where they are used, as documents made with libxml2 have them.
POLYCOM_RPID = b"""<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.org">
<tuple id="a"><status><basic>open</basic></status></tuple>
<person xmlns="urn:ietf:params:xml:ns:pidf:data-model" id="b"><activities xmlns="urn:ietf:params:xml:ns:pidf:rpid">
<note>in Rome</note><vacation/></activities></person></presence>"""

SNOM = b"""<?xml version="1.0"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:im="urn:ietf:params:xml:ns:pidf:im" entity="sip:alice@example.org">
<tuple id="bs35r9"><status><basic>open</basic><im:im>busy</im:im></status>
<contact priority="0.8">sip:alice@192.0.2.12:2051;line=gq3p</contact><note xml:lang="de">Im Gespr\xc3\xa4ch</note>
</tuple></presence>"""

SNOM_AWAY = b"""<?xml version="1.0"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.org"><tuple id="bs35r9"><status><basic>open\
</basic></status></tuple><person id="p1"><activities><away/></activities><note>Feierabend</note></person></presence>"""

# --- Cisco ------------------------------------------------------------------------------------------------

CISCO_DESK = b"""<?xml version="1.0" encoding="UTF-8" standalone="no" ?>\r
<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:8001@example.org"\r
 xmlns:e="urn:ietf:params:xml:ns:pidf:status:rpid" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"\r
 xmlns:ce="urn:cisco:params:xml:ns:pidf:rpid" xmlns:sc="urn:ietf:params:xml:ns:pidf:servcaps">\r
 <dm:person><status><basic>open</basic></status><e:activities><e:on-the-phone/></e:activities></dm:person>\r
 <tuple id="desk-8001"><status><basic>open</basic><e:activities><e:on-the-phone/></e:activities></status>\r
  <sc:servcaps><sc:audio>true</sc:audio></sc:servcaps><contact priority="0.8">sip:8001@192.0.2.13</contact>\r
  <timestamp>2024-05-01T10:56:16Z</timestamp></tuple>\r
</presence>\r
"""

CISCO_DND = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:e="urn:ietf:params:xml:ns:pidf:status:rpid" xmlns:ce="urn:cisco:params:xml:ns:pidf:rpid"
 entity="sip:8001@example.org"><dm:person><e:activities><ce:dnd/></e:activities></dm:person>
 <tuple id="8001"><status><basic>open</basic></status></tuple></presence>"""

CISCO_JABBER = b"""<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.org">
<person xmlns="urn:cisco:params:xml:ns:pidf:rpid" id="alice"><activities><available/>
<phone-status>unavailable</phone-status><im-status>available</im-status></activities></person>
<display-name xmlns="urn:ietf:params:xml:ns:pidf:cipid">Alice Archer</display-name>
<tuple id="cisco-upc"><contact priority="0.6">sip:alice@example.org</contact><note xml:lang="en"/>
<sc:servcaps xmlns:sc="urn:ietf:params:xml:ns:pidf:servcaps"><sc:text>true</sc:text></sc:servcaps>
<user-input> active </user-input><status> <basic> open </basic> </status></tuple></presence>"""

# --- others -----------------------------------------------------------------------------------------------

BLINK = b"""<?xml version='1.0' encoding='UTF-8'?>
<presence xmlns:caps="urn:ietf:params:xml:ns:pidf:caps" xmlns:c="urn:ietf:params:xml:ns:pidf:cipid"
 xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns="urn:ietf:params:xml:ns:pidf"
 xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" entity="sip:alice%40home@example.org"><tuple id="SID-6f1d">
 <status><basic>open</basic></status><caps:servcaps><caps:text>true</caps:text></caps:servcaps>
 <rpid:user-input idle-threshold="600" last-input="2024-05-01T11:45:00+00:00">idle</rpid:user-input>
 <c:display-name>Alice</c:display-name><c:icon>https://example.org/icon/alice</c:icon><dm:deviceID>DID-6f1d
 </dm:deviceID><contact>sip:7f2c@192.0.2.14:49152</contact><note>Reading</note>
 <timestamp>2024-05-01T11:58:00+00:00</timestamp></tuple>
 <dm:person id="PID-7d2a"><rpid:activities><rpid:away/></rpid:activities><rpid:time-offset>120</rpid:time-offset>
 <dm:timestamp>2024-05-01T11:58:00+00:00</dm:timestamp></dm:person>
 <dm:device id="DID-6f1d"><dm:deviceID>DID-6f1d</dm:deviceID><dm:note>Blink at home</dm:note></dm:device></presence>"""

SIPML5 = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf"
 xmlns:im="urn:ietf:params:xml:ns:pidf:im" entity="sip:alice@example.org">
<tuple id="s8794"><status>
   <basic>open</basic>
   <im:im>away</im:im>
</status>
<contact priority="0.8">tel:+33600000000</contact>
<note  xml:lang="fr">Pas l\xc3\xa0</note>
</tuple></presence>"""

LUMICALL = b"""<?xml version="1.0" encoding="UTF-8" standalone="no"?><presence xmlns="urn:ietf:params:xml:ns:pidf"
xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:alice@example.org"> <dm:person id="ID-5"></dm:person>\
<tuple id="TID-5"><status><basic>open</basic><note>On the train</note></status></tuple></presence>"""

PIDGIN = b"""<?xml version='1.0' encoding='UTF-8'?>
<presence
xmlns='urn:ietf:params:xml:ns:pidf'
xmlns:im='urn:ietf:params:xml:ns:pidf:im'
entity='sip:alice@example.org'>
<tuple id='bs35r9f'>
<status>
<basic>open</basic>
</status>
<note>busy &lt;b&gt;now&lt;/b&gt; &amp; later</note>
</tuple>
</presence>"""

EXOSIP = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf"
          xmlns:es="urn:ietf:params:xml:ns:pidf:status:rpid-status"
          xmlns:et="urn:ietf:params:xml:ns:pidf:rpid-tuple" xmlns:ci="urn:ietf:params:xml:ns:pidf:cipid"
          entity="sip:alice@example.org">
<tuple id="sg89ae">
<status>
<basic>open</basic>
<es:activities>
  <es:activity>meal</es:activity>
  <es:activity>in-transit</es:activity>
</es:activities>
</status>
<contact priority="0.8">sip:alice@192.0.2.15</contact>
<note>eating on the way</note>
</tuple>
</presence>"""

# Every element with a prefix that is declared on the spot, services of OMA beside: what mobile networks send.
IMS = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:op="urn:oma:xml:prs:pidf:oma-pres"
 xmlns:pdm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rs="urn:ietf:params:xml:ns:pidf:status:rpid-status"
 xmlns:rt="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:+33900000000@ims.example.org" version="1">
 <ep:tuple xmlns:ep="urn:ietf:params:xml:ns:pidf" id="id5"><ep:status><ep:basic>closed</ep:basic></ep:status>
  <op:service-description><op:service-id>org.example.video</op:service-id><op:version>1.0</op:version>
  </op:service-description><pdm:deviceID>urn:uuid:0</pdm:deviceID></ep:tuple>
 <ep:tuple xmlns:ep="urn:ietf:params:xml:ns:pidf" id="id6"><ep:status><ep:basic>open</ep:basic></ep:status>
  <op:willingness><op:basic>closed</op:basic></op:willingness>
  <op:service-description><op:service-id>org.example.chat</op:service-id></op:service-description></ep:tuple>
 <pdm:person id="id7"><op:overriding-willingness><op:basic>open</op:basic></op:overriding-willingness>
  <rt:mood><rt:note>The sun is out</rt:note><rt:other>sunny</rt:other><rt:happy/><rt:playful/></rt:mood>
  <rt:place-type><rt:other>beach</rt:other></rt:place-type><pdm:note>Hello</pdm:note></pdm:person>
</presence>"""

UTF16 = """\ufeff<?xml version="1.0" encoding="UTF-16"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:алиса@example.org"><tuple id="w"><status>
<basic>open</basic></status><note>Привет 😀</note></tuple></presence>"""

# --- RFCs --------------------------------------------------------------------------------------------------

RFC_8048 = b"""<?xml version='1.0' encoding='UTF-8'?>
<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:juliet@example.com'><tuple id='ID-yn0cl4bnw0yr3vym'>
<status><basic>open</basic><show xmlns='jabber:client'>away</show></status></tuple></presence>"""

# Several addresses of one person (RFC 3863 §4.1.2): one that is open is enough, and its note counts.
RFC_3863 = b"""<?xml version="1.0" encoding="UTF-8"?>
<p:presence xmlns:p="urn:ietf:params:xml:ns:pidf" xmlns:im="urn:ietf:params:xml:ns:pidf:im" entity="pres:a@example.com">
 <p:tuple id="one"><p:status><p:basic>open</p:basic><im:im>busy</im:im></p:status>
  <p:contact priority="0.8">im:a@mobile.example.net</p:contact><p:note xml:lang="en">Not now</p:note>
  <p:note xml:lang="fr">Pas maintenant</p:note><p:timestamp>2024-05-01T10:49:29Z</p:timestamp></p:tuple>
 <p:tuple id="two"><p:status><p:basic>closed</p:basic></p:status><p:contact>mailto:a@example.com</p:contact>
  <p:note>Mail is down</p:note></p:tuple>
 <p:note>Tokyo, next week</p:note>
</p:presence>"""

# Most elements of RFC 4480 at once: place and relationship say nothing about availability.
RFC_4480 = b"""<?xml version="1.0" encoding="UTF-8"?>
<p:presence xmlns:p="urn:ietf:params:xml:ns:pidf" xmlns:d="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" xmlns:lt="urn:ietf:params:xml:ns:location-type" entity="pres:a@example.com">
 <p:tuple id="x1"><p:status><p:basic>open</p:basic></p:status><d:deviceID>urn:device:1</d:deviceID>
  <r:relationship><r:self/></r:relationship><r:service-class><r:electronic/></r:service-class>
  <p:contact priority="0.8">im:a@mobile.example.net</p:contact><p:note xml:lang="en">Write, do not call</p:note>
  <p:note xml:lang="fr">Ecrivez</p:note><p:timestamp>2024-05-01T11:00:00Z</p:timestamp></p:tuple>
 <p:note>the document</p:note>
 <d:device id="pc"><r:user-input last-input="2024-05-01T09:00:00Z">idle</r:user-input><d:deviceID>urn:device:2
 </d:deviceID><d:note>PC</d:note></d:device>
 <d:person id="p1"><r:activities from="2024-05-01T12:00:00Z"><r:note>Far</r:note><r:meeting/></r:activities>
  <r:mood><r:angry/><r:other>brooding</r:other></r:mood><r:privacy><r:unknown/></r:privacy>
  <d:note>the person</d:note></d:person>
</p:presence>"""


def _at(hour: int, minute: int = 0) -> datetime:
    return datetime(2024, 5, 1, hour, minute, tzinfo=UTC)


CORPUS = [
    Document("linphone", "Linphone", LINPHONE, AVAILABLE, priority=102),
    Document("linphone-lunch", "Linphone", LINPHONE_LUNCH, open_(Show.AWAY, "Back at two"), priority=102),
    Document(
        "linphone-activities",
        "Linphone",
        LINPHONE_ACTIVITIES,
        open_(Show.DND, "Quarterly figures"),
        priority=102,
        language="en",
    ),
    Document("linphone-offline", "Linphone", LINPHONE_OFFLINE, OFFLINE, priority=102),
    Document("baresip", "baresip", BARESIP, AVAILABLE),
    Document("baresip-closed", "baresip", BARESIP_CLOSED, OFFLINE),
    Document("jitsi", "Jitsi", JITSI, open_(Show.AVAILABLE, "Online")),
    Document("jitsi-busy", "Jitsi", JITSI_BUSY, open_(Show.DND, "On the phone")),
    Document("x-lite", "X-Lite", XLITE, open_(Show.AWAY, "Away")),
    Document("bria-idle", "Bria", BRIA_IDLE, open_(Show.AVAILABLE, "Idle", _at(11, 30))),
    Document("bria-cipid", "Bria", BRIA_CIPID, open_(Show.DND, "Keine Anrufe", NOON), "UTF-8"),
    Document("eyebeam-draft", "eyeBeam", EYEBEAM_DRAFT, open_(Show.AWAY, "Café"), priority=127),
    Document("eyebeam-status", "eyeBeam", EYEBEAM_STATUS, open_(Show.DND, "Busy"), language="en"),
    Document("zoiper", "Zoiper", ZOIPER, open_(Show.AVAILABLE, "On the phone")),
    Document("zoiper-offline", "Zoiper", ZOIPER_OFFLINE, closed("Offline")),
    Document("pjsua", "pjsip", PJSUA, open_(Show.DND, "Do not disturb")),
    Document("microsip", "pjsip", MICROSIP, open_(Show.AVAILABLE, "Idle")),
    Document("grandstream", "Grandstream", GRANDSTREAM, AVAILABLE, priority=127),
    Document("grandstream-dnd", "Grandstream", GRANDSTREAM_DND, open_(Show.DND), priority=127),
    Document("yealink", "Yealink", YEALINK, open_(Show.DND, "DND")),
    Document("yealink-talking", "Yealink", YEALINK_TALKING, open_(Show.DND)),
    Document("polycom", "Polycom", POLYCOM, AVAILABLE, priority=102),
    Document("polycom-rpid", "Polycom", POLYCOM_RPID, open_(Show.XA, "in Rome")),
    Document("snom", "Snom", SNOM, open_(Show.DND, "Im Gespräch"), priority=102, language="de"),
    Document("snom-away", "Snom", SNOM_AWAY, open_(Show.AWAY, "Feierabend")),
    Document("cisco-desk", "Cisco", CISCO_DESK, open_(Show.DND), priority=102),
    Document("cisco-dnd", "Cisco", CISCO_DND, open_(Show.DND)),
    Document("cisco-jabber", "Cisco", CISCO_JABBER, AVAILABLE, priority=76),
    Document("blink", "Blink", BLINK, open_(Show.AWAY, "Reading", _at(11, 45))),
    Document("sipml5", "sipML5", SIPML5, open_(Show.AWAY, "Pas là"), priority=102, language="fr"),
    Document("lumicall", "Lumicall", LUMICALL, open_(Show.AVAILABLE, "On the train")),
    Document("pidgin", "Pidgin", PIDGIN, open_(Show.AVAILABLE, "busy <b>now</b> & later")),
    Document("exosip", "eXosip", EXOSIP, open_(Show.AWAY, "eating on the way"), priority=102),
    Document("ims", "IMS", IMS, open_(Show.AVAILABLE, "Hello", mood="happy")),
    Document("utf-16", "any", UTF16.encode("utf-16-le"), open_(Show.AVAILABLE, "Привет 😀")),
    Document("utf-16-charset", "any", UTF16[1:].encode("utf-16-be"), open_(Show.AVAILABLE, "Привет 😀"), "utf-16be"),
    Document("rfc8048", "RFC 8048", RFC_8048, open_(Show.AWAY)),
    Document("rfc3863", "RFC 3863", RFC_3863, open_(Show.DND, "Not now"), priority=102, language="en"),
    Document(
        "rfc4480",
        "RFC 4480",
        RFC_4480,
        open_(Show.DND, "Write, do not call", mood="angry"),
        priority=102,
        language="en",
    ),
]
