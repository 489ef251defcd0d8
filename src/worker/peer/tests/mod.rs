//! The link over real sockets.

mod bounds;
mod calls;
mod faults;
mod frames;
mod greeting;
mod kit;
