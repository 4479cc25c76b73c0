#!/bin/sh
# What `cargo xtask fuzz` has cargo compile this workspace's packages with (RUSTC_WORKSPACE_WRAPPER): rustc, with coverage and comparisons
# for libFuzzer, and with the checks of a debug build, which rustc leaves out of what is optimized. Dependencies stay as `cargo build` has
# made them, and nothing needs a nightly compiler: there is no sanitizer, which would find little in safe code.
set -eu
case " $* " in
# They run while others are compiled.
*" build_script_build "*) exec "$@" ;;
esac
exec "$@" --cfg=fuzzing -Copt-level=1 -Cdebug-assertions=on -Coverflow-checks=on \
  -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
