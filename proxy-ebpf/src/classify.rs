//! stub
#![allow(missing_docs)]
use crate::reason::TrapReason;
pub const SCAN_BYTES_MAX: usize = 4096;
pub enum CommandClass {
    Trap(TrapReason),
    Simple,
    Statement,
    Text,
}
#[inline(always)]
pub fn command_class(b: u8) -> CommandClass {
    match b {
        3 => CommandClass::Text,
        0x17 | 0x1c | 0x1a | 0x18 => CommandClass::Statement,
        0xe | 9 => CommandClass::Simple,
        _ => CommandClass::Trap(TrapReason::Command),
    }
}
