//! Deterministic simulation: everything from one seed.

pub mod mutation;
