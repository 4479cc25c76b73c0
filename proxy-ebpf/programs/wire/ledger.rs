//! What a verdict means for the session's record: commands, responses, regimes. Under the session's lock: no helper is called here.

use sluice_ebpf::{
    record::{Session, TRAPS},
    response::Expect,
    wire::Verdict,
};

use super::payload;
use crate::{
    client::{self, HEADER_BYTES},
    maps::Scratch,
    node,
    sys::{publish, shared},
};

/// A client's segment.
#[inline(always)]
pub(super) fn client(record: &mut Session, scratch: &Scratch) {
    let verdict = &scratch.verdict;
    count_trap(record, verdict);
    if verdict.ended {
        publish!(record.client.ended, record.client.begun);
        leave(record);
    }
    if !verdict.passed {
        return;
    }
    let expect = Expect::of(scratch.text[HEADER_BYTES as usize]);
    publish!(
        record.client.bytes,
        record.client.bytes + u64::from(scratch.packet.length)
    );
    publish!(record.client.expect, expect as u32);
    publish!(record.client.seat, verdict.seat);
    if verdict.began {
        publish!(record.client.begun, record.wire.regime);
    }
    client::note_closed(record, shared!(scratch.closes));
    client::keep_note(record, shared!(scratch.noting), shared!(scratch.change));
    let silent = shared!(scratch.silent) + u32::from(expect == Expect::Nothing);
    publish!(
        record.client.silent_commands,
        record.client.silent_commands + u64::from(silent)
    );
    if expect != Expect::Nothing {
        node::resume(record);
        record
            .node
            .response
            .begin(expect as u8, shared!(record.host.format) as u8);
        publish!(record.client.commands, record.client.commands + 1);
        publish!(record.node.started, record.client.commands);
    }
}

/// A node's segment; `scratch` has the response behind it.
#[inline(always)]
pub(super) fn node(record: &mut Session, scratch: &Scratch, now: u64) {
    let verdict = &scratch.verdict;
    count_trap(record, verdict);
    if verdict.ended {
        publish!(record.node.spilled, record.client.begun);
        leave(record);
    }
    if !verdict.passed {
        return;
    }
    let packets = scratch.response.packets_since(&record.node.response);
    payload::copy(&raw const scratch.response, &raw mut record.node.response);
    publish!(
        record.node.bytes,
        record.node.bytes + u64::from(scratch.packet.length)
    );
    publish!(
        record.node.packets,
        record.node.packets + u64::from(packets)
    );
    if record.node.response.wants_infile() {
        // The client speaks next, and not in commands.
        record.wire.end();
        publish!(record.node.spilled, record.client.begun);
        leave(record);
    } else if record.node.response.is_done() {
        let commands = record.client.commands;
        node::answered(record, commands, now);
    }
}

/// A segment of a local socket: the daemon speaks, or closes.
#[inline(always)]
pub(super) fn local(record: &mut Session, verdict: &Verdict) {
    if verdict.ended {
        publish!(record.client.ended, record.client.begun);
        leave(record);
    }
}

/// Counts why something was handed up.
#[inline(always)]
fn count_trap(record: &mut Session, verdict: &Verdict) {
    if let Some(reason) = verdict.trap {
        publish!(record.client.trap, reason as u32);
        // Read back: of a number that the compiler knows it would drop the mask, and with it the verifier's bound.
        let index = shared!(record.client.trap) as usize & (TRAPS - 1);
        let count = &mut record.client.traps[index];
        publish!(*count, *count + 1);
    }
}

/// A regime is over: the daemon finishes what there is of a response.
#[inline(always)]
fn leave(record: &mut Session) {
    if record.client.commands == record.node.answered {
        return;
    }
    payload::copy(&raw const record.node.response, &raw mut record.node.handed);
    publish!(record.node.spilled, record.client.begun);
    publish!(record.node.handed_over, record.client.begun);
    publish!(record.node.answered, record.client.commands);
}
