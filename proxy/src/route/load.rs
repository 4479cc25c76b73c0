//! How many sessions read from each replica, of this proxy's own. Pure counting; who is counted says when he leaves.

use std::{cmp::Ordering, collections::BTreeMap};

use crate::config::{Node, NodeAddress};

/// The sessions that read from each replica.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Load(BTreeMap<String, u64>);

impl Load {
    /// A session reads from this node.
    pub fn enter(&mut self, node: &NodeAddress) {
        *self.0.entry(node.to_string()).or_default() += 1;
    }

    /// A session that has been counted does not any more.
    pub fn leave(&mut self, node: &NodeAddress) {
        let name = node.to_string();
        if let Some(count) = self.0.get_mut(&name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&name);
            }
        }
    }

    /// How many read from it.
    pub fn count(&self, node: &NodeAddress) -> u64 {
        self.0.get(&node.to_string()).copied().unwrap_or_default()
    }

    /// Which of two nodes has less to do for its weight.
    pub fn compare(&self, one: &Node, other: &Node) -> Ordering {
        let share = |node: &Node, weight_of: &Node| {
            self.count(&node.address)
                .saturating_mul(weight_of.weight.into())
        };
        share(one, other).cmp(&share(other, one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_counted_by_their_node_and_compared_by_its_weight() {
        let mut load = Load::default();
        let [mut one, other] = ["a:1", "b:1"].map(|node| Node::at(node.parse().unwrap()));
        assert_eq!(load.compare(&one, &other), Ordering::Equal);
        load.enter(&one.address);
        load.enter(&one.address);
        load.enter(&other.address);
        assert_eq!(load.compare(&one, &other), Ordering::Greater);
        one.weight = 2;
        assert_eq!(load.compare(&one, &other), Ordering::Equal);
        one.weight = 3;
        assert_eq!(load.compare(&one, &other), Ordering::Less);
        load.leave(&one.address);
        load.leave(&one.address);
        load.leave(&one.address);
        load.leave(&other.address);
        assert_eq!(load, Load::default());
        assert_eq!(load.count(&one.address), 0);
    }
}
