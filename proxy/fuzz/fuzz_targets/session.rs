//! See `sluice_fuzz::session`.
#![cfg_attr(fuzzing, no_main)]

sluice_fuzz::program!(sluice_fuzz::session);
