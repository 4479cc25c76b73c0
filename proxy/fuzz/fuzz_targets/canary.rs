//! See `sluice_fuzz::canary`.
#![cfg_attr(fuzzing, no_main)]

sluice_fuzz::program!(sluice_fuzz::canary);
