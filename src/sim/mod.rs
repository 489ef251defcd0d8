//! Deterministic simulation: everything from one seed.
