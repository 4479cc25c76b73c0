//! A packet's headers: read once, written back with new addresses and numbers.

use aya_ebpf::bindings::__sk_buff;
use sluice_ebpf::{
    checksum,
    record::{NODE_PORTS, Tuple},
    wire::{Segment, tcp},
};

use super::skb;
use crate::sys::{self, context};

/// Length of an Ethernet header.
pub(super) const ETHERNET_BYTES: u32 = 14;
/// Its length where packets begin with their IP header, as those of tunnels do. What only glances at a packet has its link's length as its parameter `LINK`.
pub(super) const NO_HEADER: u32 = 0;
/// Payload bytes of a single segment that may get a frame: `bpf_skb_change_head` makes no packet larger than `SKB_MAX_ALLOC`, 16,064 bytes with pages of 4 KiB.
const FRAMED_BYTES_MAX: u32 = 15_900;
/// Where the protocol's number stands in an Ethernet header.
const ETHERNET_PROTOCOL: u32 = 12;
/// `ETH_P_IP`.
pub(super) const IPV4: u32 = 0x0800;
/// `ETH_P_IPV6`.
pub(super) const IPV6: u32 = 0x86dd;
/// `IPPROTO_TCP`.
pub(super) const TCP: u8 = 6;
/// Where the checksum stands in a TCP header.
pub(super) const TCP_CHECKSUM: u32 = 16;
/// A TCP header without options.
pub(super) const TCP_BYTES: u32 = 20;
/// ECN-Echo and Congestion Window Reduced in the TCP flags (RFC 3168, section 6.1).
const ECN_FLAGS: u8 = 0xc0;
/// Its two bits in the traffic class (RFC 3168, section 5).
const ECN: u8 = 3;

/// An IPv4 header without options.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Ipv4 {
    version_length: u8,
    traffic_class: u8,
    total_length: [u8; 2],
    id: [u8; 2],
    fragment: [u8; 2],
    ttl: u8,
    protocol: u8,
    checksum: u16,
    source: u32,
    destination: u32,
}

/// An IPv6 header.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Ipv6 {
    version_class_flow: [u8; 4],
    payload_length: [u8; 2],
    next_header: u8,
    hop_limit: u8,
    source: [u32; 4],
    destination: [u32; 4],
}

/// The first 16 bytes of a TCP header: all but checksum and urgent pointer. Numbers in network byte order.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Tcp {
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) offset: u8,
    pub(super) flags: u8,
    pub(super) window: u16,
}

impl Tcp {
    #[inline(always)]
    const fn words(&self) -> [u32; 4] {
        [
            word(self.source, self.destination),
            self.seq,
            self.ack,
            word(u16::from_ne_bytes([self.offset, self.flags]), self.window),
        ]
    }
}

/// Two numbers that stand one behind the other, as one word.
#[inline(always)]
pub(super) const fn word(first: u16, second: u16) -> u32 {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// A packet's first bytes, as far as they are written anew: of one of IPv4 without options all of it, of others the TCP header.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Front {
    /// For the alignment of what is behind.
    reserved: u16,
    /// Destination and source of the frame.
    pub(super) ethernet: [u16; 6],
    protocol: u16,
    ip: Ipv4,
    pub(super) tcp: Tcp,
}

/// Bytes of a [`Front`] that are the packet's.
const FRONT_BYTES: u32 = ETHERNET_BYTES + 20 + 16;

const _: () = assert!(size_of::<Front>() == FRONT_BYTES as usize + 2);

/// Whether a packet may be between a local socket of ours and its peer: a glance at its ports, where its headers lie ready, which costs everybody else's packets next
/// to nothing.
#[inline(always)]
pub(super) fn may_be_ours<const LINK: u32>(skb: *mut __sk_buff, is_incoming: bool) -> bool {
    let protocol = u16::from_be(context!((*skb).protocol) as u16);
    let start = context!((*skb).data) as usize;
    let end = context!((*skb).data_end) as usize;
    let ports = match u32::from(protocol) {
        IPV4 => {
            let ip = start + LINK as usize;
            // Longer headers are for a closer look.
            if ip + 24 > end {
                return true;
            }
            // SAFETY: inside the packet's front, as the comparison shows to the verifier too.
            let (version_length, protocol) =
                unsafe { (*(ip as *const u8), *((ip + 9) as *const u8)) };
            if protocol != TCP {
                return false;
            }
            if version_length & 0x0f != 5 {
                return true;
            }
            ip + 20
        }
        IPV6 => {
            let ip = start + LINK as usize;
            if ip + 44 > end {
                return true;
            }
            // SAFETY: as above.
            if unsafe { *((ip + 6) as *const u8) } != TCP {
                return false;
            }
            ip + 40
        }
        _ => return false,
    };
    // SAFETY: as above: four bytes behind either header.
    let [a, b, c, d] = unsafe { *(ports as *const [u8; 4]) };
    let (source, destination) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let (listener, node) = if is_incoming {
        (destination, source)
    } else {
        (source, destination)
    };
    sys::is_known_port(0, listener) || sys::is_known_port(NODE_PORTS, node)
}

