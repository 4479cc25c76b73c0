//! See `sluice_fuzz::response`.
#![cfg_attr(fuzzing, no_main)]

sluice_fuzz::program!(sluice_fuzz::response);
