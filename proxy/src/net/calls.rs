//! How many calls the legs of a thread have made, for `SHOW PROXYNET THREAD`.

use std::{cell::Cell, io};

/// Calls on the legs of a thread, and what they moved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    /// Reads that were tried.
    pub reads: u64,
    /// Those that found nothing.
    pub empty_reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Writes that were tried.
    pub writes: u64,
    /// Those that had no room.
    pub empty_writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

thread_local! {
    static CALLS: Cell<Calls> = const { Cell::new(Calls {
        reads: 0,
        empty_reads: 0,
        read_bytes: 0,
        writes: 0,
        empty_writes: 0,
        written_bytes: 0,
    }) };
}

/// The calls of this thread so far.
pub fn calls() -> Calls {
    CALLS.get()
}

/// A read was tried.
pub(super) fn note_read(read: &io::Result<usize>) {
    let mut calls = CALLS.get();
    calls.reads += 1;
    match read {
        Ok(length) => calls.read_bytes += *length as u64,
        Err(_) => calls.empty_reads += 1,
    }
    CALLS.set(calls);
}

/// A write was tried.
pub(super) fn note_written(written: &io::Result<usize>) {
    let mut calls = CALLS.get();
    calls.writes += 1;
    match written {
        Ok(length) => calls.written_bytes += *length as u64,
        Err(_) => calls.empty_writes += 1,
    }
    CALLS.set(calls);
}
