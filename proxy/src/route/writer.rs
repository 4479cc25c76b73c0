//! Which node of a set takes its writes, where several would. Pure.
//!
//! Of two nodes that both take writes one has what the other lacks: what is written to the second is lost with it, or stands against the first. So
//! the one that has had the writes goes on to have them, whatever the other one says of itself, as long as it lives.

use std::cmp::Reverse;

use crate::config::NodeAddress;

use super::health::Condition;

/// A node that takes writes, and whose role nobody has named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The node.
    pub address: NodeAddress,
    /// How fit it is.
    pub condition: Condition,
    /// It replicates from another server, or is about to again.
    pub follows: bool,
    /// How many nodes of the set replicate from it.
    pub followers: usize,
    /// It took no writes before, and does since: somebody has made it a primary.
    pub is_promoted: bool,
}

/// The node that has a set's writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Writer {
    /// The node.
    address: NodeAddress,
    /// It replicated from another server when it was chosen.
    followed: bool,
    /// Every node of the set had been asked by then.
    is_certain: bool,
}

/// Why a node that takes writes is not the primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aside {
    /// It replicates from another server: its data is that one's.
    Follows,
    /// It was made a primary while there is one.
    Promoted,
    /// It takes writes beside the primary, and nobody knows how old its data is.
    Rival,
}

impl Writer {
    /// The node.
    pub const fn address(&self) -> &NodeAddress {
        &self.address
    }
}

impl Aside {
    /// The text that operators see. `writer`: who has the writes instead, if the configuration does not say.
    pub fn text(self, writer: Option<&NodeAddress>) -> String {
        let writer = writer.map_or_else(|| "another node".to_owned(), ToString::to_string);
        match self {
            Self::Follows => "takes writes, but replicates from another node".to_owned(),
            Self::Promoted => format!("has begun to take writes, but {writer} is the primary"),
            Self::Rival => format!("takes writes, but {writer} is the primary"),
        }
    }
}

impl Candidate {
    /// Why it is not the primary, if another one is.
    pub const fn aside(&self) -> Aside {
        match self {
            Self { follows: true, .. } => Aside::Follows,
            Self {
                is_promoted: true, ..
            } => Aside::Promoted,
            Self { .. } => Aside::Rival,
        }
    }
}

/// The node that has a set's writes from now on; of equal candidates the first. `before`: the one that has had them. `all_asked`: each node of the set has
/// been asked what it is. None: nobody takes writes, and who has had them last goes on to when it does again, unless another one does before.
pub fn choose(
    candidates: &[Candidate],
    before: Option<&Writer>,
    all_asked: bool,
) -> Option<Writer> {
    let best = candidates.iter().min_by_key(|candidate| {
        (
            candidate.condition,
            candidate.follows,
            Reverse(candidate.followers),
        )
    })?;
    let stays = |before: &&Writer| {
        let mut candidates = candidates.iter();
        let own = candidates.find(|candidate| candidate.address == before.address);
        own.is_some_and(|own| {
            let has_begun_to_follow = own.follows && !before.followed && !best.follows;
            before.is_certain && own.condition <= best.condition && !has_begun_to_follow
        })
    };
    Some(before.filter(stays).cloned().unwrap_or_else(|| Writer {
        address: best.address.clone(),
        followed: best.follows,
        is_certain: all_asked,
    }))
}

#[cfg(test)]
mod tests {
    use std::ops::Add as _;

    use super::*;

    /// `a` takes writes; `a*` was promoted, `a<2` has two followers, `a>` follows, `a!` is dead.
    fn candidates(text: &str) -> Vec<Candidate> {
        let words = text.split_whitespace().map(|word| Candidate {
            address: word
                .replace(|mark: char| !mark.is_ascii_lowercase(), "")
                .add(":1")
                .parse()
                .unwrap(),
            condition: if word.contains('!') {
                Condition::Dead
            } else {
                Condition::Good
            },
            follows: word.contains('>'),
            followers: word
                .split_once('<')
                .map_or(0, |(_, count)| count.parse().unwrap()),
            is_promoted: word.contains('*'),
        });
        words.collect()
    }

    #[test]
    fn one_of_those_that_take_writes_has_them() {
        // What is known one after another, and who has the writes each time.
        for (history, wanted) in [
            ("", "-"),
            ("a", "a"),
            // Nobody has had them: who does not follow, who is followed, the first.
            ("a b", "a"),
            ("a> b", "b"),
            ("a b<1", "b"),
            ("a><1 b", "b"),
            ("a! b", "b"),
            ("a! b>", "b"),
            ("a> b>", "a"),
            // Who is first known only later is chosen among all as if all had been known at once.
            ("?a, a b<1", "ab"),
            ("?a>, a> b", "ab"),
            // An old primary is back.
            ("a, b*, a b", "abb"),
            ("a, a! b*, a b*, a b*<2", "abbb"),
            ("a, a b*, a! b*, a b*", "aabb"),
            // A replica takes writes, by mistake or not, and its primary goes.
            ("a, a b>, a! b>, a b>", "aabb"),
            // Nobody for a while.
            ("a, , a b", "aaa"),
            ("a, , b, a b", "aabb"),
            // Roles change without `read_only`, in whichever order it is seen.
            ("a, a b*, a> b*", "aab"),
            ("a, a b>, a> b>, a> b", "aaab"),
            // Each follows the other.
            ("a> b>, a> b>, a>! b>, a> b>", "aabb"),
            ("a> b>, a> b, a> b>", "aaa"),
        ] {
            let mut writer: Option<Writer> = None;
            let mut found = String::new();
            for known in history.split(',') {
                let all_asked = !known.contains('?');
                let known = candidates(&known.replace('?', ""));
                writer = choose(&known, writer.as_ref(), all_asked).or(writer);
                found.push_str(writer.as_ref().map_or("-", |own| &own.address.host));
            }
            assert_eq!(found, wanted, "{history}");
        }
    }

    #[test]
    fn who_is_none_says_why() {
        let asides: Vec<_> = candidates("a>* b* c")
            .iter()
            .map(Candidate::aside)
            .collect();
        assert_eq!(asides, [Aside::Follows, Aside::Promoted, Aside::Rival]);
    }
}
