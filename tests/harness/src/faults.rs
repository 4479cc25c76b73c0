//! A stretch of wire that loses, doubles and swaps TCP segments, from a seed.
//!
//! It is a host without addresses between two others, which forwards whole frames in user space: independent of the kernel's queueing
//! disciplines (netem is not everywhere) and of whatever Sluice does itself. The hosts at its ends send each segment as one frame, so that
//! segments are lost, not whole writes.

use crate::{
    frames::{FRAME_BYTES_MAX, Frames, HEADER_BYTES},
    netns::Netns,
    network, packet,
    pattern::Random,
};
use anyhow::{Context as _, Result};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How many of a thousand TCP segments meet with what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Do not arrive.
    pub lost: usize,
    /// Arrive twice.
    pub doubled: usize,
    /// Arrive after the one behind them.
    pub swapped: usize,
    /// Arrive with the mark of a congested router, where their sender knows such marks.
    pub congested: usize,
}

impl Faults {
    /// Each fault this many times of a thousand.
    pub fn each(per_thousand: usize) -> Self {
        Self {
            lost: per_thousand,
            doubled: per_thousand,
            swapped: per_thousand,
            congested: 0,
        }
    }

    fn draw(self, random: &mut Random) -> Fault {
        let number = random.below(1000);
        if number < self.lost {
            Fault::Lost
        } else if number < self.lost + self.doubled {
            Fault::Doubled
        } else if number < self.lost + self.doubled + self.swapped {
            Fault::Swapped
        } else if number < self.lost + self.doubled + self.swapped + self.congested {
            Fault::Congested
        } else {
            Fault::None
        }
    }
}

#[derive(Clone, Copy)]
enum Fault {
    None,
    Lost,
    Doubled,
    Swapped,
    Congested,
}

/// What has happened so far, both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Happened {
    /// TCP segments that came.
    pub segments: u64,
    /// Of these, dropped.
    pub lost: u64,
    /// Sent twice.
    pub doubled: u64,
    /// Sent behind their successor.
    pub swapped: u64,
    /// Marked.
    pub congested: u64,
}

#[derive(Debug, Default)]
struct Counts {
    segments: AtomicU64,
    lost: AtomicU64,
    doubled: AtomicU64,
    swapped: AtomicU64,
    congested: AtomicU64,
}

/// How long the forwarding thread waits for a frame before it looks whether it is over.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a frame is held back for one that it could be swapped with.
const HOLD: Duration = Duration::from_millis(1);

/// The host in between. Dropping it cuts the wire.
#[derive(Debug)]
pub struct Stretch {
    is_over: Arc<AtomicBool>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<Result<()>>>,
    _netns: Netns,
}

impl Stretch {
    /// Joins two hosts by interfaces of these names; needs root.
    ///
    /// # Errors
    ///
    /// When the kernel or `ip` refuse.
    pub fn between(ends: [(&Netns, &str); 2], faults: Faults, seed: u64) -> Result<Self> {
        let netns = Netns::new()?;
        netns.enter(be_silent)??;
        let names = ["left", "right"];
        for (end, name) in ends.into_iter().zip(names) {
            network::join([end, (&netns, name)])?;
            let (host, interface) = end;
            host.ip(&["link", "set", "dev", interface, "gso_max_segs", "1"])?;
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let [left, right] = names.map(|name| Frames::open(&netns, name));
        let (left, right) = (Arc::new(left?), Arc::new(right?));
        let ways = [
            (Arc::clone(&left), Arc::clone(&right), seed),
            (right, left, !seed),
        ];
        let threads = ways.into_iter().map(|(from, to, seed)| {
            let way = Way {
                from,
                to,
                faults,
                random: Random::new(seed),
                counts: Arc::clone(&counts),
            };
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || way.run(&is_over))
        });
        Ok(Self {
            threads: threads.collect(),
            is_over,
            counts,
            _netns: netns,
        })
    }

    /// What has happened so far.
    pub fn happened(&self) -> Happened {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Happened {
            segments: read(&self.counts.segments),
            lost: read(&self.counts.lost),
            doubled: read(&self.counts.doubled),
            swapped: read(&self.counts.swapped),
            congested: read(&self.counts.congested),
        }
    }
}

impl Drop for Stretch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Whoever needed the wire has noticed if it broke.
            drop(thread.join());
        }
    }
}

/// The host says nothing of its own: no neighbour discovery, no multicast reports.
fn be_silent() -> Result<()> {
    for interfaces in ["all", "default"] {
        let key = format!("/proc/sys/net/ipv6/conf/{interfaces}/disable_ipv6");
        // Where there is no IPv6, it is silent anyway.
        if fs::exists(&key)? {
            fs::write(&key, "1").with_context(|| key)?;
        }
    }
    Ok(())
}

/// One direction.
struct Way {
    from: Arc<Frames>,
    to: Arc<Frames>,
    faults: Faults,
    random: Random,
    counts: Arc<Counts>,
}

impl Way {
    fn run(mut self, is_over: &AtomicBool) -> Result<()> {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        let mut held: Option<Vec<u8>> = None;
        self.from.wait_for(PATIENCE)?;
        while !is_over.load(Ordering::Relaxed) {
            let received = self.from.receive(&mut buffer)?;
            let fault = received.map_or(Fault::None, |frame| self.meet(frame));
            match (received, fault) {
                (Some(frame), Fault::Swapped) if held.is_none() => {
                    held = Some(frame.to_vec());
                    self.from.wait_for(HOLD)?;
                    continue;
                }
                (Some(frame), Fault::None | Fault::Swapped) => self.pass(frame),
                (Some(frame), Fault::Doubled) => {
                    self.pass(frame);
                    self.pass(frame);
                }
                (Some(frame), Fault::Congested) => {
                    let mut marked = frame.to_vec();
                    let packet = marked.get_mut(HEADER_BYTES..).unwrap_or_default();
                    if packet::mark_congested(packet) {
                        self.counts.congested.fetch_add(1, Ordering::Relaxed);
                    }
                    self.pass(&marked);
                }
                (Some(_), Fault::Lost) | (None, _) => {}
            }
            if let Some(frame) = held.take() {
                self.pass(&frame);
                self.from.wait_for(PATIENCE)?;
            }
        }
        Ok(())
    }

    /// Draws what the frame meets with, and counts it.
    fn meet(&mut self, frame: &[u8]) -> Fault {
        // What finds the other host, as ARP does, is left alone: its loss costs a second and proves nothing.
        if !frame.get(HEADER_BYTES..).is_some_and(packet::is_tcp) {
            return Fault::None;
        }
        let fault = self.faults.draw(&mut self.random);
        let counts = &self.counts;
        counts.segments.fetch_add(1, Ordering::Relaxed);
        let count = match fault {
            Fault::None | Fault::Congested => return fault,
            Fault::Lost => &counts.lost,
            Fault::Doubled => &counts.doubled,
            Fault::Swapped => &counts.swapped,
        };
        count.fetch_add(1, Ordering::Relaxed);
        fault
    }

    fn pass(&self, frame: &[u8]) {
        // Refused (the interface is gone, or full) is lost, as on any wire.
        let _is_sent = self.to.send(frame);
    }
}
