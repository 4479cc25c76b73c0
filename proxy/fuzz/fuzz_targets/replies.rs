//! See `sluice_fuzz::replies`.
#![cfg_attr(fuzzing, no_main)]

sluice_fuzz::program!(sluice_fuzz::replies);
