//! See `sluice_fuzz::tracker`.
#![cfg_attr(fuzzing, no_main)]

sluice_fuzz::program!(sluice_fuzz::tracker);
