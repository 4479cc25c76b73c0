//! What Sluice's kernel programs and its daemon must agree on: the trap classifier, the response tracker, the layout of map
//! records and the closed sets of reasons. Pure: no allocation, no panic, no IO; the BPF programs and the daemon compile this
//! same source.
#![cfg_attr(not(test), no_std)]

pub mod aim;
pub mod autocommit;
pub mod automaton;
pub mod checksum;
pub mod classify;
pub mod latency;
pub mod notes;
pub mod packet;
pub mod reason;
pub mod record;
pub mod response;
pub mod statement;
mod table;
pub mod wire;
