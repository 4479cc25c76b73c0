//! See `sluice_fuzz::handshake`.
#![cfg_attr(fuzzing, no_main)]

sluice_fuzz::program!(sluice_fuzz::handshake);
