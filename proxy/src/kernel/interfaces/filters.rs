//! The filters of an interface's `clsact` qdisc, in the order in which they run (rtnetlink).

use std::io;

use aya::programs::TcAttachType;

use super::host::{attributes, dump, open, text, word};

/// Message types of `linux/rtnetlink.h`.
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
/// Bytes of `struct tcmsg`, and where its fields begin.
const HEADER: usize = 20;
const INTERFACE_AT: usize = 4;
const HANDLE_AT: usize = 8;
const PARENT_AT: usize = 12;
/// `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)` and `TC_H_MIN_EGRESS` of `linux/pkt_sched.h`.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// Attributes of `linux/rtnetlink.h` and `linux/pkt_cls.h`.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;

/// A filter's name, or its kind where it has none, and the number of the program in it.
pub(in crate::kernel) type Named = (String, Option<u32>);

/// Those on one of the qdisc's two hooks; none where there is no such qdisc.
///
/// # Errors
/// Those of the socket and of the kernel.
pub(in crate::kernel) fn of(interface: u32, hook: TcAttachType) -> io::Result<Vec<Named>> {
    let parent = match hook {
        TcAttachType::Egress => EGRESS,
        TcAttachType::Ingress | TcAttachType::Custom(_) => INGRESS,
    };
    let mut header = [0; HEADER];
    for (at, value) in [(INTERFACE_AT, interface), (PARENT_AT, parent)] {
        if let Some(field) = header.get_mut(at..at + 4) {
            field.copy_from_slice(&value.to_ne_bytes());
        }
    }
    let mut found = Vec::new();
    dump(&open(0)?, RTM_GETTFILTER, &header, |kind, payload| {
        if kind == RTM_NEWTFILTER {
            found.extend(filter(payload, parent));
        }
    })?;
    Ok(found)
}

/// An `RTM_NEWTFILTER` message. Each priority has one more, of handle 0, which is no filter; and of an interface without such a qdisc the kernel lists
/// another's.
fn filter(payload: &[u8], parent: u32) -> Option<Named> {
    if word(payload, HANDLE_AT)? == 0 || word(payload, PARENT_AT)? != parent {
        return None;
    }
    let (mut name, mut id) = (None, None);
    for (kind, value) in attributes(payload.get(HEADER..)?) {
        match kind {
            TCA_KIND => name = name.or_else(|| Some(text(value))),
            TCA_OPTIONS => {
                for (kind, value) in attributes(value) {
                    match kind {
                        TCA_BPF_NAME => name = Some(text(value)),
                        TCA_BPF_ID => id = word(value, 0),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some((name?, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_messages_are_nothing() {
        for length in 0..HEADER {
            assert_eq!(filter(&vec![1; length], 0x0101_0101), None);
        }
        let mut payload = vec![1; HEADER];
        assert_eq!(filter(&payload, 0x0101_0101), None);
        payload.extend([8, 0, 1, 0, b'b', b'p', b'f', 0]);
        let named = Some(("bpf".to_owned(), None));
        assert_eq!(filter(&payload, 0x0101_0101), named);
        assert_eq!(filter(&payload, 7), None);
    }
}
