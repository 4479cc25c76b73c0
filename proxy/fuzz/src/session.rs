//! The wire's tracker in whole sessions: the model of `proxy-ebpf/tests/wire`, whose first throws of the dice are the fuzzer's.

use crate::model::{dice::Dice, session::Session};

/// The most throws that an input has.
const THROWS_MAX: usize = 4_000;

/// Everything that the model checks holds, whatever happens.
pub fn session(data: &[u8]) {
    let throws = data.chunks_exact(2).take(THROWS_MAX);
    let throws = throws
        .map(|pair| {
            pair.iter()
                .fold(0, |number, byte| number << 8 | u16::from(*byte))
        })
        .collect();
    Session::new(Dice::thrown(throws, 1)).run();
}
