"""Judges DHCP replies by a decoder that is not the project's: scapy, and RFC 2131 table 3 beside it.

Called by tests/dhcp_decoded.rs. Reads lines of JSON: {"name", "question", "reply" (hex), "kind", "values"}, and prints one
line for each fault it finds; nothing where all is well. `values` names options as scapy does, with what they must hold.
"""

import json
import sys

from scapy.layers.dhcp import BOOTP, DHCP

COOKIE = bytes([99, 130, 83, 99])
HEADER = 236
TYPES = {"offer": [2], "ack": [5], "rapid-ack": [5], "inform-ack": [5], "nak": [6], "bootp": []}
# What a BOOTP client must not get: it is no DHCP (RFC 1534 §2).
OF_DHCP = {50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61}
# RFC 2131 table 3: what no reply of a server may hold: requested address, overload of nothing, parameter list, maximum size.
NEVER = {50, 55, 57}
# RFC 2131 table 3 for DHCPNAK, with RFC 6842 and RFC 3046: type, server, message, client identifier, relay information.
IN_NAK = {53, 54, 56, 61, 82}
# Lease time, T1 and T2 are for leases (RFC 2131 §4.3.5).
TIMES = {51, 58, 59}


def walk(field):
    """The options of a field, as (code, data), in their order; whatever does not add up is a fault."""
    found, at = [], 0
    while True:
        if at >= len(field):
            raise ValueError("no end option")
        code = field[at]
        at += 1
        if code == 0:
            continue
        if code == 255:
            if any(field[at:]):
                raise ValueError("something other than padding behind the end option")
            return found
        length = field[at]
        data = field[at + 1 : at + 1 + length]
        if len(data) < length:
            raise ValueError(f"option {code} goes beyond its field")
        found.append((code, data))
        at += 1 + length


def options(message):
    """All options joined as RFC 3396 says (options field, file, sname), in the order of their first pieces."""
    pieces = walk(message[HEADER + 4 :])
    overload = [data for code, data in pieces if code == 52]
    fields = overload[0][0] if overload else 0
    if fields & 1:
        pieces += walk(message[108:236])
    if fields & 2:
        pieces += walk(message[44:108])
    joined = {}
    for code, data in pieces:
        joined[code] = joined.get(code, b"") + data
    return joined, [code for code, _ in pieces], fields


def judge(case):
    question, reply = bytes.fromhex(case["question"]), bytes.fromhex(case["reply"])
    kind = case["kind"]
    asked, answered = BOOTP(question), BOOTP(reply)
    want = lambda what, found, wanted: [] if found == wanted else [f"{what} is {found!r}, not {wanted!r}"]

    # The header.
    faults = []
    faults += want("op", answered.op, 2)
    for field in ("htype", "hlen", "xid", "giaddr"):
        faults += want(field, getattr(answered, field), getattr(asked, field))
    faults += want("chaddr", reply[28:44], question[28 : 28 + asked.hlen].ljust(16, b"\0"))
    faults += want("hops", answered.hops, 0)
    faults += want("secs", answered.secs, 0)
    flags = 0x8000 if kind == "nak" and asked.giaddr != "0.0.0.0" else int(asked.flags)
    faults += want("flags", int(answered.flags), flags)
    faults += want("cookie", reply[HEADER : HEADER + 4], COOKIE)
    if kind == "nak":
        for field in ("ciaddr", "yiaddr", "siaddr"):
            faults += want(field, getattr(answered, field), "0.0.0.0")
        faults += want("sname and file", reply[44:HEADER].strip(b"\0"), b"")
    else:
        faults += want("ciaddr", answered.ciaddr, asked.ciaddr if kind != "offer" else "0.0.0.0")
        if (answered.yiaddr == "0.0.0.0") != (kind == "inform-ack"):
            faults.append(f"yiaddr is {answered.yiaddr}")

    # The options as scapy sees them.
    if DHCP not in answered:
        return faults + ["scapy sees no options"]
    seen = answered[DHCP].options
    strange = [option for option in seen if not isinstance(option, tuple) and option not in ("end", "pad")]
    if strange:
        faults.append(f"scapy cannot read {strange}")
    if "end" not in seen:
        faults.append("scapy sees no end")
    named = {}
    for option in seen:
        if isinstance(option, tuple):
            named.setdefault(option[0], list(option[1:]))
    for name, value in case["values"].items():
        if not name.isdigit():
            plain = [v.decode("latin-1") if isinstance(v, bytes) else v for v in named.get(name, [])]
            faults += want(name, plain, value)

    # And octet by octet.
    mine, order, overload = options(reply)
    theirs, _, _ = options(question)
    faults += want("message type", list(mine.get(53, b"")), TYPES[kind])
    faults += want("rapid commit", mine.get(80), b"" if kind == "rapid-ack" else None)
    if kind != "bootp":
        faults += want("first option", order[0], 53)
        if 54 not in mine or len(mine[54]) != 4:
            faults.append("no server identifier")
    for code in NEVER & set(mine):
        faults.append(f"option {code} in a reply")
    if kind == "nak":
        for code in set(mine) - IN_NAK:
            faults.append(f"option {code} in a NAK")
    elif kind == "inform-ack":
        for code in TIMES & set(mine):
            faults.append(f"option {code} in the answer to an INFORM")
    elif kind == "bootp":
        for code in OF_DHCP & set(mine):
            faults.append(f"option {code} in the answer to a BOOTP client")
    else:
        if len(mine.get(51, b"")) != 4:
            faults.append("no lease time")
        times = [int.from_bytes(mine[code], "big") for code in (58, 59, 51) if code in mine]
        if times != sorted(times):
            faults.append(f"T1, T2 and lease time are {times}")
    faults += want("client identifier", mine.get(61), theirs.get(61))
    faults += want("relay information", mine.get(82), theirs.get(82))
    if 82 in mine and order[-1] != 82:
        faults.append(f"relay information is not the last option: {order}")
    for code, data in mine.items():
        pieces = [at for at, found in enumerate(order) if found == code]
        if len(pieces) != max(1, -(-len(data) // 255)):
            faults.append(f"option {code} comes in {len(pieces)} pieces")
        if not overload and pieces != list(range(pieces[0], pieces[0] + len(pieces))):
            faults.append(f"the pieces of option {code} are scattered")
    for code, value in case["values"].items():
        if code.isdigit():
            faults += want(f"option {code}", mine.get(int(code), b"").hex(), value)
    limit = int.from_bytes(theirs.get(57, b"\x02\x40"), "big") - 28
    # The relay takes its option off before the client gets the reply.
    for_client = len(reply) - (len(mine[82]) + 2 * order.count(82) if 82 in mine else 0)
    if for_client > max(limit, 548):
        faults.append(f"{for_client} octets are more than the client takes")
    if len(reply) < 300:
        faults.append(f"{len(reply)} octets are fewer than BOOTP needs (RFC 1542 §2.1)")
    return faults


for line in sys.stdin:
    case = json.loads(line)
    try:
        found = judge(case)
    except (ValueError, IndexError) as error:
        found = [f"malformed: {error}"]
    for fault in found:
        print(f"{case['name']}: {fault}")
