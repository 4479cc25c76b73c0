//! How often somebody may guess a password: after a few wrong ones from an address, nobody may try from there for a while, and longer each time.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// Wrong passwords in a row that have no consequence: a person mistypes.
const FREE_FAILURES: u32 = 3;
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
    /// Until when nobody may try.
    fn until(&self) -> Duration {
        match self.count.checked_sub(FREE_FAILURES) {
            None | Some(0) => Duration::ZERO,
            Some(further) => {
                let wait = FIRST_WAIT.saturating_mul(1 << (further - 1).min(16));
                self.last.saturating_add(wait.min(WAIT_MAX))
            }
        }
    }
}

/// The failures of each address. Times are those of a monotonic clock, from any point.
#[derive(Debug, Default)]
pub struct BackOff(BTreeMap<IpAddr, Failures>);

impl BackOff {
    /// How long this address must wait still, zero if it may try.
    pub fn wait(&self, address: IpAddr, now: Duration) -> Duration {
        let failures = self.0.get(&group(address));
        failures.map_or(Duration::ZERO, |failures| {
            failures.until().saturating_sub(now)
        })
    }

    /// It gave a wrong password.
    pub fn failed(&mut self, address: IpAddr, now: Duration) {
        let address = group(address);
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&address) {
            self.0
                .retain(|_, failures| now.saturating_sub(failures.last) < FORGOTTEN_AFTER);
            if self.0.len() >= ADDRESSES_MAX {
                let oldest = self.0.iter().min_by_key(|(_, failures)| failures.last);
                let oldest = oldest.map(|(address, _)| *address);
                oldest.and_then(|oldest| self.0.remove(&oldest));
            }
        }
        let failures = self.0.entry(address).or_insert(Failures {
            count: 0,
            last: now,
        });
        if now.saturating_sub(failures.last) >= FORGOTTEN_AFTER {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// It gave the right one.
    pub fn succeeded(&mut self, address: IpAddr) {
        self.0.remove(&group(address));
    }
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
            back_off.failed(address, now);
            let wait = back_off.wait(address, now);
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(back_off.wait(address, now), Duration::ZERO);
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(back_off.wait("10.0.0.2".parse().unwrap(), now), seconds(0));
        // Long ago.
        back_off.failed(address, now + FORGOTTEN_AFTER);
        assert_eq!(back_off.wait(address, now + FORGOTTEN_AFTER), seconds(0));
        for _ in 0..4 {
            back_off.failed(address, now + FORGOTTEN_AFTER);
        }
        back_off.succeeded(address);
        assert_eq!(back_off.wait(address, now + FORGOTTEN_AFTER), seconds(0));
    }

    #[test]
    fn memory_is_bounded_and_an_ipv6_network_is_one_address() {
        let mut back_off = BackOff::default();
        for number in 0..5_000_u32 {
            back_off.failed(
                std::net::Ipv4Addr::from_bits(number).into(),
                Duration::from_millis(number.into()),
            );
        }
        assert_eq!(back_off.0.len(), ADDRESSES_MAX);
        let mut back_off = BackOff::default();
        for last in 1..=5_u16 {
            let address: IpAddr = format!("fd00::{last}").parse().unwrap();
            back_off.failed(address, seconds(1));
        }
        assert_eq!(
            back_off.wait("fd00::77".parse().unwrap(), seconds(1)),
            seconds(2)
        );
        assert_eq!(
            back_off.wait("fd00:0:0:1::1".parse().unwrap(), seconds(1)),
            seconds(0)
        );
    }
}
