//! The engine in a small world of its own: a store, runners and producers, all driven by the test.
//!
//! `facts` folds the journal anew, knowing nothing of the engine; `world` drives one engine after
//! another over a store in memory, and compares what it is told with the facts.

mod bounds;
mod chaos;
mod commands;
mod compare;
mod facts;
mod invariants;
mod keeping;
mod lifecycle;
mod restart;
mod slots;
mod store;
mod succession;
mod world;
