//! See `sluice_fuzz::packets`.
#![cfg_attr(fuzzing, no_main)]

sluice_fuzz::program!(sluice_fuzz::packets);
