//! The wire's tracker between four model endpoints, or six where reads go to a node of their own, on a network that loses, doubles, delays, merges and splits.
//!
//! What must hold, checked at every step:
//! 1. Every byte that the node reads is the byte that the client, or the daemon, meant; in order, once. The same for the client.
//! 2. A command that must be trapped is never read by the node unless it came from the daemon.
//! 3. A client that sends another text under the same sequence numbers gets no unclassified command to the node that way.
//! 4. Nobody is told that bytes have arrived, by an acknowledgement or a SACK block, that no receiver has.
//! 5. No local socket accepts a byte that bypassed it, no peer one that was delivered to a local socket; no byte that was never written.
//! 6. Nothing reaches the daemon while a regime is live.
//! 7. A node gets no command past the daemon that is the other node's; a client that sends another text included, at the reader.
//!
//! And at the end:
//! 8. Once the network is clean, everything goes on: without progress for `STALL` ticks (18 of the longest retransmission
//!    timeouts, idle times with their keep-alives included) a session is stuck.
//! 9. All endpoints end, in every order of FIN and RST, half-closes and kills included, and [`Wire::is_over`] is true. None of
//!    them sends again for ever.
//! 10. Where nobody broke the session off, every response has arrived and every command was read.
//! 11. The runs have come where faults can be: `counts` says how often at least.
//!
//! `WIRE_SEED=n` runs one session again, `WIRE_STEPS=n` that many steps from random seeds,
//! `WIRE_SURVEY=n` says what fails in so many sessions; with `WIRE_TRACE=1` every segment at the hook is shown.
//!
//! [`Wire::is_over`]: sluice_ebpf::wire::Wire::is_over
#![expect(
    clippy::cast_possible_truncation,
    clippy::struct_excessive_bools,
    reason = "sequence numbers are what is left of larger ones, and a model is told what may happen"
)]

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        time::{SystemTime, UNIX_EPOCH},
    };

    use crate::model::{counts::Counts, dice::Dice, session::Session};

    /// Steps from seeds that are always the same.
    const FIXED_STEPS: u64 = 3_000_000;

    /// Says which seed it was, if the session fails.
    struct Saying(u64);

    impl Drop for Saying {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("to run this session again: WIRE_SEED={}", self.0);
            }
        }
    }

    fn number(name: &str) -> Option<u64> {
        std::env::var(name).ok()?.parse().ok()
    }

    /// Runs sessions for so many steps.
    fn run(mut seeds: Dice, steps: u64) -> (u64, Counts) {
        let mut counts = Counts::default();
        let mut done = 0;
        while done < steps {
            let seed = seeds.next();
            let _saying = Saying(seed);
            let mut session = Session::new(Dice::new(seed));
            session.run();
            done += session.steps;
            counts.add_all(&session.counts);
        }
        (done, counts)
    }

    /// What fails in so many sessions, and how often: to find out where to begin.
    fn survey(sessions: u64) {
        let mut seeds = Dice::new(number("WIRE_FROM").unwrap_or(1));
        let mut found = BTreeMap::<String, (u64, u64)>::new();
        std::panic::set_hook(Box::new(|_| ()));
        for _ in 0..sessions {
            let seed = seeds.next();
            let run = std::panic::catch_unwind(|| Session::new(Dice::new(seed)).run());
            if let Err(why) = run {
                let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
                let short = why
                    .chars()
                    .filter(|c| !c.is_ascii_digit())
                    .take(70)
                    .collect();
                found.entry(short).or_insert((0, seed)).0 += 1;
            }
        }
        for (why, (times, seed)) in found {
            eprintln!("{times:>6} {why}\n       WIRE_SEED={seed}");
        }
    }

    #[test]
    fn two_connections_joined_below_the_sockets() {
        if let Some(seed) = number("WIRE_SEED") {
            let mut session = Session::new(Dice::new(seed));
            session.run();
            println!("{}", session.counts);
            return;
        }
        if let Some(sessions) = number("WIRE_SURVEY") {
            survey(sessions);
            return;
        }
        let (done, counts) = run(Dice::new(1), FIXED_STEPS);
        println!("{done} steps\n{counts}");
        let missing = counts.missing(done);
        assert!(missing.is_empty(), "met too seldom: {missing:#?}\n{counts}");
        let Some(steps) = number("WIRE_STEPS") else {
            return;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seeds = Dice::new(now.as_nanos() as u64);
        run(seeds, steps);
    }
}