/// A protocol's number as it stands in a frame.
#[inline(always)]
const fn protocol(v4: bool) -> u16 {
    let protocol = if v4 { IPV4 } else { IPV6 };
    (protocol as u16).to_be()
}

/// Puts an Ethernet header from nobody to nobody in front of an IP packet: both `bpf_redirect_neigh`, wherever it sends, and lo take frames only.
#[inline(always)]
pub(super) fn frame(skb: *mut __sk_buff, v4: bool) -> bool {
    skb::add_head(skb, ETHERNET_BYTES) && skb::store(skb, ETHERNET_PROTOCOL, &protocol(v4))
}

/// What is known of a TCP packet.
#[repr(C)]
pub(crate) struct Packet {
    pub(super) v4: bool,
    pub(super) is_fragment: bool,
    pub(super) flags: u8,
    pub(super) traffic_class: u8,
    /// Bytes of the link's header in front of it: [`ETHERNET_BYTES`] or [`NO_HEADER`].
    pub(super) link: u32,
    /// Offset of the TCP header.
    pub(super) l4: u32,
    /// Offset of the payload.
    pub(super) payload: u32,
    /// Payload bytes.
    pub(super) length: u32,
    pub(super) source: [u32; 4],
    pub(super) destination: [u32; 4],
    pub(super) front: Front,
}

impl Packet {
    /// Reads the headers of `skb`, behind `link` bytes, into `self`. None: no TCP, or not in a form that we read.
    #[inline(always)]
    pub(super) fn read(&mut self, skb: *mut __sk_buff, link: u32) -> Option<()> {
        self.link = link;
        let protocol = u32::from(u16::from_be(context!((*skb).protocol) as u16));
        if context!((*skb).vlan_present) != 0 {
            // It belongs to an interface above this one.
            return None;
        }
        match protocol {
            IPV4 => self.read_v4(skb, link),
            IPV6 => self.read_v6(skb, link),
            _ => None,
        }
    }

    #[inline(always)]
    fn read_v4(&mut self, skb: *mut __sk_buff, link: u32) -> Option<()> {
        let is_read = if link == NO_HEADER {
            let front = &raw mut self.front.ip;
            skb::load_bytes(skb, 0, front.cast(), FRONT_BYTES - ETHERNET_BYTES)
        } else {
            let front = &raw mut self.front.ethernet;
            skb::load_bytes(skb, 0, front.cast(), FRONT_BYTES)
        };
        // What is shorter is no TCP.
        if !is_read || self.front.ip.protocol != TCP {
            return None;
        }
        let ip = &self.front.ip;
        let ip_bytes = u32::from(ip.version_length & 0x0f) * 4;
        let fragment = u16::from_be_bytes(ip.fragment);
        // One that is not the first has no ports: whose it is cannot be known.
        if ip_bytes < 20 || fragment & 0x1fff != 0 {
            return None;
        }
        self.v4 = true;
        self.is_fragment = fragment & 0x2000 != 0;
        self.traffic_class = ip.traffic_class;
        self.l4 = link + ip_bytes;
        self.source = [0, 0, 0xffff_u32.to_be(), ip.source];
        self.destination = [0, 0, 0xffff_u32.to_be(), ip.destination];
        let total = u32::from(u16::from_be_bytes(ip.total_length));
        if ip_bytes != 20 && !skb::load(skb, self.l4, &mut self.front.tcp) {
            return None;
        }
        self.read_tcp(skb, total, link + total)
    }

    #[inline(always)]
    fn read_v6(&mut self, skb: *mut __sk_buff, link: u32) -> Option<()> {
        let mut ip = Ipv6::default();
        if !skb::load(skb, link, &mut ip) || ip.next_header != TCP {
            return None;
        }
        self.v4 = false;
        self.is_fragment = false;
        self.traffic_class = ip.version_class_flow[0] << 4 | ip.version_class_flow[1] >> 4;
        self.l4 = link + 40;
        self.source = ip.source;
        self.destination = ip.destination;
        let total = u32::from(u16::from_be_bytes(ip.payload_length));
        if !skb::load(skb, self.l4, &mut self.front.tcp) {
            return None;
        }
        self.read_tcp(skb, total, link + 40 + total)
    }

