//! How often somebody may guess a password: after a few wrong ones from an address, nobody may try from there for a while, and longer each time.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// The first wait; it doubles with every further failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// After this long without a failure an address is as good as any other.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Duration,
}

impl Failures {
    /// Until when nobody may try, if so many have no consequence.
    fn until(&self, free: u32) -> Duration {
        match self.count.saturating_sub(free) {
            0 => Duration::ZERO,
            further => self.last.saturating_add(wait_after(further)),
        }
    }
}

/// How long to wait after so many failures in a row: a second, twice as long with every further one, a minute at most.
pub fn wait_after(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(further) => FIRST_WAIT
            .saturating_mul(1 << further.min(16))
            .min(WAIT_MAX),
    }
}

/// Who guesses: an address, and whose password it is, where that makes a difference.
type Guesser = (IpAddr, String);

/// The failures of each address, or of each address and user. Times are those of a monotonic clock, from any point.
#[derive(Debug, Default)]
pub struct BackOff(BTreeMap<Guesser, Failures>);

impl BackOff {
    /// How long somebody must wait still, zero if he may try. `free`: failures in a row that have no consequence, as a person mistypes.
    pub fn wait(&self, address: IpAddr, user: &str, free: u32, now: Duration) -> Duration {
        let failures = self.0.get(&guesser(address, user));
        failures.map_or(Duration::ZERO, |failures| {
            failures.until(free).saturating_sub(now)
        })
    }

    /// He gave a wrong password.
    pub fn failed(&mut self, address: IpAddr, user: &str, now: Duration) {
        let guesser = guesser(address, user);
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&guesser) {
            self.0
                .retain(|_, failures| now.saturating_sub(failures.last) < FORGOTTEN_AFTER);
            if self.0.len() >= ADDRESSES_MAX {
                let oldest = self.0.iter().min_by_key(|(_, failures)| failures.last);
                let oldest = oldest.map(|(guesser, _)| guesser.clone());
                oldest.and_then(|oldest| self.0.remove(&oldest));
            }
        }
        let failures = self.0.entry(guesser).or_insert(Failures {
            count: 0,
            last: now,
        });
        if now.saturating_sub(failures.last) >= FORGOTTEN_AFTER {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// He gave the right one.
    pub fn succeeded(&mut self, address: IpAddr, user: &str) {
        self.0.remove(&guesser(address, user));
    }
}

fn guesser(address: IpAddr, user: &str) -> Guesser {
    (group(address), user.to_owned())
}

/// What counts as one address: of IPv6 the network of one link, as a host has as many addresses in it as it likes.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            std::net::Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn waits_grow_and_end() {
        let mut back_off = BackOff::default();
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let mut waits = Vec::new();
        let mut now = seconds(100);
        for _ in 0..12 {
            back_off.failed(address, "", now);
            let wait = back_off.wait(address, "", 3, now);
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(back_off.wait(address, "", 3, now), Duration::ZERO);
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(
            back_off.wait("10.0.0.2".parse().unwrap(), "", 3, now),
            seconds(0)
        );
        // Long ago.
        back_off.failed(address, "", now + FORGOTTEN_AFTER);
        assert_eq!(
            back_off.wait(address, "", 3, now + FORGOTTEN_AFTER),
            seconds(0)
        );
        for _ in 0..4 {
            back_off.failed(address, "", now + FORGOTTEN_AFTER);
        }
        assert_eq!(
            back_off.wait(address, "another", 3, now + FORGOTTEN_AFTER),
            seconds(0)
        );
        assert_eq!(
            back_off.wait(address, "", 4, now + FORGOTTEN_AFTER),
            seconds(1)
        );
        back_off.succeeded(address, "");
        assert_eq!(
            back_off.wait(address, "", 3, now + FORGOTTEN_AFTER),
            seconds(0)
        );
    }

    #[test]
    fn memory_is_bounded_and_an_ipv6_network_is_one_address() {
        let mut back_off = BackOff::default();
        for number in 0..5_000_u32 {
            back_off.failed(
                std::net::Ipv4Addr::from_bits(number).into(),
                "",
                Duration::from_millis(number.into()),
            );
        }
        assert_eq!(back_off.0.len(), ADDRESSES_MAX);
        let mut back_off = BackOff::default();
        for last in 1..=5_u16 {
            let address: IpAddr = format!("fd00::{last}").parse().unwrap();
            back_off.failed(address, "", seconds(1));
        }
        assert_eq!(
            back_off.wait("fd00::77".parse().unwrap(), "", 3, seconds(1)),
            seconds(2)
        );
        assert_eq!(
            back_off.wait("fd00:0:0:1::1".parse().unwrap(), "", 3, seconds(1)),
            seconds(0)
        );
    }
}
