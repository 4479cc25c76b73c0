//! See `sluice_fuzz::admin`.
#![cfg_attr(fuzzing, no_main)]

sluice_fuzz::program!(sluice_fuzz::admin);
