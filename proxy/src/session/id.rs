//! Ids of client sessions, server sessions and connections, and how they are given out.

use std::fmt;

/// Declares a newtype over an integer that prints as the bare number.
macro_rules! id {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// The proxy's id of a client session: bit 31 is 0, then 13 bits of proxy id, then 18 bits of sequence. Unique in a fleet whose
    /// members have different proxy ids.
    CsId(u32)
}

id! {
    /// The proxy's id of a server session, counted from 1 in one process.
    SsId(u64)
}

id! {
    /// A node's id of a connection, as `SELECT CONNECTION_ID()` shows it. Unique at one node only.
    ConnectionId(u64)
}

id! {
    /// The id under which nodes know a client session, in all of its connections. 63 bits, never 0: signed and unsigned readers see
    /// the same number.
    ProxySessionId(u64)
}

impl ProxySessionId {
    /// The id of the process's session number `count`, counted from 0. Unique in the process until 2^63 sessions; two processes meet
    /// only if their random nonces are closer to each other than their numbers of sessions.
    pub const fn from_count(nonce: u64, count: u64) -> Self {
        let id = nonce.wrapping_add(count) & Self::MAX;
        // 0 means "no id" to a node. The successor of 0 is then given out twice, once in 2^63 sessions.
        Self(if id == 0 { 1 } else { id })
    }

    const MAX: u64 = u64::MAX >> 1;
}

/// Gives out client session ids: upwards, from 1 again after the last one, never one that is still in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdSequence {
    proxy_id: u32,
    last: u32,
}

impl IdSequence {
    /// The largest proxy id: 13 bits.
    pub const PROXY_ID_MAX: u32 = (1 << 13) - 1;
    /// How many sessions can live at once: the sequence's 18 bits without 0.
    pub const LIVE_MAX: u32 = (1 << Self::SEQUENCE_BITS) - 1;

    const SEQUENCE_BITS: u32 = 18;

    /// The sequence of a proxy. `None` if the proxy id has more than 13 bits.
    pub const fn new(proxy_id: u32) -> Option<Self> {
        if proxy_id > Self::PROXY_ID_MAX {
            return None;
        }
        Some(Self { proxy_id, last: 0 })
    }

    /// The next id of which `is_live` says no. `None` when all of them are live. An id just freed is given out again only after all
    /// the others: a KILL that comes late does not meet a stranger.
    pub fn next(&mut self, mut is_live: impl FnMut(CsId) -> bool) -> Option<CsId> {
        for _ in 0..Self::LIVE_MAX {
            self.last = if self.last >= Self::LIVE_MAX {
                1
            } else {
                self.last + 1
            };
            let id = CsId(self.proxy_id << Self::SEQUENCE_BITS | self.last);
            if !is_live(id) {
                return Some(id);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_proxy_id_then_sequence() {
        for (proxy_id, first) in [(0, 1), (1, 262_145), (8191, 0x7ffc_0001)] {
            let mut ids = IdSequence::new(proxy_id).unwrap();
            assert_eq!(ids.next(|_| false), Some(CsId(first)));
            assert_eq!(ids.next(|_| false), Some(CsId(first + 1)));
        }
        assert_eq!(IdSequence::new(8192), None);
    }

    #[test]
    fn wraps_to_one_and_skips_live_ids() {
        let mut ids = IdSequence {
            proxy_id: 1,
            last: IdSequence::LIVE_MAX - 1,
        };
        assert_eq!(ids.next(|_| false), Some(CsId(0x7_ffff)));
        let live = [CsId(0x4_0001), CsId(0x4_0002)];
        assert_eq!(ids.next(|id| live.contains(&id)), Some(CsId(0x4_0003)));
    }

    #[test]
    fn gives_up_when_every_id_is_live() {
        let mut ids = IdSequence::new(1).unwrap();
        assert_eq!(ids.next(|_| true), None);
        assert_eq!(ids.next(|id| id != CsId(0x4_0007)), Some(CsId(0x4_0007)));
    }

    #[test]
    fn every_id_has_bit_31_clear() {
        let mut ids = IdSequence {
            proxy_id: 8191,
            last: IdSequence::LIVE_MAX - 1,
        };
        assert_eq!(ids.next(|_| false), Some(CsId(0x7fff_ffff)));
    }

    #[test]
    fn proxy_session_ids_are_positive_and_distinct() {
        for nonce in [0, 5, u64::MAX >> 1, u64::MAX - 1, u64::MAX] {
            let ids: Vec<_> = (1..5)
                .map(|count| ProxySessionId::from_count(nonce, count))
                .collect();
            assert!(
                ids.iter().all(|id| id.0 > 0 && i64::try_from(id.0).is_ok()),
                "{nonce}: {ids:?}"
            );
        }
        assert_eq!(ProxySessionId::from_count(40, 2), ProxySessionId(42));
        assert_eq!(ProxySessionId(42).to_string(), "42");
    }
}
