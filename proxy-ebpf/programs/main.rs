//! The kernel's half of Sluice: captures the app sockets of this daemon's sessions and moves whole commands and responses between
//! them. Doubt always ends in `SK_PASS`: the daemon then reads the bytes as if there were no program.
#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "kernel helpers and the context's raw pointers; all of it is in `sys`, `maps` and the two entries"
)]

mod capture;
mod client;
mod maps;
mod msg;
mod node;
mod skb;
mod sys;

/// The kernel lends its helpers to programs that say this.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// No path panics; the verifier would refuse a program that could loop here.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
