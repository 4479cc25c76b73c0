//! The commands by which a node prepares statements again, with the ids that the client knows where that can be: servers count them up in each
//! connection, so statements that nobody needs fill the gaps.

use bytes::{Bytes, BytesMut};

use super::prepared::Whole;
use crate::protocol::{command, packet};

/// What is prepared to fill a gap.
pub const FILLER: &[u8] = b"DO 0";
/// The most ids that are used up at a node for statements to have the client's.
const GAP_MAX: u32 = 1024;
/// Bytes of commands that are sent before their answers are read: as many as surely fit into the buffers on their way.
const BATCH_BYTES: usize = 4096;

/// A statement that a node is to prepare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted<'a> {
    /// The client's id.
    pub id: u32,
    /// The node's.
    pub at_node: u32,
    /// What it is told.
    pub whole: &'a Whole,
}

/// A command that prepares a statement, or fills a gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The id that the node gives, if it counts as servers do.
    pub at_node: u32,
    /// The client's id, and whether the executions may be spliced; none of a filler.
    pub statement: Option<(u32, bool)>,
}

/// Commands that are sent together, and how many answers they have.
pub type Batch = (Bytes, usize);

/// `COM_STMT_PREPARE`, as a packet's payload.
pub fn prepare(text: &[u8]) -> Vec<u8> {
    [&[command::STMT_PREPARE], text].concat()
}

/// `COM_STMT_CLOSE`.
pub fn close(id: u32) -> Vec<u8> {
    [&[command::STMT_CLOSE][..], &id.to_le_bytes()].concat()
}

/// In which order a node that counts from `next` is to prepare these statements, which stand in the order of their ids, and the ids that they get: the
/// client's for as many as can be, then any.
pub fn arrange<'a>(statements: &[(u32, &'a Whole)], next: u32) -> Vec<Wanted<'a>> {
    let (mut at, mut gaps) = (next, 0);
    let mut wanted = Vec::new();
    let mut others = Vec::new();
    for &(id, whole) in statements {
        let gap = id.checked_sub(at).filter(|gap| *gap <= GAP_MAX - gaps);
        if let Some(gap) = gap {
            gaps += gap;
            at = id.saturating_add(1);
            wanted.push(Wanted {
                id,
                at_node: id,
                whole,
            });
        } else {
            others.push((id, whole));
        }
    }
    for (id, whole) in others {
        wanted.push(Wanted {
            id,
            at_node: at,
            whole,
        });
        at = at.saturating_add(1);
    }
    wanted
}

/// The commands by which a node that counts from `next` gives these statements their ids.
pub fn steps(statements: &[Wanted<'_>], mut next: u32) -> (Vec<Step>, Vec<Batch>) {
    let mut steps = Vec::new();
    let mut batches = Vec::new();
    let mut batch = BytesMut::new();
    let mut count = 0;
    for wanted in statements {
        for at_node in next..=wanted.at_node {
            let is_filler = at_node != wanted.at_node;
            let text = if is_filler {
                FILLER
            } else {
                &wanted.whole.text
            };
            packet::put(&mut batch, 0, &prepare(text));
            if is_filler {
                packet::put(&mut batch, 0, &close(at_node));
            }
            steps.push(Step {
                at_node,
                statement: (!is_filler).then_some((wanted.id, wanted.whole.spliceable)),
            });
            count += 1;
            if batch.len() >= BATCH_BYTES {
                batches.push((batch.split().freeze(), std::mem::take(&mut count)));
            }
        }
        next = wanted.at_node.saturating_add(1);
    }
    if count > 0 {
        batches.push((batch.freeze(), count));
    }
    (steps, batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Versions;

    fn whole(spliceable: bool) -> Whole {
        Whole {
            text: b"SELECT 1"[..].into(),
            spliceable,
            versions: Versions::default(),
        }
    }

    /// The client's ids and the node's, in the order in which they are prepared.
    fn arranged(ids: &[u32], next: u32) -> Vec<(u32, u32)> {
        let whole = whole(true);
        let statements: Vec<_> = ids.iter().map(|id| (*id, &whole)).collect();
        let wanted = arrange(&statements, next);
        let ids = wanted.iter().map(|wanted| (wanted.id, wanted.at_node));
        ids.collect()
    }

    #[test]
    fn as_many_as_can_be_have_the_clients_ids() {
        assert_eq!(arranged(&[1, 2, 5], 1), [(1, 1), (2, 2), (5, 5)]);
        assert_eq!(
            arranged(&[1, 2, 37, 40], 37),
            [(37, 37), (40, 40), (1, 41), (2, 42)]
        );
        assert_eq!(arranged(&[1, 2], 37), [(1, 37), (2, 38)]);
        assert_eq!(arranged(&[500, 5000], 1), [(500, 500), (5000, 501)]);
        assert_eq!(
            arranged(&[600, 1000, 1500], 1),
            [(600, 600), (1000, 1000), (1500, 1001)]
        );
        assert_eq!(arranged(&[], 1), []);
        assert_eq!(arranged(&[1, 500, u32::MAX], 1)[2], (u32::MAX, 501));
        assert_eq!(arranged(&[1, u32::MAX], u32::MAX).len(), 2);
    }

    #[test]
    fn gaps_between_ids_are_filled() {
        let (second, fourth) = (whole(true), whole(false));
        let wanted = arrange(&[(2, &second), (4, &fourth)], 1);
        let (steps, batches) = steps(&wanted, 1);
        let found: Vec<_> = steps
            .iter()
            .map(|step| (step.at_node, step.statement))
            .collect();
        assert_eq!(
            found,
            [
                (1, None),
                (2, Some((2, true))),
                (3, None),
                (4, Some((4, false)))
            ]
        );
        let sent: Vec<_> = [
            &b"\x05\0\0\0\x16DO 0"[..],
            b"\x05\0\0\0\x19\x01\0\0\0",
            b"\x09\0\0\0\x16SELECT 1",
            b"\x05\0\0\0\x16DO 0",
            b"\x05\0\0\0\x19\x03\0\0\0",
            b"\x09\0\0\0\x16SELECT 1",
        ]
        .concat();
        assert_eq!(batches, [(Bytes::from(sent), 4)]);
    }

    #[test]
    fn many_go_in_batches() {
        let whole = whole(true);
        let (steps, batches) = steps(&arrange(&[(1000, &whole)], 1), 1);
        let counts: usize = batches.iter().map(|(_, count)| count).sum();
        assert_eq!((steps.len(), counts), (1000, 1000));
        assert!(
            batches.len() > 1
                && batches
                    .iter()
                    .all(|(batch, _)| batch.len() < 2 * BATCH_BYTES)
        );
    }
}
