//! See `sluice_fuzz::statement`.
#![cfg_attr(fuzzing, no_main)]

sluice_fuzz::program!(sluice_fuzz::statement);
