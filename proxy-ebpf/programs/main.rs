//! The kernel's half of Sluice: captures the app sockets of this daemon's sessions and moves whole commands and responses between
//! them. Doubt always ends in `SK_PASS`: the daemon then reads the bytes as if there were no program.
#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "kernel helpers and the context's raw pointers; all of it is in `sys`, `maps` and the two entries"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "to a field's width, after a mask or of a constant"
)]
#![expect(
    clippy::indexing_slicing,
    reason = "masked to the array's size: no check is left, and the verifier sees the bound"
)]
#![expect(
    clippy::inline_always,
    reason = "one function for the verifier, which follows no pointer's type through a call"
)]

mod capture;
mod client;
mod maps;
mod msg;
mod node;
mod sys;
mod wire;

/// The kernel lends its helpers to programs that say this.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// No path panics; the verifier would refuse a program that could loop here.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