    /// What the TCP header says, which is read. `total`: 0 in a segment of more than 64 KiB that only exists in this host (BIG TCP); `end`: where the IP
    /// packet ends.
    #[inline(always)]
    fn read_tcp(&mut self, skb: *mut __sk_buff, total: u32, end: u32) -> Option<()> {
        self.flags = self.front.tcp.flags;
        let header = u32::from(self.front.tcp.offset >> 4) * 4;
        self.payload = self.l4 + header;
        let end = if total == 0 {
            context!((*skb).len)
        } else {
            end
        };
        // One that is shorter than it says is dropped behind us (`ip_rcv_core`).
        if header < TCP_BYTES || end < self.payload || end > context!((*skb).len) {
            return None;
        }
        self.length = end - self.payload;
        Some(())
    }

    /// The connection, as the end sees it that has sent this (`by_source`), or as the other one.
    #[inline(always)]
    pub(super) fn tuple(&self, by_source: bool) -> Tuple {
        let source = u32::from(u16::from_be(self.front.tcp.source));
        let destination = u32::from(u16::from_be(self.front.tcp.destination));
        if by_source {
            Tuple {
                local_ip: self.source,
                remote_ip: self.destination,
                local_port: source,
                remote_port: destination,
            }
        } else {
            Tuple {
                local_ip: self.destination,
                remote_ip: self.source,
                local_port: destination,
                remote_port: source,
            }
        }
    }

    /// Its numbers.
    #[inline(always)]
    pub(super) fn segment(&self) -> Segment {
        Segment {
            seq: u32::from_be(self.front.tcp.seq),
            ack: u32::from_be(self.front.tcp.ack),
            length: self.length,
            flags: self.flags,
        }
    }

    /// Bytes of TCP options.
    #[inline(always)]
    pub(super) const fn option_bytes(&self) -> u32 {
        self.payload - self.l4 - TCP_BYTES
    }

    /// Writes the TCP header with these numbers, and puts the checksum right.
    #[inline(always)]
    pub(super) fn renumber(&mut self, skb: *mut __sk_buff, seq: u32, ack: u32) -> bool {
        let mut tcp = self.front.tcp;
        tcp.seq = seq.to_be();
        if self.flags & tcp::ACK != 0 {
            tcp.ack = ack.to_be();
        }
        self.replace(skb, tcp)
    }

    /// Writes this TCP header in place of the packet's.
    #[inline(always)]
    fn replace(&mut self, skb: *mut __sk_buff, tcp: Tcp) -> bool {
        self.change_tcp(skb, tcp) && skb::store(skb, self.l4, &tcp)
    }

    /// Puts the checksum right for this TCP header.
    #[inline(always)]
    fn change_tcp(&mut self, skb: *mut __sk_buff, tcp: Tcp) -> bool {
        let change = checksum::difference(&self.front.tcp.words(), &tcp.words(), 0);
        self.front.tcp = tcp;
        skb::change_l4(skb, self.l4 + TCP_CHECKSUM, change, false)
    }

    /// How many payload bytes a single segment may have that must be a frame on its way, of these.
    #[inline(always)]
    pub(super) const fn framed(&self, bytes: u32) -> u32 {
        if self.link == NO_HEADER && bytes > FRAMED_BYTES_MAX {
            FRAMED_BYTES_MAX
        } else {
            bytes
        }
    }

    /// Has the packet be a frame: one that begins with its IP header goes from nobody to nobody.
    #[inline(always)]
    pub(super) fn frame(&mut self, skb: *mut __sk_buff) -> bool {
        if self.link == ETHERNET_BYTES {
            return true;
        }
        self.link = ETHERNET_BYTES;
        self.l4 += ETHERNET_BYTES;
        self.payload += ETHERNET_BYTES;
        self.front.protocol = protocol(self.v4);
        frame(skb, self.v4)
    }

    /// Writes a word, as it lies in memory, at this place of the payload, and puts the checksum right.
    #[inline(always)]
    pub(super) fn change_payload(&self, skb: *mut __sk_buff, at: u32, to: u32) -> bool {
        let place = self.payload + at;
        let mut from = 0_u32;
        if !skb::load(skb, place, &mut from) {
            return false;
        }
        let change = checksum::difference(&[from], &[to], 0);
        // The TCP header is a multiple of 4 bytes long.
        let change = if at & 1 == 0 {
            change
        } else {
            checksum::at_odd_place(change)
        };
        skb::change_l4(skb, self.l4 + TCP_CHECKSUM, change, false) && skb::store(skb, place, &to)
    }

