//! The store in one SQLite file, with real files, real processes and a real lack of space.
#![cfg(feature = "sqlite")]

mod backup;
mod content;
mod damage;
mod idle;
mod log;
mod processes;
mod space;
