//! See `sluice_fuzz::proxy_header`.
#![cfg_attr(fuzzing, no_main)]

sluice_fuzz::program!(sluice_fuzz::proxy_header);
