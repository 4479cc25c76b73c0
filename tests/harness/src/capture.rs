//! Looks at every TCP segment that arrives at an interface, and verifies its checksums.

use crate::{
    frames::{FRAME_BYTES_MAX, Frames, HEADER_BYTES},
    netns::Netns,
    packet, wait,
};
use anyhow::Result;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long the interface is silent when everything has come.
const SILENCE: Duration = Duration::from_millis(100);
/// How long to wait for that: an interface at which a daemon asks nodes how they are is never silent.
const PATIENCE: Duration = Duration::from_secs(2);
/// As many wrong ones are kept as texts.
const TEXTS: usize = 10;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum is still to be filled in.
const NEEDS_CHECKSUM: u8 = 1;

/// What has arrived.
#[derive(Debug, Default)]
pub struct Arrived {
    /// Segments with a whole checksum.
    pub whole: u64,
    /// Segments whose checksum a network card would fill in; between two virtual interfaces nobody does.
    pub partial: u64,
    /// Large segments, to be cut by a network card.
    pub large: u64,
    /// Segments with a wrong checksum.
    pub wrong: u64,
    /// What is wrong with the first of them.
    pub texts: Vec<String>,
    /// Frames that came too fast to be looked at.
    pub missed: u64,
    /// Over IPv4: segments whose sender knows of congestion notification (ECT), marked ones among them.
    pub capable: u64,
    /// Those that are marked (CE).
    pub congested: u64,
    /// Behind the handshake: those that say so back (ECE).
    pub echoes: u64,
    /// Behind the handshake: those that say that this was heard (CWR).
    pub reduced: u64,
}

/// A capture that runs; dropping it lets it go on unseen until the process ends, so [`Capture::end`] it.
#[derive(Debug)]
pub struct Capture {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Arrived>>,
}

impl Capture {
    /// Looks at what arrives at an interface of `netns` from now on; needs root.
    ///
    /// # Errors
    ///
    /// When there is no such interface.
    pub fn start(netns: &Netns, interface: &str) -> Result<Self> {
        let frames = Frames::open(netns, interface)?;
        frames.wait_for(SILENCE)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || look(&frames, &over));
        Ok(Self { is_over, thread })
    }

    /// Ends it once everything that has come is looked at.
    ///
    /// # Errors
    ///
    /// When the interface went meanwhile.
    pub fn end(self) -> Result<Arrived> {
        self.is_over.store(true, Ordering::Relaxed);
        wait::joined(self.thread.join(), "the capture")?
    }
}

fn look(frames: &Frames, is_over: &AtomicBool) -> Result<Arrived> {
    let mut arrived = Arrived::default();
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    let mut over_since = None;
    loop {
        if is_over.load(Ordering::Relaxed) {
            over_since.get_or_insert_with(Instant::now);
        }
        match frames.receive(&mut buffer)? {
            Some(frame) => arrived.add(frame),
            None if over_since.is_some() => break,
            None => {}
        }
        if over_since.is_some_and(|since| since.elapsed() > PATIENCE) {
            break;
        }
    }
    arrived.missed = frames.missed()?.into();
    Ok(arrived)
}

impl Arrived {
    /// A frame behind its header of virtio.
    fn add(&mut self, bytes: &[u8]) {
        self.add_checked(bytes, packet::check);
        let told = bytes.get(HEADER_BYTES..).and_then(packet::notification);
        let told = told.unwrap_or_default();
        self.capable += u64::from(told.bits != 0);
        self.congested += u64::from(told.bits == 3);
        self.echoes += u64::from(told.is_echo && !told.is_syn);
        self.reduced += u64::from(told.is_reduced && !told.is_syn);
    }

    /// A packet that begins with its IP header, behind the same.
    pub(crate) fn add_packet(&mut self, bytes: &[u8]) {
        self.add_checked(bytes, packet::check_packet);
    }

    fn add_checked(&mut self, bytes: &[u8], check: packet::Check) {
        let Some((header, frame)) = bytes.split_at_checked(HEADER_BYTES) else {
            return;
        };
        let flags = header.first().copied().unwrap_or_default();
        let is_partial = flags & NEEDS_CHECKSUM != 0;
        let Some(outcome) = check(frame, is_partial) else {
            return;
        };
        if header.get(1).is_some_and(|cut| *cut != 0) {
            self.large += 1;
        }
        if is_partial {
            self.partial += 1;
        } else {
            self.whole += 1;
        }
        if let Err(text) = outcome {
            self.wrong += 1;
            if self.texts.len() < TEXTS {
                self.texts.push(text);
            }
        }
    }
}
