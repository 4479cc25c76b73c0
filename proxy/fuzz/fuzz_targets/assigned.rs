//! See `sluice_fuzz::assigned`.
#![cfg_attr(fuzzing, no_main)]

sluice_fuzz::program!(sluice_fuzz::assigned);
