//! stub
#![allow(missing_docs)]
pub const START: u8 = 0;
static CLASS: [u8; 256] = [0; 256];
static NEXT: [u8; 16384] = [0; 16384];
#[inline(always)]
pub fn step(state: u8, byte: u8) -> u8 {
    NEXT[((state as usize) << 6 | CLASS[byte as usize] as usize) & 16383]
}
#[inline(always)]
pub fn code(state: u8) -> u8 {
    state & 1
}
