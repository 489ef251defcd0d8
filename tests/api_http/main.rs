//! The HTTP API over a real socket, on a double of the worker.

mod cluster;
mod enqueue;
mod errors;
mod guard;
mod limits;
mod openapi;
mod routes;
mod support;
mod worker;