    /// Has a frame be another one: with this TCP header, from and to these addresses. `ethernet`: with the frame's addresses that stand in
    /// [`Packet::front`], which may be changed before.
    #[inline(always)]
    pub(super) fn rewrite(
        &mut self,
        skb: *mut __sk_buff,
        tcp: Tcp,
        source: [u32; 4],
        destination: [u32; 4],
        ethernet: bool,
    ) -> bool {
        if !self.change_tcp(skb, tcp) {
            return false;
        }
        if self.v4 && self.l4 == ETHERNET_BYTES + 20 {
            return self.rewrite_front(skb, source[3], destination[3]);
        }
        skb::store(skb, self.l4, &tcp)
            && self.readdress(skb, source, destination)
            && (!ethernet || skb::store(skb, 0, &self.front.ethernet))
    }

    /// Writes these addresses, and all of the front, in one.
    #[inline(always)]
    fn rewrite_front(&mut self, skb: *mut __sk_buff, source: u32, destination: u32) -> bool {
        let ip = &mut self.front.ip;
        let from = [ip.source, ip.destination];
        let change = checksum::difference(&from, &[source, destination], 0);
        ip.checksum = checksum::changed(ip.checksum, change);
        ip.source = source;
        ip.destination = destination;
        self.source[3] = source;
        self.destination[3] = destination;
        let front = &raw const self.front.ethernet;
        skb::change_l4(skb, self.l4 + TCP_CHECKSUM, change, true)
            && skb::store_bytes(skb, 0, front.cast(), FRONT_BYTES)
    }

    /// Writes the IP packet's length: it ends at `end` now.
    #[inline(always)]
    pub(super) fn shorten(&mut self, skb: *mut __sk_buff, end: u32) -> bool {
        let link = self.link;
        if !self.v4 {
            let bytes = ((end - link - 40) as u16).to_be_bytes();
            return skb::store(skb, link + 4, &bytes);
        }
        let ip = &mut self.front.ip;
        let from = ip.total_length;
        let to = ((end - link) as u16).to_be_bytes();
        let word = |bytes| [u32::from(u16::from_ne_bytes(bytes))];
        let change = checksum::difference(&word(from), &word(to), 0);
        ip.total_length = to;
        ip.checksum = checksum::changed(ip.checksum, change);
        skb::store(skb, link + 2, &to) && skb::store(skb, link + 10, &ip.checksum)
    }

    /// Writes these addresses in place of the packet's.
    #[inline(always)]
    fn readdress(&mut self, skb: *mut __sk_buff, source: [u32; 4], destination: [u32; 4]) -> bool {
        let change = if self.v4 {
            let from = [self.source[3], self.destination[3]];
            let to = [source[3], destination[3]];
            let change = checksum::difference(&from, &to, 0);
            if !skb::change_l3(skb, ETHERNET_BYTES + 10, change)
                || !skb::store(skb, ETHERNET_BYTES + 12, &to)
            {
                return false;
            }
            change
        } else {
            let change = checksum::difference(&self.source, &source, 0);
            let change = checksum::difference(&self.destination, &destination, change);
            if !skb::store(skb, ETHERNET_BYTES + 8, &[source, destination]) {
                return false;
            }
            change
        };
        self.source = source;
        self.destination = destination;
        skb::change_l4(skb, self.l4 + TCP_CHECKSUM, change, true)
    }

    /// Clears the bits of congestion notification that the other connection has not negotiated (RFC 3168).
    #[inline(always)]
    pub(super) fn clear_ecn(&mut self, skb: *mut __sk_buff) -> bool {
        self.tcp_without_ecn(skb) && self.ip_without_ecn(skb)
    }

    #[inline(always)]
    fn tcp_without_ecn(&mut self, skb: *mut __sk_buff) -> bool {
        if self.front.tcp.flags & ECN_FLAGS == 0 {
            return true;
        }
        let mut tcp = self.front.tcp;
        tcp.flags &= !ECN_FLAGS;
        self.replace(skb, tcp)
    }

    #[inline(always)]
    fn ip_without_ecn(&mut self, skb: *mut __sk_buff) -> bool {
        if self.traffic_class & ECN == 0 {
            return true;
        }
        let mut first = [0_u8; 4];
        if !skb::load(skb, ETHERNET_BYTES, &mut first) {
            return false;
        }
        let from = [u32::from_ne_bytes(first)];
        if self.v4 {
            first[1] &= !3;
        } else {
            first[1] &= !0x30;
        }
        let to = [u32::from_ne_bytes(first)];
        let change = checksum::difference(&from, &to, 0);
        skb::store(skb, ETHERNET_BYTES, &first)
            && (!self.v4 || skb::change_l3(skb, ETHERNET_BYTES + 10, change))
    }
}
